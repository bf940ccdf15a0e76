# SPDX-License-Identifier: GPL-2.0-only
"""What other workloads and configs showed of a series, in the verdict on one of its cells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from kvet.model import Attempt, Conclusion, Finding
from kvet.run.verdict import Verdict, unconfirmed

OPEN = (Conclusion.PASS, Conclusion.INCONCLUSIVE)


@dataclass(frozen=True, slots=True)
class Heard:
    """A cell of the series: where it ran, its boots and what they came to by themselves."""

    workload: str
    config: str
    attempts: Sequence[Attempt]
    verdict: Verdict


def beside(own: Heard, mates: Sequence[Heard], kin: Sequence[Heard] = ()) -> Verdict:
    """The verdict on `own`, when its mates are heard as well.

    `mates` are of the same build, `kin` of the same series with other configs. A schedule that
    ends in an access to a table that is gone confirms the suspicions of a race: also one of
    another config, since schedules are not run with each. Nothing passes in one workload that
    another proves to be broken.
    """
    verdict = own.verdict
    if verdict.conclusion not in OPEN:
        return verdict
    broken = [m for m in mates if m.verdict.conclusion is Conclusion.FAIL]
    suspected = [f for f in unconfirmed(own.attempts) if f.suspicion]
    if suspected:
        also = [k for k in kin if k.verdict.conclusion is Conclusion.FAIL]
        schedule = next(_accesses(broken), "") or next(_accesses(also, named=True), "")
        if schedule:
            return _confirmed(own, suspected, schedule)
    if not broken or verdict.conclusion is Conclusion.INCONCLUSIVE:
        return verdict
    shown = f"{broken[0].workload} shows what this workload did not: {broken[0].verdict.reason}"
    return replace(verdict, conclusion=Conclusion.INCONCLUSIVE, reason=shown)


def _accesses(broken: Sequence[Heard], *, named: bool = False) -> Iterator[str]:
    """The failing schedules that end in an access to what is no table; `named` adds the config."""
    for heard in broken:
        of = f" of {heard.config}" if named else ""
        for attempt in heard.attempts:
            yield from (f"{e.sides}:{e.failing}{of}" for e in attempt.explorations if e.accesses)


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
