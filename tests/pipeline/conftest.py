# SPDX-License-Identifier: GPL-2.0-only
"""A fake project, and a run of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kvet.cache import cache_root
from kvet.events import Event, Events
from kvet.plan.library import load_matrix
from kvet.plan.matrix import plan_cells
from kvet.results.record import RunRecord
from kvet.run.plan import Plan
from kvet.run.runner import Runner
from tests.fakes import FakeProject, put_fake_qemu_on_path, set_limits


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeProject:
    put_fake_qemu_on_path(monkeypatch, tmp_path / "bin")
    set_limits(monkeypatch)
    made = FakeProject(tmp_path / "project")
    made.variant("stock", "baseline", "unexposed")
    return made


@pytest.fixture
def run(project: FakeProject, tmp_path: Path) -> Callable[..., RunRecord]:
    def go(*names: str, attempts: int = 2, listener: Callable[[Event], None] | None = None) -> Any:
        matrix = replace(load_matrix(project.root / "configs/m.yaml"), variants=names)
        cells = plan_cells(matrix, project.library)
        plan = Plan(name="m", cells=cells, out=tmp_path / "out", attempts=attempts)
        events = Events(listener) if listener else Events()
        return Runner(plan, cache=cache_root(), events=events).run()

    return go
