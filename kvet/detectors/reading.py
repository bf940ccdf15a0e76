# SPDX-License-Identifier: GPL-2.0-only
"""Turns files, strings and streams of lines into blocks of whole lines of bounded size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from io import FileIO

from kvet.detectors.lines import MAX_LINE
from kvet.detectors.unwrap import is_one_line_json

BLOCK = 1 << 20


def blocks_of_file(stream: FileIO, size: int) -> Iterator[str]:
    """The text of an open file; a small one (`size` bytes, 0 when unknown) in one piece."""
    if 0 < size < BLOCK:
        yield stream.readall().decode("utf-8", "replace")
        return
    rest = b""
    one_line: bool | None = None
    while block := stream.read(BLOCK):
        if one_line is None:
            one_line = is_one_line_json(block)
        if one_line:
            rest, block = b"", (rest + block).replace(b"}, {", b"},\n{")
        end = block.rfind(b"\n") + 1
        if not end:
            rest = (rest + block[:MAX_LINE])[:MAX_LINE]
            continue
        yield (rest + block[:end]).decode("utf-8", "replace")
        rest = block[end:]
    if rest:
        yield rest.decode("utf-8", "replace")


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
