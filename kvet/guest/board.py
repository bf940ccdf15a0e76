# SPDX-License-Identifier: GPL-2.0-only
"""One boot on a board: its own system is reached, our kernel put there, started and watched.

What goes wrong with the board, its line or its commands is an InfraError, and so an attempt
with status ERROR: only what the kernel itself said, or did not say on a line that is known to
live, blames the kernel.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pexpect

from kvet import proc
from kvet.boards import Board, filled
from kvet.cache import cache_root
from kvet.errors import InfraError, MissingTool
from kvet.guest.board_ssh import BoardSsh, Launch, LostLink, NoAnswer, open_ssh
from kvet.guest.boot import Boot, BootRequest
from kvet.guest.console import take
from kvet.guest.machine import COMMON_ARGS, write_initrd
from kvet.guest.qemu import POLL_S, end, spawn
from kvet.guest.shared_console import SharedConsole
from kvet.guest.watch import Cut, StageListener, Watch
from kvet.model import Ending, Machine
from kvet.paths import PROJECT
from kvet.store import write_json

LOGGER = logging.getLogger(__name__)
# the report goes over the console, unthrottled; the end is a restart
BOARD_ARGS = ("printk.devkmsg=on", "kvet.report=console", "kvet.end=reboot")
RESET_S = 60.0
# a console command that cannot connect ends at once
CONNECT_S = 1.0
PATIENCE_S = 0.2
SENDINGS = 3


def run_board(request: BootRequest, *, on_stage: StageListener | None = None) -> Boot:
    """Boot once on the board and return when the kernel is gone, however it went.

    Leaves console.log, console.times, report.ktap, before.log (what was on the line before
    the kernel), console.stderr and argv.json in `request.folder`. Raises InfraError for
    everything that is not the kernel's doing.
    """
    machine = request.machine
    board = _board(machine)
    initrd = write_initrd(request.initrd, request.folder)
    words = {"image": str(request.image), "initrd": str(initrd), "cmdline": cmdline(request)}
    try:
        with turn(machine):
            if board.boot:
                return _Play(request, on_stage, None).play(filled(board.boot, words))
            files = {"Image": request.image, "initrd.img": initrd}
            with closing(_with_files(board, files)) as ssh:
                words["image"] = f"{board.directory}/Image"
                words["initrd"] = f"{board.directory}/initrd.img"
                ssh.check_run(filled(board.load, words))
                boot = _Play(request, on_stage, ssh).play(filled(board.start, words))
                return replace(boot, argv=(*filled(board.load, words), "&&", *boot.argv))
    finally:
        initrd.unlink(missing_ok=True)


def cmdline(request: BootRequest) -> str:
    """The kernel command line of a boot on a board."""
    return " ".join((*COMMON_ARGS, *BOARD_ARGS, *request.machine.boot_args, *request.args))


@contextmanager
def turn(machine: Machine) -> Iterator[None]:
    """Have the board for oneself: other attempts and other runs on this host wait."""
    board = _board(machine)
    name = hashlib.sha256(repr((board.address, board.port, board.console)).encode()).hexdigest()
    folder = cache_root() / "boards"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name[:12]}.lock").open("w", encoding="utf-8") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if proc.all_killed():
                    raise InfraError("interrupted") from error
                time.sleep(PATIENCE_S)
        yield


def _board(machine: Machine) -> Board:
    assert machine.board is not None, "only machines of kind ssh come here"
    return machine.board


def _with_files(board: Board, files: Mapping[str, Path]) -> BoardSsh:
    """A connection to the board's own system, which has `files` in its directory.

    One that breaks while they are sent is made again.
    """
    for left in reversed(range(SENDINGS)):
        ssh = _own_system(board)
        try:
            for name, local in files.items():
                ssh.put(local, name)
            return ssh
        except LostLink:
            ssh.close()
            if not left:
                raise
    raise AssertionError("the last sending returns or raises")


def _own_system(board: Board) -> BoardSsh:
    """A connection to the board's own system, reset if it does not answer by itself."""
    try:
        return open_ssh(board, board.up_s)
    except NoAnswer as error:
        if not board.reset:
            raise InfraError(
                f"{error.message}; the board did not come back",
                hint="switch it off and on, or give the machine a `reset` command",
            ) from error
    _reset(board)
    try:
        return open_ssh(board, board.up_s)
    except NoAnswer as error:
        raise InfraError(f"{error.message}; the board did not come back after a reset") from error


def _reset(board: Board) -> None:
    """Run the reset command. Raises InfraError when it fails."""
    _on_host("reset", board.reset, RESET_S)


def _on_host(key: str, argv: tuple[str, ...], timeout_s: float) -> None:
    """Run a command of the machine's file on this host, in the project's directory."""
    try:
        done = proc.run(argv, cwd=PROJECT, timeout_s=timeout_s)
    except MissingTool as error:
        raise InfraError(f"{key}: there is no command {argv[0]} on this host") from error
    if done.returncode:
        lines = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
        why = f": {lines[-1]}" if lines else ""
        raise InfraError(f"{key}: {argv[0]} failed with exit code {done.returncode}{why}")


class _Play:
    """One kernel on the board, from the command that starts it to its end."""

    def __init__(
        self, request: BootRequest, on_stage: StageListener | None, ssh: BoardSsh | None
    ) -> None:
        self.request = request
        self.board = _board(request.machine)
        self.ssh = ssh
        self.watch = Watch(request, on_stage)
        self.line = SharedConsole(request.folder, self.watch.console, request.release)
        self.returns = False

    def play(self, argv: tuple[str, ...]) -> Boot:
        """Start the kernel with `argv` and watch it; the board is on its way back then."""
        write_json(self.request.folder / "argv.json", argv)
        try:
            child = self._listen()
            try:
                self.watch.started = self.watch.console.started = time.monotonic()
                ending, detail = self._until_end(child, self._start(argv))
            finally:
                if not self.returns:
                    self._bring_back()
                end(child)
        finally:
            self.line.close()
            self.watch.console.close()
        if ending is Ending.POWEROFF and self.line.lost:
            ending, detail = Ending.LOST, self._garbled()
        return self.watch.boot(ending, detail, argv)

    def _listen(self) -> pexpect.spawn[bytes]:
        """Start the console command, which must live before the kernel does."""
        argv = self.board.console
        try:
            child = spawn(
                argv, self.request.folder, cwd=PROJECT, env=_own_env(), errors="console.stderr"
            )
        except MissingTool as error:
            raise InfraError(f"console: there is no command {argv[0]} on this host") from error
        deadline = time.monotonic() + CONNECT_S
        while time.monotonic() < deadline:
            self._read(child)
        return child

    def _read(self, child: pexpect.spawn[bytes]) -> bytes:
        """What came over the line; InfraError when the command that brings it has ended."""
        data = take(child, POLL_S)
        if data is None:
            end(child)
            raise InfraError(self._console_ended(child))
        self.line.feed(data)
        return data

    def _console_ended(self, child: pexpect.spawn[bytes]) -> str:
        if proc.all_killed():
            return "interrupted"
        said = (self.request.folder / "console.stderr").read_text(errors="replace").strip()
        how = (
            f"was killed by signal {child.signalstatus}"
            if child.signalstatus is not None
            else f"ended with exit code {child.exitstatus}"
        )
        why = f": {said.splitlines()[-1]}" if said else ""
        return f"the console command {self.board.console[0]} {how} before the kernel did{why}"

    def _start(self, argv: tuple[str, ...]) -> Launch | None:
        if self.ssh is not None:
            return self.ssh.launch(argv)
        _on_host("boot", argv, self.board.up_s)
        return None

    def _until_end(self, child: pexpect.spawn[bytes], launch: Launch | None) -> tuple[Ending, str]:
        """Watch until the kernel is gone, or has to be given up."""
        while not self.line.ended:
            self._read(child)
            self.watch.look_at_report()
            if launch is not None and not self.watch.console.banner:
                launch.check()
            if (cut := self.watch.cut()) is not None:
                return self._given_up(cut, child)
        self.returns = True
        self.watch.look_at_report()
        return self._how_it_ended()

    def _how_it_ended(self) -> tuple[Ending, str]:
        console = self.watch.console
        if console.panic:
            return Ending.PANIC, console.panic
        if self.line.over:
            return Ending.POWEROFF, ""
        return Ending.LOST, f"the board reset by itself {self.watch.where()}: {self.line.seen}"

    def _given_up(self, cut: Cut, child: pexpect.spawn[bytes]) -> tuple[Ending, str]:
        """The ending of a kernel that is not waited for any longer."""
        if cut.ending is Ending.PANIC:
            self.returns = True  # panic=-1; who does not come back is reset before the next boot
        elif cut.ending is Ending.NEVER_BOOTED:
            return cut.ending, f"{cut.detail}; {self._heard()}"
        elif cut.silent:
            return self._silent(cut, child)
        return cut.ending, cut.detail

    def _heard(self) -> str:
        """What was on the line instead of the kernel."""
        if not self.line.heard:
            return "its console showed nothing at all"
        booted = f", last the banner of {self.line.seen}" if self.line.seen else ""
        return f"its console showed {self.line.heard} bytes{booted} (before.log)"

    def _silent(self, cut: Cut, child: pexpect.spawn[bytes]) -> tuple[Ending, str]:
        """A hung kernel, if the line still works: only a reset can tell.

        Raises InfraError when the line stays silent then as well.
        """
        if not self.board.reset:
            return Ending.LOST, f"{cut.detail}; without a `reset` command it may be the line"
        _reset(self.board)
        self.returns = True
        deadline = time.monotonic() + self.board.up_s
        while time.monotonic() < deadline:
            if take(child, POLL_S):
                return cut.ending, cut.detail
        raise InfraError(f"{cut.detail}, nor after a reset: the console's line is dead")

    def _garbled(self) -> str:
        return (
            f"the report was garbled on the console: {self.line.lost} of its lines were damaged "
            f"or lost, {self.line.lines} came whole"
        )

    def _bring_back(self) -> None:
        """Reset a board that will not restart by itself; the next attempt waits for it."""
        if self.board.reset:
            try:
                _reset(self.board)
            except InfraError as error:
                LOGGER.warning("%s", error.message)


def _own_env() -> Mapping[str, str]:
    """The user's environment: what reaches a console may need a home, a terminal, a ticket."""
    return dict(os.environ)
