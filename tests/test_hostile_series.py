# SPDX-License-Identifier: GPL-2.0-only
"""A malicious series: its Makefile runs in the build. Each attempt, and what stops it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.torture.bench import Bench, Done, conclusions

pytestmark = pytest.mark.boot  # no kernel is booted, but each takes seconds

MARK = "objects := "


@dataclass(frozen=True, slots=True)
class Attack:
    """A shell line that the Makefile of the series runs, and what stops it."""

    name: str
    shell: str
    stopped_by: str


QUIET = (
    Attack("reads ssh keys", "cat $HOME/.ssh/* {home}/.ssh/id_ed25519", "no home is mounted"),
    Attack("reads the environment", "env; cat /proc/*/environ", "bwrap --clearenv, own /proc"),
    Attack("reads accounts", "cat /etc/passwd /etc/shadow", "/etc is not mounted"),
    Attack("opens a socket", "python3 -c 'import socket as s; print(s.create_connection("
           "(\"127.0.0.1\", {port})).recv(99))'", "no network namespace of the host's"),
    Attack("reads other lanes", "cat {cache}/builds/*/build.json; ls {cache}", "not mounted"),
    Attack("writes to the system", "echo pwned > /usr/pwned; echo pwned > /pwned", "read-only"),
    Attack("writes to the source of all", "echo pwned > /kvet/src/mm/vmalloc.c", "read-only"),
    Attack("poisons ccache", "echo pwned > /kvet/ccache/pwned", "read-only for a foreign series"),
    Attack("makes ccache writable", "mount -o remount,bind,rw /kvet/ccache && "
           "echo pwned > /kvet/ccache/pwned", "no capability"),
    Attack("mounts", "mount -t tmpfs none /usr; mount --bind / /mnt", "no capability"),
    Attack("gains rights anew", "unshare -Urm sh -c 'mount -o remount,bind,rw /kvet/ccache; "
           "echo pwned > /kvet/ccache/pwned'", "mounts of an outer namespace are locked"),
    Attack("sees processes", "ls -d /proc/[0-9]*; kill -9 {pid}", "own pid namespace"),
)  # fmt: skip


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench.made(tmp_path / "bench")
    made.env["HOME"] = str(tmp_path / "victim")
    made.env["API_TOKEN"] = "token-of-the-user"
    keys = tmp_path / "victim/.ssh"
    keys.mkdir(parents=True)
    (keys / "id_ed25519").write_text("key-of-the-user", encoding="utf-8")
    yield made
    assert made.processes() == []


def series(bench: Bench, shell: str) -> Path:
    """A patch whose Makefile runs `shell` when it is read; what that prints goes to the log."""
    patch = bench.root / "evil.patch"
    path = bench.checkout / "work/Makefile"
    old = next(line for line in path.read_text().splitlines() if line.startswith(MARK))
    shown = "sed 's/^/loot: /' $(O)/loot >&2; echo 'loot: end' >&2"
    added = f"loot := $(shell {{ {shell}; }} > $(O)/loot 2>&1; {shown})"
    patch.write_text(
        "From: a <a@localhost>\nSubject: [PATCH] mm: improve things\n\n---\n"
        f"--- a/Makefile\n+++ b/Makefile\n@@ -8,3 +8,4 @@ SUBLEVEL = 99\n EXTRAVERSION =\n \n"
        f"+{added}\n {old}\n",
        encoding="utf-8",
    )
    return patch


def judge(bench: Bench, patch: Path) -> Done:
    return bench.go(
        "run", "--series", str(patch), "--kernel", "fake", "--config", "small", "--machine",
        "tiny", "--workload", "race", "--attempts", "1", "--out", str(bench.results),
    )  # fmt: skip


@pytest.mark.parametrize("attack", QUIET, ids=lambda attack: attack.name)
def test_a_build_cannot_take_or_leave_anything(attack: Attack, bench: Bench) -> None:
    places = {"home": bench.env["HOME"], "cache": bench.cache, "port": 22, "pid": os.getpid()}
    shell = attack.shell
    for name, value in places.items():
        shell = shell.replace("{" + name + "}", str(value))
    done = judge(bench, series(bench, shell))
    assert not done.traceback, done.text[-500:]
    log = "".join(p.read_text(errors="replace") for p in bench.cache.glob("builds/*/build.log"))
    assert "loot: end" in log, "the attack did not run"
    for secret in ("key-of-the-user", "token-of-the-user", "root:x:0", "SSH-2.0", '"release"'):
        assert secret not in log + done.text, f"{attack.stopped_by} did not hold"
    for place in (Path("/usr/pwned"), *Path("/").glob("pwned*"), *bench.cache.glob("ccache/pwned")):
        assert not place.exists(), f"{attack.stopped_by} did not hold"
    source = next(bench.cache.glob("sources/*/mm/vmalloc.c"))
    assert "pwned" not in source.read_text(encoding="utf-8")
    assert Path(f"/proc/{os.getpid()}").exists()


@pytest.mark.parametrize(
    "shell",
    [
        "mkdir -p $(O)/lib; ln -sfn {keys}/id_ed25519 $(O)/lib/key.ko; "
        "echo lib/key.o > $(O)/modules.order",
        "echo {keys}/key.o > $(O)/modules.order",
    ],
    ids=["a link", "a name"],
)
def test_what_leads_out_of_the_build_is_not_taken(bench: Bench, shell: str) -> None:
    keys = Path(bench.env["HOME"], ".ssh")
    (keys / "key.ko").write_text("key-of-the-user", encoding="utf-8")
    done = judge(bench, series(bench, shell.replace("{keys}", str(keys))))
    kept = [p for p in bench.cache.rglob("*") if p.is_file() and not p.is_symlink()]
    assert not [p for p in kept if b"key-of-the-user" in p.read_bytes()]
    assert (done.code, done.traceback) == (3, False), done.text[-500:]
    assert "the build left key.ko out of its lane" in done.text


def test_a_build_that_forks_without_end_is_ended(bench: Bench) -> None:
    forks = "for i in $$(seq 3000); do sleep 60 & done; wait"
    begun = time.monotonic()
    done = judge(bench, series(bench, forks))
    assert "the build was ended: more than 1000 processes" in done.text
    assert done.code == 3
    assert time.monotonic() - begun < 60  # not the sleep's end, whatever the host's load
    assert [c for c in conclusions(bench.runs()[-1]).values() if c == "PASS"] == []


def test_a_build_that_fills_the_disk_is_ended(bench: Bench, tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    # a disk on which no build would leave enough
    (site / "sitecustomize.py").write_text(
        f"import sys\nsys.path.insert(0, {str(bench.checkout)!r})\n"
        "import kvet.build.guard as g, kvet.build.make as m\n"
        "m.Allowance = lambda folder: g.Allowance(folder, free_mib=1 << 40)\n",
        encoding="utf-8",
    )
    bench.env["PYTHONPATH"] = str(site)
    done = judge(bench, series(bench, "sleep 5; dd if=/dev/zero of=$(O)/fill bs=1M count=1"))
    assert "the build was ended" in done.text and "filling the disk" in done.text
    assert done.code == 3


def test_what_a_build_prints_cannot_drive_the_terminal(bench: Bench) -> None:
    bell = r"printf '\033]0;owned\007\033[2J\033[31mmm/x.c:1:1: error: \033[5mlook\n' >&2"
    patch = series(bench, "true")
    text = patch.read_text(encoding="utf-8").replace("2>&1;", f"2>&1; {bell};")
    patch.write_text(text, encoding="utf-8")
    done = judge(bench, patch)
    assert "\x1b" not in done.text and "\x07" not in done.text
    for name in ("html", "mail", "markdown", "junit"):
        shown = bench.go("report", "latest", "--format", name, "--out", str(bench.results))
        assert "\x1b" not in shown.text and "\x07" not in shown.text


def test_a_link_in_a_series_leads_nowhere(bench: Bench) -> None:
    victim = bench.root / "victim.txt"
    victim.write_text("untouched", encoding="utf-8")
    patch = bench.root / "evil.patch"
    patch.write_text(
        "From: a <a@localhost>\nSubject: [PATCH] mm: a link\n\n---\n"
        f"diff --git a/mm/link b/mm/link\nnew file mode 120000\n--- /dev/null\n+++ b/mm/link\n"
        f"@@ -0,0 +1 @@\n+{victim}\n\\ No newline at end of file\n",
        encoding="utf-8",
    )
    done = judge(bench, patch)
    assert not done.traceback
    assert victim.read_text(encoding="utf-8") == "untouched"
    assert "untouched" not in done.text
