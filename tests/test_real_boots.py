# SPDX-License-Identifier: GPL-2.0-only
"""Real kernels: the control is caught, the baseline is not called safe, a correct design passes."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from kvet import proc
from kvet.paths import PROJECT
from kvet.results.record import CellRecord, RunRecord, read_record
from tests.conftest import REAL_CACHE

pytestmark = pytest.mark.boot


def harness(*words: str, timeout_s: float = 5400) -> proc.Completed:
    """Run harness.py as a user does, with the user's own cache."""
    env = {**os.environ, "KVET_CACHE": str(REAL_CACHE), "NO_COLOR": "1"}
    argv = (sys.executable, str(PROJECT / "harness.py"), *words)
    return proc.run(argv, env=env, timeout_s=timeout_s)


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunRecord, str, Path]:
    """One run of configs/smoke.yaml: its record, the table it printed, its directory."""
    results = tmp_path_factory.mktemp("results")
    done = harness("run-matrix", str(PROJECT / "configs/smoke.yaml"), "--out", str(results))
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
    run = (results / "latest").resolve(strict=True)
    record = read_record(run / "results.json")
    return record, done.stdout.decode(), run


def cell(record: RunRecord, variant: str) -> CellRecord:
    return next(c for c in record.cells if c.variant == variant)


def test_the_control_is_caught_in_every_boot(smoke: tuple[RunRecord, str, Path]) -> None:
    control = cell(smoke[0], "nolock")
    assert control.conclusion == "FAIL"
    assert control.failures == control.runs == 2
    for attempt in control.attempts:
        # an access is proof: a table that was given back is out of everybody's reach
        assert any(f.kind == "page-fault" for f in attempt.findings if not f.suspicion)


def test_the_splat_leads_to_file_and_line_of_the_walk(
    smoke: tuple[RunRecord, str, Path],
) -> None:
    # which walker and which level meet first is a matter of chance
    for attempt in cell(smoke[0], "nolock").attempts:
        fault = next(f for f in attempt.findings if f.kind == "page-fault")
        walked = {f.func: f.location for f in fault.frames}
        assert set(walked) & {"ptdump_pte_entry", "walk_pte_range", "walk_pmd_range"}
        where = [place for func, place in walked.items() if func.startswith("walk_p")]
        assert where and all(re.fullmatch(r"mm/pagewalk\.c:\d+", place) for place in where)


def test_the_baseline_is_not_called_safe(smoke: tuple[RunRecord, str, Path]) -> None:
    baseline = cell(smoke[0], "stock")
    assert baseline.conclusion == "INCONCLUSIVE"
    for attempt in baseline.attempts:
        assert attempt.status == "PASS"
        assert not attempt.exposed
        assert attempt.exposure["walks"] > 0
        assert attempt.exposure["overlaps"] == attempt.exposure["backoffs"] == 0


def test_a_correct_design_passes_with_exposure(smoke: tuple[RunRecord, str, Path]) -> None:
    trylock = cell(smoke[0], "trylock")
    assert trylock.conclusion == "PASS"
    assert trylock.upper_bound == pytest.approx(1 - 0.05 ** (1 / 2))
    for attempt in trylock.attempts:
        assert attempt.exposure["meet_pmd"] >= 15 and attempt.exposure["meet_pud"] >= 3
        assert attempt.exposure["breaches"] == attempt.exposure["suspicions"] == 0
        assert attempt.metrics["dump_reads"].value > 0


def test_what_booted_is_what_was_built(smoke: tuple[RunRecord, str, Path]) -> None:
    for one in smoke[0].cells:
        for attempt in one.attempts:
            assert one.build.key in attempt.provenance.banner


def test_the_table_fits_and_ends_with_the_way_to_repeat(smoke: tuple[RunRecord, str, Path]) -> None:
    table = smoke[1]
    wide = [line for line in table.splitlines() if "harness.py reproduce" not in line]
    assert max(len(line.rstrip()) for line in wide) <= 100
    assert "repeat: harness.py reproduce" in table
    assert table.rstrip().endswith("Conclusion: PASS (exit 0)")


def test_a_failure_repeats_with_its_seed(smoke: tuple[RunRecord, str, Path]) -> None:
    record, _, run = smoke
    what = f"{run.name}/{cell(record, 'nolock').id}/1"
    done = harness("reproduce", what, "--out", str(run.parent), timeout_s=600)
    text = done.stdout.decode()
    assert done.returncode == 1, text + done.stderr.decode()
    assert re.search(r"^FAIL PANIC", text, re.MULTILINE)


def test_a_command_runs_in_the_guest_of_an_attempt(
    smoke: tuple[RunRecord, str, Path], tmp_path: Path
) -> None:
    record, _, run = smoke
    control = cell(record, "nolock")
    what = f"{run.name}/{control.id}/1"
    got = tmp_path / "version"
    words = ("--run", "uname -r; exit 7", "--get", "/proc/version", "-o", str(got))
    done = harness("reproduce", what, "--out", str(run.parent), *words, timeout_s=600)
    assert done.returncode == 7, done.stderr.decode()
    assert control.build.key in done.stdout.decode()
    assert control.build.key in got.read_text(encoding="utf-8")
    (visited,) = (run / control.id).glob("reproduce-*/id_ecdsa")
    console = (visited.parent / "console.log").read_text(encoding="utf-8", errors="replace")
    assert console.count("'exit' powers off") == 1
    assert "reboot: Power down" in console


def test_the_guests_memory_at_the_finding_is_kept_and_opens(
    smoke: tuple[RunRecord, str, Path],
) -> None:
    pytest.importorskip("drgn")
    record, _, run = smoke
    control = cell(record, "nolock")
    kept = [a.n for a in control.attempts if a.memory]
    assert kept, "no attempt of the control left a memory dump"
    what = f"{run.name}/{control.id}/{kept[0]}"
    done = harness("reproduce", what, "--out", str(run.parent), "--drgn", timeout_s=600)
    text = done.stdout.decode()
    assert done.returncode == 0, text + done.stderr.decode()
    assert re.search(r"^init_mm\.mmap_lock\n  count 0x[0-9a-f]+", text, re.MULTILINE)
    # what was followed may be a cleared entry, which leads nowhere
    assert re.search(r"^  pgd\[\d+\] = 0x[0-9a-f]{16}  (table|none)", text, re.MULTILINE)


def test_schedules_show_what_goes_wrong_without_memory(tmp_path: Path) -> None:
    mutant = PROJECT / "tests/mutants/no-memory-left-out"
    results = tmp_path / "results"  # tmp_path is also what the tests have for a home
    words = ("--variant", str(mutant), "--workload", "ptdump-explore", "--out", str(results))
    done = harness("run", *words)
    assert done.returncode == 1, done.stdout.decode() + done.stderr.decode()
    record = read_record((results / "latest").resolve(strict=True) / "results.json")
    assert cell(record, "nolock").conclusion == "FAIL"
    (attempt,) = cell(record, mutant.name).attempts
    *clean, failed = attempt.explorations
    assert failed.sides == "pmd:dump,nomem" and failed.accesses
    assert len(clean) == 6 and all(one.ending == "all" for one in clean)
    assert re.search(r"call __kmalloc\w* -> 0", done.stdout.decode())
