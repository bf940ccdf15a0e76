# SPDX-License-Identifier: GPL-2.0-only
"""What each variant costs: instructions from the record of a run, compared and drawn as text.

A figure is one number of one boot; the boots of a cell differ in their seed
alone. What counts as a difference is stated here, before anything is measured.
"""

from __future__ import annotations

import argparse
import math
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from textwrap import wrap
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from kvet.codeview import code_report
from kvet.commands import find_run
from kvet.config import PROJECT
from kvet.errors import UserError
from kvet.statistics import holm
from kvet.store import read_json
from kvet.ui import drawn

Record = Mapping[str, Any]
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
COLUMNS = 5  # variants beside one another in 100 columns


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of one variant: metric name to one value a boot."""

    variant: str
    values: Mapping[str, tuple[float, ...]]

    def mean(self, name: str) -> float | None:
        """Mean of a metric over the boots; None where it was not measured."""
        found = self.values.get(name)
        return sum(found) / len(found) if found else None


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


def figures(record: Record) -> dict[str, list[Figures]]:
    """The measured cells of a run, by what they have in common; attempts that are DONE count."""
    groups: dict[str, list[Figures]] = {}
    for cell in record["cells"]:
        done = [a for a in cell["attempts"] if a["status"] == "DONE"]
        if not cell.get("measures") or not done:
            continue
        names = [n for n in done[0]["metrics"] if all(n in a["metrics"] for a in done)]
        values = {n: tuple(float(a["metrics"][n]["value"]) for a in done) for n in names}
        group = f"{cell['kernel']}, {cell['config']}, {cell['machine']}, {cell['workload']}"
        groups.setdefault(group, []).append(Figures(cell["variant"], values))
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
    size = sum(one) / len(one) - sum(other) / len(other)
    mean = sum(other) / len(other)
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


def cost_report(record: Record, references: Sequence[str] = REFERENCES) -> str:
    """The cost table of a run, at most 100 columns wide."""
    parts: list[RenderableType] = [_header(record)]
    for title, variants in figures(record).items():
        parts += [Text(title, "bold underline"), *_absolute(variants)]
        for reference in references:
            parts += _relative(variants, reference)
        share, where = spread(variants)
        boots = max(len(v) for f in variants for v in f.values.values())
        parts.append(f"Widest spread over {boots} seeds: {100 * share:.3f} % ({where or 'none'}).")
    return drawn(Group(*parts))


def _header(record: Record) -> Text:
    host = record["host"]
    kernels = host.get("kernels", {})
    versions = ", ".join(f"{name} = {k['version']}" for name, k in kernels.items())
    return Text(
        f"Cost of run {record['run']}: {versions}, QEMU {host.get('qemu')}\n"
        f"{host.get('compiler')}\n"
        "Guest instructions, never time. A difference is one of at least "
        f"{LEAST_INSNS:.0f} instructions and {100 * LEAST_SHARE:.0f} % with\n"
        "all of its 95 % interval, and p < 0.05 after Holm's correction; = says there is none.\n"
    )


ROUNDS = ("map_2m_fresh", "map_2m_table", "map_1g_table")
TABLES = (
    ("no walker: instructions from call to return", "none", "typical", False),
    ("a walk is open: instructions of the caller's own thread", "always", "own", False),
    ("a walk is open: instructions of others that the caller waits for", "always", "wait", True),
    ("a walk is open in every 8th: mean, waiting included", "some", "mean", False),
    ("no walker: a whole round, with what was put off until the next tick", "none", "round", False),
    ("a walk is open: huge requests that got small pages, %", "always", "small", True),
    ("no walker: huge requests that got small pages, %", "none", "small", True),
)


def _absolute(variants: Sequence[Figures]) -> Iterator[RenderableType]:
    """The figures themselves; tables of shares and waits leave out rows that are all zero."""
    for title, situation, what, sparse in TABLES:
        rows = {
            op: [_value(v, situation, op, what) for v in variants]
            for op in operations(variants, situation)
            # what comes before and after hides the small ones in a round
            if what != "round" or op in ROUNDS
        }
        if sparse:
            rows = {op: row for op, row in rows.items() if any(row)}
        cells = {op: ["-" if x is None else f"{x:.0f}" for x in row] for op, row in rows.items()}
        yield from _tables(title, [v.variant for v in variants], cells)


def _value(variant: Figures, situation: str, op: str, what: str) -> float | None:
    if what != "wait":
        return variant.mean(f"{situation}.{op}.{what}")
    whole, own = (variant.mean(f"{situation}.{op}.{name}") for name in ("typical", "own"))
    return None if whole is None or own is None else round(whole - own)


def _relative(variants: Sequence[Figures], reference: str) -> Iterator[RenderableType]:
    """Differences to one variant; operations in which nobody differs are left out."""
    found = compare(variants, reference)
    others = [v.variant for v in variants if v.variant != reference]
    for situation, metric in TESTED.items():
        cells: dict[str, list[str]] = {}
        for op in operations(variants, situation):
            name = f"{situation}.{op}.{metric}"
            row = {d.variant: d for d in found if d.name == name}
            if any(d.matters for d in row.values()):
                cells[op] = [_difference_text(row.get(v)) for v in others]
        walk = "no walker" if situation == "none" else "a walk is open"
        yield from _tables(f"difference to {reference}, {walk}", others, cells)


def _difference_text(found: Difference | None) -> str:
    if found is None:
        return "-"
    if not found.matters:
        return "="
    return f"{found.size:+.0f}" + (f" ±{found.half:.0f}" if found.half >= 0.5 else "")


def _tables(
    title: str, variants: Sequence[str], rows: Mapping[str, Sequence[str]]
) -> Iterator[RenderableType]:
    """One table, cut into pieces of `COLUMNS` variants; nothing where there are no rows."""
    if rows:
        yield Text(title, "bold")
    for start in range(0, len(variants) if rows else 0, COLUMNS):
        table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
        table.add_column("", width=22, no_wrap=True)
        for variant in variants[start : start + COLUMNS]:
            table.add_column("\n".join(wrap(variant, 14)), width=14, justify="right")
        for op, cells in rows.items():
            table.add_row(op, *islice(cells, start, start + COLUMNS))
        yield table
        yield ""


def cost_command(options: argparse.Namespace) -> int:
    """Print the cost table of a run, or what its builds have in code."""
    record = read_json(find_run(options.run, options.out or PROJECT / "results") / "results.json")
    if options.code is not None:
        sys.stdout.write(code_report(record, options.code))
        return 0
    if not figures(record):
        raise UserError(
            f"run {record['run']} measured nothing", hint="harness.py run-matrix configs/cost.yaml"
        )
    sys.stdout.write(cost_report(record, options.against or REFERENCES))
    return 0
