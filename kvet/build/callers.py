# SPDX-License-Identifier: GPL-2.0-only
"""Functions that nothing in a kernel leads to: no branch, no address in code, no pointer in data.

With some configurations a function is compiled and all calls of it are not, as those that free
the table below a block of a size that the page size does not have. What such a function decides
can never happen.

Whatever looks like a way there counts as one, so that nothing is left out wrongly: branches of
all kinds, an address made by adr, or by adrp and an add to its register, 64-bit pointers and 32-bit
distances (exported symbols, initcalls) wherever they are. Only what is in the function itself, or
in another one that nothing leads to, does not count. A call by name, as kprobes can, is not seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Words = NDArray[Any]

Range = tuple[int, int]

# Arm Architecture Reference Manual, C4.1: mask, value, bits of the distance, the lowest of them
BRANCHES = (
    (0x7C000000, 0x14000000, 26, 0),  # b, bl
    (0xFF000000, 0x54000000, 19, 5),  # b.cond, bc.cond
    (0x7E000000, 0x34000000, 19, 5),  # cbz, cbnz
    (0x7E000000, 0x36000000, 14, 5),  # tbz, tbnz
)
ADR_MASK, ADR, ADRP = 0x9F000000, 0x10000000, 0x90000000
ADD_MASK, ADD = 0x7FC00000, 0x11000000
DESCRIBING = frozenset({".eh_frame"})  # distances to all functions, to unwind them
NEAR = 1024  # words from an adrp to its add, either way


def uncalled(vmlinux: Path, ranges: Sequence[Range]) -> set[Range]:
    """Those of the functions at `ranges` (start, length) that nothing in the kernel leads to."""
    ways = _ways(vmlinux, [start for start, _ in ranges])
    gone: set[Range] = set()
    while fresh := {one for one in ranges if not _is_led_to(one, ways[one[0]], gone)} - gone:
        gone |= fresh
    return gone


def _is_led_to(function: Range, ways: Iterable[int], gone: set[Range]) -> bool:
    """Whether one of the addresses `ways` is neither in the function nor in one that is gone."""
    return any(
        not any(start <= at < start + size for start, size in (function, *gone)) for at in ways
    )


def _ways(vmlinux: Path, starts: Sequence[int]) -> dict[int, list[int]]:
    """Start of each function to the addresses of what leads there."""
    import numpy

    found: dict[int, list[int]] = {start: [] for start in starts}
    with vmlinux.open("rb") as file:
        for section in ELFFile(file).iter_sections():
            flags = section["sh_flags"]
            held = flags & SH_FLAGS.SHF_ALLOC and section["sh_type"] != "SHT_NOBITS"
            if not held or section.name in DESCRIBING:
                continue
            data = section.data()
            words = numpy.frombuffer(data[: len(data) & ~3], dtype="<u4")
            places = _signed(section["sh_addr"]) + 4 * numpy.arange(len(words), dtype="i8")
            code = _Code(words, places) if flags & SH_FLAGS.SHF_EXECINSTR else None
            for start in starts:
                ways = _in_data(words, places, _signed(start))
                if code:
                    ways |= code.leads(_signed(start))
                found[start] += places[ways].astype("u8").tolist()
    return found


def _signed(address: int) -> int:
    return address - (1 << 64) if address >> 63 else address


def _in_data(words: Words, places: Words, start: int) -> Words:
    """Where a pointer to `start` is, or its distance from there."""
    ways: Words = places + words.view("<i4") == start
    low, high = start & 0xFFFFFFFF, start >> 32 & 0xFFFFFFFF
    ways[:-1] |= (words[:-1] == low) & (words[1:] == high)
    return ways


class _Code:
    """Instructions at `places`, and what address each makes or goes to: 0 for most."""

    def __init__(self, words: Words, places: Words) -> None:
        self._words = words
        self._to = 0 * places
        for mask, value, bits, lowest in BRANCHES:
            mine = words & mask == value
            self._to[mine] = places[mine] + 4 * _distance(words[mine], bits, lowest)
        mine = words & ADR_MASK == ADR
        self._to[mine] = places[mine] + _immediate(words[mine])
        mine = words & ADR_MASK == ADRP
        self._page = 0 * places
        self._page[mine] = (places[mine] >> 12) + _immediate(words[mine])

    def leads(self, start: int) -> Words:
        """Where an instruction leads to `start`, or an adrp near an add could make it."""
        import numpy

        pages = self._page == start >> 12
        if start & 0xFFF and pages.any():
            words = self._words
            adds = (words & ADD_MASK == ADD) & (words >> 10 & 0xFFF == start & 0xFFF)
            rest = numpy.flatnonzero(adds)
            for at in numpy.flatnonzero(pages):
                same_register = words[rest] >> 5 & 31 == words[at] & 31
                pages[at] = bool((abs(rest - at) <= NEAR)[same_register].any())
        ways: Words = pages | (self._to == start)
        return ways


def _immediate(words: Words) -> Words:
    """What adr and adrp add: the two lowest bits of it are apart."""
    value: Words = 4 * _distance(words, 19, 5) + (words >> 29 & 3)
    return value


def _distance(words: Words, bits: int, lowest: int) -> Words:
    """The signed field of `bits` whose lowest bit is `lowest`, as 64-bit numbers."""
    field = (words >> lowest & (1 << bits) - 1).astype("i8")
    value: Words = field - (field >> (bits - 1) << bits)
    return value
