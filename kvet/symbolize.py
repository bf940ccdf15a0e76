# SPDX-License-Identifier: GPL-2.0-only
"""Turns frames of a splat into file and line, with the build's own vmlinux and modules.

One addr2line a file and finding list, not one a frame. Source lines and the
lines that the series under test touched are marked from the tree and patches.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from kvet import proc
from kvet.errors import InfraError, KvetError
from kvet.lane import SOURCE
from kvet.model import Finding, Frame
from kvet.toolchain import CROSS_COMPILE

HUNK = re.compile(r"^@@ -\d+(?:,\d+)? \+(\d+)(?:,(\d+))? @@")
NEW_FILE = re.compile(r"^\+\+\+ (?:b/)?([^\t\n]+)")
LOCATION = re.compile(r"^(.*?):(\d+)")


def symbolize_findings(
    findings: Sequence[Finding],
    *,
    vmlinux: Path,
    modules: Path,
    source: Path | None = None,
    patches: Sequence[Path] = (),
) -> tuple[Finding, ...]:
    """The findings with `location`, `source` and `touched` filled in where they can be known.

    A frame that cannot be resolved stays as it was: a missing tool or a
    damaged file costs the lines, never the finding.
    """
    frames = {frame for finding in findings for frame in finding.frames}
    try:
        places = _places(frames, vmlinux, modules)
    except (KvetError, OSError):
        return tuple(findings)
    touched = touched_lines(patches)
    known = {frame: _located(frame, place, source, touched) for frame, place in places.items()}
    return tuple(
        replace(f, frames=tuple(known.get(frame, frame) for frame in f.frames)) for f in findings
    )


def _located(
    frame: Frame, place: str, source: Path | None, touched: Mapping[str, set[int]]
) -> Frame:
    found = LOCATION.match(place)
    if found is None:
        return frame
    name, line = found.group(1).removeprefix(f"{SOURCE}/"), int(found.group(2))
    return replace(
        frame,
        location=f"{name}:{line}",
        source=_source_line(source / name, line) if source else "",
        touched=line in touched.get(name, ()),
    )


def _places(frames: Iterable[Frame], vmlinux: Path, modules: Path) -> dict[Frame, str]:
    """`file:line` of every frame that has a symbol and an offset."""
    by_binary: dict[Path, dict[Frame, int]] = {}
    for frame in frames:
        binary = modules / f"{frame.module}.ko" if frame.module else vmlinux
        address = _address(frame, binary)
        if address is not None:
            by_binary.setdefault(binary, {})[frame] = address
    places: dict[Frame, str] = {}
    for binary, addresses in by_binary.items():
        lines = _addr2line(binary, list(addresses.values()))
        places.update(zip(addresses, lines, strict=True))
    return places


def _address(frame: Frame, binary: Path) -> int | None:
    """Address of a frame in its binary; a return address points behind its call."""
    if not frame.offset or not binary.exists():
        return None
    start = symbols(binary).get(frame.func.split(".")[0] if "." in frame.func else frame.func)
    start = symbols(binary).get(frame.func, start)
    offset = int(frame.offset.split("/")[0], 16)
    return None if start is None else start + max(0, offset - 4)


@lru_cache(maxsize=32)
def symbols(binary: Path) -> Mapping[str, int]:
    """Function name to address, from the symbol table of an ELF file."""
    with binary.open("rb") as file:
        table = ELFFile(file).get_section_by_name(".symtab")
        if not isinstance(table, SymbolTableSection):
            return {}
        return {
            s.name: s["st_value"]
            for s in table.iter_symbols()
            if s["st_info"]["type"] == "STT_FUNC"
        }


def _addr2line(binary: Path, addresses: Sequence[int]) -> list[str]:
    argv = (f"{CROSS_COMPILE}addr2line", "-e", str(binary), *map(hex, addresses))
    done = proc.run(argv, timeout_s=60)
    lines = done.stdout.decode(errors="replace").splitlines()
    if done.returncode or len(lines) != len(addresses):
        raise InfraError(f"addr2line gave {len(lines)} lines for {len(addresses)} addresses")
    return lines


def _source_line(path: Path, line: int) -> str:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return lines[line - 1].strip() if 0 < line <= len(lines) else ""


def touched_lines(patches: Sequence[Path]) -> dict[str, set[int]]:
    """File to the line numbers that the hunks of `patches` span in the patched tree."""
    touched: dict[str, set[int]] = {}
    for path in patches:
        name = ""
        for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
            if found := NEW_FILE.match(text):
                name = found.group(1)
            elif found := HUNK.match(text):
                start, count = int(found.group(1)), int(found.group(2) or 1)
                touched.setdefault(name, set()).update(range(start, start + count))
    return touched
