# SPDX-License-Identifier: GPL-2.0-only
"""What a build log says went wrong: errors with their include chain, trouble of the host apart."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, takewhile

from kvet.errors import InfraError
from kvet.model import Finding

ERROR = re.compile(r"^(?P<file>[^\s:]+):(?P<line>\d+):(?:\d+:)? (?:fatal )?error: (?P<text>.*)$")
# errors that stand at no source line: of the linker, of modpost, of a compiler's options
LINK_ERROR = re.compile(
    r"undefined reference to|multiple definition of|^ERROR: modpost|ld\.lld: error"
    r"|^(?:cc1\S*|\S*(?:gcc|clang)[\d.-]*): (?:fatal )?error: "
)
HOST_TROUBLE = re.compile(
    r"No space left on device|Killed signal terminated program|cannot execute"
)
# how an error came to be compiled: stands above it
CONTEXT = re.compile(
    r"^In file included from |^ +from \S+:\d+|^\S+: (?:In function|At top level|In member)"
)
# what belongs to an error: source and carets, indented, and the compiler's notes
DETAIL = re.compile(r"^ +\S|^\S+: note: ")
MOST_ERRORS = 5
MOST_DETAIL = 6


@dataclass(frozen=True, slots=True)
class BuildError:
    """One error: its title, its line in the log (from 1), and the lines that explain it."""

    title: str
    line: int
    lines: tuple[str, ...]


def errors(log: Sequence[str]) -> Iterator[BuildError]:
    """The errors of a log in its order, the same one only once."""
    seen: set[str] = set()
    for number, line in enumerate(log, start=1):
        found = ERROR.match(line)
        if not found and not LINK_ERROR.search(line):
            continue
        title = f"{found['file']}:{found['line']}: {found['text']}" if found else line.strip()
        if title in seen:
            continue
        seen.add(title)
        yield BuildError(title, number, (*_context(log, number), line, *_detail(log, number)))


def _context(log: Sequence[str], number: int) -> list[str]:
    """The include chain and the function, from right above line `number`."""
    above = takewhile(CONTEXT.match, reversed(log[: number - 1]))
    return list(above)[::-1]


def _detail(log: Sequence[str], number: int) -> Iterator[str]:
    """Source line, carets and notes from right below line `number`."""
    return islice(takewhile(DETAIL.match, log[number:]), MOST_DETAIL)


def blamed(log: Sequence[str]) -> Finding | None:
    """The first error as a finding, whose excerpt shows further ones; None without an error.

    Raises InfraError when the host was short of something: no kernel is blamed then.
    """
    for line in log:
        if HOST_TROUBLE.search(line):
            raise InfraError(f"the build failed for lack of resources: {line}")
        if ERROR.match(line) or LINK_ERROR.search(line):
            break
    found = list(errors(log))
    if not found:
        return None
    shown = [line for error in found[:MOST_ERRORS] for line in error.lines]
    left = len(found) - MOST_ERRORS
    more = [f"and {left} more error{'s' * (left > 1)}"] if left > 0 else []
    return Finding(
        kind="build",
        title=f"build: {found[0].title}",
        first_line=found[0].line,
        last_line=found[0].line,
        family="build",
        origin="build",
        excerpt=(*shown, *more),
    )
