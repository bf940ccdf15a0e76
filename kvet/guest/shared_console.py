# SPDX-License-Identifier: GPL-2.0-only
"""Takes a board's console apart: what its own system said, the kernel's lines, the guest's report.

A board has one line for all of it. The report comes as lines of the kernel's log that carry a
number and a checksum (`kvet-report CRC NUMBER TEXT`, docs/guest-protocol.md): a serial line
loses bytes and mixes them, and what is damaged must not be read as something else.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from kvet.guest.console import FLOOD_BYTES, Console

REPORT = re.compile(rb"kvet-report ([0-9a-f]{8}) ((\d+)(\+?) (.*))$")
MARK = b"kvet-report "
BANNER = re.compile(rb"Linux version (\S+) ")
OVER = re.compile(rb"reboot: (?:Restarting system|Power down)")
# more than this before any newline is no line
LINE_BYTES = 1 << 16


@dataclass(slots=True)
class SharedConsole:
    """The console of one board during one attempt.

    Until the banner of `release` everything goes to `before.log` of `folder`, so that nothing
    of the board's own system counts as the kernel's; from there on lines go to `console`, and
    what they report to `report.ktap`. `over` once the kernel says that it restarts, `replaced`
    once another kernel's banner follows.
    """

    folder: Path
    console: Console
    release: str
    over: bool = False
    replaced: bool = False
    seen: str = ""
    heard: int = 0
    damaged: int = 0
    lines: int = 0
    _next: int = 0
    _piece: bytes = b""
    _partial: bytes = b""
    _before: BinaryIO = field(init=False)
    _report: BinaryIO = field(init=False)

    def __post_init__(self) -> None:
        self._before = (self.folder / "before.log").open("wb")
        # the reader looks at it while it grows
        self._report = (self.folder / "report.ktap").open("wb", buffering=0)

    @property
    def ended(self) -> bool:
        """Whether the kernel is gone."""
        return self.over or self.replaced

    @property
    def lost(self) -> int:
        """Lines of the report that came damaged or not at all."""
        return max(self.damaged, self._next - self.lines)

    def feed(self, data: bytes) -> None:
        """Take what came over the line."""
        self.heard += len(data)
        *lines, rest = (self._partial + data).split(b"\n")
        if len(rest) > LINE_BYTES:
            lines, rest = [*lines, rest], b""
        self._partial = rest
        for line in lines:
            self._take(line.rstrip(b"\r"))

    def close(self) -> None:
        """Flush what is left; the last line may lack its end."""
        if self._partial and not self.ended:
            self._take(self._partial)
        self._partial = b""
        self._before.close()
        self._report.close()

    def _take(self, line: bytes) -> None:
        if self.ended:
            return  # the board's own system again
        if found := BANNER.search(line):
            self.seen = found.group(1).decode(errors="replace")
            self.replaced = bool(self.console.banner)
            if self.replaced:
                return
        if not self.console.banner and not (found and self.release in ("", self.seen)):
            if self.heard < FLOOD_BYTES:
                self._before.write(line + b"\n")
        elif MARK in line:
            self._take_report(line)
        else:
            self.console.feed(line + b"\n")
            self.over = OVER.search(line) is not None

    def _take_report(self, line: bytes) -> None:
        """One line of the report; a damaged one is kept out of both logs."""
        found = REPORT.search(line)
        if found is None or zlib.crc32(found.group(2)) != int(found.group(1), 16):
            self.damaged += 1
            self._piece = b""
            return
        number, more, text = int(found.group(3)), found.group(4), found.group(5)
        if number != self._next:
            self._piece = b""
        self.lines += 1
        self._next = number + 1
        self._piece += text
        if not more:
            self._report.write(self._piece + b"\n")
            self._piece = b""
