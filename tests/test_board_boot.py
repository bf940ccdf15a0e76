# SPDX-License-Identifier: GPL-2.0-only
"""One boot on a board: what is the kernel's doing, and what is the board's."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import paramiko
import pytest

from kvet import proc
from kvet.cli.doctor import Check
from kvet.cli.doctor_board import check_board, named_board
from kvet.detectors import scan_file
from kvet.errors import InfraError, UserError
from kvet.guest.board import run_board
from kvet.guest.boot import Boot, BootRequest, Limits
from kvet.guest.report_port import parse_report
from kvet.model import Attempt, Ending, Floor, Status
from kvet.plan.library import load_machine
from kvet.run.verdict import Evidence, judge_attempt
from tests.boards import FakeBoard

RELEASE = "6.12.99-kvet-abc"


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeBoard]:
    monkeypatch.setattr("kvet.guest.board.CONNECT_S", 0.0)
    with FakeBoard(tmp_path / "board").up() as made:
        yield made


def request(board: FakeBoard, scenario: str, **more: Any) -> BootRequest:
    """A boot of a kernel that plays `scenario`; `silence_s` and `boot_s` go to the limits."""
    folder = board.home.parent / "attempt-1"
    folder.mkdir()
    limits = Limits(boot_s=more.pop("boot_s", 20), run_s=20, silence_s=more.pop("silence_s", 20))
    machine = board.home.parent / "tiny.yaml"
    machine.write_text(board.machine(**more), encoding="utf-8")
    image = board.home.parent / "Image"
    image.write_text(f"{scenario} {RELEASE}")
    layer = board.home.parent / "layer.cpio"
    layer.write_bytes(b"layer")
    return BootRequest(image, (layer,), load_machine(machine), folder, limits, 7, RELEASE)


def judged(boot: Boot) -> Attempt:
    """The attempt that `boot` makes."""
    report, found = parse_report(boot.report), scan_file(boot.console)
    return judge_attempt(Attempt(n=1), Evidence(boot, report, found, RELEASE, Floor()))


@pytest.mark.parametrize("sftp", [False, True])
def test_a_kernel_is_put_there_and_started(board: FakeBoard, sftp: bool) -> None:
    board.sftp = sftp
    boot = run_board(request(board, "works"))
    attempt = judged(boot)
    assert (attempt.status, attempt.ending, attempt.findings) == (
        Status.PASS,
        Ending.POWEROFF,
        (),
    )
    assert attempt.state["board"] == "Fake Board Rev 1"
    assert boot.host.accel == "board"
    assert (board.home / "put/initrd.img").read_bytes() == b"layer\0\0\0"
    assert any(c.startswith("cat > ") for c in board.commands) is not sftp
    log = boot.console.read_text()
    assert log.startswith(f"[    0.000000] Linux version {RELEASE}")
    assert log.endswith("reboot: Restarting system\n")
    assert "kvet-report" not in log
    assert "long ago" in (boot.console.parent / "before.log").read_text()
    assert not (board.home / "reset").exists()


def test_what_is_there_is_not_sent_again(board: FakeBoard) -> None:
    (board.home / "put").mkdir()
    (board.home / "put/initrd.img").write_bytes(b"layer\0\0\0")
    run_board(request(board, "works"))
    assert [c for c in board.commands if c.startswith("cat > ")] == [
        f"cat > {board.home}/put/Image"
    ]


@pytest.mark.parametrize("breaks", [2, 3])
def test_a_connection_that_breaks_is_made_again_a_few_times(board: FakeBoard, breaks: int) -> None:
    board.breaks = breaks
    asked = request(board, "works")
    if breaks < 3:
        assert run_board(asked).ending is Ending.POWEROFF
        return
    with pytest.raises(InfraError, match=r"cat > .*/put/Image: "):
        run_board(asked)


def test_an_unknown_host_is_refused_before_a_login(board: FakeBoard, tmp_path: Path) -> None:
    asked = request(board, "works", host_key=None, known_hosts=str(tmp_path / "none"))
    with pytest.raises(InfraError, match=r"the host key of \[127.0.0.1\]:\d+ .* is not known") as e:
        run_board(asked)
    assert f"ssh-keyscan -p {board.port} 127.0.0.1" in e.value.hint
    assert (board.logins, board.commands) == (0, [])


def test_a_host_of_known_hosts_is_let_in(board: FakeBoard, tmp_path: Path) -> None:
    known = tmp_path / "known"
    known.write_text(f"[127.0.0.1]:{board.port} {board.known}\n")
    boot = run_board(request(board, "works", host_key=None, known_hosts=str(known)))
    assert boot.ending is Ending.POWEROFF


def test_a_key_that_is_not_let_in(board: FakeBoard, tmp_path: Path) -> None:
    paramiko.ECDSAKey.generate().write_private_key_file(str(tmp_path / "other"))
    with pytest.raises(InfraError, match="does not let the key in"):
        run_board(request(board, "works", key=str(tmp_path / "other")))
    with pytest.raises(InfraError, match="the key /none cannot be read"):
        (board.home.parent / "attempt-1").rmdir()
        run_board(request(board, "works", key="/none"))
    assert board.commands == []


@pytest.mark.parametrize("reset", [True, False])
def test_a_board_that_does_not_come_back(tmp_path: Path, reset: bool) -> None:
    board = FakeBoard(tmp_path / "board")
    with board.up():
        pass  # it had a port once; nobody listens there any more
    more = {} if reset else {"reset": None}
    said = "back after a reset" if reset else "the board did not come back"
    with pytest.raises(InfraError, match=f"ssh does not answer within 1 s: .*{said}"):
        run_board(request(board, "works", up_s=1, **more))
    assert (board.home / "reset").exists() is reset


@pytest.mark.parametrize(
    ("scenario", "file", "said"),
    [
        ("dies", "", "exit code 1 before the kernel did: connection closed by the terminal"),
        ("works", "no-line", "exit code 1 before the kernel did: connection refused"),
        ("works", "no-load", "exit code 255: kexec: Operation not permitted"),
        ("works", "no-start", "kexec -e: exit code 1: Nothing has been loaded!"),
    ],
)
def test_commands_that_fail_are_errors_of_the_board(
    board: FakeBoard, scenario: str, file: str, said: str
) -> None:
    if file:
        (board.home / file).touch()
    with pytest.raises(InfraError, match=said):
        run_board(request(board, scenario))


def test_a_console_command_that_is_not_there(board: FakeBoard) -> None:
    with pytest.raises(InfraError, match="console: there is no command no-such-telnet"):
        run_board(request(board, "works", console=["no-such-telnet", "lab"]))


@pytest.mark.parametrize(
    ("scenario", "said"),
    [
        ("garbled", "the report was garbled on the console: 1 of its lines were damaged or lost"),
        ("resets", "the board reset by itself in stage done: 6.1.0-own"),
    ],
)
def test_a_boot_that_says_too_little_is_an_error(
    board: FakeBoard, scenario: str, said: str
) -> None:
    attempt = judged(run_board(request(board, scenario)))
    assert (attempt.status, attempt.ending) == (Status.ERROR, Ending.LOST)
    assert attempt.detail.startswith(said)


def test_a_damaged_report_does_not_excuse_a_panic(board: FakeBoard) -> None:
    attempt = judged(run_board(request(board, "garbled-panic")))
    assert (attempt.status, attempt.ending) == (Status.FAIL, Ending.PANIC)


def test_a_kernel_that_never_speaks(board: FakeBoard) -> None:
    attempt = judged(run_board(request(board, "nothing", boot_s=1)))
    assert (attempt.status, attempt.ending) == (Status.ERROR, Ending.NEVER_BOOTED)
    assert "no kernel banner within 1 s; its console showed" in attempt.detail
    assert (board.home / "reset").exists()


def test_a_silent_kernel_hangs_if_a_reset_shows_that_the_line_works(board: FakeBoard) -> None:
    attempt = judged(run_board(request(board, "hang", silence_s=1)))
    assert (attempt.status, attempt.ending) == (Status.FAIL, Ending.HANG)


def test_without_a_reset_silence_blames_nobody(board: FakeBoard) -> None:
    attempt = judged(run_board(request(board, "hang", silence_s=1, reset=None)))
    assert (attempt.status, attempt.ending) == (Status.ERROR, Ending.LOST)
    assert attempt.detail.endswith("without a `reset` command it may be the line")


def test_a_line_that_stays_silent_after_a_reset_is_dead(board: FakeBoard) -> None:
    with pytest.raises(InfraError, match="nor after a reset: the console's line is dead"):
        run_board(request(board, "dead", silence_s=1, up_s=1))


def netboot(board: FakeBoard, script: str) -> dict[str, Any]:
    """Keys of a board that a command of the host starts."""
    path = board.home / "netboot"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    over_ssh = ("address", "port", "key", "host_key", "directory")
    boot = [str(path), "{image}", "{initrd}", "{cmdline}"]
    return {"boot": boot, **dict.fromkeys(over_ssh)}


def test_a_command_of_the_host_may_start_the_kernel(board: FakeBoard) -> None:
    home = board.home
    script = f'cp "$1" {home}/loaded; echo "$3" > {home}/cmdline; touch {home}/started'
    boot = run_board(request(board, "works", **netboot(board, script)))
    assert boot.ending is Ending.POWEROFF
    assert (board.logins, board.commands) == (0, [])
    words = (home / "cmdline").read_text().split()
    assert {"console=ttyS0", "kvet.report=console", "kvet.end=reboot", "panic=-1"} <= {*words}


def test_a_command_that_does_not_start_the_kernel(board: FakeBoard) -> None:
    script = "echo 'tftp: no such board' >&2; exit 3"
    with pytest.raises(InfraError, match="boot: .* exit code 3: tftp: no such board"):
        run_board(request(board, "works", **netboot(board, script)))


def checks(board: FakeBoard, **more: Any) -> dict[str, Check]:
    machine = board.home.parent / "tiny.yaml"
    machine.write_text(board.machine(**more), encoding="utf-8")
    made = load_machine(machine).board
    assert made is not None
    return {check.name: check for check in check_board(made)}


def test_the_doctor_looks_at_a_board_and_boots_nothing(board: FakeBoard) -> None:
    found = checks(board, load=["kexec-of-mine", "-l", "{image}", "{initrd}", "{cmdline}"])
    assert "Linux" in found["ssh"].text
    assert found["ssh"].ok and found["start"].ok and found["console"].ok and found["reset"].ok
    assert not found["load"].ok
    assert found["load"].text == "the board has no kexec-of-mine"
    assert not any(c.startswith("kexec") for c in board.commands)


def test_the_doctor_says_why_a_board_cannot_be_reached(board: FakeBoard) -> None:
    other = paramiko.ECDSAKey.generate()
    key = f"{other.get_name()} {other.get_base64()}"
    found = checks(board, host_key=key, console=["no-such-telnet"], reset=None)
    assert not found["ssh"].ok
    assert "shows another host key" in found["ssh"].text
    assert found["console"].text == "there is no command no-such-telnet on this host"
    assert found["reset"].optional
    assert board.commands == []


def test_a_guest_is_no_board() -> None:
    with pytest.raises(UserError, match="machine virt is a guest of QEMU"):
        named_board("virt")
    assert named_board("board").port == 2222


def test_an_interrupt_leaves_no_console_command_and_brings_the_board_back(
    board: FakeBoard,
) -> None:
    asked = request(board, "hang")
    with ThreadPoolExecutor(1) as pool:
        boot = pool.submit(run_board, asked)
        while "kexec -e" not in board.commands and not boot.done():
            time.sleep(0.02)
        try:
            proc.kill_all()
            with pytest.raises(InfraError, match="interrupted"):
                boot.result(timeout=60)
        finally:
            proc.begin_anew()
    assert (board.home / "reset").exists()
    told = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    commands = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in told]
    assert not any(str(board.home).encode() in command for command in commands)
