# SPDX-License-Identifier: GPL-2.0-only
"""A race in C: how its file is named, built and given to the guest, and how its sides are told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from kvet.build.make import _copy_race
from kvet.build.patch_lines import PatchLines
from kvet.build.request import MODULES
from kvet.cli.init_workload import start_workload
from kvet.cli.lint import lint
from kvet.errors import UserError
from kvet.guest.report_port import parse_lines
from kvet.model import Build, Cell, Floor
from kvet.paths import ROOTFS
from kvet.plan.library import Library, load_workload, own_variants
from kvet.plan.matrix import config_for
from kvet.report.schedules import diagram, statement
from kvet.run import attempt
from kvet.run.attempt import AttemptRequest, guest_args, series_points
from kvet.run.reproduce import _one_schedule

TOLD = """\
# kvet exploring round reader,writer
# kvet explore side R the reader closes its end
# kvet explore side W the writer closes its end
# kvet explore points 9 shared 1 unreached 0 repeats 0 timeouts 0
# kvet explore preemptions 0 run 2 of 2
# kvet explore failing W:W@pipe_release+0x40/1/R
# kvet explore what both ends are closed, and nobody freed the pipe
# kvet explore-event W load pipe_release+0x40/0x100 1 pipe+0x70 2
# kvet explore-event W preempted R
# kvet explore-event R store pipe_release+0x48/0x100 1 pipe+0x70 1
# kvet explored failed
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "my-race"
    assert start_workload("race", str(made)) == 0
    return made


def cell_of(folder: Path) -> Cell:
    """A cell of the workload in `folder`, on its first machine."""
    library = Library()
    workload = load_workload(folder / "workload.yaml")
    return Cell(
        kernel=library.kernels()["linux-6.12"],
        variant=own_variants(workload)["unfixed"],
        config=config_for(library.configs()["debug"], workload),
        machine=library.machines()[workload.machines[0]],
        workload=workload,
    )


def test_what_init_writes_is_without_fault(folder: Path) -> None:
    assert lint(folder / "workload.yaml") == ("workload directory", [])


def test_the_guest_is_told_to_run_schedules_of_the_given_race(folder: Path) -> None:
    words = guest_args(cell_of(folder), 1)
    assert {"kvet.workload=explore", "kvet.race=given"} <= set(words)


def asked(folder: Path, build: Path) -> AttemptRequest:
    """An attempt with a series that has one line in the kernel whose vmlinux is in `build`."""
    (build / "vmlinux").write_bytes(b"")
    lines = PatchLines({"fs/pipe.c:1": (64,)}, {"fs/pipe.c:1": 0}, {"fs/pipe.c:1": ""}, ())
    made = Build("key", build, "6.12", 1.0, cached=True)
    return AttemptRequest(cell_of(folder), made, (), build, 1, 1, lines=lines)


def test_the_functions_of_a_series_are_points_as_those_of_the_race(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["pipe_fcntl", "pipe_write"]
    monkeypatch.setattr(attempt, "function_names", lambda vmlinux, addresses: names)
    request = asked(folder, tmp_path)
    assert series_points(request) == ("kvet.functions=pipe_fcntl,pipe_write",)
    assert series_points(replace(request, lines=None)) == ()
    shipped = replace(request.cell, workload=Library().workloads()["ptdump-race"])
    assert series_points(replace(request, cell=shipped)) == ()  # nothing is run by schedules
    names += [f"f{n}_{'x' * 200}" for n in range(9)]
    (word,) = series_points(request)
    assert word.count(",") == 3  # more would be too long for the guest


def test_the_build_knows_the_file_and_its_text(folder: Path) -> None:
    assert cell_of(folder).config.races == (folder.resolve() / "race.c",)
    shipped = Library().workloads()["ptdump-race"]
    assert config_for(Library().configs()["debug"], shipped).races == ()


def test_a_race_that_is_no_file_of_the_directory_is_refused(folder: Path) -> None:
    path = folder / "workload.yaml"
    path.write_text(path.read_text().replace("race: race.c", "race: other.c"))
    with pytest.raises(UserError, match="key race: other.c does not exist"):
        load_workload(path)


def test_without_a_floor_schedules_have_to_run(folder: Path) -> None:
    path = folder / "workload.yaml"
    lines = [line for line in path.read_text().splitlines() if not line.startswith("floor")]
    path.write_text("\n".join(lines) + "\n")
    assert load_workload(path).floor == Floor(each={"schedules": 2})


def test_the_race_is_a_module_that_finds_the_engine_s_header(folder: Path, tmp_path: Path) -> None:
    home = tmp_path / "modules"
    home.mkdir()
    made = home / _copy_race(folder / "race.c", home)
    assert (made / "race.c").read_text() == (folder / "race.c").read_text()
    rule = (made / "Kbuild").read_text()
    assert "kvet_given-y := race.o" in rule
    (where,) = [w for w in rule.split() if w.startswith("-I")]
    assert (made / where.removeprefix("-I$(src)/") / "x").parent.resolve().name == "engine"
    assert ROOTFS / "engine" in MODULES


def test_one_schedule_of_it_is_run_again_alone(folder: Path) -> None:
    cell = cell_of(folder)
    words = guest_args(_one_schedule(cell, "round:reader,writer:W:W@pipe_release+0x40/1/R"), 1)
    assert "kvet.schedule=W:W@pipe_release+0x40/1/R" in words
    program = replace(cell, workload=replace(cell.workload, load=None))
    with pytest.raises(UserError, match="does not control schedules"):
        _one_schedule(program, "round:reader,writer:W")


def test_its_sides_stand_in_the_diagram_by_their_own_names() -> None:
    (one,) = parse_lines(TOLD.splitlines()).explorations
    heading = diagram(one)[0]
    assert heading.startswith("R: the reader closes its end")
    assert "| W: the writer closes its end" in heading
    assert diagram(one)[-1] == "Here R fails: both ends are closed, and nobody freed the pipe."


def test_a_race_says_itself_why_there_is_nothing_to_explore() -> None:
    text = "# kvet exploring round a,b\n# kvet explore what the sides do not meet\n"
    (one,) = parse_lines((text + "# kvet explored nothing\n").splitlines()).explorations
    assert statement(one) == "round:a,b: the sides do not meet, nothing to explore"


def test_what_failed_at_random_is_no_schedule_that_could_be_run_again() -> None:
    text = TOLD.replace("W:W@pipe_release+0x40/1/R", "random")
    (one,) = parse_lines(text.splitlines()).explorations
    assert (one.failing, one.events, one.ending) == ("", (), "failed")


def test_the_header_fits_a_page_and_the_engine_knows_no_page_tables() -> None:
    engine = ROOTFS / "engine"
    assert len((engine / "kvet_engine.h").read_text().splitlines()) <= 90
    for path in engine.glob("*.[ch]"):
        text = path.read_text()
        assert not any(word in text for word in ("pmd", "pud", "ptdump", "init_mm")), path
