# SPDX-License-Identifier: GPL-2.0-only
"""A few of the faults of `make torture`, at every run of the tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.torture import environment
from tests.torture.bench import Bench
from tests.torture.faults import FAULTS
from tests.torture.kills import ENDS, kills

QUICK = ("attempt.json damaged", "guest lies on the report", "QEMU missing")
SLOW = (
    "cached Image corrupted",
    "cached source damaged",
    "run.json damaged",
    "guest hangs",
    "two runs at once",
)


@pytest.mark.boot
def test_a_run_that_was_ended_anyhow_resumes_to_the_same(tmp_path: Path) -> None:
    rows = list(kills(Bench.made(tmp_path / "bench"), len(ENDS), seed=7, say=lambda text: None))
    assert [row.happened for row in rows if not row.ok] == []
    assert sum(row.times for row in rows) == len(ENDS)


@pytest.mark.parametrize(
    "name", [*QUICK, *(pytest.param(name, marks=pytest.mark.boot) for name in SLOW)]
)
def test_a_fault_costs_what_is_promised(name: str, tmp_path: Path) -> None:
    row = FAULTS[name](name, tmp_path / "bench")
    assert row.ok, row.happened


def test_there_are_faults_of_every_kind() -> None:
    assert len(FAULTS) >= 35
    assert environment.JUMPS
