# SPDX-License-Identifier: GPL-2.0-only
"""Turns files, strings and streams of lines into blocks of whole lines of bounded size."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from kvet.detectors.capture import STDIN, is_ordinary, opened
from kvet.detectors.containers import seam
from kvet.detectors.lava import is_one_line_json
from kvet.detectors.lines import MAX_LINE

BLOCK = 1 << 20
MAX_RECORD = 1 << 16


def blocks_of_file(path: Path | str, damage: list[str] | None = None) -> Iterator[str]:
    """The text of a file; a small one in one piece.

    OSError, UserError and `damage`: see `capture.opened`.
    """
    if str(path) != STDIN:
        whole = _small(path)
        if whole and is_ordinary(whole):
            yield whole.decode("utf-8", "replace")
            return
    with opened(path, damage) as stream:
        yield from blocks_of_stream(stream)


def _small(path: Path | str) -> bytes:
    """The content of a file that is no longer than a block; else nothing.

    By the calls of the system: a file object costs as much again as reading a short log.
    """
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(file).st_size
        whole = os.read(file, size + 1) if 0 < size < BLOCK else b""
    finally:
        os.close(file)
    return whole if len(whole) == size else b""


def blocks_of_stream(stream: IO[bytes]) -> Iterator[str]:
    """The text of an open stream of UTF-8; the far end of an endless line is dropped."""
    rest = b""
    one_line: bool | None = None
    ends: re.Pattern[bytes] | None = None
    while block := stream.read(BLOCK):
        if one_line is None:
            one_line = is_one_line_json(block)
            ends = seam(block[:MAX_RECORD].decode("utf-8", "replace"))
        if one_line:
            rest, block = b"", (rest + block).replace(b"}, {", b"},\n{")
        end = _end(block, ends)
        if not end:
            rest = (rest + block[:MAX_LINE])[:MAX_LINE]
            continue
        yield (rest + block[:end]).decode("utf-8", "replace")
        rest = block[end:]
    if rest:
        yield rest.decode("utf-8", "replace")


def _end(block: bytes, ends: re.Pattern[bytes] | None) -> int:
    """Where the last whole record of `block` ends, or its last whole line."""
    if ends is not None:
        found = [match.end() for match in ends.finditer(block, max(0, len(block) - MAX_RECORD))]
        if found:
            return found[-1]
    return block.rfind(b"\n") + 1


def blocks_of_text(text: str) -> Iterator[str]:
    """A string in blocks; the far end of an endless line is dropped."""
    start = 0
    while len(text) - start > BLOCK:
        end = text.rfind("\n", start, start + BLOCK) + 1
        if end:
            yield text[start:end]
        else:
            end = text.find("\n", start + BLOCK) + 1 or len(text)
            yield text[start : start + MAX_LINE] + "\n"
        start = end
    yield text[start:]


def blocks_of_lines(lines: Iterable[bytes | str]) -> Iterator[str]:
    """Lines, with or without their newlines, joined to blocks."""
    held: list[str] = []
    size = 0
    for line in lines:
        if len(line) > 4 * MAX_LINE:
            line = line[: 4 * MAX_LINE]
        text = line.decode("utf-8", "replace") if isinstance(line, bytes) else line
        held.append(text if text.endswith("\n") else text + "\n")
        size += len(text)
        if size >= BLOCK:
            yield "".join(held)
            held, size = [], 0
    if held:
        yield "".join(held)
