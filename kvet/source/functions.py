# SPDX-License-Identifier: GPL-2.0-only
"""Which functions of a C file lines belong to, by the kernel's own layout of its sources.

Known before anything is built, so from text alone: the body of a function begins and ends
with a brace in the first column. What is laid out in another way is not found.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from unidiff.errors import UnidiffParseError
from unidiff.patch import PatchedFile, PatchSet

from kvet.source.git import Repo
from kvet.source.series import AppliedSeries

NAMED = re.compile(r"(\w+)\s*\(\s*(\w*)")
SYSCALL = re.compile(r"(?:COMPAT_)?SYSCALL_DEFINE\d$")
MOST_HEAD = 12  # lines of a function before its body
CODE = (".c", ".h", ".S")


@dataclass(frozen=True, slots=True, order=True)
class Touched:
    """A function that a series changes, and the file that it is in."""

    file: str
    function: str


def functions_of(text: str) -> Iterator[tuple[str, int, int]]:
    """Name, first and last line of each function in a C file; a system call as its body's name."""
    lines = text.splitlines()
    start = 0
    for number, line in enumerate(lines):
        if line == "{":
            start = number
        elif line == "}" and start:
            first, name = _head(lines, start)
            if name:
                yield name, first + 1, number + 1
            start = 0


def _head(lines: list[str], body: int) -> tuple[int, str]:
    """The index of a function's first line, and its name; '' when it is no function."""
    first = body
    while first and body - first < MOST_HEAD and _is_head(lines[first - 1]):
        first -= 1
    found = NAMED.search(" ".join(lines[first:body]))
    if found is None:
        return first, ""
    name, argument = found.groups()
    return first, f"__do_sys_{argument}" if SYSCALL.match(name) else name


def _is_head(line: str) -> bool:
    return bool(line) and not line.startswith(("#", "}", "/*", " *")) and line[-1:] != ";"


def touched_functions(repo: Repo, series: AppliedSeries) -> tuple[Touched, ...]:
    """The functions that lines of `series` are in, before it or after it, by file and place."""
    found: dict[Touched, None] = {}
    for file in _files(series.diff):
        if not file.path.endswith(CODE):
            continue
        sides = (
            (series.base_tree, file.is_added_file, _lines(file, removed=True)),
            (series.tree_id, file.is_removed_file, _lines(file, removed=False)),
        )
        for tree, absent, lines in sides:
            text = "" if absent else repo.blob(tree, file.path)[0].decode(errors="replace")
            for name, first, last in functions_of(text):
                if any(first <= line <= last for line in lines):
                    found[Touched(file.path, name)] = None
    return tuple(found)


def _files(diff: str) -> Iterable[PatchedFile]:
    """The files of a diff; none of one that cannot be read."""
    try:
        return list(PatchSet(diff))
    except UnidiffParseError:
        return []


def _lines(file: PatchedFile, *, removed: bool) -> list[int]:
    """Numbers of the lines that a diff takes away, or that it adds."""
    lines = (line for hunk in file for line in hunk)
    if removed:
        return [line.source_line_no or 0 for line in lines if line.is_removed]
    return [line.target_line_no or 0 for line in lines if line.is_added]
