# SPDX-License-Identifier: GPL-2.0-only
"""Whether two hit rates differ, and what remains of that after many looks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


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


def add_tests(cells: Sequence[dict[str, Any]]) -> None:
    """Compare each candidate with the controls and the baseline of its group, in place.

    Each cell gets `tests`: against whom, their k of n, p, and p corrected over
    all tests of the run.
    """
    made: list[dict[str, Any]] = []
    for cell in cells:
        cell["tests"] = []
        if cell["role"] != "candidate" or not cell["runs"]:
            continue
        for other in cells:
            if other["role"] == "candidate" or not other["runs"] or _group(other) != _group(cell):
                continue
            p = fisher(cell["failures"], cell["runs"], other["failures"], other["runs"])
            test = {"against": other["variant"], "k": other["failures"], "n": other["runs"], "p": p}
            cell["tests"].append(test)
            made.append(test)
    for test, corrected in zip(made, holm([t["p"] for t in made]), strict=True):
        test["p_holm"] = corrected


def _group(cell: Mapping[str, Any]) -> tuple[str, ...]:
    return (cell["kernel"], cell["config"], cell["machine"], cell["workload"])
