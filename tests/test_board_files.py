# SPDX-License-Identifier: GPL-2.0-only
"""The machine file of a board, and its console taken apart."""

from __future__ import annotations

import zlib
from dataclasses import replace
from pathlib import Path

import pytest

from kvet.boards import LOAD, START, filled
from kvet.boot_host import BootHost
from kvet.cli.lint import lint
from kvet.guest.console import Console
from kvet.guest.shared_console import SharedConsole
from kvet.model import Attempt, Provenance
from kvet.paths import PROJECT
from kvet.plan.library import load_machine
from kvet.report.not_covered import not_covered
from kvet.results.booted import booted_on, is_hardware
from tests.reports import sample_record, typed

GOOD = """\
kind: ssh
vcpus: 4
boot_args: ["console=ttyS0,115200"]
address: board.lab
console: [conserver, -M, lab, board]
"""


def machine_file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "machines/mine.yaml"
    path.parent.mkdir()
    path.write_text(text, encoding="utf-8")
    return path


def test_what_is_left_out_is_kexec_over_ssh_with_known_hosts_and_the_agent(tmp_path: Path) -> None:
    machine = load_machine(machine_file(tmp_path, GOOD))
    board = machine.board
    assert board is not None
    assert (machine.vcpus, machine.accel, machine.cores) == (4, "board", 1)
    assert (board.load, board.start, board.key, board.host_key) == (LOAD, START, "", "")
    assert (board.user, board.port, board.known_hosts) == ("root", 22, "~/.ssh/known_hosts")


def test_the_shipped_example_is_sound() -> None:
    assert lint(PROJECT / "configs/machines/board.yaml") == ("board", [])


@pytest.mark.parametrize(
    ("more", "place", "said"),
    [
        ("boot: [b, '{image}', '{initrd}', '{cmdline}']\n", (4, 1), "has no use beside boot"),
        ("load: [kexec, '{imgae}']\n", (6, 15), "{imgae} is none of"),
        ("load: [kexec, -l, '{image}', '{initrd}']\n", (6, 1), "never names {cmdline}"),
        ("host_key: ssh-ed25519 AAAA\n", (6, 1), "is no public key"),
        ("adress: other\n", (6, 1), "unknown key; did you mean address?"),
        ("port: 0\n", (6, 1), "0 is less than the minimum"),
        ("reset: reboot.sh\n", (6, 1), "is not of type 'array'"),
    ],
)
def test_a_fault_is_told_with_line_and_column(
    tmp_path: Path, more: str, place: tuple[int, int], said: str
) -> None:
    kind, found = lint(machine_file(tmp_path, GOOD + more))
    assert kind == "board"
    assert (found[0].line, found[0].column) == place
    assert said in found[0].message


def test_a_kernel_without_a_console_is_refused(tmp_path: Path) -> None:
    text = GOOD.replace("console=ttyS0,115200", "earlycon")
    (fault,) = lint(machine_file(tmp_path, text))[1]
    assert (fault.line, fault.key) == (3, "boot_args")


def test_a_word_in_braces_is_all_that_is_replaced() -> None:
    words = {"image": "/a b/Image", "initrd": "/i", "cmdline": "x={y} $(z)"}
    argv = filled(("boot", "--k={image}", "{initrd}", "{cmdline}", "{other}"), words)
    assert argv == ("boot", "--k=/a b/Image", "/i", "x={y} $(z)", "{other}")


def marked(number: int, text: str, *, more: bool = False) -> bytes:
    """A line of the report as the guest puts it on the console."""
    body = f"{number}{'+' if more else ''} {text}"
    return f"[    1.0] kvet-report {zlib.crc32(body.encode()):08x} {body}\r\n".encode()


def taken(tmp_path: Path, *data: bytes) -> SharedConsole:
    """What `data`, after a banner, is taken apart into."""
    console = Console(tmp_path, 0.0)
    line = SharedConsole(tmp_path, console, "6.12-ours")
    line.feed(b"U-Boot\r\nLinux version 6.1-own (x)\r\nBUG: of its own\r\n")
    line.feed(b"[    0.0] Linux version 6.12-ours (x)\r\n")
    for part in data:
        line.feed(part)
    line.close()
    console.close()
    return line


def report_of(tmp_path: Path) -> list[str]:
    return (tmp_path / "report.ktap").read_text().splitlines()


def test_the_report_is_put_together_of_its_pieces(tmp_path: Path) -> None:
    line = taken(
        tmp_path,
        marked(0, "KTAP version 1"),
        marked(1, "# kvet finding a ", more=True) + b"[    1.1] a line of the kernel\r\n",
        marked(2, "b c")[:20],
        marked(2, "b c")[20:],
    )
    assert report_of(tmp_path) == ["KTAP version 1", "# kvet finding a b c"]
    assert line.lost == 0
    log = (tmp_path / "console.log").read_text()
    assert log == "[    0.0] Linux version 6.12-ours (x)\n[    1.1] a line of the kernel\n"
    assert "of its own" in (tmp_path / "before.log").read_text()


@pytest.mark.parametrize(
    "lines",
    [
        (marked(0, "a"), marked(1, "BUG: b").replace(b"BUG", b"BVG"), marked(2, "c")),
        (marked(0, "a"), marked(2, "c")),
        (marked(0, "a"), marked(1, "b", more=True), marked(3, "c")),
        (marked(0, "a"), marked(1, "b")[:25] + b"\r\n", marked(2, "c")),
    ],
)
def test_damaged_and_lost_lines_are_counted_and_kept_out(
    tmp_path: Path, lines: tuple[bytes, ...]
) -> None:
    line = taken(tmp_path, *lines)
    assert report_of(tmp_path) == ["a", "c"]
    assert line.lost == 1
    assert "BVG" not in (tmp_path / "console.log").read_text()


def test_what_follows_the_kernel_is_the_boards_own(tmp_path: Path) -> None:
    line = taken(tmp_path, b"[ 1.0] reboot: Restarting system\r\nBUG: its own\r\n")
    assert line.over and line.ended
    assert "its own" not in (tmp_path / "console.log").read_text()


def test_a_second_banner_is_another_kernel(tmp_path: Path) -> None:
    line = taken(tmp_path, b"Kernel panic - not syncing: x\r\nLinux version 6.1-own (x)\r\n")
    assert line.replaced and not line.over
    assert line.console.banners == 1


@pytest.mark.parametrize(
    ("accel", "model", "words", "hardware"),
    [
        ("tcg", "", "QEMU 10.0.2, tcg", False),
        ("kvm", "", "QEMU 10.0.2, kvm", True),
        ("board", "Pi 4", "real hardware or a remote machine (virt: Pi 4)", True),
        ("board", "linux,dummy-virt", "remote machine (virt: linux,dummy-virt)", False),
        ("board", "", "remote machine (which does not say what)", False),
        ("board, tcg", "Pi 4", "QEMU 10.0.2, tcg and real hardware or a remote machine", True),
    ],
)
def test_reports_say_what_it_booted_on(accel: str, model: str, words: str, hardware: bool) -> None:
    attempt = Attempt(
        n=1,
        provenance=Provenance(host=BootHost(accel="board" if "board" in accel else accel)),
        state={"board": model} if model else {},
    )
    record = typed(sample_record())
    record = replace(
        record,
        host=replace(record.host, accel=accel, qemu="10.0.2"),
        cells=(replace(record.cells[0], machine="virt", attempts=(attempt,)),),
    )
    assert words in booted_on(record)
    assert is_hardware(record) is hardware
    assert any(gap.startswith("real hardware: ") for gap in not_covered(record)) is not hardware
    logged = any("nothing logs which code ran on virt" in gap for gap in not_covered(record))
    assert logged is ("board" in accel)
