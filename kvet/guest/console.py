# SPDX-License-Identifier: GPL-2.0-only
"""Sole reader of a guest's serial port: keeps every byte, stamps every line, sees the landmarks."""

from __future__ import annotations

import os
import re
import select
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, TextIO

import pexpect

from kvet.detectors import Trigger

BANNER = re.compile(rb"Linux version \S+ .*")
PANIC = re.compile(rb"Kernel panic - not syncing: (.*)")
POWER_DOWN = re.compile(rb"reboot: Power down")
# a guest that prints more than this is flooding; the log up to here is kept
FLOOD_BYTES = 64 << 20
LINE_BYTES = 1 << 16
# a console that shows this many splats is not looked at any closer
MOST_SPLATS = 100


def _unread(port: int) -> bytes:
    """What still waits at a serial port that pexpect calls ended.

    A child that prints its last words and exits between pexpect's wait for them and
    its look at the child counts as ended, with those words unread.
    """
    try:
        return os.read(port, 1 << 16) if select.select([port], [], [], 0)[0] else b""
    except OSError:  # the other side of a terminal is gone
        return b""


def take(child: pexpect.spawn[bytes], wait_s: float) -> bytes | None:
    """What a child printed within `wait_s`; None when its side of the terminal is closed."""
    try:
        return child.read_nonblocking(size=1 << 16, timeout=wait_s)
    except pexpect.TIMEOUT:
        return b""
    except pexpect.EOF:
        return _unread(child.child_fd) or None


@dataclass(slots=True)
class Console:
    """The console of one boot, read from a pexpect child.

    `console.log` gets the bytes as they come, `console.times` the seconds
    since QEMU's start of every line.
    """

    folder: Path
    started: float
    size: int = 0
    last_output: float = 0.0
    banner: str = ""
    banners: int = 0
    panic: str = ""
    panic_at: float | None = None
    splat_at: float | None = None
    last_splat_at: float | None = None
    splats: int = 0
    powered_down: bool = False
    _partial: bytes = b""
    _trigger: Trigger = field(default_factory=Trigger)
    _log: BinaryIO = field(init=False)
    _times: TextIO = field(init=False)

    def __post_init__(self) -> None:
        self._log = self.path.open("wb")
        self._times = (self.folder / "console.times").open("w", encoding="ascii")

    def read(self, child: pexpect.spawn[bytes], wait_s: float) -> bool:
        """Take what the guest printed within `wait_s`; False when the serial port is closed."""
        data = take(child, wait_s)
        if data:
            self.feed(data)
        return data is not None

    @property
    def flooded(self) -> bool:
        """Whether the guest has printed more than is kept."""
        return self.size >= FLOOD_BYTES

    def feed(self, data: bytes) -> None:
        """Log `data` and look for landmarks in the lines that it completes."""
        self.last_output = time.monotonic()
        self.size += len(data)
        self._log.write(data)
        *lines, rest = (self._partial + data).split(b"\n")
        # an endless line is cut for looking at, not for the log
        self._partial = rest[-LINE_BYTES:]
        stamp = f"{self.last_output - self.started:.3f}\n"
        self._times.write(stamp * len(lines))
        for line in lines:
            self._look(line)

    def _look(self, line: bytes) -> None:
        if found := BANNER.search(line):
            self.banners += 1
            self.banner = self.banner or found.group(0).decode(errors="replace").strip()
        elif found := PANIC.search(line):
            self.panic = self.panic or found.group(1).decode(errors="replace").strip()
            self.panic_at = self.panic_at or self.last_output
            self.last_splat_at = self.last_output
        elif POWER_DOWN.search(line):
            self.powered_down = True
        elif self.splats < MOST_SPLATS and self._trigger(line):
            self.splats += 1
            self.splat_at = self.splat_at or self.last_output
            self.last_splat_at = self.last_output

    @property
    def path(self) -> Path:
        """The log."""
        return self.folder / "console.log"

    def flush(self) -> None:
        """Let others read what came so far."""
        self._log.flush()

    def close(self) -> None:
        """Flush what is left; the last line may lack its end."""
        self._look(self._partial)
        self._partial = b""
        self._log.close()
        self._times.close()
