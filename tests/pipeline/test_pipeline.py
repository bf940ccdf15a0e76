# SPDX-License-Identifier: GPL-2.0-only
"""The whole pipeline on a fake kernel tree and a fake QEMU: real git, make, compiler, sandbox."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kvet import proc
from kvet.cache import cache_root
from kvet.events import Event, Events
from kvet.guest import machine, qemu
from kvet.plan.library import load_matrix
from kvet.plan.matrix import plan_cells
from kvet.report.text import surprises, text_report
from kvet.results.record import RunRecord, read_record
from kvet.run.plan import Plan
from kvet.run.runner import Runner
from kvet.run.waivers import parse_waiver
from tests.fakes import FakeProject, cell, set_limits


def test_a_control_that_fails_lets_a_candidate_pass(
    project: FakeProject, run: Callable[..., RunRecord], tmp_path: Path
) -> None:
    project.variant("broken", "control", "breach")
    project.variant("good", "candidate", edit=("mm/vmalloc.c", "addr + 1", "addr + 3"))
    record = run("stock", "broken", "good")
    assert [cell(record, v).conclusion for v in ("stock", "broken", "good")] == [
        "INCONCLUSIVE",
        "FAIL",
        "PASS",
    ]
    assert record.exit_code == 0
    assert surprises(record) == []
    wrong = replace(cell(record, "good"), expected="FAIL")
    assert surprises(replace(record, cells=(wrong,))) == [wrong]
    assert cell(record, "broken").failures == 2
    assert cell(record, "broken").new_titles == ("table-freed-under-walk in pmd_free_pte_page",)
    assert cell(record, "good").attempts[0].exposure["overlaps"] == 500
    assert cell(record, "good").build.release in (
        tmp_path / "out" / cell(record, "good").id / "attempt-1" / "console.log"
    ).read_text(encoding="utf-8")
    assert read_record(tmp_path / "out" / "results.json") == record
    frames = cell(record, "broken").attempts[0].findings[0].frames
    assert [(f.func, f.side) for f in frames] == [
        ("pmd_free_pte_page", "free"),
        ("walk_page_range_debug", "walk"),
    ]


def test_a_control_that_is_not_caught_is_a_failure_of_the_harness(
    project: FakeProject, run: Callable[..., RunRecord]
) -> None:
    project.variant("broken", "control", "pass anew")
    project.variant("good", "candidate", "pass again")
    record = run("stock", "broken", "good")
    assert cell(record, "good").conclusion == "INCONCLUSIVE"
    assert cell(record, "good").reason == "control not caught: broken"
    assert record.exit_code == 4
    assert "NOT caught" in text_report(record)


def test_a_control_that_does_not_build_was_not_caught(
    project: FakeProject, run: Callable[..., RunRecord]
) -> None:
    project.variant("broken", "control", edit=("mm/ptdump.c", "addr + 2", "addr + missing"))
    project.variant("good", "candidate", edit=("mm/vmalloc.c", "addr + 1", "addr + 3"))
    record = run("stock", "broken", "good", attempts=1)
    assert cell(record, "broken").conclusion == "FAIL"
    good = cell(record, "good")
    assert (good.conclusion, good.reason) == ("INCONCLUSIVE", "control not caught: broken")


def test_a_measuring_workload_is_done_and_passes_without_a_control(
    project: FakeProject, run: Callable[..., RunRecord]
) -> None:
    (project.root / "configs/workloads/race.yaml").write_text(
        "title: race\nseconds: 1\nmeasures: true\n", encoding="utf-8"
    )
    project.variant("good", "candidate", edit=("mm/vmalloc.c", "addr + 1", "addr + 3"))
    project.variant("idle", "control", edit=("mm/vmalloc.c", "addr + 1", "addr + 4"))
    record = run("stock", "good", "idle")
    assert [c.conclusion for c in record.cells] == ["PASS"] * 3
    assert {a.status for c in record.cells for a in c.attempts} == {"DONE"}
    assert record.exit_code == 0
    text = text_report(record)
    assert "NOT caught" not in text
    assert "As expected" not in text
    expecting = tuple(replace(one, expected="FAIL") for one in record.cells)
    assert surprises(replace(record, cells=expecting)) == []


def test_nothing_is_built_or_booted_twice(
    project: FakeProject, run: Callable[..., RunRecord]
) -> None:
    project.variant("broken", "control", "breach")
    first = run("stock", "broken")
    seen: list[Event] = []
    second = run("stock", "broken", listener=seen.append)
    assert all(c.build.cached for c in second.cells)
    assert [e for e in seen if e.kind == "attempt"] == []
    for old, new in zip(first.cells, second.cells, strict=True):
        assert old.attempts == new.attempts


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
    run: Callable[..., RunRecord],
    monkeypatch: pytest.MonkeyPatch,
    scenario: str,
    status: str,
    ending: str,
    says: str,
) -> None:
    # what these wait for never comes
    waits = {"silent": {"boot_s": 0.2}, "hang": {"silence_s": 0.3}}
    set_limits(monkeypatch, **waits.get(scenario, {}))
    project.variant("good", "candidate", f"{scenario} again")
    attempt = cell(run("good", attempts=1), "good").attempts[0]
    assert (attempt.status, attempt.ending) == (status, ending)
    assert says in attempt.detail


def test_a_flood_is_cut_and_the_log_kept(
    project: FakeProject,
    run: Callable[..., RunRecord],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr("kvet.guest.console.FLOOD_BYTES", 1 << 20)
    project.variant("good", "candidate", "flood")
    record = run("good", attempts=1)
    attempt = cell(record, "good").attempts[0]
    assert (attempt.status, attempt.ending) == ("ERROR", "TIMEOUT")
    assert "flooded its console" in attempt.detail
    log = tmp_path / "out" / cell(record, "good").id / "attempt-1" / "console.log"
    assert 1 << 20 <= log.stat().st_size < 4 << 20


def test_invalid_attempts_are_made_up_for_twice(
    project: FakeProject, run: Callable[..., RunRecord]
) -> None:
    project.variant("good", "candidate", "lost")
    good = cell(run("good"), "good")
    assert len(good.attempts) == 4
    assert good.conclusion == "ERROR"


def test_an_interrupted_run_keeps_what_had_ended(
    project: FakeProject, run: Callable[..., RunRecord], tmp_path: Path
) -> None:
    project.variant("good", "candidate", "pass again")

    def interrupt(event: Event) -> None:
        if event.kind == "attempt":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run("good", attempts=3, listener=interrupt)
    kept = read_record(tmp_path / "out" / "results.json")
    assert len(cell(kept, "good").attempts) == 1
    seen: list[Event] = []
    record = run("good", attempts=3, listener=seen.append)
    assert len(cell(record, "good").attempts) == 3
    # an attempt that had ended before the interrupt reached it is kept as well
    assert len([e for e in seen if e.kind == "attempt"]) <= 2


def test_a_guest_that_an_interrupt_ended_leaves_no_verdict(
    project: FakeProject, run: Callable[..., RunRecord], tmp_path: Path
) -> None:
    """Its console already shows the breach; what an undisturbed boot records is more."""
    project.variant("broken", "control", "breach")
    boot = qemu.run_boot

    def interrupted(request: Any) -> Any:
        ended = boot(request)
        proc.kill_all()
        return ended

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kvet.run.attempt.run_boot", interrupted)
        run("broken")
    assert not list((tmp_path / "out").glob("*/attempt-*/attempt.json"))


def test_no_qemu_outlives_its_boot(project: FakeProject, run: Callable[..., RunRecord]) -> None:
    started: list[int | None] = []
    spawn = qemu.spawn

    def spy(argv: tuple[str, ...], folder: Path) -> Any:
        child = spawn(argv, folder)
        started.append(child.pid)
        return child

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(qemu, "spawn", spy)
        set_limits(patch, silence_s=0.3)
        project.variant("good", "candidate", "hang")
        run("good", attempts=1)
    assert len(started) == 1
    assert not Path(f"/proc/{started[0]}").exists()


@pytest.mark.parametrize(("thread", "conclusion"), [("single", "FAIL"), ("multi", "INCONCLUSIVE")])
def test_a_finding_that_leans_on_an_emulator_fault_is_run_again(
    project: FakeProject,
    run: Callable[..., RunRecord],
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
    assert good.emulator_faults == ("stale-translation",)
    assert len(good.again) == 1
    assert good.conclusion == conclusion
    if conclusion == "INCONCLUSIVE":
        assert "known QEMU bug (stale-translation)" in good.reason


@pytest.mark.parametrize("waived", [False, True])
def test_a_series_that_touches_its_judge_passes_with_a_reason_alone(
    project: FakeProject, tmp_path: Path, waived: bool
) -> None:
    project.variant("broken", "control", "breach")
    touching = ("mm/vmalloc.c", "addr + 1;", "addr + 3; int debug_locks = 0;")
    project.variant("good", "candidate", edit=touching)
    matrix = load_matrix(project.root / "configs/m.yaml")
    cells = plan_cells(replace(matrix, variants=("stock", "broken", "good")), project.library)
    waivers = (parse_waiver("lockdep because it is off by then"),) if waived else ()
    plan = Plan(name="m", cells=cells, out=tmp_path / "out", attempts=2, waivers=waivers)
    good = cell(Runner(plan, cache=cache_root(), events=Events()).run(), "good")
    assert [(t.rule, t.waived) for t in good.touches] == [
        ("lockdep", "it is off by then" if waived else "")
    ]
    assert good.conclusion == ("PASS" if waived else "INCONCLUSIVE")
    assert waived or "touches what judges it (lockdep)" in good.reason
