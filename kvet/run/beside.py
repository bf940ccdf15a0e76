# SPDX-License-Identifier: GPL-2.0-only
"""What other workloads showed of a build, in the verdict on one of its cells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from kvet.model import Attempt, Conclusion, Finding
from kvet.run.verdict import Verdict, unconfirmed

OPEN = (Conclusion.PASS, Conclusion.INCONCLUSIVE)


@dataclass(frozen=True, slots=True)
class Heard:
    """A cell of the build: its workload, its boots and what they came to by themselves."""

    workload: str
    attempts: Sequence[Attempt]
    verdict: Verdict


def beside(own: Heard, mates: Sequence[Heard]) -> Verdict:
    """The verdict on `own`, when its mates are heard as well.

    A schedule that ends in an access to a table that is gone confirms the suspicions of a race.
    Nothing passes in one workload that another proves to be broken.
    """
    verdict = own.verdict
    broken = [m for m in mates if m.verdict.conclusion is Conclusion.FAIL]
    if not broken or verdict.conclusion not in OPEN:
        return verdict
    suspected = [f for f in unconfirmed(own.attempts) if f.suspicion]
    schedule = next(_accesses(broken), "")
    if suspected and schedule:
        return _confirmed(own, suspected, schedule)
    if verdict.conclusion is Conclusion.INCONCLUSIVE:
        return verdict
    shown = f"{broken[0].workload} shows what this workload did not: {broken[0].verdict.reason}"
    return replace(verdict, conclusion=Conclusion.INCONCLUSIVE, reason=shown)


def _accesses(broken: Sequence[Heard]) -> Iterator[str]:
    """The failing schedules that end in an access to what is no table, by their names."""
    for mate in broken:
        for attempt in mate.attempts:
            yield from (f"{e.sides}:{e.failing}" for e in attempt.explorations if e.accesses)


def _confirmed(own: Heard, suspected: Sequence[Finding], schedule: str) -> Verdict:
    titles = tuple(f.title for f in suspected)
    shown = [a for a in own.attempts if any(f.title in titles for f in a.findings)]
    return replace(
        own.verdict,
        conclusion=Conclusion.FAIL,
        failures=len(shown),
        upper_bound=None,
        interval=None,
        reason=f"{titles[0]}, which the schedule {schedule} confirms",
        new_titles=titles,
        unconfirmed=tuple(t for t in own.verdict.unconfirmed if t not in titles),
    )
