# SPDX-License-Identifier: GPL-2.0-only
"""Which lines of a series ran in the guest: QEMU's translation log against DWARF.

`-d in_asm` logs each block of guest code when it is first translated, which
is when it first runs; `-dfilter` limits that to the functions that the series
touched. Nothing in the guest changes, and nothing is slower after the first run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from kvet import proc
from kvet.build.branches import Branch, find_branches, ways_taken
from kvet.build.callers import uncalled
from kvet.build.symbolize import addr2line, function_ranges
from kvet.build.toolchain import CROSS_COMPILE
from kvet.build.worktree import SOURCE
from kvet.errors import InfraError, KvetError
from kvet.source.git import Repo
from kvet.source.series import AppliedSeries
from kvet.store import read_as, write_json

BLAMED = re.compile(r"^([0-9a-f]{40}) \d+ (\d+)")
TRANSLATED = re.compile(rb"^0x([0-9a-f]+):", re.MULTILINE)
ROW = re.compile(rb"\s*(\d+)\s+(0x[0-9a-f]+)")
LOG = "asm.log"
MOST_LOG_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class PatchLines:
    """The lines of a series that generate code.

    `addresses` maps `file:line` to guest addresses, `patch` to the number of
    the patch (from 0) that last wrote it, `ranges` are (start, length) of the
    functions they are in and lead out to. `branches` are the conditional ones
    of these lines, `selects` the lines where a choice is made without a branch,
    `uncalled` the functions among theirs that nothing in this kernel leads to.
    """

    addresses: Mapping[str, tuple[int, ...]]
    patch: Mapping[str, int]
    text: Mapping[str, str]
    ranges: tuple[tuple[int, int], ...]
    branches: tuple[Branch, ...] = ()
    selects: tuple[str, ...] = ()
    uncalled: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ran:
    """What a translation log says of a series: its lines that ran, and the ways of its branches.

    `ways` is None where there was no log: then nothing is known of them.
    """

    lines: tuple[str, ...] = ()
    ways: tuple[str, ...] | None = None


def patch_lines(build: Path, repo: Repo, series: AppliedSeries) -> PatchLines | None:
    """The lines of `series` with code in the kernel of directory `build`; worked out once.

    None when the series is empty or the tools do not say.
    """
    if not series.patches:
        return None
    # another series may make the same tree, and so the same build, of other patches
    kept = build / f"lines-{series.series_id[:16]}.json"
    if not kept.exists():
        try:
            found = _find_lines(build / "vmlinux", _written_lines(repo, series))
        except KvetError:
            return None
        write_json(kept, found)
    known: PatchLines = read_as(kept, PatchLines)
    return known


def _written_lines(repo: Repo, series: AppliedSeries) -> dict[str, tuple[int, str]]:
    """`file:line` in the final tree to the patch that wrote it and its text, by git blame."""
    commits = [_commit(repo, series.base_tree, None)]
    for patch in series.patches:
        commits.append(_commit(repo, patch.tree_id, commits[-1]))
    written: dict[str, tuple[int, str]] = {}
    for path, status in series.changed.items():
        if status == "D" or not path.endswith((".c", ".h", ".S")):
            continue
        out = repo.output("blame", "--porcelain", commits[-1], "--", path)
        number, author = 0, ""
        for line in out.decode(errors="replace").splitlines():
            if found := BLAMED.match(line):
                author, number = found.group(1), int(found.group(2))
            elif line.startswith("\t") and author != commits[0]:
                written[f"{path}:{number}"] = (commits.index(author) - 1, line[1:])
    return written


def _commit(repo: Repo, tree: str, parent: str | None) -> str:
    """A commit of `tree`, for blame alone; the same trees give the same commits."""
    identity = ("-c", "user.name=kvet", "-c", "user.email=kvet@localhost")
    parents = ("-p", parent) if parent else ()
    return repo.output(*identity, "commit-tree", tree, *parents, "-m", "kvet").decode().strip()


def _find_lines(vmlinux: Path, written: Mapping[str, tuple[int, str]]) -> PatchLines:
    """Addresses of the written lines, from the line table."""
    wanted: dict[tuple[str, int], list[str]] = {}
    for place in written:
        path, _, text = place.rpartition(":")
        wanted.setdefault((Path(path).name, int(text)), []).append(path)
    rows: dict[tuple[str, int], set[int]] = {}
    for name, number, address in _rows(vmlinux, {name for name, _ in wanted}):
        key = (name, int(number))
        if key in wanted:
            rows.setdefault(key, set()).add(int(address, 16))
    # the table gives names without directories: addr2line tells whose lines they are
    places = _files_at(vmlinux, {a for found in rows.values() for a in found})
    addresses: dict[str, tuple[int, ...]] = {}
    for (name, line), found in rows.items():
        for path in wanted[name, line]:
            own = tuple(sorted(a for a in found if path in places.get(a, ())))
            if own:
                addresses[f"{path}:{line}"] = own
    ranges = tuple(function_ranges(vmlinux, {a for x in addresses.values() for a in x}))
    decided = find_branches(vmlinux, ranges, addresses)
    return PatchLines(
        addresses=addresses,
        patch={place: written[place][0] for place in addresses},
        text={place: written[place][1] for place in addresses},
        ranges=(*ranges, *decided.ranges),
        branches=decided.branches,
        selects=decided.selects,
        uncalled=_uncalled(vmlinux, ranges, decided.branches),
    )


def _uncalled(
    vmlinux: Path, ranges: Iterable[tuple[int, int]], branches: Iterable[Branch]
) -> tuple[str, ...]:
    """The functions that decide something, and that nothing in the kernel leads to."""
    held = {one: {b.function for b in branches if one[0] <= b.address < sum(one)} for one in ranges}
    gone = uncalled(vmlinux, [one for one, names in held.items() if names])
    led_to = set().union(*(names for one, names in held.items() if one not in gone))
    return tuple(sorted(set().union(*held.values()) - led_to))


def _rows(vmlinux: Path, names: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    """File name, line and address of the rows of the line table that are about `names`."""
    done = proc.run((f"{CROSS_COMPILE}objdump", "--dwarf=decodedline", str(vmlinux)), brief=True)
    if done.returncode:
        raise InfraError(f"objdump cannot read the lines of {vmlinux}")
    # the table of a kernel is more than 100 MB of text, nearly all of it about other files: to
    # look for a plain string is ten times as fast as to look for an expression
    for name in sorted(names):
        start, at = f"\n{name} ".encode(), -1
        while (at := done.stdout.find(start, at + 1)) >= 0:
            if found := ROW.match(done.stdout, at + len(start)):
                yield name, found[1].decode(), found[2].decode()


def addresses_of_lines(vmlinux: Path, path: str, numbers: Iterable[int]) -> tuple[int, ...]:
    """The addresses of code that comes from lines of one source file, inlined copies included."""
    wanted = {str(number) for number in numbers}
    rows = _rows(vmlinux, [Path(path).name])
    found = {int(address, 16) for _, number, address in rows if number in wanted}
    places = _files_at(vmlinux, found)
    return tuple(sorted(a for a in found if path in places.get(a, ())))


def _files_at(vmlinux: Path, addresses: Iterable[int]) -> dict[int, set[str]]:
    """The source files, inlined ones included, that code at each address comes from."""
    ordered = sorted(addresses)
    found: dict[int, set[str]] = {}
    for start in range(0, len(ordered), 1000):
        part = ordered[start : start + 1000]
        for address, places in zip(part, addr2line(vmlinux, part), strict=True):
            files = (text.rpartition(":")[0].removeprefix(f"{SOURCE}/") for _, text in places)
            found[address] = set(files)
    return found


def translated(log: bytes) -> set[int]:
    """Addresses of guest instructions in QEMU's translation log."""
    return {int(found, 16) for found in TRANSLATED.findall(log)}


def what_ran(lines: PatchLines, log: Path) -> Ran:
    """What the translation log at `log` says; it is removed when it was read."""
    if not log.exists():
        return Ran()
    with log.open("rb") as file:
        text = file.read(MOST_LOG_BYTES)
    log.unlink()
    seen = translated(text)
    ran = (place for place, found in lines.addresses.items() if not seen.isdisjoint(found))
    return Ran(tuple(ran), ways_taken(lines.branches, text))
