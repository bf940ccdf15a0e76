# SPDX-License-Identifier: GPL-2.0-only
"""Whether bound instructions stand in the order, and on the sides of branches, that a test says.

What orders (a barrier, lock, key, grace period) must lie on every way to what
follows it. An access may be passed over, in a loop that turns no time, but
never come after what it precedes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

from kvet.prove.litmus import Body, Branch, Step, walk
from kvet.prove.paths import Edge, Paths, is_branch_on
from kvet.prove.paths import Node as At
from kvet.prove.registers import UNKNOWN, Origin, register

Bound: TypeAlias = dict[str, tuple[At, ...]]
ACCESSES = ("load", "store", "other")
OPENS = {"lock": "unlock", "trylock": "unlock", "reader": "reader-end"}


def order_problems(paths: Paths, body: Body, bound: Bound, loops: Mapping[str, str]) -> list[str]:
    """What is not in the order of the test; `loops` maps a step to the loop it is in."""
    found = list(_in_order(paths, body, bound, loops))
    found += _branches(paths, body, bound)
    found += _closed(paths, body, bound)
    return found


def region(paths: Paths, body: Body, bound: Bound) -> set[At]:
    """What lies between the first steps of a body and its last ones."""
    first = {n for s in _ends(body, 0) for n in bound.get(s.label, ())}
    last = {n for s in _ends(body, -1) for n in bound.get(s.label, ())}
    every = {n for nodes in bound.values() for n in nodes}
    forward = _open_ended(paths, first, last)
    backwards: dict[At, list[At]] = {}
    for node, edges in paths.edges.items():
        for edge in edges:
            backwards.setdefault(edge.to, []).append(node)
    seen, work = set(last), list(last)
    while work:
        for node in backwards.get(work.pop(), ()):
            if node not in seen and node not in first:
                seen.add(node)
                work.append(node)
    return (forward & seen) | every


def _open_ended(paths: Paths, first: set[At], last: set[At]) -> set[At]:
    """From `first` on, and no further than `last`."""
    following = {e.to for n in first - last for e in paths.edges.get(n, ())}
    return paths.reachable(following - last, without=last)


def _ends(body: Body, index: int) -> Iterator[Step]:
    """The steps a body may begin (0) or end (-1) with."""
    nodes = body if index == 0 else tuple(reversed(body))
    for node in nodes:
        if isinstance(node, Step):
            yield node
            return
        sides = [side for side in (node.then, node.otherwise) if side]
        for side in sides:
            yield from _ends(side, index)
        if len(sides) == 2:
            return


def _pairs(body: Body, before: tuple[Step, ...] = ()) -> Iterator[tuple[Step, Step]]:
    """Steps that are both taken whenever the second is, in order."""
    for node in body:
        if isinstance(node, Step):
            yield from ((earlier, node) for earlier in before)
            before = (*before, node)
        else:
            yield from _pairs(node.then, before)
            yield from _pairs(node.otherwise, before)


def _in_order(paths: Paths, body: Body, bound: Bound, loops: Mapping[str, str]) -> Iterator[str]:
    first = {n for s in _ends(body, 0) for n in bound.get(s.label, ())}
    order = [step.label for step in walk(body)]
    for before, behind in _pairs(body):
        one, other = bound.get(before.label), bound.get(behind.label)
        if not one or not other:
            continue
        loop = loops.get(before.label, "")
        starts, stops = {paths.root}, first
        if loop and loops.get(behind.label, "") == loop:
            head = next(s for s in order if loops.get(s) == loop)
            stops = first | set(bound.get(head, ()))
        elif loop:
            # the loop may turn no time: then nothing of it is done
            inside = [s for s in order[: order.index(before.label)] if loops.get(s) == loop]
            starts = _after(paths, [n for s in inside for n in bound.get(s, ())])
        around = paths.reachable(starts, without=one)
        if not any(n in around for n in other):
            continue
        orders = before.operation not in ACCESSES
        back = paths.reachable(_after(paths, other), without=stops - set(one))
        if orders or any(n in back for n in one):
            yield f"{before.label} is not on every way to {behind.label}"


def _after(paths: Paths, nodes: Iterable[At]) -> set[At]:
    return {e.to for n in nodes for e in paths.edges.get(n, ())}


def _branches(paths: Paths, body: Body, bound: Bound) -> Iterator[str]:
    """Steps inside an `if` are reached on its side alone."""
    for node in body:
        if isinstance(node, Branch):
            chooser = _chooser(body, node.condition)
            if chooser is not None and chooser.label in bound:
                yield from _sides(paths, node, chooser, bound)
            yield from _branches(paths, node.then, bound)
            yield from _branches(paths, node.otherwise, bound)


def _chooser(body: Body, condition: str) -> Step | None:
    """The step that loads what the condition is about."""
    names = re.findall(r"\w+", condition)
    return next((s for s in walk(body) if s.target and s.target in names), None)


def _sides(paths: Paths, branch: Branch, chooser: Step, bound: Bound) -> Iterator[str]:
    nodes = bound[chooser.label]
    labels = {e.label for n in nodes for e in paths.edges.get(n, ())}
    if any(label.startswith("up ") for label in labels):  # a key
        for side, word in ((branch.then, "up "), (branch.otherwise, "down ")):
            yield from _only(paths, side, bound, _cut_key(nodes, word), f"{chooser.label} {word}")
        yield from _passed(paths, branch.then, bound, [e.to for n in nodes for e in
                           paths.edges.get(n, ()) if e.label.startswith("up ")])  # fmt: skip
    elif chooser.operation == "trylock":
        deciding = _deciding(paths, nodes)
        cut = _cut_value(deciding, "nonzero")
        yield from _only(paths, branch.then, bound, cut, f"{chooser.label} succeeded")
    else:
        inner = {n for s in walk(branch.then) for n in bound.get(s.label, ())}
        past = paths.reachable(_after(paths, nodes), without=inner)
        if inner and not past & (paths.exits | set(nodes)):
            yield f"nothing is decided by {chooser.label}"


def _only(
    paths: Paths, side: Body, bound: Bound, cut: Callable[[At, Edge], bool], why: str
) -> Iterator[str]:
    """Steps of a side must not be reached with its edge cut."""
    open_ways = paths.reachable({paths.root}, cut=cut)
    for step in walk(side):
        if any(n in open_ways for n in bound.get(step.label, ())):
            yield f"{step.label} is reached without: {why.strip()}"


def _passed(paths: Paths, side: Body, bound: Bound, starts: Sequence[At]) -> Iterator[str]:
    """Once on a side, all of its ordering steps are taken before the thread ends."""
    for step in side:
        if not isinstance(step, Step) or step.operation in ACCESSES or step.label not in bound:
            continue
        if paths.reachable(starts, without=bound[step.label]) & paths.exits:
            yield f"{step.label} can be passed by on its side"


def _cut_key(nodes: Sequence[At], word: str) -> Callable[[At, Edge], bool]:
    return lambda node, edge: node in nodes and edge.label.startswith(word)


def _cut_value(nodes: set[At], label: str) -> Callable[[At, Edge], bool]:
    return lambda node, edge: node in nodes and edge.label == label


def _deciding(paths: Paths, calls: Sequence[At]) -> set[At]:
    """Jumps that depend on what the calls return."""
    results = {Origin("call", n.address, n.context) for n in calls}
    found = set()
    for node, state in paths.states.items():
        insn = paths.insn(node)
        if insn is not None and is_branch_on(insn):
            origins = state.get(register(insn, insn.operands[0].reg), UNKNOWN)
            if {o._replace(exact=True) for o in origins} & results:
                found.add(node)
    return found


def _closed(paths: Paths, body: Body, bound: Bound) -> Iterator[str]:
    """What is locked is unlocked on every way out."""
    steps = list(walk(body))
    for step in steps:
        closing = OPENS.get(step.operation)
        if closing is None or step.label not in bound:
            continue
        ends = [
            n
            for s in steps
            if s.operation == closing and s.lock == step.lock
            for n in bound.get(s.label, ())
        ]
        starts = _after(paths, bound[step.label])
        if step.operation == "trylock":
            deciding = _deciding(paths, bound[step.label])
            starts = {
                e.to for n in deciding for e in paths.edges.get(n, ()) if e.label == "nonzero"
            }
        if ends and paths.reachable(starts, without=ends) & paths.exits:
            yield f"{step.label}: there is a way out that does not give it back"
