# SPDX-License-Identifier: GPL-2.0-only
"""What counts as a change between runs, and what as a regression."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kvet.errors import UserError
from kvet.results.compare import Comparison, compare, compare_text
from tests.more import go
from tests.reports import typed

Record = dict[str, Any]


def cell(variant: str, role: str, conclusion: str, k: int, n: int, *titles: str) -> Record:
    return {
        "id": f"linux+{variant}+debug+virt+race",
        "kernel": "linux",
        "variant": variant,
        "config": "debug",
        "machine": "virt",
        "workload": "race",
        "role": role,
        "conclusion": conclusion,
        "failures": k,
        "runs": n,
        "new_titles": list(titles),
        "series": {"id": "s"},
        "title": variant,
        "links": [],
        "upper_bound": None,
        "reason": "",
        "reused": "",
        "attempts": [],
    }


def run(name: str, *cells: Record, **host: Any) -> Record:
    kernels = {"linux": {"version": "6.12.1", "tree": "t"}}
    told = {"run": name, "cells": list(cells), "host": {"kernels": kernels, **host}}
    return {**told, "conclusion": "PASS", "exit_code": 0}


def compared(*runs: Record) -> Comparison:
    return compare([typed(run) for run in runs])


CONTROL = cell("nolock", "control", "FAIL", 5, 5, "BUG")


def regression(old: Record, new: Record) -> str:
    """Why the step from `old` to `new` is a regression; empty when it is none."""
    comparison = compared(run("a", old), run("b", new))
    assert comparison.exit_code == (1 if comparison.regressions else 0)
    return comparison.regressions[0].regression if comparison.regressions else ""


def test_the_same_run_has_no_changes() -> None:
    comparison = compared(run("a", CONTROL), run("b", CONTROL))
    assert comparison.changes == () and comparison.exit_code == 0
    assert "No cell changed." in compare_text(comparison)


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (("PASS", 0, 5), ("FAIL", 1, 5, "BUG"), "fails now"),
        (("FAIL", 1, 5, "BUG"), ("FAIL", 1, 5, "BUG", "WARN"), "shows a new title"),
        (("FAIL", 1, 20, "BUG"), ("FAIL", 15, 20, "BUG"), "fails more often"),
        (("FAIL", 1, 5, "BUG"), ("FAIL", 4, 5, "BUG"), ""),
        (("FAIL", 5, 5, "BUG"), ("PASS", 0, 5), ""),
        (("PASS", 0, 5), ("INCONCLUSIVE", 0, 5), ""),
        (("PASS", 0, 5), ("ERROR", 0, 0), ""),
        (("ERROR", 0, 0), ("FAIL", 5, 5, "BUG"), ""),
    ],
)
def test_a_candidate_regresses_when_its_kernel_looks_worse(
    old: tuple[Any, ...], new: tuple[Any, ...], why: str
) -> None:
    assert regression(cell("v", "candidate", *old), cell("v", "candidate", *new)) == why


@pytest.mark.parametrize(
    ("new", "why"),
    [
        (("INCONCLUSIVE", 0, 20), "the control is no longer caught"),
        (("FAIL", 4, 20, "BUG"), "the control is caught less often"),
        (("FAIL", 19, 20, "BUG", "other"), ""),
        (("ERROR", 0, 0), ""),
    ],
)
def test_a_control_regresses_when_it_escapes(new: tuple[Any, ...], why: str) -> None:
    old = cell("c", "control", "FAIL", 20, 20, "BUG")
    assert regression(old, cell("c", "control", *new)) == why


def test_titles_and_counts_are_told_apart() -> None:
    old = cell("v", "candidate", "FAIL", 10, 10, "A", "B")
    new = cell("v", "candidate", "FAIL", 1, 10, "B", "C")
    (change,) = compared(run("a", old), run("b", new)).changes
    assert (change.new_titles, change.gone_titles) == (("C",), ("A",))
    assert change.p == pytest.approx(0.000119, rel=0.01) and change.moved
    void = compared(run("a", old), run("b", cell("v", "candidate", "ERROR", 0, 0)))
    assert void.changes[0].gone_titles == () and void.changes[0].p is None


def test_every_later_run_is_compared_with_the_first() -> None:
    good = cell("v", "candidate", "PASS", 0, 5)
    bad = cell("v", "candidate", "FAIL", 5, 5, "BUG")
    comparison = compared(run("a", good), run("b", bad), run("c", good))
    assert [(c.run, c.regression) for c in comparison.changes] == [("b", "fails now")]
    assert comparison.rows[good["id"]] == (("PASS", "0/5"), ("FAIL", "5/5"), ("PASS", "0/5"))


def test_cells_of_one_run_only_are_shown_and_not_judged() -> None:
    comparison = compared(run("a", CONTROL), run("b", cell("v", "candidate", "FAIL", 5, 5, "X")))
    assert comparison.changes == ()
    assert comparison.rows["linux+v+debug+virt+race"] == (None, ("FAIL", "5/5"))


def test_differences_of_host_and_source_are_told() -> None:
    old, new = run("a", CONTROL, qemu="10.0"), run("b", {**CONTROL, "series": {"id": "t"}})
    new["host"] = {"qemu": "7.2", "kernels": {"linux": {"version": "6.12.2", "tree": "u"}}}
    assert compared(old, new).caveats == (
        "b: qemu 7.2, not 10.0",
        "b: linux is another tree (6.12.2, not 6.12.1)",
        "b: other patches in nolock",
    )


def test_text_is_at_most_100_columns_and_takes_no_markup() -> None:
    title = "[red]<script> " + "long " * 40 + "\x1b[31m"
    old = cell("a-very-long-variant-name-" * 4, "candidate", "PASS", 0, 5)
    new = {**old, "conclusion": "FAIL", "failures": 5, "new_titles": [title]}
    text = compare_text(compared(run("r" * 150, old), run("s", new)), width=400)
    assert max(len(line) for line in text.splitlines()) <= 100
    assert "[red]<script>" in text and "\x1b" not in text
    assert "1 regression (exit 1)" in text


def test_the_command_reads_runs_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, k in (("one", 0), ("two", 5)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "run.json").write_text("{}")
        conclusion, titles = ("FAIL", ["BUG"]) if k else ("PASS", [])
        record = run(name, cell("v", "candidate", conclusion, k, 5, *titles)) | {
            "schema": 1,
            "plan": {"name": "m"},
            "conclusion": conclusion,
            "exit_code": 0,
        }
        (folder / "results.json").write_text(json.dumps(record))
    out = ("--out", str(tmp_path))
    assert go("compare", "one", "two", *out) == 1
    assert "PASS 0/5 -> FAIL 5/5, p = 0.00794" in capsys.readouterr().out
    assert go("compare", "two", "one", *out) == 0
    with pytest.raises(UserError, match="two runs"):
        go("compare", "one", *out)
