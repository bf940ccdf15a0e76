# SPDX-License-Identifier: GPL-2.0-only
"""Life cycle of one QEMU: start, watch, tell how the guest ended.

Two signs of life are watched: the console and the report port, to which the
guest writes at least once a second. A guest that shows neither is hung; one
that shows them past its deadline is slow.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pexpect

from kvet import proc
from kvet.errors import InfraError, MissingTool
from kvet.guest import qmp
from kvet.guest.boot import Boot, BootRequest
from kvet.guest.machine import qemu_argv, resolve_accel, write_initrd
from kvet.guest.memdump import DumpIndex, Keeper
from kvet.guest.watch import Cut, StageListener, Watch
from kvet.model import Ending
from kvet.store import write_json

POLL_S = 0.05


def always() -> bool:
    """Somebody waits for this boot."""
    return True


def run_boot(
    request: BootRequest,
    *,
    on_stage: StageListener | None = None,
    wanted: Callable[[], bool] = always,
) -> Boot:
    """Boot once and return when the guest is gone, however it went.

    Leaves console.log, console.times, report.ktap, qemu.stderr and argv.json
    in `request.folder`. A guest that is not `wanted` any more is ended. Raises MissingTool or
    InfraError when QEMU cannot be started at all.
    """
    accel = resolve_accel(request.machine.accel)
    write_initrd(request.initrd, request.folder)
    argv = qemu_argv(request, accel=accel)
    write_json(request.folder / "argv.json", argv)
    watch = _Watch(request, on_stage)
    child = spawn(argv, request.folder)
    try:
        ending, detail = watch.until_end(child, wanted)
    finally:
        end(child)
        watch.console.close()
        # the layers are in the cache; nobody needs their concatenation again
        (request.folder / "initrd.img").unlink(missing_ok=True)
    if ending is None:
        ending, detail = watch.how_it_ended(child)
    memory = watch.keeper.dump if watch.keeper and watch.keeper.written else None
    return replace(watch.boot(ending, detail, argv), memory=memory)


def spawn(
    argv: tuple[str, ...],
    folder: Path,
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    errors: str = "qemu.stderr",
) -> pexpect.spawn[bytes]:
    """Start QEMU on a pseudo-terminal, in a session of its own that dies with us.

    Or another command that prints a console. `errors` is the file of `folder` that its errors
    go to; it runs in `cwd` with `env`, without them in `folder` with no more than a PATH.
    """

    def prepare() -> None:
        # between fork and exec, where pexpect has closed what the harness had open
        proc.die_with_parent()
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        os.dup2(os.open(folder / errors, flags, 0o644), 2)

    try:
        child: pexpect.spawn[bytes] = pexpect.spawn(
            argv[0],
            list(argv[1:]),
            cwd=str(cwd or folder),
            env={"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C", **(env or {})},
            echo=False,
            timeout=None,
            preexec_fn=prepare,
        )
    except pexpect.ExceptionPexpect as error:
        raise MissingTool(argv[0], hint="harness.py doctor --install") from error
    except OSError as error:
        raise InfraError(f"cannot start {argv[0]}: {error}") from error
    assert child.pid is not None
    proc.adopt(child.pid)
    return child


def end(child: pexpect.spawn[bytes]) -> None:
    """Kill what is left of QEMU's process group and reap it."""
    assert child.pid is not None
    if child.isalive():
        proc.kill_group(child.pid)
        child.wait()
    proc.disown(child.pid)
    child.close()


class _Watch(Watch):
    """The watch of a QEMU, which can be asked for registers and memory."""

    def __init__(self, request: BootRequest, on_stage: StageListener | None) -> None:
        super().__init__(request, on_stage)
        self.keeper: Keeper | None = None
        if request.dumps is not None:
            index = DumpIndex(request.dumps)
            self.keeper = Keeper(index, request.folder, request.machine.mem_mib)

    def until_end(
        self, child: pexpect.spawn[bytes], wanted: Callable[[], bool]
    ) -> tuple[Ending | None, str]:
        """Watch until QEMU is gone; a cut-off ending when it has to be ended."""
        while self.console.read(child, POLL_S):
            if not wanted():
                return Ending.LOST, "nobody waits for this boot any more"
            self.look_at_report()
            if self.keeper is not None:
                self.keeper.attend(self.console)
            cut = self.cut()
            if cut is not None:
                if cut.ending in (Ending.HANG, Ending.TIMEOUT):
                    self._interrogate(cut)
                return cut.ending, cut.detail
        self.look_at_report()
        child.wait()
        return None, ""

    def _interrogate(self, cut: Cut) -> None:
        """Leave registers and, once for a run, the memory of a guest that hangs."""
        try:
            registers = qmp.monitor(self.request.folder, "info registers -a")
        except InfraError as error:
            registers = f"{error.message}\n"
        (self.request.folder / "registers.txt").write_text(registers, encoding="utf-8")
        if self.keeper is not None and cut.ending is Ending.HANG:
            self.keeper.keep([f"guest hang {self.where()}"])

    def how_it_ended(self, child: pexpect.spawn[bytes]) -> tuple[Ending, str]:
        """The ending of a QEMU that went by itself."""
        console = self.console
        if console.panic:
            return Ending.PANIC, console.panic
        if not console.banner:
            return Ending.NEVER_BOOTED, self._qemu_says(child)
        if child.signalstatus is not None or child.exitstatus:
            return Ending.LOST, self._qemu_says(child)
        if console.banners > 1:
            return Ending.LOST, "the guest reset: a second kernel banner was printed"
        if console.powered_down:
            return Ending.POWEROFF, ""
        return Ending.LOST, f"QEMU ended without a panic or a power-off {self.where()}"

    def _qemu_says(self, child: pexpect.spawn[bytes]) -> str:
        text = (self.request.folder / "qemu.stderr").read_text(errors="replace").strip()
        how = (
            f"QEMU was killed by signal {child.signalstatus}"
            if child.signalstatus is not None
            else f"QEMU exited with {child.exitstatus}"
        )
        return f"{how}: {text.splitlines()[-1]}" if text else how
