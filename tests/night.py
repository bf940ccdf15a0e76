# SPDX-License-Identifier: GPL-2.0-only
"""Runs of the fake project in a results directory, for tests of what is made of many runs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kvet.cache import cache_root
from kvet.events import Events
from kvet.guest.boot import Limits
from kvet.plan.library import load_matrix
from kvet.plan.matrix import plan_cells
from kvet.results.record import RunRecord
from kvet.run.plan import Plan, record_plan
from kvet.run.runner import Runner
from tests.fakes import FakeProject, put_fake_qemu_on_path
from tests.reports import sample_record

VARIANTS = ("stock", "broken", "good")


class Nights:
    """The fake project with a baseline, a control and a candidate, and where its runs go."""

    def __init__(self, project: FakeProject, results: Path) -> None:
        self.project = project
        self.results = results
        project.variant("stock", "baseline", "unexposed")
        project.variant("broken", "control", "breach")
        project.variant("good", "candidate", edit=("mm/vmalloc.c", "addr + 1", "addr + 3"))

    def run(self, name: str, *, attempts: int = 1) -> RunRecord:
        """Run all variants once into the directory `name`."""
        matrix = replace(load_matrix(self.project.root / "configs/m.yaml"), variants=VARIANTS)
        cells = plan_cells(matrix, self.project.library)
        plan = Plan(name="m", cells=cells, out=self.results / name, attempts=attempts)
        return Runner(record_plan(plan), cache=cache_root(), events=Events()).run()


@pytest.fixture
def nights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Nights:
    """The fake project, played by the fake QEMU, as the project of every command."""
    put_fake_qemu_on_path(monkeypatch, tmp_path / "bin")
    limits = Limits(boot_s=1, run_s=2, silence_s=1.5)
    monkeypatch.setattr("kvet.run.attempt.limits_for", lambda cell: limits)
    made = Nights(FakeProject(tmp_path / "project"), tmp_path / "results")
    monkeypatch.setattr("kvet.cli.run.library", lambda: made.project.library)
    for module in ("kvet.cli.init", "kvet.cli.lint"):
        monkeypatch.setattr(f"{module}.Library", lambda: made.project.library)
    return made


def put_run(results: Path, name: str, matrix: str = "m", **conclusions: str) -> dict[str, Any]:
    """A recorded run that nobody ran: the sample record, some variants with other conclusions."""
    record = sample_record()
    record["run"] = name
    record["plan"]["name"] = matrix
    for cell in record["cells"]:
        conclusion = conclusions.get(cell["variant"])
        if conclusion == "FAIL" and cell["conclusion"] != "FAIL":
            cell.update(failures=1, runs=2, new_titles=["BUG: new"], reason="BUG: new")
        elif conclusion == "PASS":
            cell.update(failures=0, runs=2, new_titles=[], reason="")
        cell["conclusion"] = conclusion or cell["conclusion"]
    folder = results / name
    folder.mkdir(parents=True)
    for file, value in (("results.json", record), ("run.json", {"run": name, "name": matrix})):
        (folder / file).write_text(json.dumps(value), encoding="utf-8")
    return record
