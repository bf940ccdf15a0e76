# SPDX-License-Identifier: GPL-2.0-only
"""What guards and serves the host: processes, sandbox, cache, store, apt, set-up list."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from kvet import interrupt, proc
from kvet.build.sandbox import OUTSIDE, Mount, confine
from kvet.build.toolchain import find_toolchain
from kvet.cache import locked, need_free
from kvet.cli import doctor
from kvet.errors import InfraError, MissingTool, UserError
from kvet.guest.machine import find_qemu
from kvet.source import apt
from kvet.store import plain, read_json, write_json, write_text

ENV = {"PATH": "/usr/bin:/bin"}


def test_a_missing_program_names_itself_and_the_mend() -> None:
    with pytest.raises(MissingTool) as caught:
        proc.run(("no-such-program-at-all",))
    assert "no-such-program-at-all" in caught.value.message
    assert "doctor" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "missing", "mend"),
    [
        ("clang-99", "clang-99", "sudo apt-get install clang-99 lld-99 llvm-99"),
        ("gcc-99", "aarch64-linux-gnu-gcc-99", "sudo apt-get install gcc-99-aarch64-linux-gnu"),
    ],
)
def test_a_missing_compiler_names_the_packages_that_hold_it(
    name: str, missing: str, mend: str
) -> None:
    with pytest.raises(MissingTool) as caught:
        find_toolchain(name)
    assert caught.value.tool == missing
    assert caught.value.hint == mend


def test_no_toolchain_but_gcc_and_clang_has_a_name() -> None:
    with pytest.raises(UserError, match="no toolchain is called 'tcc'"):
        find_toolchain("tcc")


def test_a_process_that_takes_too_long_is_killed_with_its_children(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    with pytest.raises(InfraError, match="was not done after"):
        proc.run(("sh", "-c", f"sleep 300 & echo $! > {note}; wait"), timeout_s=0.5)
    child = int(note.read_text())
    assert _dies(child)


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def _dies(pid: int) -> bool:
    """Whether a process that was killed is gone within five seconds."""
    for _ in range(100):
        if not _alive(pid):
            return True
        time.sleep(0.05)
    return False


def _dies_with_its_harness(code: str) -> bool:
    """Kill a Python process that prints the id of a child; whether the child goes with it."""
    harness = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert harness.stdout is not None
    child = int(harness.stdout.readline())
    assert _alive(child)
    os.kill(harness.pid, signal.SIGKILL)
    harness.wait()
    return _dies(child)


def test_children_die_when_the_harness_is_killed(tmp_path: Path) -> None:
    # told to die by setpriv, which is another program for its first millisecond
    code = """
import pathlib, time
from kvet import proc
c = proc.start(("sleep", "300"))
while pathlib.Path(f"/proc/{c.pid}/comm").read_text() != "sleep\\n":
    time.sleep(0.001)
print(c.pid, flush=True)
c.wait()
"""
    assert _dies_with_its_harness(code)


@pytest.mark.parametrize("brief", [True, False])
def test_a_program_is_looked_for_where_it_is_to_run(tmp_path: Path, brief: bool) -> None:
    (tmp_path / "here").write_text("#!/bin/sh\nps -o comm= -p $$; pwd\n")
    with pytest.raises(InfraError, match="cannot start ./here: Permission denied"):
        proc.run(("./here",), cwd=tmp_path, brief=brief)
    (tmp_path / "here").chmod(0o755)
    done = proc.run(("./here",), cwd=tmp_path, brief=brief)
    assert done.stdout.split() == [b"here", os.fsencode(tmp_path)]
    with pytest.raises(MissingTool, match="./gone"):
        proc.run(("./gone",), cwd=tmp_path, brief=brief)


def test_a_missing_setpriv_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "here").write_text("#!/bin/sh\n")
    (tmp_path / "here").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingTool) as caught:
        proc.start(("here",))
    assert caught.value.tool == "setpriv"
    assert proc.run(("here",), brief=True).returncode == 0


def test_qemu_dies_when_the_harness_is_killed(tmp_path: Path) -> None:
    (tmp_path / "Image").write_text("hang 6.12-kvet\n")
    fake = Path(__file__).parent / "data" / "fake-qemu"
    code = (
        "from pathlib import Path; from kvet.guest.qemu import spawn;"
        f" c = spawn(({str(fake)!r}, '-kernel', 'Image'), Path({str(tmp_path)!r}));"
        " print(c.pid, flush=True); c.wait()"
    )
    assert _dies_with_its_harness(code)


def test_an_interrupt_ends_what_other_libraries_started(tmp_path: Path) -> None:
    child = subprocess.Popen(["sleep", "300"], process_group=0)
    proc.adopt(child.pid)
    proc.kill_all()
    assert child.wait(timeout=10) == -signal.SIGKILL
    proc.disown(child.pid)
    assert proc.all_killed()
    proc.begin_anew()


def test_what_is_started_after_the_last_word_still_hears_a_signal() -> None:
    """A command that ended in this process leaves no ignored signal to its children."""
    before = {number: signal.getsignal(number) for number in interrupt.SIGNALS}
    try:
        interrupt.install()
        interrupt.finish()
        done = proc.run(("/bin/sh", "-c", "kill -TERM $$; exit 0"), env=ENV)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert done.returncode == -signal.SIGTERM


def test_output_is_teed_to_log_and_listener(tmp_path: Path) -> None:
    seen: list[str] = []
    log = tmp_path / "log"
    proc.run(("sh", "-c", "echo one; echo two >&2"), log=log, on_line=seen.append)
    assert sorted(seen) == ["one", "two"]
    assert sorted(log.read_text().split()) == ["one", "two"]


def test_the_sandbox_has_no_network_no_home_and_no_host_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("key")
    monkeypatch.setenv("SECRET_TOKEN", "token")
    shared = tmp_path / "shared"
    shared.mkdir()
    mounts = (Mount(shared, "/kvet/src"), Mount(shared, "/kvet/out", writable=True))
    script = (
        f"cat {secret}; env; ls /home /root; cat /proc/net/dev | wc -l;"
        " touch /kvet/src/x; touch /kvet/out/y; touch /usr/z"
    )
    done = proc.run(
        confine(("sh", "-c", script), mounts=mounts, chdir="/kvet/out", env=ENV), env=OUTSIDE
    )
    text = (done.stdout + done.stderr).decode()
    assert f"{secret}: No such file" in text
    assert "token" not in text
    assert "'/home': No such file" in text
    assert "cannot touch '/kvet/src/x'" in text
    assert "cannot touch '/usr/z'" in text
    assert [p.name for p in shared.iterdir()] == ["y"]
    # two header lines and the loopback device
    assert "\n3\n" in text


def test_a_lock_keeps_others_out(tmp_path: Path) -> None:
    order: list[str] = []

    def second() -> None:
        with locked(tmp_path / "l"):
            order.append("second")

    with locked(tmp_path / "l"):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.1)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_too_little_room_names_folder_and_mend(tmp_path: Path) -> None:
    with pytest.raises(InfraError) as caught:
        need_free(tmp_path, 1 << 40)
    assert str(tmp_path) in caught.value.message
    assert "harness.py gc" in caught.value.hint


def test_apt_is_asked_once_between_two_updates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, ...]] = []

    def answer(self: apt.PrivateApt, *args: str, **options: object) -> str:
        asked.append(args)
        return "linux-source:\n  Candidate: 6.12-1\n"

    monkeypatch.setattr(apt.PrivateApt, "_run", answer)
    monkeypatch.setattr(apt, "own_archives", lambda suite: [])
    private = apt.PrivateApt(tmp_path, arch="arm64")
    private.refresh()
    assert private.version("linux-source") == private.version("linux-source") == "6.12-1"
    private.refresh()
    assert private.version("linux-source") == "6.12-1"
    assert [args[0] for args in asked] == ["apt-get", "apt-cache"]
    private.refresh(max_age_s=0)
    assert private.version("linux-source") == "6.12-1"
    assert [args[0] for args in asked] == ["apt-get", "apt-cache"] * 2


def test_a_write_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "results.json"
    write_json(path, {"a": (1, 2), "p": Path("/x")})

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InfraError, match="No space left"):
        write_text(path, "half")
    assert read_json(path) == {"a": [1, 2], "p": "/x"}
    assert plain({"a": (1, 2), "p": Path("/x")}) == {"a": (1, 2), "p": "/x"}


def test_archives_are_read_from_both_formats(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text(
        "# deb x y z\ndeb [arch=amd64 signed-by=/k.gpg] mirror:/a stable main contrib # why\n"
    )
    (tmp_path / "sources.list.d" / "b.sources").write_text(
        "Types: deb deb-src\nURIs: mirror:/b\nSuites: stable stable-updates\n"
        "Components: main\nSigned-By: /c.gpg\n\nEnabled: no\nTypes: deb\nURIs: x\nSuites: y\n"
    )
    found = apt.archives(tmp_path)
    assert [(a.uri, a.suite, a.components, a.signed_by) for a in found] == [
        ("mirror:/a", "stable", "main contrib", "/k.gpg"),
        ("mirror:/b", "stable", "main", "/c.gpg"),
        ("mirror:/b", "stable-updates", "main", "/c.gpg"),
    ]
    assert found[1].line("arm64") == "deb [arch=arm64 signed-by=/c.gpg] mirror:/b stable main"


def test_every_listed_package_has_a_reason() -> None:
    listed = doctor.listed_packages()
    assert {"gcc-aarch64-linux-gnu", "bubblewrap", "ccache"} <= {name for name, _, _ in listed}
    assert all(reason for _, _, reason in listed)


def test_doctor_finds_an_old_qemu_and_says_what_it_cannot_judge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "qemu-system-aarch64"
    old.write_text("#!/bin/sh\necho QEMU emulator version 7.2.15\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    find_qemu.cache_clear()
    checks = {c.name: c for c in doctor.run_checks()}
    find_qemu.cache_clear()
    assert not checks[doctor.QEMU].ok
    assert "7.2.15" in checks[doctor.QEMU].text
    assert "stale code" in checks[doctor.QEMU].text
    assert "bootstrap packages" in checks[doctor.QEMU].mend


def test_a_package_version_is_compared_by_its_upstream_part() -> None:
    assert doctor._number("1:10.0.2+ds-2~bpo12+1") > doctor._number("1:7.2+dfsg-7")
    assert doctor._number("") == (0,)
