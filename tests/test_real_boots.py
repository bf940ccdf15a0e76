# SPDX-License-Identifier: GPL-2.0-only
"""Real kernels: the control is caught, the baseline is not called safe, a correct design passes."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from kvet import proc
from kvet.config import PROJECT
from tests.conftest import REAL_CACHE

pytestmark = pytest.mark.boot
Record = dict[str, Any]


def harness(*words: str, timeout_s: float = 5400) -> proc.Completed:
    """Run harness.py as a user does, with the user's own cache."""
    env = {**os.environ, "KVET_CACHE": str(REAL_CACHE), "NO_COLOR": "1"}
    argv = (sys.executable, str(PROJECT / "harness.py"), *words)
    return proc.run(argv, env=env, timeout_s=timeout_s)


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> tuple[Record, str, Path]:
    """One run of configs/smoke.yaml: its record, the table it printed, its folder."""
    results = tmp_path_factory.mktemp("results")
    done = harness("run-matrix", str(PROJECT / "configs/smoke.yaml"), "--out", str(results))
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
    run = next(p for p in results.iterdir() if p.name != "latest")
    record = json.loads((run / "results.json").read_text(encoding="utf-8"))
    return record, done.stdout.decode(), run


def cell(record: Record, variant: str) -> Record:
    return next(c for c in record["cells"] if c["variant"] == variant)


def test_the_control_is_caught_in_every_boot(smoke: tuple[Record, str, Path]) -> None:
    control = cell(smoke[0], "nolock")
    assert control["conclusion"] == "FAIL"
    assert control["failures"] == control["runs"] == 2
    assert any(t.startswith("table-freed-under-walk in p") for t in control["new_titles"])
    for attempt in control["attempts"]:
        assert any(f["kind"] == "table-freed-under-walk" for f in attempt["findings"])


def test_the_splat_leads_to_the_lines_of_the_series(smoke: tuple[Record, str, Path]) -> None:
    # which walker and which level meet first is a matter of chance
    for attempt in cell(smoke[0], "nolock")["attempts"]:
        breach = next(f for f in attempt["findings"] if f["kind"] == "table-freed-under-walk")
        frames = {(f["side"], f["func"]): f for f in breach["frames"]}
        freed = {func for side, func in frames if side == "free"}
        walked = {func for side, func in frames if side == "walk"}
        assert freed & {"pmd_free_pte_page", "pud_free_pmd_page"}
        assert walked & {"ptdump_walk_pgd", "ptdump_walk", "ptdump_check_wx"}
        touched = [f for f in breach["frames"] if f["touched"]]
        assert {f["func"] for f in touched} & {"vmap_try_huge_pmd", "vmap_try_huge_pud"}
        assert all(re.fullmatch(r"mm/vmalloc\.c:\d+", f["location"]) for f in touched)


def test_the_baseline_is_not_called_safe(smoke: tuple[Record, str, Path]) -> None:
    baseline = cell(smoke[0], "stock")
    assert baseline["conclusion"] == "INCONCLUSIVE"
    for attempt in baseline["attempts"]:
        assert attempt["status"] == "PASS"
        assert not attempt["exposed"]
        assert attempt["exposure"]["walks"] > 0
        assert attempt["exposure"]["overlaps"] == attempt["exposure"]["backoffs"] == 0


def test_a_correct_design_passes_with_exposure(smoke: tuple[Record, str, Path]) -> None:
    trylock = cell(smoke[0], "trylock")
    assert trylock["conclusion"] == "PASS"
    assert trylock["upper_bound"] == pytest.approx(1 - 0.05 ** (1 / 2))
    for attempt in trylock["attempts"]:
        assert attempt["exposure"]["backoffs"] >= 20
        assert attempt["exposure"]["breaches"] == 0
        assert attempt["metrics"]["dump_reads"]["value"] > 0


def test_what_booted_is_what_was_built(smoke: tuple[Record, str, Path]) -> None:
    for one in smoke[0]["cells"]:
        for attempt in one["attempts"]:
            assert one["build"]["key"] in attempt["provenance"]["banner"]


def test_the_table_fits_and_ends_with_the_way_to_repeat(smoke: tuple[Record, str, Path]) -> None:
    table = smoke[1]
    assert max(len(line.rstrip()) for line in table.splitlines()) <= 100
    assert "repeat: harness.py reproduce" in table
    assert table.rstrip().endswith("Conclusion: PASS (exit 0)")


def test_a_failure_repeats_with_its_seed(smoke: tuple[Record, str, Path]) -> None:
    record, _, run = smoke
    what = f"{run.name}/{cell(record, 'nolock')['id']}/1"
    done = harness("reproduce", what, "--out", str(run.parent), timeout_s=600)
    text = done.stdout.decode()
    assert done.returncode == 1, text + done.stderr.decode()
    assert re.search(r"table-freed-under-walk in p[mu]d_free_\w+  \(as recorded\)", text)


def test_the_guests_memory_at_the_finding_is_kept_and_opens(
    smoke: tuple[Record, str, Path],
) -> None:
    pytest.importorskip("drgn")
    record, _, run = smoke
    control = cell(record, "nolock")
    kept = [a["n"] for a in control["attempts"] if a["memory"]]
    assert kept, "no attempt of the control left a memory dump"
    what = f"{run.name}/{control['id']}/{kept[0]}"
    done = harness("reproduce", what, "--out", str(run.parent), "--drgn", timeout_s=600)
    text = done.stdout.decode()
    assert done.returncode == 0, text + done.stderr.decode()
    assert re.search(r"^init_mm\.mmap_lock\n  count 0x[0-9a-f]+", text, re.MULTILINE)
    assert re.search(r"^  pgd\[\d+\] = 0x[0-9a-f]{16}  table", text, re.MULTILINE)
