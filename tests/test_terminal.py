# SPDX-License-Identifier: GPL-2.0-only
"""What a person sees: the shell gives the terminal back, progress is plain lines in a pipe."""

from __future__ import annotations

import os
import pty
import sys
import termios
from pathlib import Path

import pexpect
import pytest

from kvet.errors import UserError
from kvet.events import Ended, Event, Events
from kvet.model import Ending, Status
from kvet.terminal import PlainUi, RichUi, make_ui
from tests.fakes import DATA
from tests.more import go

SHELL = """
import sys
from pathlib import Path
from kvet.guest.boot_shell import boot_shell
from kvet.guest.boot import BootRequest, Limits
from kvet.model import (Build, Machine)
machine = Machine(name="m", vcpus=1, mem_mib=64, accel="tcg", qemu=sys.argv[1])
folder = Path(sys.argv[2])
image = folder / "Image"
image.write_text("hang\\n6.12-kvet\\n")
limits = Limits(boot_s=1, run_s=1, silence_s=1)
request = BootRequest(image=image, initrd=(), machine=machine, folder=folder, limits=limits, seed=1)
sys.exit(boot_shell(request, build=Build("k", folder, "r", 0, False), say=print))
"""


def test_the_shell_ends_by_its_escape_and_restores_the_terminal(tmp_path: Path) -> None:
    child = pexpect.spawn(
        sys.executable, ["-c", SHELL, str(DATA / "fake-qemu"), str(tmp_path)], timeout=20
    )
    before = termios.tcgetattr(child.child_fd)
    child.expect("Ctrl-X ends the guest")
    child.expect("Linux version 6.12-kvet")
    child.send("\x18")
    child.expect(pexpect.EOF)
    after = termios.tcgetattr(child.child_fd)
    child.close()
    assert child.exitstatus == 0
    assert after[:4] == before[:4]


@pytest.mark.parametrize("option", ["--boot-shell", "--gdb"])
def test_a_shell_needs_a_terminal_before_it_is_built(option: str) -> None:
    for words in (("run", "--variant", "nolock"), ("reproduce", "r/a+b/1")):
        with pytest.raises(UserError, match=f"{option} needs a terminal"):
            go(*words, option)


def test_progress_is_lines_where_nothing_can_be_redrawn(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ui = make_ui(quiet=False, plain=False)
    assert isinstance(ui, PlainUi)
    events = Events(ui)
    with ui, events.step("build", "stock+debug") as step:
        step.progress(3, 10)
        step.say("built")
    events.emit(
        Event(
            "attempt", "boot", "cell", seconds=1.5, attempt=Ended(1, Status.PASS, Ending.POWEROFF)
        )
    )
    err = capsys.readouterr().err
    assert "build stock+debug: built" in err
    assert "attempt 1: PASS POWEROFF in 1.5 s" in err
    assert "\x1b" not in err


def test_a_long_build_says_every_15_seconds_how_far_it_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    now = 100.0
    ui = PlainUi(clock=lambda: now)
    ui(Event("start", "build", "k+v+c"))
    for done in range(1, 41):
        now += 1
        ui(Event("progress", "build", "k+v+c", done=done, total=90))
    now += 1
    ui(Event("end", "build", "k+v+c", "failed", seconds=41.0))
    ui(Event("progress", "source", "linux", done=7))
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "[    0.0s] build k+v+c...",
        "[   15.0s] build k+v+c: 15 of 90 objects",
        "[   30.0s] build k+v+c: 30 of 90 objects",
        "[   41.0s] build k+v+c: failed in 41.0 s",
        "[   41.0s] source linux: 7",
    ]


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    ui = make_ui(quiet=True, plain=False)
    ui(Event("note", "note", text="x"))
    assert capsys.readouterr().err == ""


def test_the_live_view_is_for_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    main, side = pty.openpty()
    with os.fdopen(side, "w") as terminal, os.fdopen(main, "rb", buffering=0) as screen:
        monkeypatch.setattr(sys, "stderr", terminal)
        ui = make_ui(quiet=False, plain=False)
        assert isinstance(ui, RichUi)
        events = Events(ui)
        with ui:
            with events.step("build", "linux+stock+debug") as step:
                step.progress(3, 10)
            events.emit(
                Event(
                    "attempt",
                    "boot",
                    "linux+stock+debug+virt+race",
                    attempt=Ended(1, Status.FAIL, Ending.PANIC, "oops"),
                )
            )
            ui.live.refresh()
        terminal.flush()
        os.set_blocking(screen.fileno(), False)
        shown = b"".join(iter(lambda: screen.read(65536), None)).decode(errors="replace")
    assert "linux+stock+debug" in shown
    assert "oops" in shown
