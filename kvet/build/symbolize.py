# SPDX-License-Identifier: GPL-2.0-only
"""Turns frames of a splat into file and line, with the build's own vmlinux and modules.

One addr2line a file and finding list, not one a frame. Source lines and the
lines that the series under test touched are marked from the tree and patches.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

from kvet import proc
from kvet.build.toolchain import CROSS_COMPILE
from kvet.build.worktree import SOURCE
from kvet.errors import InfraError, KvetError
from kvet.model import Finding, Frame

# address, size and name of a symbol in text, global, local or weak, as nm prints it
SYMBOL = re.compile(r"^([0-9a-f]+) ([0-9a-f]+) [tTwW] (\S+)$", re.MULTILINE)
LOCATION = re.compile(r"^(.*?):(\d+)")
Place: TypeAlias = tuple[str, str]


def symbolize_findings(
    findings: Sequence[Finding],
    *,
    vmlinux: Path,
    modules: Path,
    sources: Sequence[Path] = (),
    touched: Container[str] = (),
) -> tuple[Finding, ...]:
    """The findings with `location`, `source` and `touched` filled in where they can be known.

    `sources` are directories to look for source files in, first the ones that the
    series changed; `touched` holds the `file:line` that the series wrote.

    A frame that cannot be resolved stays as it was: a missing tool or a
    damaged file costs the lines, never the finding.
    """
    frames = {frame for finding in findings for frame in finding.frames}
    try:
        places = _places(frames, vmlinux, modules)
    except (KvetError, OSError):
        return tuple(findings)
    known = {f: _located(f, place, sources, touched) for f, place in places.items()}
    return tuple(
        replace(f, frames=tuple(x for frame in f.frames for x in known.get(frame, (frame,))))
        for f in findings
    )


def _located(
    frame: Frame, places: Sequence[Place], sources: Sequence[Path], touched: Container[str]
) -> tuple[Frame, ...]:
    """`frame` with its place, after one frame for each function that was inlined there."""
    located = []
    for func, text in places:
        found = LOCATION.match(text)
        if found is None:
            return (frame,)
        name, line = found.group(1), int(found.group(2))
        name = name.removeprefix(f"{SOURCE}/").replace("/kvet/rootfs/", "rootfs/")
        located.append(
            replace(
                frame,
                func=func,
                offset="",
                location=f"{name}:{line}",
                source=_source_line(sources, name, line),
                touched=f"{name}:{line}" in touched,
            )
        )
    outer = replace(located[-1], func=frame.func, offset=frame.offset)
    return (*located[:-1], outer)


def _places(frames: Iterable[Frame], vmlinux: Path, modules: Path) -> dict[Frame, list[Place]]:
    """Function and `file:line`, innermost first, of every frame with a symbol and an offset."""
    by_binary: dict[Path, dict[Frame, int]] = {}
    for frame in frames:
        binary = modules / f"{frame.module}.ko" if frame.module else vmlinux
        address = _address(frame, binary)
        if address is not None:
            by_binary.setdefault(binary, {})[frame] = address
    places: dict[Frame, list[Place]] = {}
    for binary, addresses in by_binary.items():
        lines = addr2line(binary, list(addresses.values()))
        places.update(zip(addresses, lines, strict=True))
    return places


def _address(frame: Frame, binary: Path) -> int | None:
    """Address of a frame in its binary; a return address points behind its call."""
    if not frame.offset or not binary.exists():
        return None
    known = all_functions(binary)
    found = known.get(frame.func) or known.get(frame.func.split(".")[0])
    if not found:
        return None
    offset, size = (int(part, 16) for part in frame.offset.split("/"))
    # static functions of several files may share a name: the printed size tells them apart
    start = next((s for s, own in found if _rounded(own) == _rounded(size)), found[0][0])
    return start + max(0, offset - 4)


def _rounded(size: int) -> int:
    """A size as kallsyms prints it: up to the next function, which is aligned."""
    return -(-size // 16)


@lru_cache(maxsize=32)
def all_functions(binary: Path) -> Mapping[str, Sequence[tuple[int, int]]]:
    """Function name to address and size of each function that has it."""
    # one process for all of them: reading 50 000 symbols takes Python two seconds
    done = proc.run(
        (f"{CROSS_COMPILE}nm", "-S", "--defined-only", str(binary)), timeout_s=60, brief=True
    )
    found: dict[str, list[tuple[int, int]]] = {}
    for start, size, name in SYMBOL.findall(done.stdout.decode(errors="replace")):
        found.setdefault(name, []).append((int(start, 16), int(size, 16)))
    return found


def function_ranges(binary: Path, addresses: Iterable[int]) -> list[tuple[int, int]]:
    """Start and length of every function that holds one of `addresses`."""
    known = sorted({place for places in all_functions(binary).values() for place in places})
    starts = [start for start, _ in known]
    found = set()
    for address in addresses:
        start, size = known[max(0, bisect_right(starts, address) - 1)]
        if start <= address < start + size:
            found.add((start, size))
    return sorted(found)


def function_names(binary: Path, addresses: Iterable[int]) -> list[str]:
    """Names of the functions that hold one of `addresses`, as the source has them, in order."""
    wanted = set(function_ranges(binary, addresses))
    known = all_functions(binary).items()
    # what a compiler put behind a name is left out: .isra.0
    return sorted({name.split(".")[0] for name, places in known if wanted & set(places)})


def addr2line(binary: Path, addresses: Sequence[int]) -> list[list[Place]]:
    """For each address its function and `file:line`, inlined functions first."""
    argv = (f"{CROSS_COMPILE}addr2line", "-a", "-i", "-f", "-e", str(binary), *map(hex, addresses))
    done = proc.run(argv, timeout_s=60, brief=True)
    found: list[list[Place]] = []
    lines = iter(done.stdout.decode(errors="replace").splitlines())
    for line in lines:
        if line.startswith("0x"):
            found.append([])
        elif found:
            found[-1].append((line, next(lines, "")))
    if done.returncode or len(found) != len(addresses):
        raise InfraError(f"addr2line knew {len(found)} of {len(addresses)} addresses")
    return found


def _source_line(sources: Sequence[Path], name: str, line: int) -> str:
    path = next((folder / name for folder in sources if (folder / name).is_file()), None)
    if path is None:
        return ""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return lines[line - 1].strip() if 0 < line <= len(lines) else ""
