# SPDX-License-Identifier: GPL-2.0-only
"""Keeps a guest's memory when a run first shows a title: few and bounded, to be opened with drgn.

A panic is followed by a reset. At the first line of a splat QEMU is asked to
stop there instead (the guest's module lingers for that); when the splat is
over and one of its titles is new to the run, the memory is written.
"""

from __future__ import annotations

import logging
import os
import shutil
import struct
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from elftools.elf.elffile import ELFFile

from kvet import proc
from kvet.cache import locked
from kvet.detectors import scan_file
from kvet.errors import InfraError
from kvet.guest import qmp
from kvet.guest.console import Console
from kvet.guest.report_port import parse_report
from kvet.store import read_json, write_json

log = logging.getLogger(__name__)

DUMP = "memory.elf.zst"
RAW = "memory.elf"
NOTE = "vmcoreinfo.note"
INDEX = "dumps.json"
MOST_DUMPS = 6
MOST_GUEST_MIB = 2048
FREE_MIB = 2048
# a splat is over when the console is silent for so long, or so long after its first line
SILENT_S = 0.2
LATEST_S = 1.0
MOST_LOOKS = 4
DUMP_S = 120.0


@dataclass(frozen=True, slots=True)
class DumpIndex:
    """Which titles of a run have a dump: `dumps.json` of `folder`, title to path below it."""

    folder: Path
    most: int = MOST_DUMPS

    def claim(self, titles: Sequence[str], dump: Path) -> bool:
        """Whether `dump` may be written: one of `titles` is new, and there are not enough yet."""
        with locked(self.folder):
            known = self._read()
            new = [t for t in titles if t not in known]
            if not new or len(set(known.values())) >= self.most:
                return False
            known.update(dict.fromkeys(new, str(dump.relative_to(self.folder))))
            write_json(self.folder / INDEX, known)
            return True

    def disown(self, dump: Path) -> None:
        """Forget a claim whose dump could not be written."""
        with locked(self.folder):
            mine = str(dump.relative_to(self.folder))
            write_json(self.folder / INDEX, {t: p for t, p in self._read().items() if p != mine})

    def _read(self) -> dict[str, str]:
        path = self.folder / INDEX
        return dict(read_json(path)) if path.exists() else {}


class Keeper:
    """Watches one boot for titles that are worth a dump; call `attend` while it runs."""

    def __init__(self, index: DumpIndex, folder: Path, mem_mib: int) -> None:
        self.index = index
        self.folder = folder
        self.dump = folder / DUMP
        self.off = mem_mib > MOST_GUEST_MIB or shutil.disk_usage(folder).free >> 20 < FREE_MIB
        self.held = False
        self.looks = 0
        self.looked_at = 0.0

    @property
    def written(self) -> bool:
        """Whether this boot left a dump."""
        return self.dump.exists()

    def attend(self, console: Console) -> None:
        """Hold, look and let go as the console demands it; QEMU's troubles cost the dump alone."""
        splat_at = console.last_splat_at
        if self.off or splat_at is None or splat_at <= self.looked_at:
            return
        try:
            if not self.held:
                qmp.execute(self.folder, ("set-action", {"shutdown": "pause"}))
                self.held = True
            now = time.monotonic()
            if now - console.last_output > SILENT_S or now - splat_at > LATEST_S:
                self.looked_at = now
                self.looks += 1
                console.flush()
                self.keep([f.title for f in scan_file(console.path) if not f.suppressed])
                self._let_go()
        except InfraError as error:
            self._give_up(error)

    def keep(self, titles: Sequence[str]) -> None:
        """Write the guest's memory if one of `titles` is new to the run; the guest waits."""
        if self.off or self.written or not self.index.claim(titles, self.dump):
            return
        try:
            self._write()
        except InfraError as error:
            self.dump.unlink(missing_ok=True)
            self.index.disown(self.dump)
            self._give_up(error)

    def _write(self) -> None:
        """The dump and the note; QEMU stops the guest meanwhile and starts one that ran again."""
        state = parse_report(self.folder / "report.ktap").state
        where, _, size = state.get("vmcoreinfo", "").partition("+")
        if not size:
            raise InfraError("the guest did not say where its vmcoreinfo is")
        # QEMU's compressed forms take every arm64 page for one of 64K: drgn cannot read them
        note = {"val": int(where, 16), "size": int(size, 16), "filename": NOTE}
        wanted = {"paging": False, "protocol": f"file:{RAW}"}
        qmp.execute(
            self.folder, ("pmemsave", note), ("dump-guest-memory", wanted), timeout_s=DUMP_S
        )
        raw, path = self.folder / RAW, self.folder / NOTE
        raw.chmod(0o644)  # QEMU makes it readable, no more
        add_note(raw, path.read_bytes())
        path.unlink()
        argv = ("zstd", "-q", "-1", "--rm", str(raw), "-o", str(self.dump))
        done = proc.run(argv, timeout_s=DUMP_S)
        if done.returncode:
            raise InfraError(f"zstd: {done.stderr.decode(errors='replace').strip()}")

    def _let_go(self) -> None:
        """End a guest that stopped at its reset; let one that lives power off by itself."""
        status = qmp.execute(self.folder, ("query-status", {}))[0]["status"]
        if status == "shutdown":
            qmp.execute(self.folder, ("quit", {}))
            self.off = True
        else:
            qmp.execute(self.folder, ("set-action", {"shutdown": "poweroff"}))
            self.held = False
            self.off = self.written or self.looks >= MOST_LOOKS

    def _give_up(self, error: Exception) -> None:
        log.info("no memory dump: %s", error)
        self.off = True


def add_note(core: Path, page: bytes) -> None:
    """Add the ELF note that `page` begins with to the notes of a core file."""
    with core.open("r+b") as file:
        elf = ELFFile(file)
        number, notes = next(
            (i, s) for i, s in enumerate(elf.iter_segments()) if s["p_type"] == "PT_NOTE"
        )
        text = notes.data() + page[: _note_bytes(page)]
        end = file.seek(0, os.SEEK_END)
        file.write(text)
        header = elf["e_phoff"] + number * elf["e_phentsize"]
        # Elf64_Phdr: p_offset is its second 8 bytes, p_filesz its fifth
        for place, value in ((8, end), (32, len(text))):
            file.seek(header + place)
            file.write(struct.pack("<Q", value))


def _note_bytes(page: bytes) -> int:
    """Length of the ELF note at the start of `page`: three words, name and text padded."""
    name, text, _ = struct.unpack_from("<III", page)
    return int(12 + (name + 3) // 4 * 4 + (text + 3) // 4 * 4)


@contextmanager
def unpacked(dump: Path) -> Iterator[Path]:
    """The ELF core file of a dump, for as long as it is needed."""
    with tempfile.TemporaryDirectory(prefix="kvet-memory-", dir=dump.parent) as scratch:
        core = Path(scratch) / RAW
        done = proc.run(("zstd", "-q", "-d", str(dump), "-o", str(core)), timeout_s=DUMP_S)
        if done.returncode:
            raise InfraError(f"{dump}: {done.stderr.decode(errors='replace').strip()}")
        yield core
