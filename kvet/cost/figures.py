# SPDX-License-Identifier: GPL-2.0-only
"""What each variant costs: instructions from the record of a run, and what differs by how much.

A figure is one number of one boot; the boots of a cell differ in their seed
alone. What counts as a difference is stated here, before anything is measured.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from kvet.model import Status
from kvet.results.record import RunRecord
from kvet.stats import holm

# the minimum effect of interest: a difference must reach both to be one
LEAST_INSNS = 5.0
LEAST_SHARE = 0.01
ALPHA = 0.05
REFERENCES = ("stock", "read-lock")
RESAMPLES = 2000
# what is compared in each situation: all that runs from call to return, or, where
# the operation waits for a walk, what its own thread runs of that
TESTED = {"none": "typical", "always": "own"}
UNMEASURED = "nothing"
POWER = ".below_2e"  # calls that took less than this power of two
UNIT_NAMES = {"insns": "instructions", "cycles": "CPU cycles", "ns": "nanoseconds"}


@dataclass(frozen=True, slots=True)
class CostTable:
    """A table as text: a column for each variant, a row for each operation or phase."""

    title: str
    variants: Sequence[str]
    rows: Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of one variant: metric name to one value a boot.

    `unit` is that of the counter: instructions (insns), or on hardware cycles or ns.
    """

    variant: str
    values: Mapping[str, tuple[float, ...]]
    unit: str = "insns"

    def mean(self, name: str) -> float | None:
        """Mean of a metric over the boots; None where it was not measured."""
        found = self.values.get(name)
        return fmean(found) if found else None


@dataclass(frozen=True, slots=True)
class Difference:
    """What `variant` needs more than `reference` in one figure, in instructions.

    `low` and `high` bound it (bootstrap over the boots, 95 %); `p` is Welch's,
    `p_holm` corrected over all comparisons of the table.
    """

    variant: str
    reference: str
    name: str
    base: float
    size: float
    low: float
    high: float
    p: float
    p_holm: float = 1.0

    @property
    def matters(self) -> bool:
        """Whether all of the interval reaches the minimum effect, on one side."""
        least = max(LEAST_INSNS, LEAST_SHARE * abs(self.base))
        nearest = min(abs(self.low), abs(self.high)) if self.low * self.high > 0 else 0.0
        return nearest >= least and self.p_holm < ALPHA

    @property
    def half(self) -> float:
        """The longer side of the interval."""
        return max(self.size - self.low, self.high - self.size)


def figures(record: RunRecord) -> dict[str, list[Figures]]:
    """The measured cells of a run, by what they have in common; attempts that are DONE count."""
    groups: dict[str, list[Figures]] = {}
    for cell in record.cells:
        done = [a for a in cell.attempts if a.status is Status.DONE]
        if not cell.measures or not done:
            continue
        told = [a.metrics for a in done]
        # of a distribution only those powers are told that somebody needed
        names = [
            name
            for name in dict.fromkeys(n for metrics in told for n in metrics)
            if POWER in name or all(name in metrics for metrics in told)
        ]
        values = {n: tuple(float(m[n].value) if n in m else 0.0 for m in told) for n in names}
        group = f"{cell.kernel}, {cell.config}, {cell.machine}, {cell.workload}"
        units = {metric.unit for metrics in told for metric in metrics.values()}
        unit = next((u for u in ("insns", "cycles", "ns") if u in units), "insns")
        groups.setdefault(group, []).append(Figures(cell.variant, values, unit))
    return groups


def operations(variants: Sequence[Figures], situation: str) -> list[str]:
    """The operations that were measured in a situation, in the order of the guest."""
    names = dict.fromkeys(n for v in variants for n in v.values)
    split = [n.split(".") for n in names if n.count(".") == 2]
    ops = dict.fromkeys(op for where, op, _ in split if where == situation)
    return [op for op in ops if op != UNMEASURED]


def compare(variants: Sequence[Figures], reference: str) -> list[Difference]:
    """Every variant against `reference` in every tested figure, Holm-corrected together."""
    base = next((v for v in variants if v.variant == reference), None)
    if base is None:
        return []
    found = [
        _difference(v, base, f"{situation}.{op}.{metric}")
        for v in variants
        for situation, metric in TESTED.items()
        for op in operations(variants, situation)
        if v is not base and {f"{situation}.{op}.{metric}"} <= v.values.keys() & base.values.keys()
    ]
    corrected = holm([d.p for d in found])
    return [replace(d, p_holm=p) for d, p in zip(found, corrected, strict=True)]


def _difference(variant: Figures, base: Figures, name: str) -> Difference:
    one, other = variant.values[name], base.values[name]
    low, high = interval(one, other)
    mean = fmean(other)
    size = fmean(one) - mean
    return Difference(variant.variant, base.variant, name, mean, size, low, high, welch(one, other))


def interval(one: Sequence[float], other: Sequence[float]) -> tuple[float, float]:
    """95 % bootstrap interval of the difference of two means (percentiles, fixed seed).

    Without spread it is a point; a single boot bounds nothing.
    """
    if min(len(one), len(other)) < 2:
        return -math.inf, math.inf
    if len(set(one)) == len(set(other)) == 1:
        return one[0] - other[0], one[0] - other[0]
    import numpy
    from scipy.stats import bootstrap

    found = bootstrap(
        (one, other),
        lambda x, y, axis: numpy.mean(x, axis=axis) - numpy.mean(y, axis=axis),
        n_resamples=RESAMPLES,
        method="percentile",
        random_state=numpy.random.default_rng(1),
    ).confidence_interval
    return float(found.low), float(found.high)


def welch(one: Sequence[float], other: Sequence[float]) -> float:
    """p of Welch's test that two means are one; figures without spread differ or do not."""
    if min(len(one), len(other)) < 2:
        return 1.0
    if len(set(one)) == len(set(other)) == 1:
        return float(one[0] == other[0])
    from scipy.stats import ttest_ind

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # one side may have no spread
        return float(ttest_ind(one, other, equal_var=False).pvalue)


def spread(variants: Sequence[Figures]) -> tuple[float, str]:
    """The widest tested figure over its boots, as a share of its mean, and which it is."""
    widest = (0.0, "")
    for figure in variants:
        for name, values in figure.values.items():
            where, _, metric = (*name.split("."), "", "")[:3]
            mean = figure.mean(name)
            if where == "none" and metric == TESTED[where] and mean:
                share = (max(values) - min(values)) / abs(mean)
                widest = max(widest, (share, f"{figure.variant} {name.split('.')[1]}"))
    return widest
