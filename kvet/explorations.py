# SPDX-License-Identifier: GPL-2.0-only
"""Controlled schedules as data: what an exploration did, event by event."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ScheduleEvent:
    """One step of a round of controlled schedules, by the thread `side`.

    `kind` is an access (load, store, atomic), barrier, flush or call at `func`+`offset`, with
    what it concerns as `target` and the `value` that it read or was about to write; or why the
    token went to the side `target`: preempted, blocked, spins, ended. `dozes`: it sleeps, and
    will wake by itself.
    """

    side: str
    kind: str
    target: str = ""
    func: str = ""
    offset: str = ""
    value: str = ""
    location: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Exploration:
    """Controlled schedules of one set of sides (`pmd:dump,block`) in one boot.

    `bounds` holds preemptions, schedules run and schedules there are, for each number of
    preemptions. `ending` is all, failed, out-of-time, nothing (the sides never meet: `what` says
    why), missing (the kernel lacks a side) or '' for one that did not end. `failing` is the
    schedule that failed, or that ran when the guest died, `what` went wrong in it in words.
    Grace periods are expedited unless `normal_gp`.
    `columns` are the sides' letters and titles, in order.
    `sampled` schedules were drawn at random, each of which finds a bug of depth `changes` + 1
    with a probability of at least 1 / (`threads` * `steps` ** `changes`).
    """

    sides: str
    ending: str = ""
    bounds: tuple[tuple[int, int, int], ...] = ()
    points: int = 0
    rounds: int = 0
    seconds: float = 0.0
    probes: int = 0
    repeats: int = 0
    unreached: int = 0
    timeouts: int = 0
    unprobed: tuple[str, ...] = ()
    normal_gp: bool = False
    sampled: int = 0
    threads: int = 0
    steps: int = 0
    changes: int = 0
    failing: str = ""
    what: str = ""
    columns: tuple[tuple[str, str], ...] = ()
    events: tuple[ScheduleEvent, ...] = ()

    @property
    def accesses(self) -> bool:
        """Whether it ended in an access to a table that was given back, or to what is no table."""
        return bool(self.failing and self.what) and not self.what.startswith(STUCK)

    @property
    def completed(self) -> int:
        """With how many preemptions at most all schedules ran; -1 where none did."""
        full = -1
        for preemptions, ran, there in self.bounds:
            if ran < there:
                break
            full = preemptions
        return full


# what the module says of a round in which nobody accesses anything wrong
STUCK = ("all sides sleep", "a side runs")
