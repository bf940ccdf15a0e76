# SPDX-License-Identifier: GPL-2.0-only
"""Litmus tests that come with a series: read before anything is built, kept with the run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from kvet.cli.lint import lint
from kvet.errors import UserError
from kvet.paths import PROJECT
from kvet.plan.library import Library
from kvet.prove.bind import Binding, BoundStep
from kvet.prove.bindfile import read_bind
from kvet.prove.deadlock import Deadlock, Move
from kvet.prove.drawing import Execution, Row
from kvet.prove.statement import Judged, Statement, Word
from kvet.prove.tests import keep_tests, read_tests
from kvet.prove.told import columns
from kvet.run.judged import judged_of
from kvet.run.proofs import recorded
from kvet.run.requests import Effort, RunRequest


def test_tests_of_a_series_are_read_before_anything_is_built(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"bind\.yaml: does not exist"):
        read_tests(tmp_path)
    (tmp_path / "bind.yaml").write_text("tests: {}\n")
    with pytest.raises(UserError, match="key tests: names no test"):
        read_tests(tmp_path)


def test_a_run_keeps_the_tests_of_a_series_with_what_they_use(tmp_path: Path) -> None:
    kept = keep_tests(PROJECT / "tests/prove/no-barrier", tmp_path / "kept")
    names = ["bind.yaml", "pmd.litmus", "ptdump.bind.yaml", "pud.litmus"]
    assert sorted(p.name for p in kept.iterdir()) == names
    # what it uses is found beside it, where the path in bind.yaml leads nowhere
    assert [spec.threads["P1"].roots for spec in read_tests(kept)] == [
        ("ptdump_walk", "ptdump_check_wx")
    ] * 2


def test_files_that_use_each_other_are_refused(tmp_path: Path) -> None:
    (tmp_path / "bind.yaml").write_text("uses: other.yaml\n")
    (tmp_path / "other.yaml").write_text("uses: bind.yaml\n")
    with pytest.raises(UserError, match="uses it"):
        read_bind(tmp_path / "bind.yaml")


def asked(*proofs: Path, series: int) -> RunRequest:
    patch = next((PROJECT / "tests/prove/no-barrier").glob("*.patch"))
    folders = (str(patch), str(patch.parent))[:series]
    return RunRequest(Effort(PROJECT), "w", series=folders, proofs=proofs)


def test_which_tests_belong_to_which_series(tmp_path: Path) -> None:
    tests = PROJECT / "tests/prove/no-barrier"
    plain, beside = judged_of(asked(series=2), Library(), tmp_path / "a")
    # a directory of patches brings those in it, a file none
    assert (plain.variant.proof, beside.variant.proof) == (None, tests)
    (given,) = judged_of(asked(tests, series=1), Library(), tmp_path / "b")
    assert given.variant.proof == tests
    assert given.given is not None
    assert "litmus tests from no-barrier: pmd.litmus, pud.litmus" in given.given.notes
    with pytest.raises(UserError, match="--proof is given 2 times for 1 series"):
        judged_of(asked(tests, tests, series=1), Library(), tmp_path / "c")


def test_lint_reads_bind_files_and_their_tests(tmp_path: Path) -> None:
    folder = keep_tests(PROJECT / "tests/prove/no-barrier", tmp_path / "kept")
    path = folder / "bind.yaml"
    assert lint(path) == ("bind", [])
    (folder / "pud.litmus").write_text("C broken\n{\n}\n")
    (fault,) = lint(path)[1]
    assert "pud.litmus: line 3" in fault.message
    (folder / "pud.litmus").unlink()
    assert [f.key for f in lint(path)[1]] == ["tests.pud.litmus"]


def test_a_refutation_names_functions_and_what_is_not_so() -> None:
    bindings = (
        Binding("P0", "frees_table", (BoundStep("clear", 0, "", "mm/a.c:3", "pmd_clear(pmdp);"),)),
        Binding("P1", "walks"),
        Binding("P1", "walks_too"),
    )
    execution = Execution((Row(1, "look", "reads pmd: 1"), Row(0, "clear", "pmd = 0")), True)
    refuted = Judged("t.litmus", "it is so", Word.REFUTED, "", bindings=bindings)
    drawn = Statement(
        "x", "k", "c", "b", Word.REFUTED, "", (replace(refuted, execution=execution),)
    )
    assert recorded(drawn).drawn == (
        "    not so: it is so",
        "    P0 = frees_table()",
        "    P1 = walks()",
        "    P0            P1",
        "                  reads pmd: 1",
        "    pmd = 0                     a.c:3: pmd_clear(pmdp);",
    )
    waits = Move(0, "lock", "waits for a (read)")
    stuck = Deadlock((Move(1, "lock", "takes a (write)"), waits), (waits,), 3)
    rows = list(columns(replace(refuted, deadlock=stuck)))
    assert [row.split("  ")[-1] for row in rows[1:]] == [
        "takes a (write)",
        "waits for a (read)",
    ]
