# SPDX-License-Identifier: GPL-2.0-only
"""An execution that herd7 found, as rows in an order in which it could have happened."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from kvet.prove.litmus import Litmus, Step

EVENT = re.compile(r'^eiid(\d+) \[label="\w+: ([^"]+)"')
THREAD = re.compile(r"^proc(\d+)_label_node")
EDGE = re.compile(r'^eiid(\d+) -> eiid(\d+) \[label="(\w+)"(.*)\];$')
ACCESS = re.compile(r"^([RW])\*?\[.*?\]\[(\w+)\]=(.+)$|^([RW])\*?\[.*?\](\w+)=(.+)$")
ORDERS = ("po", "rf", "co", "fr")


@dataclass(frozen=True, slots=True)
class Row:
    """One event: its thread, the label of its step, and what it did."""

    thread: int
    label: str
    text: str


@dataclass(frozen=True, slots=True)
class Execution:
    """All events; `interleaved` says that they happened one after the other as listed."""

    rows: tuple[Row, ...]
    interleaved: bool


def choose(drawings: Sequence[str], test: Litmus) -> Execution | None:
    """The execution that is easiest to follow: an interleaving if there is one, the shortest."""
    executions = [read_drawing(text, test) for text in drawings]
    ordered = sorted(executions, key=lambda e: (not e.interleaved, len(e.rows)))
    return ordered[0] if ordered else None


def read_drawing(text: str, test: Litmus) -> Execution:
    """An execution out of herd7's Graphviz text."""
    threads: dict[int, list[tuple[int, str]]] = {}
    edges: list[tuple[int, int]] = []
    current = -1
    for line in text.splitlines():
        if found := THREAD.match(line):
            current = int(found.group(1))
        elif found := EVENT.match(line):
            threads.setdefault(current, []).append((int(found.group(1)), found.group(2)))
        elif (found := EDGE.match(line)) and found.group(3) in ORDERS:
            one, other = int(found.group(1)), int(found.group(2))
            edges.append((other, one) if 'dir="back"' in found.group(4) else (one, other))
    rows: dict[int, Row] = {}
    for number, events in threads.items():
        rows |= _rows(number, events, test)
        edges += [(a[0], b[0]) for a, b in zip(events, events[1:], strict=False)]
    order, interleaved = _order(threads, edges)
    return Execution(tuple(rows[e] for e in order if e in rows), interleaved)


def _order(
    threads: Mapping[int, Sequence[tuple[int, str]]], edges: Sequence[tuple[int, int]]
) -> tuple[list[int], bool]:
    known = [event for events in threads.values() for event, _ in events]
    sorter: TopologicalSorter[int] = TopologicalSorter({event: set() for event in known})
    for one, other in edges:
        if one in known and other in known and one != other:
            sorter.add(other, one)
    try:
        return list(sorter.static_order()), True
    except CycleError:
        return known, False


def _rows(number: int, events: Sequence[tuple[int, str]], test: Litmus) -> dict[int, Row]:
    """The events of a thread with the steps that made them, in the order of the text."""
    steps = list(test.threads[number].steps)
    registers = {step.target for step in steps if step.target}
    found: dict[int, Row] = {}
    for event, text in events:
        index = next((i for i, step in enumerate(steps) if _made(step, text, registers)), None)
        if index is not None:
            found[event] = Row(number, steps[index].label, _told(text))
            steps = steps[index + (0 if steps[index].operation == "atomic" else 1) :]
    return found


def _made(step: Step, event: str, registers: Set[str]) -> bool:
    """Whether an event is what a step does."""
    access = ACCESS.match(event)
    if access:
        kind, place = access.group(1) or access.group(4), access.group(2) or access.group(5)
        wanted = {"load": "R", "store": "W", "atomic": "RW"}.get(step.operation, "")
        register = re.search(r"\((?:\*|&)?(\w+)", step.text)
        name = register.group(1) if register else ""
        chased = step.operation == "load" and name in registers
        return kind in wanted and (name == place or chased)
    words = {
        "Lock": ("lock", "trylock"),
        "Unlock": ("unlock",),
        "F[mb]": ("fence",),
        "F[rcu-lock]": ("reader",),
        "F[rcu-unlock]": ("reader-end",),
        "F[sync-rcu]": ("grace",),
    }
    if event.startswith("Lock(") and event.endswith(",R)"):
        return False  # the other half of the same step
    return any(event.startswith(w) and step.operation in ops for w, ops in words.items())


def _told(event: str) -> str:
    access = ACCESS.match(event)
    if access:
        kind, place, value = (access.group(i) or access.group(i + 3) for i in (1, 2, 3))
        return f"{place} = {value}" if kind == "W" else f"reads {place}: {value}"
    words = {"Lock": "locked", "Unlock": "unlocked", "F[mb]": "full barrier"}
    words |= {"F[rcu-lock]": "RCU reader begins", "F[rcu-unlock]": "RCU reader ends"}
    words["F[sync-rcu]"] = "grace period"
    return next((told for word, told in words.items() if event.startswith(word)), event)
