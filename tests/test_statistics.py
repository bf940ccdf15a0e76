# SPDX-License-Identifier: GPL-2.0-only
"""Rates are compared exactly and corrected for the number of looks."""

from __future__ import annotations

from typing import Any

import pytest

from kvet.statistics import add_tests, fisher, holm


def test_fisher_knows_the_small_tables() -> None:
    # 5 of 5 against 0 of 5: 2 / C(10, 5)
    assert fisher(0, 5, 5, 5) == pytest.approx(2 / 252)
    assert fisher(2, 5, 2, 5) == pytest.approx(1.0)


def test_holm_is_monotone_and_never_below_the_raw_value() -> None:
    raw = [0.01, 0.04, 0.03, 0.5]
    assert holm(raw) == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def cell(variant: str, role: str, failures: int, runs: int, config: str = "debug") -> Any:
    names = {"kernel": "k", "config": config, "machine": "m", "workload": "w"}
    return {"variant": variant, "role": role, "failures": failures, "runs": runs, **names}


def test_candidates_are_tested_inside_their_group_alone() -> None:
    cells = [
        cell("good", "candidate", 0, 5),
        cell("nolock", "control", 5, 5),
        cell("nolock", "control", 5, 5, config="kasan"),
        cell("unrun", "candidate", 0, 0),
    ]
    add_tests(cells)
    assert [t["against"] for t in cells[0]["tests"]] == ["nolock"]
    assert cells[0]["tests"][0]["p_holm"] == pytest.approx(2 / 252)
    assert cells[1]["tests"] == cells[3]["tests"] == []
