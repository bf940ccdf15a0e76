# SPDX-License-Identifier: GPL-2.0-only
"""A packed boot: what is in it, and that its script tells whether the finding shows."""

from __future__ import annotations

import os
import re
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from kvet import proc
from kvet.cache import cache_root
from kvet.errors import InfraError, UserError
from kvet.guest.boot import GuestReport
from kvet.model import Attempt
from kvet.run.export import ANYTHING, patterns, relative_argv
from kvet.run.guest_state import state_findings
from kvet.store import read_json, write_json
from tests.more import go
from tests.night import Nights, nights
from tests.reports import attempt, cell, finding, typed_attempt, typed_cell

__all__ = ["nights"]  # a fixture
CELL = "fake+broken+small+tiny+race"


def packed(nights: Nights, tmp_path: Path, what: str) -> Path:
    """Run a matrix, export `what` of it and unpack that; the directory that holds repro.sh."""
    if not (nights.results / "run").exists():
        nights.run("run")
    path = tmp_path / "out.tar.gz"
    assert go("export", f"run/{what}", "-o", str(path), "--out", str(nights.results)) == 0
    with tarfile.open(path) as tar:
        tar.extractall(tmp_path / "unpacked", filter="data")
    (folder,) = (tmp_path / "unpacked").iterdir()
    return folder


def repro(folder: Path, *words: str, path: str = "") -> tuple[int, str, str]:
    """Run repro.sh with a plain environment."""
    env = {"PATH": path or os.environ["PATH"]}
    done = proc.run(("/bin/sh", str(folder / "repro.sh"), *words), env=env, timeout_s=60)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_everything_is_in_it_and_sums_agree(nights: Nights, tmp_path: Path) -> None:
    folder = packed(nights, tmp_path, CELL)
    names = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert {"Image", "initrd.img", "config", "seed", "titles.txt", "README.txt"} <= names
    assert "patches/0001-mm-broken.patch" in names
    assert (folder / "repro.sh").stat().st_mode & 0o111
    done = proc.run(("sha256sum", "--strict", "-c", "SHA256SUMS"), cwd=folder)
    assert done.returncode == 0
    text = (folder / "README.txt").read_text(encoding="utf-8")
    assert "table-freed-under-walk in pmd_free_pte_page (in this boot)" in text
    assert f"./harness.py reproduce run/{CELL}/1" in text
    everything = text + (folder / "repro.sh").read_text(encoding="utf-8")
    assert str(cache_root()) not in everything and str(nights.results) not in everything


def test_the_script_shows_the_crash_again_and_exits_1(nights: Nights, tmp_path: Path) -> None:
    folder = packed(nights, tmp_path, CELL)
    code, out, err = repro(folder)
    assert code == 1, err
    assert "kvet: BREACH table-freed-under-walk in pmd_free_pte_page" in out
    assert "it shows" in err
    assert (folder / "console.log").read_text(encoding="utf-8") == out


def test_a_clean_boot_is_exit_code_0(nights: Nights, tmp_path: Path) -> None:
    folder = packed(nights, tmp_path, CELL.replace("broken", "good"))
    code, out, err = repro(folder, "2")
    assert code == 0, err
    assert "does not show in 2 boot(s)" in err
    assert out.count("reboot: Power down") == 2


@pytest.mark.parametrize(
    ("image", "says"),
    [("die", "no kernel came up"), ("hang", "not done"), ("deaf", "not done")],
)
def test_a_boot_that_says_nothing_is_exit_code_3(
    nights: Nights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, image: str, says: str
) -> None:
    folder = packed(nights, tmp_path, CELL)
    (folder / "Image").write_text(f"{image}\n6.12\n", encoding="utf-8")
    script = (folder / "repro.sh").read_text(encoding="utf-8")
    limit = script.partition("limit=${LIMIT:-")[2].partition("}")[0]
    assert int(limit) > 60
    # the same digits may stand in a key or a seed before it
    short = script.replace(f"{{LIMIT:-{limit}}}", "{LIMIT:-2}", 1)
    assert short != script
    (folder / "repro.sh").write_text(short, encoding="utf-8")
    code, _, err = repro(folder)
    assert (code, says in err) == (3, True), err


def test_no_qemu_and_bad_usage_are_exit_code_2(nights: Nights, tmp_path: Path) -> None:
    folder = packed(nights, tmp_path, CELL)
    assert repro(folder, "many")[0] == 2
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "dirname").symlink_to("/usr/bin/dirname")
    code, _, err = repro(folder, path=str(bare))
    assert code == 2
    assert "is not installed" in err


def test_the_same_boot_makes_the_same_bytes(nights: Nights, tmp_path: Path) -> None:
    nights.run("run")
    paths = [tmp_path / "a.tar.gz", tmp_path / "b.tar.gz"]
    for path in paths:
        go("export", f"run/{CELL}", "-o", str(path), "--out", str(nights.results))
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_what_cannot_be_packed_is_named(nights: Nights, tmp_path: Path) -> None:
    nights.run("run")
    out = ("-o", str(tmp_path / "x.tar.gz"), "--out", str(nights.results))
    for what, says in (
        (f"run/{CELL}/9", "attempt 9"),
        (f"run/{CELL.replace('broken', 'nobody')}", "no cell"),
        ("run", "is not RUN/CELL"),
    ):
        with pytest.raises(UserError, match=says):
            go("export", what, *out)
    path = nights.results / "run" / "results.json"
    record = read_json(path)
    record["cells"][1]["build"]["key"] = "gone"
    write_json(path, record)
    with pytest.raises(InfraError, match="not in the cache") as caught:
        go("export", f"run/{CELL}", *out)
    assert caught.value.hint.startswith("harness.py reproduce run/")


def test_addresses_and_numbers_may_differ() -> None:
    fault = {
        **finding("BUG: unable to handle kernel paging request in f"),
        "excerpt": ["Unable to handle kernel paging request at virtual address ffff0000021dca28"],
    }
    warning = {
        **finding("WARNING in f"),
        "excerpt": ["WARNING: CPU: 1 PID: 43 at mm/a.c:379 f+0x198/0x1a8 [m.o] (x)"],
    }
    held = {
        **finding("init_mm lock still held after the workload ended"),
        "origin": "harness",
        "state": "init_mm_lock",
        "excerpt": [],
    }
    stuck = {
        **finding("freers stuck in the kernel at the end of the workload"),
        "origin": "harness",
        "state": "churn_alive",
    }
    old = {**finding("kernel tainted (bits 0x20)"), "kind": "taint", "origin": "harness"}
    last = attempt(3, "FAIL", [stuck, old]) | {"state": {"churn_alive": "1/3"}}
    first = attempt(1, "FAIL", [fault, warning])
    made = cell("v", "candidate", "FAIL", [first, attempt(2, "FAIL", [held]), last])
    made["new_titles"] = [f["title"] for f in (fault, warning, held, stuck, old)]
    assert patterns(typed_cell(made), typed_attempt(first)) == [
        "Unable to handle kernel paging request at virtual address [0-9a-fx]+",
        r"WARNING: CPU: [0-9]+ PID: [0-9]+ at mm/a\.c:[0-9]+ "
        r"f\+[0-9a-fx]+/[0-9a-fx]+ \[m\.o\] \(x\)",
        "kvet state init_mm_lock held",
        "kvet state churn_alive (0|1|2)/3([^0-9]|$)",
        "kvet state tainted [1-9]",
    ]
    clean = cell("v", "candidate", "PASS", [attempt(1, "PASS", [])])
    assert patterns(typed_cell(clean), typed_attempt(clean["attempts"][0])) == list(ANYTHING)


def test_every_state_that_is_a_finding_can_be_looked_for() -> None:
    state = {"tainted": "32", "debug_locks": "0", "init_mm_lock": "held"}
    state |= {"churn_alive": "1/2", "walkers_alive": "0/2", "readers_stuck": "1"}
    found = tuple(state_findings(GuestReport(complete=True, state=state), ()))
    assert {f.state for f in found} == set(state)
    told = Attempt(1, findings=found, state=state)
    made = typed_cell(cell("v", "candidate", "FAIL", []))
    wanted = patterns(replace(made, new_titles=tuple(f.title for f in found)), told)
    assert len(wanted) == len(state)
    for name, value in state.items():
        line = f"# kvet state {name} {value}"
        assert any(re.search(pattern, line) for pattern in wanted), line


def test_only_what_ties_it_to_this_machine_is_left_out() -> None:
    argv = ("/opt/qemu", "-M", "virt", "-kernel", "/home/me/Image", "-qmp", "unix:q", "-D", "a.log")
    assert relative_argv(argv) == ["-M", "virt", "-kernel", "Image"]
