# SPDX-License-Identifier: GPL-2.0-only
"""What a boot is made of and read by: argv, initramfs, console, report port."""

from __future__ import annotations

import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pexpect
import pytest

from kvet import proc
from kvet.errors import UserError
from kvet.guest import initramfs
from kvet.guest.boot import BootRequest, Limits
from kvet.guest.console import LINE_BYTES, Console
from kvet.guest.cpio import Archive
from kvet.guest.machine import qemu_argv
from kvet.guest.report_port import parse_lines, stages
from kvet.model import Build, Machine
from kvet.paths import PROJECT
from kvet.plan.library import load_machine

GOLDEN = Path(__file__).parent / "data" / "argv"
MACHINES = [p for p in sorted((PROJECT / "configs/machines").glob("*.yaml")) if p.stem != "board"]


def request(machine: Machine) -> BootRequest:
    return BootRequest(
        image=Path("/cache/Image"),
        initrd=(Path("/cache/base.cpio"),),
        machine=machine,
        folder=Path("/run"),
        limits=Limits(boot_s=1, run_s=1, silence_s=1),
        seed=7,
        args=("kvet.mode=run",),
    )


@pytest.mark.parametrize("path", MACHINES, ids=lambda p: p.stem)
def test_argv_of_every_machine_is_the_reviewed_one(path: Path) -> None:
    argv = qemu_argv(request(load_machine(path)), accel="tcg")
    golden = GOLDEN / f"{path.stem}.txt"
    assert "\n".join(argv) + "\n" == golden.read_text(encoding="utf-8"), f"update {golden}"


def test_no_kernel_argument_lowers_the_console_level() -> None:
    for path in MACHINES:
        words = " ".join(qemu_argv(request(load_machine(path)), accel="tcg"))
        assert "quiet" not in words
        assert "loglevel=7" in words
        assert "oops=panic panic=-1" in words
        assert "-no-reboot" in words


def test_runs_that_boot_a_new_build_at_once_pack_its_modules_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = Build(key="k", folder=tmp_path, release="6.12.0", seconds=1.0, cached=False)
    build.modules.mkdir()
    (build.modules / "kvet.ko").write_bytes(b"elf")
    packed = []

    def slowly(archive: Archive) -> bytes:
        packed.append(archive)
        time.sleep(0.05)
        return b"cpio"

    monkeypatch.setattr(Archive, "close", slowly)
    with ThreadPoolExecutor(4) as runs:
        paths = list(runs.map(initramfs.modules_layer, [build] * 4))
    assert {path.read_bytes() for path in paths} == {b"cpio"}
    assert len(packed) == 1


def test_a_guest_gets_its_modules_without_debug_information(tmp_path: Path) -> None:
    build = Build(key="k", folder=tmp_path, release="6.12.0", seconds=1.0, cached=False)
    build.modules.mkdir()
    (tmp_path / "one.c").write_text("int one(int n) { return n + 1; }\n", encoding="ascii")
    argv = ("aarch64-linux-gnu-gcc", "-g", "-c", "-o", build.modules / "one.ko", tmp_path / "one.c")
    subprocess.run(argv, check=True)
    (build.modules / "other.ko").write_bytes(b"no ELF file")
    packed = initramfs.modules_layer(build).read_bytes()
    assert b".symtab" in packed
    assert b".debug_info" not in packed
    assert b"no ELF file" in packed
    assert b".debug_info" in (build.modules / "one.ko").read_bytes()


def test_the_network_is_loopback_or_none() -> None:
    machine = Machine(name="m", vcpus=1, mem_mib=64)
    assert "none" in qemu_argv(request(machine), accel="tcg")
    words = " ".join(qemu_argv(request(machine), accel="tcg", port=2222))
    assert "restrict=on,hostfwd=tcp:127.0.0.1:2222-:22" in words


@pytest.mark.parametrize(("change", "accel"), [({"thread": "multi"}, "tcg"), ({}, "kvm")])
def test_instructions_are_counted_on_one_translating_thread_alone(
    change: dict[str, Any], accel: str
) -> None:
    machine = Machine(name="m", vcpus=1, mem_mib=64, thread="single", icount=True)
    assert "-icount" in qemu_argv(request(machine), accel="tcg")
    with pytest.raises(UserError, match="icount needs"):
        qemu_argv(request(replace(machine, **change)), accel=accel)


def test_gdb_starts_stopped_on_a_socket_of_the_attempt() -> None:
    machine = Machine(name="m", vcpus=1, mem_mib=64)
    argv = qemu_argv(replace(request(machine), gdb=True), accel="tcg")
    assert "-S" in argv
    assert "unix:gdb.sock,server=on,wait=off" in argv


def test_cpio_is_what_cpio_unpacks(tmp_path: Path) -> None:
    archive = Archive()
    archive.file("/bin/tool", b"#!/bin/sh\n", mode=0o755)
    archive.link("/bin/other", "tool")
    archive.file("/etc/deep/er/name", b"x" * 5)
    data = archive.close()
    assert data[:6] == b"070701"
    names = []
    position = 0
    while True:
        size = int(data[position + 54 : position + 62], 16)
        length = int(data[position + 94 : position + 102], 16)
        name = data[position + 110 : position + 109 + length].decode()
        if name == "TRAILER!!!":
            break
        names.append(name)
        position += (110 + length + 3) // 4 * 4 + (size + 3) // 4 * 4
    assert names == ["bin", "bin/tool", "bin/other", "etc", "etc/deep", "etc/deep/er", names[-1]]
    assert names[-1] == "etc/deep/er/name"


def console(folder: Path) -> Console:
    return Console(folder, time.monotonic())


def test_console_keeps_every_byte_and_sees_landmarks(tmp_path: Path) -> None:
    one = console(tmp_path)
    one.feed(b"[0.0] Linux version 6.12-kvet-k (x)\r\n\xff\x00 half a")
    one.feed(b" line\n[1.0] Kernel panic - not syncing: Oops\nreboot: Power")
    one.feed(b" down")
    one.close()
    assert one.banner == "Linux version 6.12-kvet-k (x)"
    assert one.panic == "Oops"
    assert one.powered_down
    assert (tmp_path / "console.log").read_bytes().count(b"\n") == 3
    assert len((tmp_path / "console.times").read_text().splitlines()) == 3


def test_the_last_words_of_a_hasty_guest_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = console(tmp_path)
    child: pexpect.spawn[bytes] = pexpect.spawn("echo", ["[5.0] reboot: Power down"])

    def too_late(size: int, timeout: float) -> bytes:
        """As pexpect does when a child prints and ends right after the wait for its words."""
        child.wait()
        raise pexpect.EOF("ended")

    monkeypatch.setattr(child, "read_nonblocking", too_late)
    while one.read(child, 0.1):
        pass
    child.close()
    one.close()
    assert one.powered_down


def test_an_endless_line_does_not_grow_memory(tmp_path: Path) -> None:
    one = console(tmp_path)
    for _ in range(100):
        one.feed(b"x" * LINE_BYTES)
    assert len(one._partial) == LINE_BYTES
    one.close()
    assert (tmp_path / "console.log").stat().st_size == 100 * LINE_BYTES


def test_report_reads_results_exposure_and_findings_with_both_stacks() -> None:
    report = parse_lines(
        [
            "KTAP version 1",
            "# kvet exposure overlaps 3",
            "# kvet exposure overlaps 9",
            "# kvet metric longest_read 0.25 s",
            "# kvet finding table-freed-under-walk pmd_free_pte_page a title of words",
            "# kvet stack free pmd_free_pte_page+0x0/0xac",
            "# kvet stack walk walk_short+0xb0/0x134 [kvet_race]",
            "ok 1 churn",
            "not ok 2 dump-reads # no reads",
            "ok 3 other # SKIP not here",
            "# kvet end",
        ]
    )
    assert report.complete
    assert report.exposure == {"overlaps": 9}
    assert report.metrics["longest_read"].value == 0.25
    assert report.tests == {"churn": True, "dump-reads": False, "other": None}
    (finding,) = report.findings
    assert [(f.func, f.side, f.module) for f in finding.frames] == [
        ("pmd_free_pte_page", "free", ""),
        ("walk_short", "walk", "kvet_race"),
    ]


@pytest.mark.parametrize(
    "line",
    ["# kvet exposure overlaps", "# kvet metric a b c", "# kvet", "ok", "# kvet stack free x+0x1"],
)
def test_a_line_cut_short_says_nothing(line: str) -> None:
    report = parse_lines([line])
    assert (report.complete, report.exposure, report.metrics, report.findings) == (
        False,
        {},
        {},
        (),
    )


def test_stages_come_with_their_uptime() -> None:
    assert stages("# kvet stage init 0..\n# kvet stage start 1e9\n# kvet stage done .\n") == {}
    assert stages("# kvet stage init 0.51\nx\n# kvet stage start 0.7\n# kvet stage done 4") == {
        "init": 0.51,
        "start": 0.7,
        "done": 4.0,
    }


def test_guest_programs_refuse_to_run_outside_a_guest(tmp_path: Path) -> None:
    sources = sorted((PROJECT / "rootfs/src").glob("*.c"))
    program = tmp_path / "init"
    built = proc.run(("gcc", "-o", str(program), *map(str, sources)))
    assert built.returncode == 0, built.stderr.decode()
    done = proc.run((str(program),), timeout_s=10)
    assert done.returncode == 4
    assert b"for kvet guests only" in done.stderr
