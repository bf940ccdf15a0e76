# SPDX-License-Identifier: GPL-2.0-only
"""Bisection of a finding that shows now and then: what to try next, how often, and how sure.

Nothing is built or booted here. Points are numbered: 0 is the good end, the last one the bad end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import exp, lgamma, prod

from kvet.model import COUNTED_STATUSES, Attempt, Finding

ENOUGH_HITS = 5  # at the bad end: the rate is known well enough then
MOST_AT_BAD = 30
MISS = 0.002  # what a step may be called good for by bad luck
MOST_BOOTS = 120


class Outcome(StrEnum):
    """What a step came to; one that does not build, or that the host spoils, decides nothing."""

    GOOD = "good"
    BAD = "bad"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Rate:
    """How often the finding showed at the bad end: `hits` of `boots`."""

    hits: int
    boots: int

    def miss(self, n: int) -> float:
        """The chance that a bad kernel shows nothing in `n` boots.

        Over all rates that fit what was seen (a Beta posterior of a flat prior), so a rate
        that is known from few boots asks for more of them.
        """
        a, b = self.hits + 1, self.boots - self.hits + 1
        return exp(lgamma(b + n) + lgamma(a + b) - lgamma(b) - lgamma(a + b + n))

    @property
    def wanted(self) -> int:
        """The boots without the finding after which a step is called good."""
        return next((n for n in range(1, MOST_BOOTS) if self.miss(n) <= MISS), MOST_BOOTS)


@dataclass(frozen=True, slots=True)
class Wanted:
    """The finding that is looked for: by title, and by family where it has one."""

    title: str
    family: str = ""

    def shown(self, attempt: Attempt) -> bool:
        """Whether an attempt shows it."""
        return any(self.fits(finding) for finding in attempt.findings)

    def fits(self, finding: Finding) -> bool:
        """Whether it is the same defect."""
        alike = self.title in (finding.title, *finding.alt_titles)
        return alike or bool(self.family and finding.family == self.family)


def most_common(attempts: Iterable[Attempt], title: str = "") -> Wanted | None:
    """The finding that most attempts show, or most of those whose title holds `title`."""
    seen: dict[tuple[str, str], int] = {}
    for attempt in attempts:
        for key in dict.fromkeys(_key(f) for f in attempt.findings if not f.suppressed):
            if title.lower() in key[0].lower():
                seen[key] = seen.get(key, 0) + 1
    best = max(seen, key=lambda key: seen[key], default=None)
    return Wanted(*best) if best else None


def _key(finding: Finding) -> tuple[str, str]:
    return finding.title, finding.family


@dataclass(frozen=True, slots=True)
class Step:
    """One point that was tried: `hits` of `boots` that counted showed the finding."""

    number: int
    outcome: Outcome
    boots: int = 0
    hits: int = 0
    why: str = ""


def decide(attempts: Iterable[Attempt], wanted: Wanted, rate: Rate) -> Outcome | None:
    """What the attempts at a point say; None when more are needed.

    An attempt of which the host is to blame says nothing, nor does one that ended with another
    finding: it may have come before the one that is looked for.
    """
    told = list(attempts)
    if any(wanted.shown(a) for a in told):
        return Outcome.BAD
    return Outcome.GOOD if len(clean(told)) >= rate.wanted else None


def clean(attempts: Iterable[Attempt]) -> list[Attempt]:
    """The attempts that ran to their end without any finding."""
    return [
        a for a in attempts
        if a.status in COUNTED_STATUSES and not a.unfinished
        and not any(not f.suppressed for f in a.findings)
    ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Search:
    """What is known so far: the last point is bad, point 0 good, `steps` in between."""

    last: int
    steps: Mapping[int, Step]

    @property
    def good(self) -> int:
        """The highest point known to be good below every bad one."""
        tried = (n for n, step in self.steps.items() if step.outcome is Outcome.GOOD)
        return max((n for n in tried if n < self.bad), default=0)

    @property
    def bad(self) -> int:
        """The lowest point known to be bad."""
        tried = (n for n, step in self.steps.items() if step.outcome is Outcome.BAD)
        return min(tried, default=self.last)

    @property
    def left(self) -> list[int]:
        """The points between good and bad that were not tried."""
        return [n for n in range(self.good + 1, self.bad) if n not in self.steps]

    def next(self) -> int | None:
        """The point that halves what is left, or the nearest to it that was not skipped."""
        middle = (self.good + self.bad) // 2
        return min(self.left, key=lambda n: (abs(n - middle), n), default=None)

    @property
    def culprits(self) -> range:
        """The points of which one brings the finding in: one, unless some were skipped."""
        return range(self.good + 1, self.bad + 1)

    def confidence(self, rate: Rate) -> float:
        """The chance that no step was called good by bad luck; what is bad was seen to be bad."""
        good = (s for s in self.steps.values() if s.outcome is Outcome.GOOD)
        return prod(1 - rate.miss(step.boots) for step in good)
