# SPDX-License-Identifier: GPL-2.0-only
"""Rates are compared exactly and corrected for the number of looks."""

from __future__ import annotations

import pytest

from kvet.model import Conclusion, Role
from kvet.results.record import CellRecord
from kvet.run.recording import with_tests
from kvet.stats import fisher, holm


def test_fisher_knows_the_small_tables() -> None:
    # 5 of 5 against 0 of 5: 2 / C(10, 5)
    assert fisher(0, 5, 5, 5) == pytest.approx(2 / 252)
    assert fisher(2, 5, 2, 5) == pytest.approx(1.0)


def test_holm_is_monotone_and_never_below_the_raw_value() -> None:
    raw = [0.01, 0.04, 0.03, 0.5]
    assert holm(raw) == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def cell(variant: str, role: str, failures: int, runs: int, config: str = "debug") -> CellRecord:
    return CellRecord(
        id=f"k+{variant}+{config}+m+w",
        kernel="k",
        variant=variant,
        config=config,
        machine="m",
        workload="w",
        role=Role(role),
        conclusion=Conclusion.INCONCLUSIVE,
        failures=failures,
        runs=runs,
        attempts=(),
    )


def test_candidates_are_tested_inside_their_group_alone() -> None:
    cells = [
        cell("good", "candidate", 0, 5),
        cell("nolock", "control", 5, 5),
        cell("nolock", "control", 5, 5, config="kasan"),
        cell("unrun", "candidate", 0, 0),
    ]
    tests = [made.tests for made in with_tests(cells)]
    assert [t.against for t in tests[0]] == ["nolock"]
    assert tests[0][0].p_holm == pytest.approx(2 / 252)
    assert tests[1] == tests[3] == ()
