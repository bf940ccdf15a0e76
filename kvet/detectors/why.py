# SPDX-License-Identifier: GPL-2.0-only
"""Why a finding has its title: the line that decided, and the functions that were passed over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from kvet.detectors.blame import Blamed, Passed, blame
from kvet.detectors.heads import settle
from kvet.detectors.splat import Hit, Splat

MOST_PASSED = 12
_CHOICE = {
    "first": "the first function that is on none of these lists",
    "stall": "the frame before the first that dispatches work: a CPU that loops",
    "hang": "the first function that does more than wait",
}


class Why(NamedTuple):
    """What decided a title: a row of splats.yaml, the lines it read, the way to the function."""

    row: str
    number: int
    head: str
    also: str
    passed: tuple[Passed, ...]
    func: str
    choice: str


def why(hit: Hit, splat: Splat) -> Why:
    """The reasons for the finding that begins with `hit`."""
    row, values = settle(hit, splat)
    passed: list[Passed] = []
    who: Blamed = blame(row, values.get("at") or "", splat, passed)
    texts = splat.texts[1:] if row.also else []
    also = next((text for text in texts if row.also_regex.search(text)), "")
    func = who.func if row.ways and who.found else ""
    return Why(row.id, hit.number, hit.line.text, also, tuple(passed), func, _CHOICE[row.pick])


def explained(reasons: Why) -> Sequence[str]:
    """The reasons as lines for a person."""
    lines = [
        f"why: line {reasons.number} begins a splat of the kind '{reasons.row}': {reasons.head}"
    ]
    if reasons.also:
        lines.append(f"     with: {reasons.also.strip()}")
    for name, rule in dict.fromkeys(reasons.passed[:MOST_PASSED]):
        lines.append(f"     passed over: {name} (list '{rule}' of blame.yaml)")
    if len(reasons.passed) > MOST_PASSED:
        lines.append(f"     passed over: {len(reasons.passed) - MOST_PASSED} more")
    if reasons.func:
        first = not reasons.passed and reasons.choice == _CHOICE["first"]
        choice = "the first function that it names" if first else reasons.choice
        lines.append(f"     blamed: {reasons.func}, {choice}")
    else:
        lines.append("     blamed: no function; the message decides, or no frame was left")
    return lines
