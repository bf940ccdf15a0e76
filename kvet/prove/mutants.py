# SPDX-License-Identifier: GPL-2.0-only
"""Mutants of a litmus test: each barrier, lock, RCU section and order dropped or weakened in turn.

A test whose mutants all stay "Never" shows nothing: what stays needs a reason.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from kvet.prove.litmus import Body, Branch, Litmus, Node, Step

# what a statement is weakened to, and the word for it in the mutant's name
WEAKER = (
    (r"smp_mb\(\);", "smp_wmb();", "weaken"),
    (r"synchronize_rcu\(\);", "smp_mb();", "weaken"),
    (r"atomic_(inc|dec)_return\(", r"atomic_\1_return_relaxed(", "weaken"),
    (r"atomic_xchg\(", "atomic_xchg_relaxed(", "weaken"),
    (r"smp_store_release\((.+)\);", r"WRITE_ONCE(*\1);", "weaken"),
    (r"smp_load_acquire\((.+)\);", r"READ_ONCE(*\1);", "weaken"),
    (r"atomic_inc_return\((\w+)\)", r"atomic_xchg(\1, 1)", "switch"),
    (r"atomic_dec_return\((\w+)\)", r"atomic_xchg(\1, 0)", "switch"),
)
ACCESSES = ("load", "store")


@dataclass(frozen=True, slots=True)
class Mutant:
    """A test that differs from its original in one place; `name` says where and how."""

    name: str
    test: Litmus


def mutants(test: Litmus) -> Iterator[Mutant]:
    """All mutants of a test, each once."""
    seen = {_bare(test)}
    raising = [t for t in test.threads if any(s.operation == "atomic" for s in t.steps)]
    # whoever only tries to take a lock learns that it is held, and so of what its holder did before
    tried = any(s.operation == "trylock" for t in test.threads for s in t.steps)
    for number, thread in enumerate(test.threads):
        for name, body in _bodies(thread.body, tried):
            changed = test.with_body(number, body)
            if name.startswith("switch ") and len(raising) < 2:
                continue  # who counts alone may as well switch
            if _bare(changed) not in seen:
                seen.add(_bare(changed))
                yield Mutant(f"P{number}: {name}", changed)


def bare(test: Litmus) -> Litmus:
    """The test without any lock, barrier, grace period or RCU section.

    What it forbids must be possible here: else its condition can never hold, whatever is built.
    """
    for number, thread in enumerate(test.threads):
        body = _edited(thread.body, _no_reader)
        for lock in dict.fromkeys(step.lock for step in _steps(body) if step.lock):
            body = _edited(body, partial(_unlocked, lock=lock))
        test = test.with_body(number, _edited(body, _no_order))
    return test


def _no_order(step: Step) -> tuple[Step, ...]:
    return () if step.operation in ("fence", "grace") else (step,)


def _bare(test: Litmus) -> str:
    """The text without labels: what differs in them alone is one test."""
    return re.sub(r" // .*", "", test.text())


def _bodies(body: Body, tried: bool) -> Iterator[tuple[str, Body]]:
    steps = [step for step in _steps(body)]
    for step in steps:
        yield from _of_step(body, step)
    for lock in dict.fromkeys(s.lock for s in steps if s.lock):
        yield f"drop {lock}", _edited(body, partial(_unlocked, lock=lock))
        yield f"empty {lock}", _edited(body, partial(_emptied, lock=lock))
    if any(s.operation == "reader" for s in steps):
        yield "drop reader", _edited(body, _no_reader)
        yield "empty reader", _edited(body, _empty_reader)
    yield from _untaken(body)
    yield from _swaps(body, tried)


def _widens(first: Step, second: Step) -> bool:
    """Whether exchanging two steps only has a lock held for longer.

    A step that moves into a critical section takes executions away and adds none ("roach motel
    reordering": Manson, Pugh and Adve, The Java Memory Model, POPL 2005): nothing is weakened.
    """
    inside = (*ACCESSES, "atomic", "fence", "grace")
    return (second.operation == "lock" and first.operation in inside) or (
        first.operation == "unlock" and second.operation in inside
    )


def _steps(body: Body) -> Iterator[Step]:
    for node in body:
        if isinstance(node, Step):
            yield node
        else:
            yield from _steps(node.then)
            yield from _steps(node.otherwise)


def _of_step(body: Body, step: Step) -> Iterator[tuple[str, Body]]:
    """What can be done to one step."""
    if step.operation in ("fence", "grace"):
        yield f"drop {step.label}", _edited(body, _replacing(step, ()))
    for pattern, weaker, word in WEAKER:
        text = re.sub(pattern, weaker, step.text)
        if text != step.text:
            changed = replace(step, text=text)
            yield f"{word} {step.label}", _edited(body, _replacing(step, (changed,)))
    if step.operation == "load" and _followed(body, step):
        yield f"read {step.label} again", _read_again(body, step)


def _replacing(step: Step, new: tuple[Step, ...]) -> Callable[[Step], tuple[Step, ...]]:
    return lambda s: new if s is step else (s,)


def _followed(body: Body, step: Step) -> bool:
    """Whether what the step loads is used as a pointer."""
    use = re.compile(rf"READ_ONCE\(\*{step.target}\)")
    place = step.text.partition(" = ")[2]
    loads = [s for s in _steps(body) if s.text.partition(" = ")[2] == place]
    # where the kernel itself reads twice, a third time is nothing new
    return bool(step.target) and len(loads) == 1 and any(use.search(s.text) for s in _steps(body))


def _read_again(body: Body, step: Step) -> Body:
    """Load the same place once more right before what was loaded is used as a pointer."""
    use = re.compile(rf"READ_ONCE\(\*{step.target}\)")
    again = replace(step, label=f"{step.label}-2")
    return _edited(body, lambda s: (again, s) if use.search(s.text) else (s,))


def _unlocked(step: Step, lock: str) -> tuple[Step, ...]:
    if step.lock != lock:
        return (step,)
    if step.operation == "trylock":
        return (replace(step, text=f"{step.target} = 1;"),)
    return ()


def _emptied(step: Step, lock: str) -> tuple[Step, ...]:
    """Give a lock back as soon as it is taken."""
    if step.lock != lock or step.operation == "trylock":
        return (step,)
    back = Step(f"spin_unlock({lock});", f"{step.label}-empty")
    return (step, back) if step.operation == "lock" else ()


def _empty_reader(step: Step) -> tuple[Step, ...]:
    back = Step("rcu_read_unlock();", f"{step.label}-empty")
    return (step, back) if step.operation == "reader" else _no_reader(step)


def _untaken(body: Body) -> Iterator[tuple[str, Body]]:
    """The side of a branch that takes a lock, never taken."""
    for index, node in enumerate(body):
        if isinstance(node, Branch) and any(s.lock for s in _steps(node.then)):
            yield f"never {node.condition}", (*body[:index], *node.otherwise, *body[index + 1 :])


def _no_reader(step: Step) -> tuple[Step, ...]:
    return () if step.operation in ("reader", "reader-end") else (step,)


def _edited(body: Body, edit: Callable[[Step], tuple[Step, ...]]) -> Body:
    """`body` with each step replaced by what `edit` makes of it; branches that empty go."""
    nodes: list[Node] = []
    for node in body:
        if isinstance(node, Step):
            nodes += edit(node)
            continue
        then, otherwise = _edited(node.then, edit), _edited(node.otherwise, edit)
        if then:
            nodes.append(Branch(node.condition, then, otherwise))
        elif otherwise:
            nodes.append(Branch(f"!({node.condition})", otherwise))
    return tuple(nodes)


def _swaps(body: Body, tried: bool, held: bool = False) -> Iterator[tuple[str, Body]]:
    """Neighbours exchanged, where neither needs what the other loads.

    Two accesses under one lock, or in one RCU reader, stay as they are: whoever the lock or
    the grace period orders sees both or none.
    """
    for index, node in enumerate(body):
        if isinstance(node, Branch):
            for name, then in _swaps(node.then, tried, held):
                yield name, _with(body, index, replace(node, then=then))
            for name, otherwise in _swaps(node.otherwise, tried, held):
                yield name, _with(body, index, replace(node, otherwise=otherwise))
        elif node.operation in ("lock", "trylock", "unlock", "reader", "reader-end"):
            held = node.operation not in ("unlock", "reader-end")
        following = body[index + 1] if index + 1 < len(body) else None
        if isinstance(node, Step) and isinstance(following, Step):
            if not _exchange(node, following) or (held and _both_access(node, following)):
                continue
            if not tried and _widens(node, following):
                continue
            swapped = (*body[:index], following, node, *body[index + 2 :])
            yield f"swap {node.label} and {following.label}", swapped


def _exchange(first: Step, second: Step) -> bool:
    """Whether exchanging two steps makes a test that means something else."""
    fences = first.operation == second.operation == "fence"
    needs = bool(first.target) and re.search(rf"\b{first.target}\b", second.text) is not None
    pairs = {("lock", "unlock"), ("reader", "reader-end")}
    return not (fences or needs or (first.operation, second.operation) in pairs)


def _both_access(first: Step, second: Step) -> bool:
    return first.operation in ACCESSES and second.operation in ACCESSES


def _with(body: Body, index: int, node: Node) -> Body:
    return (*body[:index], node, *body[index + 1 :])
