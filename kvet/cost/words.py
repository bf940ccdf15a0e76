# SPDX-License-Identifier: GPL-2.0-only
"""What a measuring run says of cost in one sentence: each variant's dearest operation."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from kvet.cost.contention import is_contention
from kvet.cost.figures import (
    REFERENCES,
    TESTED,
    UNIT_NAMES,
    Difference,
    Figures,
    compare,
    figures,
)
from kvet.results.record import RunRecord


def cost_words(record: RunRecord, names: Collection[str]) -> Iterator[str]:
    """One sentence for each group of cells that was measured beside a reference."""
    for group in figures(record).values():
        reference = next((r for r in REFERENCES if r in [v.variant for v in group]), None)
        others = [v.variant for v in group if v.variant in names and v.variant != reference]
        if reference is None or not others or is_contention(group):
            continue
        found = compare(group, reference)
        told = [_words([d for d in found if d.variant == name], name) for name in others]
        yield f"Cost in guest {_unit(group)} against {reference}: {'; '.join(told)}."


def _unit(group: Sequence[Figures]) -> str:
    return UNIT_NAMES[group[0].unit]


def _words(found: Sequence[Difference], name: str) -> str:
    """`name` and where it needs most more, as a share of what the operation needed before."""
    real = [d for d in found if d.matters]
    if not real:
        return f"{name} none that matters"
    dearest = max(real, key=lambda d: d.size / abs(d.base) if d.base else d.size)
    situation, operation, _ = dearest.name.split(".")
    share = f" ({100 * dearest.size / abs(dearest.base):+.1f}%)" if dearest.base else ""
    open_walk = "" if TESTED[situation] == "typical" else " with a walk open"
    more = f", {len(real) - 1} more differ" if len(real) > 1 else ""
    return f"{name} {dearest.size:+.0f}{share} in {operation}{open_walk}{more}"
