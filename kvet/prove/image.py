# SPDX-License-Identifier: GPL-2.0-only
"""A built vmlinux as the binding reads it: functions, instructions, static keys, source lines.

`patched` gives the same image with other bytes at some addresses: a mutant,
and the file stays as it is.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from struct import Struct
from typing import TypeAlias

import capstone
from elftools.elf.elffile import ELFFile

from kvet.build.symbolize import addr2line
from kvet.errors import InfraError

ALLOC = 2
BUG_ENTRY = Struct("<iiHH")  # struct bug_entry with file and line, relative
WARNING = 1
JUMP = Struct("<iiq")  # struct jump_entry of asm-generic
# what the compiler appends to the name of a part or a clone
CLONE = re.compile(r"\.(?:isra|constprop|part|cold|llvm)\b.*$|\.\d+$")
LOCATION = re.compile(r"^(.*?):(\d+)")


@dataclass(frozen=True, slots=True)
class Place:
    """One level of an inline chain: a function and where in its file."""

    function: str
    file: str
    line: int


Chain: TypeAlias = tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class KeySite:
    """A place that a static key patches: where each state of the key leads."""

    key: str
    up: int
    down: int


@dataclass(frozen=True, slots=True)
class Function:
    """A function's code; `name` is without what the compiler appended."""

    name: str
    start: int
    size: int


@dataclass(frozen=True)
class Image:
    """An ELF file of a kernel."""

    path: Path
    sections: tuple[tuple[int, bytes], ...]
    symbols: Mapping[str, tuple[tuple[int, int], ...]]
    patches: Mapping[int, bytes] = field(default_factory=dict)
    chains: dict[int, Chain] = field(default_factory=dict)
    _decoded: dict[int, dict[int, capstone.CsInsn]] = field(default_factory=dict)

    def patched(self, patches: Mapping[int, bytes]) -> Image:
        """A copy with other instructions at some addresses."""
        return Image(
            self.path, self.sections, self.symbols, {**self.patches, **patches}, self.chains, {}
        )

    def functions(self, name: str) -> tuple[Function, ...]:
        """All functions of that name, parts and clones included."""
        return self._by_name.get(name, ())

    @cached_property
    def _by_name(self) -> dict[str, tuple[Function, ...]]:
        found: dict[str, list[Function]] = {}
        for name, places in self.symbols.items():
            plain = CLONE.sub("", name)
            for start, size in places:
                if size:
                    found.setdefault(plain, []).append(Function(plain, start, size))
        return {name: tuple(functions) for name, functions in found.items()}

    @cached_property
    def _sorted(self) -> list[tuple[int, int, str]]:
        return sorted(
            (start, size, name) for name, places in self.symbols.items() for start, size in places
        )

    def symbol_at(self, address: int) -> str:
        """The symbol that holds `address`, without what the compiler appended; or nothing."""
        index = bisect_right(self._sorted, (address, 1 << 63, "")) - 1
        while index >= 0 and self._sorted[index][0] + 0x100000 > address:
            start, size, name = self._sorted[index]
            if start <= address < start + max(size, 1):
                return CLONE.sub("", name)
            index -= 1
        return ""

    def function_at(self, address: int) -> Function | None:
        """The function that begins at `address`."""
        name = self.symbol_at(address)
        return next((f for f in self.functions(name) if f.start == address), None)

    def content(self, start: int, size: int) -> bytes:
        """Bytes of the file, with the patches of a mutant."""
        for base, data in self.sections:
            if base <= start and start + size <= base + len(data):
                raw = bytearray(data[start - base : start - base + size])
                for address, new in self.patches.items():
                    if start <= address < start + size:
                        raw[address - start : address - start + len(new)] = new
                return bytes(raw)
        return b""

    def code(self, function: Function) -> dict[int, capstone.CsInsn]:
        """The instructions of a function by address."""
        if function.start not in self._decoded:
            engine = capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_LITTLE_ENDIAN)
            engine.detail = True
            data = self.content(function.start, function.size & ~3)
            insns = engine.disasm(data, function.start)
            self._decoded[function.start] = {insn.address: insn for insn in insns}
        return self._decoded[function.start]

    @cached_property
    def keys(self) -> dict[int, KeySite]:
        """Places that static keys patch, by address."""
        ends = [self.symbols.get(f"__{side}___jump_table", ()) for side in ("start", "stop")]
        if not all(ends):
            return {}
        start, stop = (places[0][0] for places in ends)
        found = {}
        data = self.content(start, stop - start)
        for offset, (place, target, key) in enumerate(JUMP.iter_unpack(data)):
            at = start + offset * JUMP.size
            site, leads, word = at + place, at + 4 + target, at + 8 + key
            # bit 0 says that the code expects the key up: then the jump is what "down" means
            up, down = (site + 4, leads) if word & 1 else (leads, site + 4)
            found[site] = KeySite(self.symbol_at(word & ~3), up, down)
        return found

    @cached_property
    def warnings(self) -> frozenset[int]:
        """Addresses of `brk` that only warn, by the bug table: the kernel goes on behind them."""
        ends = [self.symbols.get(f"__{side}___bug_table", ()) for side in ("start", "stop")]
        if not all(ends):
            return frozenset()
        start, stop = (places[0][0] for places in ends)
        data = self.content(start, (stop - start) // BUG_ENTRY.size * BUG_ENTRY.size)
        return frozenset(
            start + index * BUG_ENTRY.size + place
            for index, (place, _, _, flags) in enumerate(BUG_ENTRY.iter_unpack(data))
            if flags & WARNING
        )

    def locate(self, addresses: Iterable[int]) -> None:
        """Look up the inline chains of addresses: one process for all of them."""
        missing = sorted(set(addresses) - self.chains.keys())
        if missing:
            for address, told in zip(missing, addr2line(self.path, missing), strict=True):
                self.chains[address] = tuple(_places(told))


def _places(told: Sequence[tuple[str, str]]) -> Iterable[Place]:
    for function, text in told:
        found = LOCATION.match(text)
        file, line = (found.group(1), int(found.group(2))) if found else ("", 0)
        yield Place(CLONE.sub("", function), file.removeprefix("/kvet/src/"), line)


def read_image(path: Path) -> Image:
    """Sections and symbols of a vmlinux."""
    with path.open("rb") as file:
        elf = ELFFile(file)
        sections = tuple(
            (section["sh_addr"], section.data())
            for section in elf.iter_sections()
            if section["sh_flags"] & ALLOC and section["sh_type"] != "SHT_NOBITS"
        )
        table = elf.get_section_by_name(".symtab")
        if table is None:
            raise InfraError(f"{path} holds no symbol table")
        symbols = _symbols(table.data(), elf.get_section(table["sh_link"]).data())
    return Image(path, sections, symbols)


def _symbols(table: bytes, strings: bytes) -> dict[str, tuple[tuple[int, int], ...]]:
    """Name to address and size; local labels and mapping symbols are left out."""
    found: dict[str, list[tuple[int, int]]] = {}
    for name, info, _, section, value, size in Struct("<IBBHQQ").iter_unpack(table):
        if not section or info & 15 > 2 or strings[name : name + 1] in (b"$", b"."):
            continue
        text = strings[name : strings.index(b"\0", name)].decode(errors="replace")
        if text:
            found.setdefault(text, []).append((value, size))
    return {name: tuple(places) for name, places in found.items()}
