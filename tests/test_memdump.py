# SPDX-License-Identifier: GPL-2.0-only
"""Memory dumps: one a title and few of them, the note a dump lacks, what is asked of it."""

from __future__ import annotations

import struct
import time
from pathlib import Path
from typing import Any

import pytest
from elftools.elf.elffile import ELFFile

from kvet import proc
from kvet.errors import InfraError
from kvet.guest import memdump, qmp
from kvet.guest.console import Console
from kvet.guest.drgn_view import pick, questions
from kvet.guest.memdump import DUMP, RAW, DumpIndex, Keeper, add_note, unpacked
from kvet.model import Finding

BREACH = b"""\
[    1.100000][   T40] kvet: BREACH table-freed-under-walk in pmd_free_pte_page: table 0x43430 of \
0xffff8000c0000000, by the lifetime rule
[    1.100000][   T40] kvet: free by pid 40:
[    1.100000][   T40]  pmd_free_pte_page+0x0/0xac
[    1.100000][   T40] kvet: walk by pid 41:
[    1.100000][   T40]  walk_page_range_debug+0x0/0xa8
"""


def test_a_title_is_dumped_once(tmp_path: Path) -> None:
    index = DumpIndex(tmp_path)
    first, second = tmp_path / "a" / DUMP, tmp_path / "b" / DUMP
    assert index.claim(["one", "two"], first)
    assert not index.claim(["two"], second)
    assert index.claim(["two", "three"], second)


def test_a_run_keeps_few_dumps(tmp_path: Path) -> None:
    index = DumpIndex(tmp_path, most=2)
    taken = [index.claim([f"title {n}"], tmp_path / str(n) / DUMP) for n in range(4)]
    assert taken == [True, True, False, False]


def test_a_claim_whose_dump_failed_is_open_again(tmp_path: Path) -> None:
    index = DumpIndex(tmp_path)
    assert index.claim(["one"], tmp_path / "a" / DUMP)
    index.disown(tmp_path / "a" / DUMP)
    assert index.claim(["one"], tmp_path / "b" / DUMP)


class FakeQemu:
    """Answers QMP as a QEMU in `status` does and remembers what it was asked."""

    def __init__(self, status: str) -> None:
        self.status = status
        self.asked: list[str] = []

    def __call__(self, folder: Path, *commands: tuple[str, Any], timeout_s: float = 5) -> list[Any]:
        self.asked += [name for name, _ in commands]
        if "dump-guest-memory" in self.asked and not (folder / RAW).exists():
            raise InfraError("QEMU is gone")
        return [{"status": self.status}] * len(commands)


def seen(tmp_path: Path, status: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Keeper, FakeQemu]:
    """A keeper that has just seen a breach on the console, and its QEMU."""
    qemu = FakeQemu(status)
    monkeypatch.setattr(qmp, "execute", qemu)
    monkeypatch.setattr(memdump, "FREE_MIB", 0)
    (tmp_path / "report.ktap").write_text("# kvet state vmcoreinfo 0x40001000+0x400\n")
    console = Console(tmp_path, time.monotonic())
    keeper = Keeper(DumpIndex(tmp_path), tmp_path, 64)
    keeper.attend(console)
    assert not qemu.asked
    console.feed(BREACH)
    console.last_output -= memdump.SILENT_S + 1
    keeper.attend(console)
    console.close()
    return keeper, qemu


def test_a_living_guest_may_power_off_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper, qemu = seen(tmp_path, "running", monkeypatch)
    assert qemu.asked[0] == "set-action"
    assert "dump-guest-memory" in qemu.asked
    # this QEMU wrote nothing: the next boot with the title may try again
    assert not keeper.written
    assert keeper.index.claim(["table-freed-under-walk in pmd_free_pte_page"], tmp_path / "x")


def test_a_guest_that_waits_at_its_reset_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    DumpIndex(tmp_path).claim(
        ["table-freed-under-walk in pmd_free_pte_page"], tmp_path / "b" / DUMP
    )
    _, qemu = seen(tmp_path, "shutdown", monkeypatch)
    assert "dump-guest-memory" not in qemu.asked
    assert qemu.asked[-1] == "quit"


def core_file(notes: bytes) -> bytes:
    """A core file as QEMU writes it: a header, one PT_NOTE, its notes."""
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    header = ident + struct.pack("<HHIQQQIHHHHHH", 4, 183, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    return header + struct.pack("<IIQQQQQQ", 4, 0, 120, 0, 0, len(notes), 0, 0) + notes


def note(name: bytes, text: bytes) -> bytes:
    head = struct.pack("<III", len(name) + 1, len(text), 0)
    return (
        head
        + (name + b"\0").ljust(-(-(len(name) + 1) // 4) * 4, b"\0")
        + text.ljust(-(-len(text) // 4) * 4, b"\0")
    )


def test_the_kernels_note_joins_those_of_the_core(tmp_path: Path) -> None:
    core = tmp_path / RAW
    core.write_bytes(core_file(note(b"CORE", b"registers")))
    add_note(core, note(b"VMCOREINFO", b"PAGESIZE=4096\n") + bytes(1000))
    with core.open("rb") as file:
        segment: Any = next(ELFFile(file).iter_segments())
        found = {n["n_name"]: n["n_descdata"] for n in segment.iter_notes()}
    assert found == {"CORE": b"registers", "VMCOREINFO": b"PAGESIZE=4096\n"}


def test_a_damaged_dump_is_named(tmp_path: Path) -> None:
    (tmp_path / DUMP).write_bytes(b"not packed")
    with pytest.raises(InfraError, match=DUMP), unpacked(tmp_path / DUMP):
        pass


def test_a_dump_is_unpacked_and_the_copy_goes_away(tmp_path: Path) -> None:
    (tmp_path / "raw").write_bytes(b"memory")
    assert (
        proc.run(("zstd", "-q", str(tmp_path / "raw"), "-o", str(tmp_path / DUMP))).returncode == 0
    )
    with unpacked(tmp_path / DUMP) as core:
        assert core.read_bytes() == b"memory"
    assert not core.exists()


def test_what_is_asked_is_read_off_the_splat() -> None:
    breach = Finding(
        kind="table-freed-under-walk",
        title="table-freed-under-walk in pmd_free_pte_page",
        excerpt=tuple(BREACH.decode().splitlines()),
    )
    asked = questions(breach)
    assert asked.pids == (40, 41)
    assert asked.address == 0xFFFF_8000_C000_0000
    assert asked.table_pfn == 0x43430
    oops = Finding(
        kind="page-fault",
        title="BUG: unable to handle kernel paging request in ptdump_pte_entry",
        excerpt=(
            "Unable to handle kernel paging request at virtual address ffffffffc0000000",
            "CPU: 1 UID: 0 PID: 63 Comm: kvet-walk/0 Not tainted",
        ),
    )
    assert questions(oops).pids == (63,)
    assert questions(oops).address == 0xFFFF_FFFF_C000_0000
    hang = Finding(kind="hung-task", title="guest hang")
    assert pick([hang, oops]) is oops
