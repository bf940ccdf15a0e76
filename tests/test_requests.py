# SPDX-License-Identifier: GPL-2.0-only
"""What a run keeps of its request: a resumed run, and a shell in the guest of a series."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kvet.build.builder import Builder
from kvet.cell_id import CellId
from kvet.errors import UserError
from kvet.paths import PROJECT
from kvet.plan.library import Library
from kvet.plan.matrix import find_cell
from kvet.run.planning import check_needs, plan_matrix
from kvet.run.requests import Effort, MatrixRequest
from kvet.run.runner import Runner
from kvet.store import read_json
from tests.conftest import git
from tests.more import go
from tests.night import Nights, nights

__all__ = ["nights"]  # a fixture
AXES = ("--kernel", "fake", "--config", "small", "--machine", "tiny", "--workload", "race")


def run_one(made: Nights, *words: str) -> int:
    """`run` on the fake project, one attempt a cell."""
    where = ("--out", str(made.results), "--quiet", "--attempts", "1")
    return go("run", *AXES, *where, *words)


@contextmanager
def interrupted_at_once() -> Iterator[None]:
    """Every run is planned and then interrupted before it does anything."""

    def interrupt(runner: Runner) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Runner, "run", interrupt)
        yield


def test_a_resume_may_repeat_what_was_planned_and_nothing_else(nights: Nights) -> None:
    matrix = nights.project.root / "configs/m.yaml"
    other = matrix.with_name("other.yaml")
    other.write_text(matrix.read_text().replace("stock, broken", "broken, stock"))
    where = ("--out", str(nights.results), "--quiet")
    with interrupted_at_once():
        go("run-matrix", str(matrix), "--only", "good", "--attempts", "1", *where)
    words = ("run-matrix", "--resume", newest(nights.results).name, *where)
    for asked, says in (
        (("--attempts", "9"), "attempts differs"),
        (("--seed", "2"), "seed differs"),
        (("--toolchain", "clang"), "toolchain differs"),
        (("--only", "broken"), "--only differs"),
        ((str(other),), "the matrix .*other.yaml differs"),
    ):
        with pytest.raises(UserError, match=says):
            go(*words[:3], *asked, *words[3:])
    assert go(*words, "--attempts", "1", "--seed", "1", "--toolchain", "gcc", "--dry-run") == 0
    assert go(*words, "--only", "good", "--dry-run") == 0
    assert go("run-matrix", str(matrix), *words[1:], "--attempts", "1") == 0


def newest(results: Path) -> Path:
    return max(results.glob("*/run.json"), key=lambda p: p.stat().st_mtime_ns).parent


def test_a_resumed_run_takes_its_references_from_earlier_runs(nights: Nights) -> None:
    assert run_one(nights, "--variant", "good") == 0
    with interrupted_at_once():
        run_one(nights, "--variant", "good")
    folder = newest(nights.results)
    assert not (folder / "results.json").exists()
    assert go("run-matrix", "--resume", folder.name, "--out", str(nights.results), "--quiet") == 0
    cells = read_json(folder / "results.json")["cells"]
    assert [(c["variant"], bool(c["reused"])) for c in cells] == [
        ("stock", True),
        ("broken", True),
        ("good", False),
    ]
    assert not list(folder.glob("fake+stock+*/attempt-*"))


@pytest.mark.parametrize("option", ["--boot-shell", "--gdb"])
def test_a_shell_is_opened_in_the_kernel_of_a_series(
    nights: Nights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    work = nights.project.root / "work"
    patch = next((nights.project.root / "patches/good").glob("*.patch"))
    git(work, "am", "-q", str(patch))
    seen: list[Any] = []

    def shell(request: Any, **more: Any) -> int:
        seen.append(request)
        return 0

    monkeypatch.setattr("kvet.run.reproduce.boot_shell", shell)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    assert run_one(nights, "--series", f"{work}:HEAD~1..HEAD", option) == 0
    (request,) = seen
    assert "kvet.mode=shell" in request.args
    assert request.gdb is (option == "--gdb")
    # the Image is that of the series: its build has the line that the patch makes
    patched = Builder(tmp_path / "cache").find(request.image.parent.name)
    assert patched is not None
    assert "addr + 3" in (patched.patched / "mm/vmalloc.c").read_text(encoding="utf-8")


@pytest.mark.parametrize("text", ["", "a", "a+b+c+d", "a+b+c+d+e+f", "a++c+d+e"])
def test_what_is_no_cell_id_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="not a valid cell id"):
        CellId.parse(text)


def test_a_cell_id_says_what_it_parses() -> None:
    made = CellId.parse("linux-6.12+nolock+debug+virt+ptdump-race")
    assert (made.kernel, made.variant, made.workload) == ("linux-6.12", "nolock", "ptdump-race")
    assert CellId.parse(str(made)) == made
    assert find_cell(Library(), made).cell_id == made


def test_a_workload_gets_the_machine_and_config_that_it_needs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert go("run", "--variant", "trylock", "--workload", "vmalloc-cost", "--dry-run") == 0
    assert "+trylock+timing+icount+vmalloc-cost" in capsys.readouterr().out
    assert go("run", "--variant", "trylock", "--dry-run") == 0
    assert "+trylock+debug+virt+ptdump-race" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--machine", "virt-4"), "vmalloc-cost needs the machine icount, not virt-4"),
        (("--config", "kasan"), "vmalloc-cost needs the config timing or timing-nodump, not kasan"),
    ],
)
def test_a_workload_beside_what_it_cannot_work_on_is_refused_at_once(
    words: tuple[str, ...], says: str
) -> None:
    with pytest.raises(UserError, match=says):
        go("run", "--variant", "trylock", "--workload", "vmalloc-cost", *words, "--dry-run")
    matrix = MatrixRequest(PROJECT / "configs/cost.yaml", Effort(PROJECT / "results"))
    cells = plan_matrix(matrix, Library()).cells
    check_needs(cells)
    machine = replace(cells[0].machine, name="mine", accel="tcg")
    with pytest.raises(UserError, match="needs the machine icount, not mine"):
        check_needs([replace(cells[0], machine=machine)])
    # hardware counts by itself
    check_needs([replace(cells[0], machine=replace(machine, accel="kvm"))])
