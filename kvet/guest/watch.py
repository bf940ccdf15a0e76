# SPDX-License-Identifier: GPL-2.0-only
"""What is known of a running boot: its signs of life, its stages, why it has to be cut short."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from kvet.guest import report_port
from kvet.guest.boot import Boot, BootRequest
from kvet.guest.console import Console
from kvet.guest.machine import boot_host
from kvet.model import Ending

REPORT_BYTES = 16 << 20
StageListener = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class Cut:
    """Why a boot was cut short; `silent` when nothing came from it any more."""

    ending: Ending
    detail: str
    silent: bool = False


class Watch:
    """Everything known of one running boot, from its console and its growing `report.ktap`."""

    def __init__(self, request: BootRequest, on_stage: StageListener | None) -> None:
        self.request = request
        self.on_stage = on_stage or (lambda name, seconds: None)
        self.started = time.monotonic()
        self.console = Console(request.folder, self.started)
        self.stages: dict[str, float] = {}
        self._report_size = 0
        self._report_at = self.started

    def look_at_report(self) -> None:
        """See whether the report grew, and which stages it has reached."""
        path = self.request.folder / "report.ktap"
        size = path.stat().st_size if path.exists() else 0
        if size == self._report_size:
            return
        self._report_size, self._report_at = size, time.monotonic()
        if "done" in self.stages:
            return
        with path.open("rb") as file:
            text = file.read(REPORT_BYTES).decode(errors="replace")
        for name in report_port.stages(text):
            if name not in self.stages:
                self.stages[name] = round(self._report_at - self.started, 3)
                self.on_stage(name, self.stages[name])

    def cut(self) -> Cut | None:
        """The reason to end the boot now, if there is one."""
        now, limits, console = time.monotonic(), self.request.limits, self.console
        if console.panic_at is not None and now - console.panic_at > limits.splat_s:
            return Cut(Ending.PANIC, console.panic)
        if console.splat_at is not None and now - console.splat_at > limits.after_splat_s:
            return Cut(
                Ending.HANG,
                f"not done {limits.after_splat_s:.0f} s after its first splat {self.where()}",
            )
        if console.flooded or self._report_size > REPORT_BYTES:
            where = "console" if console.flooded else "report port"
            return Cut(Ending.TIMEOUT, f"the guest flooded its {where}; the log is cut")
        silence = now - max(console.last_output, self._report_at, self.started)
        if not console.banner:
            if now - self.started > limits.boot_s:
                return Cut(Ending.NEVER_BOOTED, f"no kernel banner within {limits.boot_s:.0f} s")
        elif silence > limits.silence_s:
            detail = f"no sign of life for {limits.silence_s:.0f} s {self.where()}"
            return Cut(Ending.HANG, detail, silent=True)
        elif "init" not in self.stages:
            if now - self.started > limits.boot_s + limits.silence_s:
                return Cut(
                    Ending.TIMEOUT, f"init was not reached within {now - self.started:.0f} s"
                )
        elif now - self.started > self.stages["init"] + limits.run_s:
            return Cut(Ending.TIMEOUT, f"not done after {limits.run_s:.0f} s {self.where()}")
        return None

    def boot(self, ending: Ending, detail: str, argv: tuple[str, ...]) -> Boot:
        """What the boot left, now that it has ended."""
        return Boot(
            ending=ending,
            console=self.console.path,
            report=self.request.folder / "report.ktap",
            seconds=round(time.monotonic() - self.started, 3),
            boot_s=self.stages.get("init"),
            ready_s=self.stages.get("start"),
            banner=self.console.banner,
            argv=argv,
            detail=detail,
            host=boot_host(self.request.machine),
        )

    def where(self) -> str:
        """The stage it is in, as words."""
        last = next(reversed(self.stages), "boot")
        return f"in stage {last}"
