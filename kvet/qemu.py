# SPDX-License-Identifier: GPL-2.0-only
"""Life cycle of one QEMU: start, watch, tell how the guest ended.

Two signs of life are watched: the console and the report port, to which the
guest writes at least once a second. A guest that shows neither is hung; one
that shows them past its deadline is slow.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pexpect

from kvet import ktap, proc, qmp
from kvet.console import Console
from kvet.errors import InfraError, MissingTool
from kvet.machine import qemu_argv, resolve_accel, write_initrd
from kvet.memdump import DumpIndex, Keeper
from kvet.model import Boot, BootRequest, Ending
from kvet.store import write_json

POLL_S = 0.05
REPORT_BYTES = 16 << 20
StageListener = Callable[[str, float], None]


def run_boot(request: BootRequest, *, on_stage: StageListener | None = None) -> Boot:
    """Boot once and return when the guest is gone, however it went.

    Leaves console.log, console.times, report.ktap, qemu.stderr and argv.json
    in `request.folder`. Raises MissingTool or InfraError when QEMU cannot be
    started at all.
    """
    accel = resolve_accel(request.machine.accel)
    write_initrd(request.initrd, request.folder)
    argv = qemu_argv(request, accel=accel)
    write_json(request.folder / "argv.json", argv)
    watch = _Watch(request, on_stage or (lambda name, seconds: None))
    child = spawn(argv, request.folder)
    try:
        ending, detail = watch.until_end(child)
    finally:
        end(child)
        watch.console.close()
        # the layers are in the cache; nobody needs their concatenation again
        (request.folder / "initrd.img").unlink(missing_ok=True)
    if ending is None:
        ending, detail = watch.how_it_ended(child)
    return Boot(
        ending=ending,
        console=request.folder / "console.log",
        report=request.folder / "report.ktap",
        seconds=round(time.monotonic() - watch.started, 3),
        boot_s=watch.stages.get("init"),
        ready_s=watch.stages.get("start"),
        banner=watch.console.banner,
        argv=argv,
        detail=detail,
        memory=watch.keeper.dump if watch.keeper and watch.keeper.written else None,
    )


def spawn(argv: tuple[str, ...], folder: Path) -> pexpect.spawn[bytes]:
    """Start QEMU on a pseudo-terminal, in a session of its own that dies with us."""

    def prepare() -> None:
        # between fork and exec, where pexpect has closed what the harness had open
        proc.die_with_parent()
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        os.dup2(os.open(folder / "qemu.stderr", flags, 0o644), 2)

    try:
        child: pexpect.spawn[bytes] = pexpect.spawn(
            argv[0],
            list(argv[1:]),
            cwd=str(folder),
            env={"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C"},
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


@dataclass(frozen=True, slots=True)
class _Cut:
    """Why a boot was cut short."""

    ending: Ending
    detail: str


class _Watch:
    """Everything known of one running boot."""

    def __init__(self, request: BootRequest, on_stage: StageListener) -> None:
        self.request = request
        self.on_stage = on_stage
        self.started = time.monotonic()
        self.console = Console(request.folder, self.started)
        self.stages: dict[str, float] = {}
        self.keeper: Keeper | None = None
        if request.dumps is not None:
            index = DumpIndex(request.dumps)
            self.keeper = Keeper(index, request.folder, request.machine.mem_mib)
        self._report_size = 0
        self._report_at = self.started

    def until_end(self, child: pexpect.spawn[bytes]) -> tuple[Ending | None, str]:
        """Watch until QEMU is gone; a cut-off ending when it has to be ended."""
        while self.console.read(child, POLL_S):
            self._look_at_report()
            if self.keeper is not None:
                self.keeper.attend(self.console)
            cut = self._cut()
            if cut is not None:
                if cut.ending in (Ending.HANG, Ending.TIMEOUT):
                    self._interrogate(cut)
                return cut.ending, cut.detail
        self._look_at_report()
        child.wait()
        return None, ""

    def _look_at_report(self) -> None:
        path = self.request.folder / "report.ktap"
        size = path.stat().st_size if path.exists() else 0
        if size == self._report_size:
            return
        self._report_size, self._report_at = size, time.monotonic()
        if "done" in self.stages:
            return
        with path.open("rb") as file:
            text = file.read(REPORT_BYTES).decode(errors="replace")
        for name in ktap.stages(text):
            if name not in self.stages:
                self.stages[name] = round(self._report_at - self.started, 3)
                self.on_stage(name, self.stages[name])

    def _cut(self) -> _Cut | None:
        """The reason to end the boot now, if there is one."""
        now, limits, console = time.monotonic(), self.request.limits, self.console
        if console.panic_at is not None and now - console.panic_at > limits.splat_s:
            return _Cut(Ending.PANIC, console.panic)
        if console.splat_at is not None and now - console.splat_at > limits.after_splat_s:
            return _Cut(
                Ending.HANG,
                f"not done {limits.after_splat_s:.0f} s after its first splat {self._where()}",
            )
        if console.flooded or self._report_size > REPORT_BYTES:
            where = "console" if console.flooded else "report port"
            return _Cut(Ending.TIMEOUT, f"the guest flooded its {where}; the log is cut")
        silence = now - max(console.last_output, self._report_at, self.started)
        if not console.banner:
            if now - self.started > limits.boot_s:
                return _Cut(Ending.NEVER_BOOTED, f"no kernel banner within {limits.boot_s:.0f} s")
        elif silence > limits.silence_s:
            return _Cut(
                Ending.HANG, f"no sign of life for {limits.silence_s:.0f} s {self._where()}"
            )
        elif "init" not in self.stages:
            if now - self.started > limits.boot_s + limits.silence_s:
                return _Cut(
                    Ending.TIMEOUT, f"init was not reached within {now - self.started:.0f} s"
                )
        elif now - self.started > self.stages["init"] + limits.run_s:
            return _Cut(Ending.TIMEOUT, f"not done after {limits.run_s:.0f} s {self._where()}")
        return None

    def _where(self) -> str:
        last = next(reversed(self.stages), "boot")
        return f"in stage {last}"

    def _interrogate(self, cut: _Cut) -> None:
        """Leave registers and, once for a run, the memory of a guest that hangs."""
        try:
            registers = qmp.monitor(self.request.folder, "info registers -a")
        except InfraError as error:
            registers = f"{error.message}\n"
        (self.request.folder / "registers.txt").write_text(registers, encoding="utf-8")
        if self.keeper is not None and cut.ending is Ending.HANG:
            self.keeper.keep([f"guest hang {self._where()}"])

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
        return Ending.LOST, f"QEMU ended without a panic or a power-off {self._where()}"

    def _qemu_says(self, child: pexpect.spawn[bytes]) -> str:
        text = (self.request.folder / "qemu.stderr").read_text(errors="replace").strip()
        how = (
            f"QEMU was killed by signal {child.signalstatus}"
            if child.signalstatus is not None
            else f"QEMU exited with {child.exitstatus}"
        )
        return f"{how}: {text.splitlines()[-1]}" if text else how
