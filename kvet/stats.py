# SPDX-License-Identifier: GPL-2.0-only
"""Whether two hit rates differ, and what remains of that after many looks."""

from __future__ import annotations

from collections.abc import Sequence


def warm_up() -> None:
    """Import what `fisher` needs: for a thread of its own, while nothing else is to be done."""
    import scipy.stats  # noqa: F401


def fisher(k: int, n: int, other_k: int, other_n: int) -> float:
    """Two-sided p of Fisher's exact test that k of n and other_k of other_n have one rate."""
    from scipy.stats import fisher_exact  # half a second to import: only who compares pays

    table = [[k, n - k], [other_k, other_n - other_k]]
    return float(fisher_exact(table).pvalue)


def holm(values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (Holm 1979) of p values, in the order given."""
    order = sorted(range(len(values)), key=values.__getitem__)
    corrected = [0.0] * len(values)
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(values) - rank) * values[index]))
        corrected[index] = highest
    return corrected
