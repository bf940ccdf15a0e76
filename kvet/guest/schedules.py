# SPDX-License-Identifier: GPL-2.0-only
"""Reads what a guest said about controlled schedules; docs/guest-protocol.md has the lines."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from kvet.explorations import Exploration, ScheduleEvent

PLACE = re.compile(r"^(\S+?)\+(0x[0-9a-f]+/0x[0-9a-f]+)$")
NUMBERS = (
    *("probes", "points", "rounds", "unreached", "repeats", "timeouts"),
    *("sampled", "steps", "changes"),
)
MOST_EVENTS = 1000
MOST_UNPROBED = 100


@dataclass(slots=True)
class ScheduleLines:
    """Takes the lines of explorations in the order in which the guest said them."""

    done: list[Exploration] = field(default_factory=list)
    normal_gp: bool = False

    def words(self) -> Mapping[str, Callable[[str], None]]:
        """What each first word of a line calls."""
        return {
            "exploring": self._begin,
            "grace-periods": self._grace_periods,
            "schedule": self._named,
            "explore": self._fact,
            "explore-unprobed": self._unprobed,
            "explore-event": self._event,
            "explored": self._end,
        }

    def _change(self, **fields: object) -> None:
        if self.done:
            self.done[-1] = replace(self.done[-1], **fields)  # type: ignore[arg-type]

    def _begin(self, rest: str) -> None:
        level, _, sides = rest.strip().partition(" ")
        self.done.append(Exploration(sides=f"{level}:{sides}", normal_gp=self.normal_gp))

    def _grace_periods(self, rest: str) -> None:
        self.normal_gp = rest.strip() == "normal"

    def _named(self, rest: str) -> None:
        """A schedule is named before it runs: the last one named is what a crash belongs to."""
        number, name = rest.split(" ", 1)
        self._change(failing=name.strip(), rounds=int(number))

    def _fact(self, rest: str) -> None:
        word, _, tail = rest.partition(" ")
        if word == "failing":
            self._change(failing=tail.strip())
        elif word == "what":
            self._change(what=tail.strip())
        elif word == "side" and self.done:
            letter, _, title = tail.strip().partition(" ")
            self._change(columns=(*self.done[-1].columns, (letter, title)))
        elif word == "preemptions":
            self._bound(rest)
        elif word in ("probes", "points", "rounds", "sampled"):
            self._numbers(rest)

    def _bound(self, rest: str) -> None:
        """`preemptions 2 run 284 of 284`"""
        found = re.match(r"preemptions (\d+) run (\d+) of (\d+)", rest)
        if found and self.done:
            one = (int(found[1]), int(found[2]), int(found[3]))
            self._change(bounds=(*self.done[-1].bounds, one))

    def _numbers(self, rest: str) -> None:
        """`points 36 shared 1 unreached 0 repeats 0 timeouts 0` and the like."""
        words = rest.split()
        numbers = {name: int(value) for name, value in zip(words[::2], words[1::2], strict=True)}
        self._change(**{name: numbers[name] for name in NUMBERS if name in numbers})
        if "us" in numbers:
            self._change(seconds=numbers["us"] / 1e6)
        if "sampled" in numbers:
            self._change(threads=numbers["sides"])

    def _unprobed(self, rest: str) -> None:
        if self.done and len(self.done[-1].unprobed) < MOST_UNPROBED:
            self._change(unprobed=(*self.done[-1].unprobed, rest.strip()))

    def _event(self, rest: str) -> None:
        if self.done and len(self.done[-1].events) < MOST_EVENTS:
            self._change(events=(*self.done[-1].events, _event(rest)))

    def _end(self, rest: str) -> None:
        ending = rest.strip()
        self._change(ending=ending)
        if ending == "nothing" or not self._failed():
            self._change(failing="", events=())

    def _failed(self) -> bool:
        """A failing round tells what happened in it; others, and those at random, tell nothing."""
        return bool(self.done and self.done[-1].events and self.done[-1].failing != "random")


def _event(text: str) -> ScheduleEvent:
    """`W load walk_pgd_range+0x454/0x748 1 PMD-entry 68010000000711`, `W preempted F`"""
    side, kind, place, *more = text.split()
    found = PLACE.match(place)
    if found is None:
        return ScheduleEvent(side=side, kind=kind, target=place)
    return ScheduleEvent(
        side=side,
        kind=kind,
        func=found[1],
        offset=found[2],
        target=more[1] if len(more) > 1 and more[1] != "-" else "",
        value=more[2] if len(more) > 2 else "",
    )
