# SPDX-License-Identifier: GPL-2.0-only
"""Deadlocks of a test's threads, by a search over all their interleavings.

herd7 leaves out executions that do not end, so a deadlock is "Never" to it.
Here locks are the kernel's reader-writer semaphores: they serve in turn, and a
reader waits behind a writer that waits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from kvet.prove.litmus import Body, Litmus, Step

MOST_STATES = 200_000
# how a call takes the lock, by the kernel's function
MODES = {
    "down_read": "read",
    "down_read_nested": "read",
    "down_read_trylock": "read",
    "down_write": "write",
    "down_write_nested": "write",
    "down_write_trylock": "write",
}


class Action(NamedTuple):
    """One move of a thread: `kind` of a step, or `fork` and `jump` for control; `to` is where."""

    kind: str
    label: str = ""
    lock: str = ""
    mode: str = ""
    to: int = 0


class State(NamedTuple):
    """Where each thread is, who holds and who waits for each lock, who reads under RCU.

    `graces` are readers that a thread in synchronize_rcu() still waits for.
    """

    at: tuple[int, ...]
    held: frozenset[tuple[str, int, str, int]]
    queue: tuple[tuple[str, int, str], ...]
    readers: tuple[int, ...]
    graces: tuple[frozenset[int] | None, ...]


@dataclass(frozen=True, slots=True)
class Move:
    """One line of a deadlock's history: which thread did what."""

    thread: int
    label: str
    text: str


@dataclass(frozen=True, slots=True)
class Deadlock:
    """How the threads get there, and what each waits for; `states` were looked at."""

    moves: tuple[Move, ...]
    waits: tuple[Move, ...]
    states: int


def program(body: Body, modes: Mapping[str, str]) -> list[Action]:
    """A thread as a list of moves; `modes` maps a label to how it takes its lock."""
    actions: list[Action] = []
    _compile(body, modes, actions)
    return [*actions, Action("end")]


def _compile(body: Body, modes: Mapping[str, str], actions: list[Action]) -> None:
    tried = -1
    for node in body:
        if isinstance(node, Step):
            if node.operation == "trylock":
                tried = len(actions)
            if node.operation in KINDS:
                mode = modes.get(node.label, "write")
                actions.append(Action(node.operation, node.label, node.lock, mode))
            continue
        fork = len(actions)
        decided = tried >= 0 and actions[tried].to == 0
        actions.append(Action("fork"))
        _compile(node.then, modes, actions)
        jump = len(actions)
        actions.append(Action("jump"))
        actions[fork] = actions[fork]._replace(to=len(actions))
        if decided:  # the trylock itself goes to the side that it decides
            actions[tried] = actions[tried]._replace(to=len(actions))
            actions[fork] = Action("jump", to=fork + 1)
        _compile(node.otherwise, modes, actions)
        actions[jump] = actions[jump]._replace(to=len(actions))


KINDS = ("lock", "trylock", "unlock", "reader", "reader-end", "grace")


def find_deadlock(test: Litmus, modes: Sequence[Mapping[str, str]]) -> Deadlock | None:
    """A shortest way into a state that no thread can leave, or None."""
    programs = [program(t.body, m) for t, m in zip(test.threads, modes, strict=True)]
    count = len(programs)
    start = State((0,) * count, frozenset(), (), (0,) * count, (None,) * count)
    came: dict[State, tuple[State, Move] | None] = {start: None}
    work = deque([start])
    while work and len(came) < MOST_STATES:
        state = work.popleft()
        moves = list(_moves(programs, state))
        if not moves and any(programs[t][a].kind != "end" for t, a in enumerate(state.at)):
            return Deadlock(_history(came, state), _waits(programs, state), len(came))
        for move, following in moves:
            if following not in came:
                came[following] = (state, move)
                work.append(following)
    return None


def _history(came: Mapping[State, tuple[State, Move] | None], state: State) -> tuple[Move, ...]:
    moves: list[Move] = []
    step = came[state]
    while step is not None:
        state, move = step
        if move.text:
            moves.append(move)
        step = came[state]
    return tuple(reversed(moves))


def _waits(programs: Sequence[Sequence[Action]], state: State) -> tuple[Move, ...]:
    waits = []
    for thread, at in enumerate(state.at):
        action = programs[thread][at]
        if action.kind == "grace":
            waits.append(Move(thread, action.label, "waits for RCU readers"))
        elif action.kind != "end":
            waits.append(Move(thread, action.label, f"waits for {action.lock} ({action.mode})"))
    return tuple(waits)


def _moves(programs: Sequence[Sequence[Action]], state: State) -> Iterator[tuple[Move, State]]:
    """All that can happen next."""
    for thread, at in enumerate(state.at):
        action = programs[thread][at]
        for text, following in _acts(action, thread, state):
            yield Move(thread, action.label, text), following


def _acts(action: Action, thread: int, state: State) -> Iterator[tuple[str, State]]:
    onward = _at(state, thread, state.at[thread] + 1)
    kind, lock, mode = action.kind, action.lock, action.mode
    if kind == "fork":
        yield "", onward
        yield "", _at(state, thread, action.to)
    elif kind == "jump":
        yield "", _at(state, thread, action.to)
    elif kind == "lock":
        yield from _lock(action, thread, state)
    elif kind == "trylock":
        if _free(state, lock, mode, ()) and not any(q[0] == lock for q in state.queue):
            yield f"takes {lock} ({mode})", _hold(onward, thread, lock, mode)
        else:
            failed = action.to or state.at[thread] + 1
            yield f"does not get {lock}", _at(state, thread, failed)
    elif kind == "unlock":
        yield f"gives {lock} back", _release(onward, thread, lock)
    elif kind in ("reader", "reader-end"):
        yield _reader(kind, thread, onward)
    elif kind == "grace":
        yield from _grace(thread, state, onward)


def _lock(action: Action, thread: int, state: State) -> Iterator[tuple[str, State]]:
    """Take the lock when its turn has come, else stand in the queue once."""
    entry = (action.lock, thread, action.mode)
    ahead = state.queue[: state.queue.index(entry)] if entry in state.queue else state.queue
    waiting = [q for q in ahead if q[0] == action.lock]
    if _free(state, action.lock, action.mode, waiting):
        queue = tuple(q for q in state.queue if q != entry)
        onward = _at(state, thread, state.at[thread] + 1)._replace(queue=queue)
        taken = _hold(onward, thread, action.lock, action.mode)
        yield f"takes {action.lock} ({action.mode})", taken
    elif entry not in state.queue:
        queued = state._replace(queue=(*state.queue, entry))
        yield f"waits for {action.lock} ({action.mode})", queued


def _free(state: State, lock: str, mode: str, ahead: Sequence[tuple[str, int, str]]) -> bool:
    held = [mode_held for name, _, mode_held, _ in state.held if name == lock]
    if mode == "read":
        return "write" not in held and not any(q[2] == "write" for q in ahead)
    return not held and not ahead


def _hold(state: State, thread: int, lock: str, mode: str) -> State:
    depth = sum(1 for name, holder, _, _ in state.held if (name, holder) == (lock, thread))
    return state._replace(held=state.held | {(lock, thread, mode, depth)})


def _release(state: State, thread: int, lock: str) -> State:
    own = [h for h in state.held if h[:2] == (lock, thread)]
    return state._replace(held=state.held - {max(own, key=lambda h: h[3])}) if own else state


def _reader(kind: str, thread: int, state: State) -> tuple[str, State]:
    depth = state.readers[thread] + (1 if kind == "reader" else -1)
    readers = tuple(depth if t == thread else d for t, d in enumerate(state.readers))
    graces = state.graces
    if depth <= 0:
        graces = tuple(g - {thread} if g is not None else None for g in graces)
    word = "begins" if kind == "reader" else "ends"
    return f"{word} an RCU reader", state._replace(readers=readers, graces=graces)


def _grace(thread: int, state: State, onward: State) -> Iterator[tuple[str, State]]:
    waited = state.graces[thread]
    if waited is None:
        open_now = frozenset(t for t, depth in enumerate(state.readers) if depth > 0)
        if not open_now:
            yield "waits for no RCU reader", onward
            return
        yield "waits for RCU readers", _graces(state, thread, open_now)
    elif not waited:
        yield "RCU readers are gone", _graces(onward, thread, None)


def _graces(state: State, thread: int, value: frozenset[int] | None) -> State:
    graces = tuple(value if t == thread else g for t, g in enumerate(state.graces))
    return state._replace(graces=graces)


def _at(state: State, thread: int, to: int) -> State:
    return state._replace(at=tuple(to if t == thread else a for t, a in enumerate(state.at)))


def sleeping_readers(test: Litmus) -> list[str]:
    """Steps that sleep (a lock, a grace period) inside an RCU reader."""
    found: list[str] = []
    for number, thread in enumerate(test.threads):
        _nesting(thread.body, 0, f"P{number}", found)
    return found


def _nesting(body: Body, depth: int, thread: str, found: list[str]) -> int:
    """The reader depth behind a body; sides that differ count as the deeper one."""
    for node in body:
        if not isinstance(node, Step):
            sides = [_nesting(side, depth, thread, found) for side in (node.then, node.otherwise)]
            depth = max(sides)
        elif node.operation == "reader":
            depth += 1
        elif node.operation == "reader-end":
            depth -= 1
        elif node.operation in ("lock", "grace") and depth > 0:
            found.append(f"{thread}: {node.label} sleeps inside an RCU reader")
    return depth
