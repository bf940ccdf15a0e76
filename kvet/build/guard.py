# SPDX-License-Identifier: GPL-2.0-only
"""Ends a confined build that takes more of the host than a build needs.

The Makefiles of a series run at build time. The sandbox keeps them from the
host's files and network; this keeps them from its processes, memory and disk.
Limits of the kernel's own do not serve: root is exempt from RLIMIT_NPROC, and
not every host lends its control groups.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kvet import proc

LOOK_S = 0.2
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a build may take: `processes` at a time, `memory_mib` of them all together.

    `free_mib` must stay free on the file system of `folder`.
    """

    folder: Path
    processes: int = 1000
    memory_mib: int = (os.sysconf("SC_PHYS_PAGES") * PAGE >> 20) * 9 // 10
    free_mib: int = 500


class Guard:
    """Watches one confined command; `reason` says why it was ended, empty when it was not."""

    def __init__(self, allowance: Allowance) -> None:
        self.allowance = allowance
        self.reason = ""
        self._done = threading.Event()

    def watch(self, pid: int) -> None:
        """Watch the sandbox whose outer process is `pid`, until `stop`."""
        threading.Thread(target=self._look_on, args=(pid,), daemon=True).start()

    def stop(self) -> None:
        """The command has ended."""
        self._done.set()

    def _look_on(self, pid: int) -> None:
        while not self._done.wait(LOOK_S):
            self.reason = self._too_much(pid)
            if self.reason:
                # with its first process the whole pid namespace goes
                proc.kill_group(pid)
                return

    def _too_much(self, pid: int) -> str:
        count, pages = 0, 0
        for resident in _resident(pid):
            count, pages = count + 1, pages + resident
        if count > self.allowance.processes:
            return f"more than {self.allowance.processes} processes"
        if pages * PAGE >> 20 > self.allowance.memory_mib:
            return f"more than {self.allowance.memory_mib} MiB of memory"
        free = shutil.disk_usage(self.allowance.folder).free >> 20
        if free < self.allowance.free_mib:
            return f"{free} MiB free in {self.allowance.folder}, and it was filling the disk"
        return ""


def _resident(pid: int) -> Iterator[int]:
    """The resident pages of each process in the pid namespace that `pid` made."""
    try:
        inner = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[:1]
        space = os.stat(f"/proc/{inner[0]}/ns/pid").st_ino
    except (OSError, IndexError):
        return  # not begun yet, or ended
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        try:
            if os.stat(f"/proc/{entry.name}/ns/pid").st_ino == space:
                yield int(Path(f"/proc/{entry.name}/statm").read_text().split()[1])
        except (OSError, IndexError):
            continue
