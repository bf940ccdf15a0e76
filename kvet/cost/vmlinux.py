# SPDX-License-Identifier: GPL-2.0-only
"""Functions and data objects of a linked kernel, and which of them differ between two builds.

Addresses differ between any two builds: a branch to the same function, or an
address made of the same symbol, is no difference.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from struct import Struct

from elftools.elf.elffile import ELFFile

# what bloat-o-meter leaves out: made by macros, or of the build and not of the source
GENERATED = ("__mod_", "__se_sys", "__se_compat_sys", "__addressable_")
OF_THE_BUILD = ("linux_banner", "vermagic", "init_uts_ns")
# the compiler numbers statics and clones
NUMBER = re.compile(r"\.[0-9]+")
CLONE = re.compile(r"\.(?:isra|constprop|part)\b")
WRITE, ALLOC, EXECUTE = 1, 2, 4
NOTYPE, OBJECT, FUNCTION = 0, 1, 2
JUMP = Struct("<iiq")  # struct jump_entry of asm-generic


@dataclass(frozen=True, slots=True)
class Symbol:
    """A function or a data object; sizes in bytes. The name is without the compiler's numbers."""

    name: str
    address: int
    size: int
    is_function: bool


@dataclass(frozen=True, slots=True)
class Section:
    """An allocated section; `content` is empty for what the kernel clears itself."""

    name: str
    start: int
    size: int
    content: bytes


@dataclass(frozen=True, slots=True)
class Binary:
    """What a vmlinux holds: `totals` are text, data and bss in bytes, as size(1) counts.

    `keys` are places that a static key patches: where it leads when it is up,
    and the address of the key. `own_words` hold the release and the number of the build
    and the names of its symbols.
    """

    totals: Mapping[str, int]
    sections: tuple[Section, ...]
    symbols: tuple[Symbol, ...]
    labels: Mapping[int, Sequence[str]]
    starts: tuple[int, ...]
    keys: Mapping[int, tuple[int, int]]
    own_words: Sequence[range]

    def code(self, symbol: Symbol) -> bytes:
        """The bytes of a function; empty where they are not in the file."""
        return _content(self.sections, symbol.address, symbol.address + symbol.size)

    def name_of(self, address: int) -> str:
        """Symbol that holds `address`, with the offset in it; a section where no symbol does."""
        index = bisect_right(self.starts, address) - 1
        if index >= 0:
            symbol = self.symbols[index]
            offset = address - symbol.address
            if offset < symbol.size:
                return symbol.name + (f"+{offset:#x}" if offset else "")
        if address in self.labels:
            return self.labels[address][0]
        inside = (s.name for s in self.sections if 0 <= address - s.start < max(1, s.size))
        return f"[{next(inside, 'outside')}]"

    @property
    def image_start(self) -> int | None:
        """Where the first byte of the Image is; None for what is no kernel."""
        return next((a for a, names in self.labels.items() if "_text" in names), None)

    def by_name(self, *, functions: bool) -> dict[str, list[Symbol]]:
        """Functions, or data objects, in the order of their addresses."""
        found: dict[str, list[Symbol]] = {}
        for symbol in self.symbols:
            if symbol.is_function == functions:
                found.setdefault(symbol.name, []).append(symbol)
        return found


def read_binary(path: Path) -> Binary:
    """Sections and symbols of an ELF file."""
    with path.open("rb") as file:
        elf = ELFFile(file)
        totals = {"text": 0, "data": 0, "bss": 0}
        sections = []
        for section in elf.iter_sections():
            flags, size = section["sh_flags"], section["sh_size"]
            if not flags & ALLOC:
                continue
            cleared = section["sh_type"] == "SHT_NOBITS"
            fixed = flags & EXECUTE or not flags & WRITE
            totals["bss" if cleared else "text" if fixed else "data"] += size
            content = b"" if cleared else section.data()
            sections.append(Section(section.name, section["sh_addr"], size, content))
        symbols, labels, own_words = _symbols(elf)
    return Binary(
        totals=totals,
        sections=tuple(sections),
        symbols=symbols,
        labels=labels,
        starts=tuple(s.address for s in symbols),
        keys=_keys(sections, {n: a for a, names in labels.items() for n in names}),
        own_words=own_words,
    )


def _content(sections: Sequence[Section], start: int, end: int) -> bytes:
    for section in sections:
        if section.start <= start < section.start + section.size:
            return section.content[start - section.start : end - section.start]
    return b""


def _keys(sections: Sequence[Section], labels: Mapping[str, int]) -> dict[int, tuple[int, int]]:
    """The jump table: distances, each from where it stands, to place, target and key."""
    start, end = (labels.get(f"__{side}___jump_table", 0) for side in ("start", "stop"))
    table = _content(sections, start, end) if start else b""
    found = {}
    for offset, (place, target, key) in zip(
        range(start, end, JUMP.size), JUMP.iter_unpack(table), strict=False
    ):
        # the low bits of the key say what it is when it starts
        found[offset + place] = (offset + 4 + target, (offset + 8 + key) & ~3)
    return found


def _symbols(elf: ELFFile) -> tuple[tuple[Symbol, ...], dict[int, list[str]], list[range]]:
    """Sized symbols in the order of their addresses, and names of addresses without a size.

    Also where those are that differ in any two builds.
    """
    import numpy

    table = elf.get_section_by_name(".symtab")
    if table is None:
        return (), {}, []
    strings: bytes = elf.get_section(table["sh_link"]).data()
    layout = [("name", "<u4"), ("info", "u1"), ("other", "u1"), ("section", "<u2")]
    entries = numpy.frombuffer(table.data(), dtype=[*layout, ("value", "<u8"), ("size", "<u8")])
    symbols: dict[int, Symbol] = {}
    labels: dict[int, list[str]] = {}
    own_words: list[range] = []
    for name, info, _, section, value, size in entries.tolist():
        kind = info & 15
        if not section or kind not in (NOTYPE, OBJECT, FUNCTION):
            continue
        text = strings[name : strings.index(b"\0", name)].decode(errors="replace")
        text = NUMBER.sub("", text)
        if kind == NOTYPE or not size:
            if text and not text.startswith(("$", ".L")):
                labels.setdefault(value, []).append(text)
        elif text in OF_THE_BUILD:
            own_words.append(range(value, value + size))
        elif not text.startswith(GENERATED):
            # aliases of one address count once
            symbols.setdefault(value, Symbol(text, value, size, kind == FUNCTION))
    own_words.extend(_table_of_names({*labels, *symbols}, labels))
    return tuple(symbols[address] for address in sorted(symbols)), labels, own_words


def _table_of_names(known: set[int], labels: Mapping[int, Sequence[str]]) -> list[range]:
    """Where kallsyms keeps the names: some of them hold the number of a line of source."""
    table = [a for a, names in labels.items() if any(n.startswith("kallsyms_") for n in names)]
    if not table:
        return []
    end = min((a for a in known if a > max(table)), default=max(table) + 1)
    return [range(min(table), end)]


@dataclass(frozen=True, slots=True)
class Pair:
    """A function in two builds; None in the one that lacks it."""

    name: str
    old: Symbol | None
    new: Symbol | None


def changed_functions(old: Binary, new: Binary) -> Iterator[Pair]:
    """Every function whose code differs by more than addresses.

    Namesakes pair off in order. What is a clone (`.isra`, `.constprop`) in one
    build and not in the other is the same function.
    """
    before, after = old.by_name(functions=True), new.by_name(functions=True)
    single: list[Pair] = []
    for name in dict.fromkeys((*before, *after)):
        for a, b in zip_longest(before.get(name, ()), after.get(name, ())):
            if a is None or b is None:
                single.append(Pair(name, a, b))
            elif a.size != b.size or not same_code(old, a, new, b):
                yield Pair(name, a, b)
    yield from _with_clones(single)


def _with_clones(single: Sequence[Pair]) -> Iterator[Pair]:
    gone = {CLONE.sub("", p.name): p for p in single if p.new is None}
    for pair in single:
        if pair.new is not None:
            twin = gone.pop(CLONE.sub("", pair.name), None)
            yield Pair(pair.name, twin.old if twin else None, pair.new)
    yield from gone.values()


def same_code(old: Binary, a: Symbol, new: Binary, b: Symbol, alike: Container[int] = ()) -> bool:
    """Whether two functions of one size differ in nothing but addresses.

    The words at the offsets `alike` are taken for the same.
    """
    import numpy

    one = numpy.frombuffer(old.code(a)[: a.size & ~3], dtype="<u4")
    other = numpy.frombuffer(new.code(b)[: b.size & ~3], dtype="<u4")
    if len(one) != len(other):
        return False
    differing = numpy.nonzero(one != other)[0].tolist()
    words = one.tolist()
    twins = other.tolist()
    return all(
        _same_call(_Word(old, a.address + 4 * i, words[i]), _Word(new, b.address + 4 * i, twins[i]))
        or (_is_page(words[i]) and _is_page(twins[i]) and words[i] & 31 == twins[i] & 31)
        or (_is_low_part(words[i], twins[i]) and _has_page(words, words[i] >> 5 & 31))
        for i in differing
        if 4 * i not in alike
    )


@dataclass(frozen=True, slots=True)
class _Word:
    """One instruction and where it stands."""

    binary: Binary
    address: int
    word: int


def _same_call(one: _Word, twin: _Word) -> bool:
    """Whether two branches lead to one name."""
    branches = _is_branch(one.word) and _is_branch(twin.word) and one.word >> 26 == twin.word >> 26
    return branches and _target(one) == _target(twin)


def _is_branch(word: int) -> bool:
    return word & 0x7C000000 == 0x14000000  # b, bl


def _target(branch: _Word) -> str:
    offset = (branch.word & 0x03FFFFFF) - ((branch.word & 0x02000000) << 1)
    return branch.binary.name_of(branch.address + 4 * offset)


def _is_page(word: int) -> bool:
    return word & 0x9F000000 == 0x90000000  # adrp


def _is_low_part(word: int, twin: int) -> bool:
    """Whether both add to, load or store at one register, and differ in the offset alone."""
    kind = word & 0xFFC00000 == 0x91000000 or word & 0x3B000000 == 0x39000000
    return kind and word & 0xFFC003FF == twin & 0xFFC003FF


def _has_page(words: Sequence[int], register: int) -> bool:
    """Whether one of `words`, before or behind a jump back, puts a page into `register`."""
    return any(_is_page(word) and word & 31 == register for word in words)


@dataclass(frozen=True, slots=True)
class Resized:
    """A name whose bytes differ, all its namesakes summed up; 0 in a build that lacks it."""

    name: str
    is_function: bool
    old: int
    new: int


def resized(old: Binary, new: Binary) -> list[Resized]:
    """What grew, shrank, came or went, as scripts/bloat-o-meter counts; the largest first."""
    found = []
    for functions in (True, False):
        before, after = old.by_name(functions=functions), new.by_name(functions=functions)
        for name in dict.fromkeys((*before, *after)):
            sizes = [sum(s.size for s in side.get(name, ())) for side in (before, after)]
            if sizes[0] != sizes[1]:
                found.append(Resized(name, functions, *sizes))
    return sorted(found, key=lambda r: (-abs(r.new - r.old), r.name))
