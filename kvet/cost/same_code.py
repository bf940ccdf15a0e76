# SPDX-License-Identifier: GPL-2.0-only
"""Whether two builds are the same code: section by section, what differs between any two apart.

What boots is compared, byte by byte. The release and the build id of a build, and the lines
that a warning or a debug check prints, are no code. Where nothing else differs one build
stands for the other; where something does, the functions are named.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from kvet.build.symbolize import LOCATION, addr2line
from kvet.cost.vmlinux import (
    Binary,
    Section,
    changed_functions,
    read_binary,
    same_code,
)
from kvet.errors import InfraError
from kvet.model import Build
from kvet.store import read_as, write_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORM = "3"  # raise it when a change here makes what is kept wrong
# sections that tell builds apart, and no code
NO_CODE = (".notes", ".note.gnu.build-id", ".modinfo", ".gnu_debuglink")
BUG_TABLE, BUG_ENTRY, BUG_LINE = "__bug_table", 12, range(8, 10)
ALLOC = 2
# more places than these in one function are more than line numbers
MOST_LINES = 200


@dataclass(frozen=True, slots=True)
class Match:
    """What differs between two builds: `functions` and data by name; `same` when nothing does.

    `lines` counts places where a line number alone differs.
    """

    same: bool
    functions: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    lines: int = 0


def match_builds(old: Build, new: Build) -> Match:
    """Compare what two builds of one kernel and config boot: the image and every module.

    Raises InfraError for a file that is no build of a kernel.
    """
    try:
        return _matched(old, new)
    except (OSError, ELFError, ValueError) as error:
        raise InfraError(f"cannot compare {old.folder} with {new.folder}: {error}") from error


def match_cached(old: Build, new: Build) -> Match:
    """`match_builds`, worked out once for the two and kept beside the new one."""
    kept = new.folder / f"same-{old.key}-{FORM}.json"
    if not kept.exists():
        write_json(kept, match_builds(old, new))
    match: Match = read_as(kept, Match)
    return match


def _matched(old: Build, new: Build) -> Match:
    modules = tuple(_changed_modules(old, new))
    one = old.image.read_bytes()
    other = new.image.read_bytes().replace(new.release.encode(), old.release.encode())
    if one == other:
        return Match(not modules, data=modules)
    before, after = read_binary(old.vmlinux), read_binary(new.vmlinux)
    base = before.image_start
    if base is None or len(one) != len(other) or before.starts != after.starts:
        # everything has moved: functions and data go by name
        functions = tuple(_changed_functions(old, new, before, after))
        return Match(False, functions, (*_changed_data(before, after), *modules))
    offsets = _differing(one, other)
    names, words = _named(before, [base + int(o) for o in offsets])
    found = [(a, a) for own in words.values() if len(own) <= MOST_LINES for a in own]
    lines = {a for a, _ in _line_numbers(old, new, before, after, found)}
    functions = tuple(n for n, own in words.items() if not all(a in lines for a in own))
    return Match(
        same=not (functions or names or modules),
        functions=functions,
        data=(*names, *modules),
        lines=len(lines),
    )


def _differing(one: bytes, other: bytes) -> NDArray[Any]:
    import numpy

    left, right = (numpy.frombuffer(data, dtype="u1") for data in (one, other))
    return numpy.nonzero(left != right)[0]


def _named(binary: Binary, addresses: Iterable[int]) -> tuple[list[str], dict[str, set[int]]]:
    """Data that differs, by name, and the differing words of each function."""
    data: dict[str, None] = {}
    words: dict[str, set[int]] = {}
    kinds = {symbol.name: symbol.is_function for symbol in binary.symbols}
    for address in addresses:
        section = _section(binary.sections, address)
        if section is not None and _is_no_code(section, address):
            continue
        if any(address in own for own in binary.own_words):
            continue
        name = binary.name_of(address).partition("+")[0]
        if kinds.get(name, False):
            words.setdefault(name, set()).add(address & ~3)
        else:
            data[name] = None
    return list(data), words


def _section(sections: Sequence[Section], address: int) -> Section | None:
    inside = (s for s in sections if s.start <= address < s.start + s.size)
    return next(inside, None)


def _is_no_code(section: Section, address: int) -> bool:
    """Whether a byte is of the build, or of the line number of a warning."""
    if section.name in NO_CODE:
        return True
    return section.name == BUG_TABLE and (address - section.start) % BUG_ENTRY in BUG_LINE


def _line_numbers(
    old: Build, new: Build, before: Binary, after: Binary, words: Iterable[tuple[int, int]]
) -> set[tuple[int, int]]:
    """Of differing words (their addresses) those that load the number of their own line."""
    found = [
        (one, other)
        for one, other in words
        if _loads_number(_word(before, one), _word(after, other))
    ]
    if not found:
        return set()
    places = zip(
        addr2line(old.vmlinux, [one for one, _ in found]),
        addr2line(new.vmlinux, [other for _, other in found]),
        strict=True,
    )
    return {
        (one, other)
        for (one, other), (left, right) in zip(found, places, strict=True)
        if _number(_word(before, one)) in _lines(left)
        and _number(_word(after, other)) in _lines(right)
    }


def _word(binary: Binary, address: int) -> int:
    section = _section(binary.sections, address)
    content = section.content[address - section.start :][:4] if section else b""
    return int.from_bytes(content, "little")


def _loads_number(one: int, other: int) -> bool:
    """Whether both words are `mov` of a small number into the same register."""
    is_mov = all(word & 0x7FE00000 == 0x52800000 for word in (one, other))
    return is_mov and one & 31 == other & 31


def _number(word: int) -> int:
    return word >> 5 & 0xFFFF


def _lines(places: Sequence[tuple[str, str]]) -> set[int]:
    found = (LOCATION.match(text) for _, text in places)
    return {int(place[2]) for place in found if place}


def _changed_functions(old: Build, new: Build, before: Binary, after: Binary) -> Iterator[str]:
    """The functions that differ in more than addresses and the numbers of lines."""
    pairs = list(changed_functions(before, after))
    words = []
    for pair in pairs:
        a, b = pair.old, pair.new
        if a and b and a.size == b.size:
            words += [(a.address + n, b.address + n) for n in range(0, a.size & ~3, 4)]
    differing = [(x, y) for x, y in words if _word(before, x) != _word(after, y)]
    lines = {x for x, _ in _line_numbers(old, new, before, after, differing)}
    for pair in pairs:
        a, b = pair.old, pair.new
        numbers = {x - a.address for x in lines if a and 0 <= x - a.address < a.size} if a else ()
        sized = a and b and a.size == b.size
        if not (sized and a and b and same_code(before, a, after, b, numbers)):
            yield pair.name


def _changed_data(before: Binary, after: Binary) -> Iterator[str]:
    """Data objects that came, went or changed their size."""
    old, new = before.by_name(functions=False), after.by_name(functions=False)
    for name in dict.fromkeys((*old, *new)):
        if [s.size for s in old.get(name, ())] != [s.size for s in new.get(name, ())]:
            yield name


def _changed_modules(old: Build, new: Build) -> Iterator[str]:
    names = {p.name for build in (old, new) for p in build.modules.glob("*.ko")}
    for name in sorted(names):
        one, other = old.modules / name, new.modules / name
        if not one.exists() or not other.exists() or not _same_module(one, other, old, new):
            yield name


def _same_module(one: Path, other: Path, old: Build, new: Build) -> bool:
    left = one.read_bytes()
    right = other.read_bytes().replace(new.release.encode(), old.release.encode())
    return left == right or _sections(one) == _sections(other)


def _sections(module: Path, skip: Collection[str] = NO_CODE) -> dict[str, bytes]:
    """What of a module is loaded, and the relocations of it."""
    with module.open("rb") as file:
        elf = ELFFile(file)
        loaded = {
            section.name: section.data()
            for section in elf.iter_sections()
            if section["sh_flags"] & ALLOC and section.name not in skip
        }
        for section in elf.iter_sections():
            if section["sh_type"] == "SHT_RELA" and section.name.removeprefix(".rela") in loaded:
                loaded[section.name] = section.data()
        table = elf.get_section_by_name(".strtab")
        loaded[".strtab"] = table.data() if table else b""
        return loaded
