# SPDX-License-Identifier: GPL-2.0-only
"""Workloads that are directories: what is read, refused, planned for the guest and judged."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from kvet.build.probes import located, modules_needed
from kvet.cli.init_workload import KINDS, start_workload
from kvet.cli.lint import lint
from kvet.errors import UserError
from kvet.guest.ktap import read_log, read_results
from kvet.guest.load_layers import LoadRequest, plan_lines
from kvet.guest.report_port import parse_lines
from kvet.loads import Load
from kvet.model import Attempt, Build, Cell, Conclusion, Floor, Kernel, Role, Status
from kvet.paths import PROJECT
from kvet.plan.library import Library, load_workload
from kvet.plan.loads import ENGINE_COUNTERS, HIT
from kvet.plan.matrix import config_for
from kvet.run.cell_run import CellRun
from kvet.run.proofs import litmus_folder
from kvet.run.verdict import conclude
from kvet.run.workloads import expected_of

HEAD = "title: t\nseconds: 2\n"
SYSTEM_MAP = (
    "ffff800080000000 T pipe_write\nffff800080000100 t pipe_read.isra.0\n"
    "ffff800080000200 D pipe_data\n"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "mine"
    made.mkdir()
    return made


def write(folder: Path, text: str) -> Path:
    path = folder / "workload.yaml"
    path.write_text(HEAD + text, encoding="utf-8")
    return path


def load_of(folder: Path, text: str) -> Load:
    load = load_workload(write(folder, text)).load
    assert load is not None
    return load


def build_in(tmp_path: Path) -> Build:
    folder = tmp_path / "build"
    (folder / "modules").mkdir(parents=True)
    (folder / "System.map").write_text(SYSTEM_MAP)
    return Build("key", folder, "6.12", 1.0, cached=True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "says not what it does"),
        ("run: sleep 1\nkunit: x\n", "line 4, key kunit: stands beside run"),
        ("kunit: x\nexpect: 1\n", "key expect: belongs to run"),
        ("run: ./../up.sh\n", "key run: ./../up.sh leads out of the directory"),
        ("run: ./none.sh\n", "key run: ./none.sh does not exist"),
        ("sources: [/etc/passwd]\nrun: ./x\n", "key sources: /etc/passwd leads out"),
        ("run: sleep 1\nexposure:\n  a: b c\n", "line 5, key exposure.a: 'b c' is not understood"),
        ("run: sleep 1\nfloor: {rums_run: 1}\n", "no counter is called rums_run"),
        ("run: sleep 1\nexpect: ENOSUCH\n", "key expect: ENOSUCH is no error of the kernel"),
        ("run: sleep 1\nconfig: [debug, CONFIG_X=maybe]\n", "key config.1: 'CONFIG_X=maybe'"),
        ("run: 'sleep \"1'\n", "No closing quotation"),
        ("sides: {a: sleep 1}\n", "key sides: needs two sides at least"),
        ("sides: {a: sleep 1, b-c: sleep 2}\n", "key sides: 'b-c' is no name: small letters"),
        ("sides: {a: sleep 1, b: {run: x, expct: 0}}\n", "b.expct: unknown key; did you mean exp"),
        ("sides: {a: sleep 1, b: {expect: 0}}\n", "key sides.b: needs one of run and module"),
        ("run: cat < /proc/mounts\n", "key run: '<' means nothing: no shell reads the line"),
        ("race: ../x.c\n", "key race: '../x.c' is no name of a C file of this directory"),
        ("kselftest: /mm\n", "key kselftest: '/mm' is no directory below tools/testing/self"),
        ("run: x\nwaive: [{judge: contrl, reason: r}]\n", "judge: 'contrl' is none of asks-who"),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(folder: Path, text: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        load_workload(write(folder, text))
    assert said in caught.value.message
    assert "workload.yaml" in caught.value.message


def test_a_name_that_no_workload_has_is_blamed_on_the_directory(tmp_path: Path) -> None:
    (tmp_path / "_probe").mkdir()
    with pytest.raises(UserError, match="the directory is called '_probe': a workload's name is"):
        load_workload(write(tmp_path / "_probe", "run: sleep 1\n"))


@pytest.mark.parametrize(
    ("code", "floor", "said"),
    [
        ('kvet_hit("passed");', "passed: 5", ""),
        ('kvet_hit("passed");', "pased: 5", "no counter is called pased (there are: delays"),
        ("", "schedules: 9", ""),
        ("kvet_hit(NAME);", "passed: 5", ""),  # who knows
    ],
)
def test_the_floor_of_a_race_asks_for_what_it_counts(
    folder: Path, code: str, floor: str, said: str
) -> None:
    (folder / "race.c").write_text(code)
    path = write(folder, f"race: race.c\nfloor: {{each: {{{floor}}}}}\n")
    if not said:
        assert load_workload(path).floor.each
        return
    with pytest.raises(UserError) as caught:
        load_workload(path)
    assert said in caught.value.message


def test_the_engine_counts_what_floors_may_ask_for() -> None:
    text = "".join(p.read_text() for p in (PROJECT / "rootfs/engine").glob("*.c"))
    counted = {name for name, _ in HIT.findall(text)} - {""}
    assert set(ENGINE_COUNTERS) == counted | {"schedules"}  # that one is init's: src/explore.c


def test_a_link_that_leads_out_is_refused(folder: Path) -> None:
    (folder / "data").symlink_to("/etc/hostname")
    with pytest.raises(UserError, match="leads out of the directory"):
        load_of(folder, "run: cat data\n")


def test_options_know_their_lines(folder: Path) -> None:
    made = load_workload(write(folder, "run: sleep 1\nconfig:\n  - debug\n  - CONFIG_X=m\n"))
    assert made.configs == ("debug",)
    assert made.load is not None
    assert [(str(o), o.line) for o in made.load.options] == [("CONFIG_X=m", 6)]


def test_a_torture_stays_for_the_time_and_is_read_off_the_log(folder: Path) -> None:
    load = load_of(folder, "locktorture: {torture_type: rwsem_lock}\n")
    command = load.sides[0].commands[0]
    assert (command.argv, command.stay_s) == (("locktorture", "torture_type=rwsem_lock"), 2.0)
    assert load.reads_log
    assert [str(o) for o in load.options] == ["CONFIG_LOCK_TORTURE_TEST=m"]


def test_the_plan_of_two_sides(folder: Path, tmp_path: Path) -> None:
    (folder / "w.sh").write_text("#!/bin/sh\n")
    load = load_of(
        folder,
        "sides:\n  one: ./w.sh 'a b'\n  two: {module: {name: m-x, expect: EAGAIN}, loop: false}\n"
        "exposure: {met: pipe_write while pipe_read, waits: contended in pipe_read}\n",
    )
    build = build_in(tmp_path)
    (build.modules / "m_x.ko").write_bytes(b"\0depends=torture\0")
    (build.modules / "torture.ko").write_bytes(b"\0depends=\0")
    assert list(plan_lines(LoadRequest(load, build))) == [
        *("watch met:pipe_write@pipe_read.isra.0", "watch waits:?pipe_read.isra.0"),
        *("need torture", "side one loop", "cmd one program 0 0.0", "arg ./w.sh", "arg a b", "end"),
        *("side two once", "cmd two module 11 0.0", "arg m_x", "end"),
    ]


def test_a_function_that_the_kernel_has_not_is_an_error(folder: Path, tmp_path: Path) -> None:
    load = load_of(folder, "run: sleep 1\nexposure: {n: pipe_wrote}\n")
    build = build_in(tmp_path)
    with pytest.raises(
        UserError, match=r"line 4, key exposure.n: .*pipe_wrote; did you mean pipe_w"
    ):
        located(load.probes[0], load.file, build, None, "")
    # the series took it away: the boot tells what can still be told
    assert located(load.probes[0], load.file, build, None, "-void pipe_wrote(void)\n") == ()


def test_data_is_no_function_and_a_missing_module_is_named(folder: Path, tmp_path: Path) -> None:
    load = load_of(folder, "run: sleep 1\nexposure: {n: pipe_data}\n")
    build = build_in(tmp_path)
    with pytest.raises(UserError, match="no function pipe_data"):
        located(load.probes[0], load.file, build, None, "")
    with pytest.raises(UserError, match="no module test_x"):
        modules_needed(["test_x"], build, load.file)


def test_subtests_have_the_names_of_their_parents() -> None:
    text = (
        "TAP version 13\n1..3\nok 1 - first\n    # Subtest: s\n    1..2\n    ok 1 a\n"
        "    not ok 2 b # why\nnot ok 2 s\nok 3 third # SKIP no such thing\n"
    )
    assert read_results(text.splitlines()) == {
        "first": "ok",
        "s.a": "ok",
        "s.b # why": "not ok",
        "third": "skip",
    }


def test_a_plan_that_is_not_kept_is_not_ok() -> None:
    assert read_results(["1..2", "ok 1 a"]) == {"a": "ok", "every planned result": "not ok"}
    assert read_results(["1..2", "ok 1 a", "ok 2 a"]) == {"a": "ok"}


def test_the_log_tells_of_kunit_torture_and_test_modules() -> None:
    text = (
        "[    0.1][    T1] not ok 1 before any report\n"
        "[    0.5][    T1] KTAP version 1\n[    0.5][    T1]     ok 1 list_init\n"
        "[    0.6][    T1] ok 1 lists\n"
        "[    9.0][   T40] rwsem_lock-torture:--- End of test: FAILURE: nwriters_stress=1\n"
        "[    9.1][   T40] test_bitmap: all 12 tests passed\n"
    )
    assert read_log(text) == {
        "lists.list_init": "ok",
        "rwsem_lock-torture": "not ok",
        "test_bitmap": "ok",
    }


def test_programs_are_findings_when_they_end_wrongly() -> None:
    report = parse_lines(
        ["# kvet out run ok 1 a", "# kvet exit run 139 0 3", "# kvet ended run late"]
    )
    assert report.results == {"run.a": "ok"}
    titles = [f.title for f in report.findings]
    assert titles == ["run: ended by signal 11, not 0", "run: did not end within its time"]


def test_a_result_that_only_the_baseline_has_is_missed() -> None:
    ran = Attempt(1, Status.PASS, exposed=True, tests={"a": "ok", "b": "skip"})
    lost = replace(ran, tests={"a": "skip"})
    same = conclude(Role.CANDIDATE, [ran], wanted=1, baseline=[ran])
    less = conclude(Role.CANDIDATE, [lost], wanted=1, baseline=[ran])
    assert (same.conclusion, less.conclusion) == (Conclusion.PASS, Conclusion.INCONCLUSIVE)
    assert less.reason == "tests that gave no result, as they did on the baseline: a"


@pytest.mark.parametrize("kind", KINDS)
def test_every_example_is_without_fault(kind: str, tmp_path: Path) -> None:
    target = tmp_path / "my-work"
    assert start_workload(kind, str(target)) == 0
    assert load_workload(target / "workload.yaml").name == "my-work"
    with pytest.raises(UserError, match="nothing is overwritten"):
        start_workload(kind, str(target))


def test_variants_of_its_own_are_known_to_its_workload() -> None:
    path = KINDS["sides"]
    library, name = Library().with_workload(str(path))
    assert name == "pipe-resize"
    assert library.variants()["unlocked"].role is Role.CONTROL
    assert "unlocked" not in Library().variants()


def test_lint_names_the_line(folder: Path) -> None:
    found = lint(write(folder, "run: sleep 1\nfloor: {none: 1}\n"))[1]
    assert [(f.line, f.key) for f in found] == [(4, "floor.none")]


def cell_of(variant: str, workload: str) -> Cell:
    library, name = Library().with_workload(workload)
    return Cell(
        kernel=Kernel("linux-6.12", "package", {}, Path("linux-6.12.yaml")),
        variant=library.variants()[variant],
        config=library.configs()["debug"],
        machine=library.machines()["virt"],
        workload=library.workloads()[name],
    )


@pytest.mark.parametrize(
    ("variant", "workload", "expected"),
    [
        ("stock", "ptdump-race", "INCONCLUSIVE"),
        ("stock", "pipe-resize", "PASS"),  # the race is run there
        ("unlocked", "pipe-resize", "FAIL"),
        ("static-key-barrier", "pipe-resize", ""),  # what is known of it is about page tables
    ],
)
def test_what_is_expected_depends_on_the_workload(
    variant: str, workload: str, expected: str
) -> None:
    assert expected_of(cell_of(variant, workload)) == expected


def test_what_is_expected_depends_on_the_kernel() -> None:
    cell = cell_of("stock", "ptdump-race")
    newer = replace(cell, kernel=replace(cell.kernel, name="linux-7.3"))
    assert (expected_of(cell), expected_of(newer)) == ("INCONCLUSIVE", "PASS")


def test_litmus_tests_of_page_tables_say_nothing_of_another_workload() -> None:
    run = CellRun(cell_of("stock", "ptdump-race"), 1)
    assert litmus_folder(run) == PROJECT / "patches" / "stock"
    assert litmus_folder(CellRun(cell_of("stock", "pipe-resize"), 1)) is None


def test_what_test_modules_count_is_read() -> None:
    text = (
        "[    1.1] Summary: fix_size_alloc_test passed: 3 failed: 0 repeat: 1 loops: 5 avg: 9\n"
        "[    1.2] Summary: pcpu_alloc_test passed: 2 failed: 1 repeat: 1 loops: 5 avg: 9\n"
        "[    1.3] XArray: 12 of 12 tests passed\n"
        "[    1.4] maple_tree: 11 of 12 tests passed\n"
        "[    1.5] IDA: 0 of 0 tests passed\n"
    )
    assert read_log(text) == {
        "fix_size_alloc_test": "ok",
        "pcpu_alloc_test": "not ok",
        "XArray": "ok",
        "maple_tree": "not ok",
        "IDA": "not ok",
    }


CONTROL = "title: broken\nrole: control\n"


def test_what_need_not_be_said(folder: Path) -> None:
    (folder / "both.c").write_text("int main(void) { return 0; }\n")
    path = write(folder, "sides: {a: ./both 1, b: ./both 2}\n")
    for name in ("one", "two"):
        (folder / "patches" / name).mkdir(parents=True)
        (folder / "patches" / name / "variant.yaml").write_text(CONTROL)
        made = load_workload(path)
        assert made.load is not None
        assert made.load.sources == ("both.c",)
        assert made.baseline == "stock"
        # of two controls nobody knows which is meant
        assert made.control == ("one" if name == "one" else "")


def test_a_shipped_workload_is_at_most_thirty_lines() -> None:
    folder = PROJECT / "configs" / "workloads" / "pipe-resize"
    files = [folder / "workload.yaml", folder / "pipe.c"]
    assert sum(len(path.read_text().splitlines()) for path in files) <= 30


def selftests_in(tmp_path: Path, *names: str) -> Build:
    build = build_in(tmp_path)
    build.selftests.mkdir()
    for name in names:
        (build.selftests / name).write_bytes(b"\x7fELF")
    return build


def test_each_selftest_that_was_built_is_run(folder: Path, tmp_path: Path) -> None:
    load = load_of(folder, "kselftest: futex/functional\n")
    build = selftests_in(tmp_path, "futex_wait", "futex_requeue")
    lines = list(plan_lines(LoadRequest(load, build)))
    assert lines[0] == "side kselftest once"
    assert [x for x in lines if x.startswith("cmd ")] == [
        "cmd futex_requeue program 0 0.0",
        "cmd futex_wait program 0 0.0",
    ]
    assert any("./futex_wait;" in line for line in lines)


def test_the_end_of_a_selftest_is_a_result_beside_its_own(folder: Path, tmp_path: Path) -> None:
    request = LoadRequest(load_of(folder, "kselftest: x\n"), selftests_in(tmp_path, "t"))
    script = list(plan_lines(request))[-2].removeprefix("arg ")
    script = script.replace("cd /kvet/work/selftests && ./t", "(exit $CODE)")
    told = {}
    for code in (0, 1, 4, 139):
        ran = subprocess.run(
            ["sh", "-c", script],
            env={"CODE": str(code)},
            capture_output=True,
            text=True,
            check=True,
        )
        told[code] = read_results(["1..1", "ok 1 own", *ran.stdout.splitlines()])
    assert told == {
        0: {"own": "ok", "exit": "ok"},
        1: {"own": "ok", "exit": "not ok"},
        4: {"own": "ok", "exit": "skip"},
        139: {"own": "ok", "exit": "not ok"},
    }


def test_selftests_make_a_build_of_their_own(folder: Path) -> None:
    config = Library().configs()["debug"]
    path = write(folder, "kselftest: futex/functional\n")
    assert config_for(config, load_workload(path)).selftests == ("futex/functional",)
    assert load_workload(path).floor == Floor(each={"tests": 1})
    with pytest.raises(UserError, match="key kselftest"):
        load_workload(write(folder, "kselftest: ../mm\n"))
