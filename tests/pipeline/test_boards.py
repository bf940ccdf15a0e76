# SPDX-License-Identifier: GPL-2.0-only
"""Runs on a board, from the series to the exit code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import paramiko
import pytest

from kvet.cache import cache_root
from kvet.errors import ExitCode, UserError
from kvet.events import Events
from kvet.model import Conclusion, Ending, Status
from kvet.plan.library import load_matrix
from kvet.plan.matrix import plan_cells
from kvet.report.not_covered import not_covered
from kvet.results.booted import booted_on
from kvet.results.record import RunRecord
from kvet.run.plan import Plan
from kvet.run.planning import check_boards
from kvet.run.runner import Runner
from tests.boards import FakeBoard
from tests.fakes import FakeProject, cell

Run = Callable[..., RunRecord]


@pytest.fixture
def board(
    project: FakeProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FakeBoard]:
    """A board that is up, and the machine of the project."""
    monkeypatch.setattr("kvet.guest.board.CONNECT_S", 0.0)
    with FakeBoard(tmp_path / "board").up() as made:
        put(project, made)
        yield made


def put(project: FakeProject, board: FakeBoard, **more: object) -> None:
    path = project.root / "configs/machines/tiny.yaml"
    path.write_text(board.machine(**more), encoding="utf-8")


def test_a_control_is_caught_and_a_candidate_passes(
    project: FakeProject, board: FakeBoard, run: Run
) -> None:
    project.variant("broken", "control", "panic")
    project.variant("good", "candidate", "works")
    record = run("broken", "good", attempts=2)
    assert record.exit_code is ExitCode.OK
    assert cell(record, "broken").conclusion is Conclusion.FAIL
    assert {a.ending for a in cell(record, "broken").attempts} == {Ending.PANIC}
    good = cell(record, "good")
    assert (good.conclusion, good.runs) == (Conclusion.PASS, 2)
    assert good.attempts[0].exposure == {"overlaps": 500}
    # what the board's own system says, before and after, is not the kernel's
    assert all(not a.findings for a in good.attempts)
    # one at a time, and what is there is not sent again: Image and initrd of two builds
    kexecs = [c.split()[1] for c in board.commands if c.startswith("kexec")]
    assert kexecs == ["-l", "-e"] * (len(kexecs) // 2)
    assert sum(c.startswith("cat > ") for c in board.commands) <= 4
    assert booted_on(record) == "real hardware or a remote machine (tiny: Fake Board Rev 1)"
    assert not any("real hardware" in gap for gap in not_covered(record))


def test_another_host_key_ends_with_error_and_nothing_is_sent(
    project: FakeProject, board: FakeBoard, run: Run
) -> None:
    other = paramiko.ECDSAKey.generate()
    put(project, board, host_key=f"{other.get_name()} {other.get_base64()}")
    project.variant("good", "candidate", "works")
    record = run("good", attempts=1)
    assert record.exit_code is ExitCode.ERROR
    for attempt in cell(record, "good").attempts:
        assert attempt.status is Status.ERROR
        assert "shows another host key than the known one" in attempt.detail
    assert (board.logins, board.commands) == (0, [])


def test_a_board_is_not_given_to_workers(project: FakeProject, board: FakeBoard) -> None:
    project.variant("good", "candidate", "works")
    matrix = replace(load_matrix(project.root / "configs/m.yaml"), variants=("good",))
    cells = plan_cells(matrix, project.library)
    check_boards(cells, "")
    with pytest.raises(UserError, match="machine tiny is a board"):
        check_boards(cells, "tcp://127.0.0.1:1")


def test_what_a_board_showed_in_another_run_is_not_taken_over(
    project: FakeProject, board: FakeBoard, tmp_path: Path
) -> None:
    project.variant("broken", "control", "panic")
    matrix = replace(load_matrix(project.root / "configs/m.yaml"), variants=("broken",))
    cells = plan_cells(matrix, project.library)
    for number in (1, 2):
        plan = Plan(
            name="m",
            cells=cells,
            out=tmp_path / f"out-{number}",
            attempts=1,
            references=frozenset(each.id for each in cells),
        )
        record = Runner(plan, cache=cache_root(), events=Events()).run()
        assert not cell(record, "broken").reused
    assert sum(c.startswith("kexec -e") for c in board.commands) == 2
