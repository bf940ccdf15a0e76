# SPDX-License-Identifier: GPL-2.0-only
"""The whole pipeline on a fake kernel tree and a fake QEMU: real git, make, compiler, sandbox."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kvet import buildkey, machine, qemu
from kvet.cache import cache_root
from kvet.config import load_matrix
from kvet.errors import UserError
from kvet.events import Event, Events
from kvet.make import LINK_ERROR
from kvet.matrix import plan_cells
from kvet.model import Limits
from kvet.report import surprises, text_report
from kvet.runner import Plan, Runner
from tests.fakes import FakeProject, put_fake_qemu_on_path

Record = dict[str, Any]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeProject:
    put_fake_qemu_on_path(monkeypatch, tmp_path / "bin")
    monkeypatch.setattr(
        "kvet.pipeline.limits_for", lambda cell: Limits(boot_s=5, run_s=6, silence_s=4)
    )
    made = FakeProject(tmp_path / "project")
    made.variant("stock", "baseline", "unexposed")
    return made


@pytest.fixture
def run(project: FakeProject, tmp_path: Path) -> Callable[..., Record]:
    def go(*names: str, attempts: int = 2, listener: Callable[[Event], None] | None = None) -> Any:
        matrix = replace(load_matrix(project.root / "configs/m.yaml"), variants=names)
        cells = plan_cells(matrix, project.library)
        plan = Plan(name="m", cells=cells, out=tmp_path / "out", attempts=attempts)
        events = Events(listener) if listener else Events()
        return Runner(plan, cache=cache_root(), events=events).run()

    return go


def cell(record: Record, variant: str) -> Record:
    return next(c for c in record["cells"] if c["variant"] == variant)


def test_a_control_that_fails_lets_a_candidate_pass(
    project: FakeProject, run: Callable[..., Record], tmp_path: Path
) -> None:
    project.variant("broken", "control", "breach")
    project.variant("good", "candidate", edit=("mm/vmalloc.c", "addr + 1", "addr + 3"))
    record = run("stock", "broken", "good")
    assert [cell(record, v)["conclusion"] for v in ("stock", "broken", "good")] == [
        "INCONCLUSIVE",
        "FAIL",
        "PASS",
    ]
    assert record["exit_code"] == 0
    assert surprises(record) == []
    assert [
        c["variant"] for c in surprises({"cells": [{**cell(record, "good"), "expected": "FAIL"}]})
    ]
    assert cell(record, "broken")["failures"] == 2
    assert cell(record, "broken")["new_titles"] == ["table-freed-under-walk in pmd_free_pte_page"]
    assert cell(record, "good")["attempts"][0]["exposure"]["overlaps"] == 500
    assert cell(record, "good")["build"]["release"] in (
        tmp_path / "out" / cell(record, "good")["id"] / "attempt-1" / "console.log"
    ).read_text(encoding="utf-8")
    assert json.loads((tmp_path / "out" / "results.json").read_text()) == record
    frames = cell(record, "broken")["attempts"][0]["findings"][0]["frames"]
    assert [(f["func"], f["side"]) for f in frames] == [
        ("pmd_free_pte_page", "free"),
        ("walk_page_range_debug", "walk"),
    ]


def test_a_control_that_is_not_caught_is_a_failure_of_the_harness(
    project: FakeProject, run: Callable[..., Record]
) -> None:
    project.variant("broken", "control", "pass anew")
    project.variant("good", "candidate", "pass again")
    record = run("stock", "broken", "good")
    assert cell(record, "good")["conclusion"] == "INCONCLUSIVE"
    assert cell(record, "good")["reason"] == "control not caught: broken"
    assert record["exit_code"] == 4
    assert "NOT caught" in text_report(record)


def test_every_folder_of_guest_modules_is_built_and_is_part_of_the_key(
    project: FakeProject,
    run: Callable[..., Record],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    record = run("stock", attempts=1)
    folder = Path(cell(record, "stock")["build"]["folder"]) / "modules"
    assert [p.name for p in sorted(folder.iterdir())] == [
        "kvet_cost.ko",
        "kvet_module.ko",
        "kvet_provoke.ko",
    ]
    before = buildkey.module_digest()
    copies = [tmp_path / m.name for m in buildkey.MODULES]
    for copy, module in zip(copies, buildkey.MODULES, strict=True):
        shutil.copytree(module, copy)
    monkeypatch.setattr(buildkey, "MODULES", tuple(copies))
    assert buildkey.module_digest() == before
    for copy in copies:
        with (copy / "main.c").open("a", encoding="utf-8") as file:
            file.write("\n")
        assert buildkey.module_digest() != before
        before = buildkey.module_digest()


def test_a_measuring_workload_is_done_and_passes_without_a_control(
    project: FakeProject, run: Callable[..., Record]
) -> None:
    (project.root / "configs/workloads/race.yaml").write_text(
        "title: race\nseconds: 1\nmeasures: true\n", encoding="utf-8"
    )
    project.variant("good", "candidate", edit=("mm/vmalloc.c", "addr + 1", "addr + 3"))
    project.variant("idle", "control", edit=("mm/vmalloc.c", "addr + 1", "addr + 4"))
    record = run("stock", "good", "idle")
    assert [c["conclusion"] for c in record["cells"]] == ["PASS"] * 3
    assert {a["status"] for c in record["cells"] for a in c["attempts"]} == {"DONE"}
    assert record["exit_code"] == 0
    text = text_report(record)
    assert "NOT caught" not in text
    assert "As expected" not in text
    for one in record["cells"]:
        one["expected"] = "FAIL"
    assert surprises(record) == []


def test_nothing_is_built_or_booted_twice(project: FakeProject, run: Callable[..., Record]) -> None:
    project.variant("broken", "control", "breach")
    first = run("stock", "broken")
    seen: list[Event] = []
    second = run("stock", "broken", listener=seen.append)
    assert all(c["build"]["cached"] for c in second["cells"])
    assert [e for e in seen if e.kind == "attempt"] == []
    for old, new in zip(first["cells"], second["cells"], strict=True):
        assert old["attempts"] == new["attempts"]


def test_a_build_failure_blames_the_variant_and_the_matrix_goes_on(
    project: FakeProject, run: Callable[..., Record]
) -> None:
    project.variant("broken", "control", "breach")
    project.variant("good", "candidate", edit=("mm/ptdump.c", "addr + 2", "addr + missing"))
    record = run("stock", "broken", "good")
    failed = cell(record, "good")
    assert (failed["conclusion"], failed["failures"], failed["runs"]) == ("FAIL", 1, 1)
    assert failed["build"]["finding"]["title"].startswith("build: mm/ptdump.c:3: ")
    assert "missing" in Path(failed["build"]["log"]).read_text(encoding="utf-8")
    assert cell(record, "broken")["conclusion"] == "FAIL"
    assert record["exit_code"] == 1


def test_warnings_that_a_variant_adds_are_listed(
    project: FakeProject, run: Callable[..., Record]
) -> None:
    edit = ("mm/ptdump.c", "{\n", "{\n\tint unused;\n")
    project.variant("good", "candidate", edit=edit)
    record = run("stock", "good")
    added = cell(record, "good")["build"]["warnings_added"]
    assert len(added) == 1
    assert "mm/ptdump.c" in added[0]
    assert "unused" in added[0]


@pytest.mark.parametrize(
    ("scenario", "status", "ending", "says"),
    [
        ("pass", "PASS", "POWEROFF", ""),
        ("panic", "FAIL", "PANIC", "in ptdump_pte_entry"),
        ("hang", "FAIL", "HANG", "no sign of life"),
        ("silent", "ERROR", "NEVER_BOOTED", "no kernel banner"),
        ("die", "ERROR", "NEVER_BOOTED", "could not load the kernel"),
        ("lost", "ERROR", "LOST", "without a panic or a power-off"),
        ("reset", "ERROR", "LOST", "second kernel banner"),
        ("noreport", "ERROR", "POWEROFF", "before its report was complete"),
        ("nochurn", "ERROR", "POWEROFF", "did not do its work: churn"),
    ],
)
def test_how_a_guest_ends(
    project: FakeProject,
    run: Callable[..., Record],
    scenario: str,
    status: str,
    ending: str,
    says: str,
) -> None:
    project.variant("good", "candidate", f"{scenario} again")
    attempt = cell(run("good", attempts=1), "good")["attempts"][0]
    assert (attempt["status"], attempt["ending"]) == (status, ending)
    assert says in attempt["detail"]


def test_a_flood_is_cut_and_the_log_kept(
    project: FakeProject,
    run: Callable[..., Record],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr("kvet.console.FLOOD_BYTES", 1 << 20)
    project.variant("good", "candidate", "flood")
    record = run("good", attempts=1)
    attempt = cell(record, "good")["attempts"][0]
    assert (attempt["status"], attempt["ending"]) == ("ERROR", "TIMEOUT")
    assert "flooded its console" in attempt["detail"]
    log = tmp_path / "out" / cell(record, "good")["id"] / "attempt-1" / "console.log"
    assert 1 << 20 <= log.stat().st_size < 4 << 20


def test_spoilt_attempts_are_made_up_for_twice(
    project: FakeProject, run: Callable[..., Record]
) -> None:
    project.variant("good", "candidate", "lost")
    good = cell(run("good"), "good")
    assert len(good["attempts"]) == 4
    assert good["conclusion"] == "ERROR"


def test_a_lost_option_names_itself_and_its_dependency(
    project: FakeProject, run: Callable[..., Record]
) -> None:
    with (project.root / "configs/kconfig/small.config").open("a") as file:
        file.write("CONFIG_PTDUMP_DEBUGFS=y\n")
    with pytest.raises(UserError) as caught:
        run("stock")
    assert "CONFIG_PTDUMP_DEBUGFS" in caught.value.message
    assert "ABSENT" in caught.value.message
    assert "small.config" in caught.value.message


@pytest.mark.parametrize("compiler", ["gcc", "aarch64-linux-gnu-gcc-13", "clang", "clang-19"])
def test_an_error_of_a_compilers_options_is_one_whatever_its_version(compiler: str) -> None:
    assert LINK_ERROR.search(f"{compiler}: error: unrecognized command-line option '-mx'")
    assert not LINK_ERROR.search(f"{compiler}: warning: '-mx' is deprecated")


def test_a_compiler_that_the_tree_refuses_is_told_in_one_line(
    project: FakeProject, run: Callable[..., Record]
) -> None:
    makefile = project.root / "tree" / "Makefile"
    refusal = "\t@printf '***\\n*** C compiler is too old.\\n***   Minimum: 17\\n'; exit 1\n"
    text = makefile.read_text(encoding="utf-8").replace("\t@: > $(O)/.config\n", refusal)
    makefile.write_text(text, encoding="utf-8")
    record = run("stock")
    error = cell(record, "stock")["reason"]
    assert "this tree cannot be configured: C compiler is too old, Minimum: 17 (" in error
    assert "--toolchain {gcc,clang}-N" in error
    assert "\n" not in error


def test_a_patch_that_does_not_apply_ends_the_run_before_any_build(
    project: FakeProject, run: Callable[..., Record]
) -> None:
    project.variant("good", "candidate", edit=("mm/vmalloc.c", "addr + 1", "addr + 3"))
    patch = next((project.root / "patches/good").glob("*.patch"))
    text = patch.read_text(encoding="utf-8").replace("addr + 1", "addr + 7")
    lines = [x for x in text.splitlines() if not x.startswith("index ")]
    patch.write_text("\n".join(lines) + "\n", encoding="utf-8")
    seen: list[Event] = []
    with pytest.raises(UserError) as caught:
        run("stock", "good", listener=seen.append)
    assert "mm/vmalloc.c, hunk 1" in caught.value.message
    assert not [e for e in seen if e.stage == "build"]


def test_an_interrupted_run_keeps_what_had_ended(
    project: FakeProject, run: Callable[..., Record], tmp_path: Path
) -> None:
    project.variant("good", "candidate", "pass again")

    def interrupt(event: Event) -> None:
        if event.kind == "attempt":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run("good", attempts=3, listener=interrupt)
    kept = json.loads((tmp_path / "out" / "results.json").read_text())
    assert len(cell(kept, "good")["attempts"]) == 1
    seen: list[Event] = []
    record = run("good", attempts=3, listener=seen.append)
    assert len(cell(record, "good")["attempts"]) == 3
    # an attempt that had ended before the interrupt reached it is kept as well
    assert len([e for e in seen if e.kind == "attempt"]) <= 2


def test_no_qemu_outlives_its_boot(project: FakeProject, run: Callable[..., Record]) -> None:
    started: list[int | None] = []
    spawn = qemu.spawn

    def spy(argv: tuple[str, ...], folder: Path) -> Any:
        child = spawn(argv, folder)
        started.append(child.pid)
        return child

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(qemu, "spawn", spy)
        project.variant("good", "candidate", "hang")
        run("good", attempts=1)
    assert len(started) == 1
    assert not Path(f"/proc/{started[0]}").exists()


@pytest.mark.parametrize(("thread", "conclusion"), [("single", "FAIL"), ("multi", "INCONCLUSIVE")])
def test_a_finding_that_leans_on_an_emulator_fault_is_run_again(
    project: FakeProject,
    run: Callable[..., Record],
    tmp_path: Path,
    thread: str,
    conclusion: str,
) -> None:
    fake = tmp_path / "bin" / "qemu-system-aarch64"
    text = fake.read_text(encoding="utf-8")
    text = text.replace("10.0.2 (fake)", "7.2.15 (fake)")
    if thread == "multi":  # the breach is there with several emulator threads alone
        text = text.replace("play(words[0]", 'play("pass" if single else words[0]')
    text = text.replace(
        "    words = Path", '    single = "thread=single" in " ".join(sys.argv)\n    words = Path'
    )
    fake.write_text(text, encoding="utf-8")
    machine.find_qemu.cache_clear()
    edit = ("mm/vmalloc.c", "{\n", "{\n\t/* static_branch_inc(&key) */\n")
    project.variant("good", "candidate", "breach", edit=edit)
    good = cell(run("good", attempts=1), "good")
    machine.find_qemu.cache_clear()
    assert good["emulator_faults"] == ["stale-translation"]
    assert len(good["again"]) == 1
    assert good["conclusion"] == conclusion
    if conclusion == "INCONCLUSIVE":
        assert "known to lie (stale-translation)" in good["reason"]


def test_a_foreign_series_is_built_without_writing_to_the_compiler_cache(
    project: FakeProject, run: Callable[..., Record], tmp_path: Path
) -> None:
    run("stock", attempts=1)
    project.variant("good", "candidate", edit=("mm/vmalloc.c", "addr + 1", "addr + 31337"))
    matrix = replace(load_matrix(project.root / "configs/m.yaml"), variants=("good",))
    (planned,) = plan_cells(matrix, project.library)
    planned = replace(planned, variant=replace(planned.variant, foreign=True))
    cached = sorted((cache_root() / "ccache").rglob("*R"))
    plan = Plan(name="m", cells=(planned,), out=tmp_path / "foreign", attempts=1)
    record = Runner(plan, cache=cache_root(), events=Events()).run()
    assert cell(record, "good")["attempts"][0]["status"] == "PASS"
    assert sorted((cache_root() / "ccache").rglob("*R")) == cached
    assert not list((cache_root() / "lanes").rglob("foreign-*"))


def test_a_variant_that_loses_an_option_is_an_error_of_its_own(
    project: FakeProject, run: Callable[..., Record]
) -> None:
    """The matrix goes on; the config is not to blame."""
    project.variant("broken", "control", "breach")
    lost = ("Kconfig", 'bool "4K pages"', 'bool "4K pages"\n\tdepends on GONE')
    project.variant("loses", "candidate", edit=lost)
    project.variant("good", "candidate", edit=("mm/vmalloc.c", "addr + 1", "addr + 3"))
    record = run("stock", "loses", "broken", "good")
    assert cell(record, "loses")["conclusion"] == "ERROR"
    assert "the series changes Kconfig: " in cell(record, "loses")["reason"]
    assert "CONFIG_ARM64_4K_PAGES=y" in cell(record, "loses")["reason"]
    assert cell(record, "good")["conclusion"] == "PASS"
    assert record["exit_code"] == 3
