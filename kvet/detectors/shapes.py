# SPDX-License-Identifier: GPL-2.0-only
"""Says whether any line of a log is the kernel's, and what the lines look like if none is."""

from __future__ import annotations

import re
from collections import Counter
from typing import NamedTuple

from kvet.detectors.frames import FRAME
from kvet.detectors.lines import strip
from kvet.detectors.prefix import ANCHOR, tokens_of

MOST_SHAPES = 3
MOST_LINES = 500
MOST_TOKENS = 8
_EXAMPLE = 100
_STAMPED = re.compile(r"^\[ *\d+\.\d{6}\]", re.MULTILINE)
_WORDS = {"number": "9", "word": "word", "space": " ", "stamp": "[9.9]", "level": "<9>"}


class Shape(NamedTuple):
    """A form that lines have: pieces of it by name, how many have it, and one of them."""

    shape: str
    lines: int
    example: str


def recognises(text: str) -> bool:
    """Whether some line of `text` is told to be the kernel's."""
    if _STAMPED.search(text) or ANCHOR.search(text):
        return True
    lines = text[: 1 << 18].split("\n", MOST_LINES)[:MOST_LINES]
    return any(strip(line).stamp not in ("", "user") or FRAME.match(line) for line in lines)


def shapes_of(text: str) -> tuple[Shape, ...]:
    """The most frequent forms of the first lines of `text`."""
    count: Counter[str] = Counter()
    example: dict[str, str] = {}
    for line in text[: 1 << 18].split("\n", MOST_LINES)[:MOST_LINES]:
        if line.strip():
            shape = _shape(line)
            count[shape] += 1
            example.setdefault(shape, line[:_EXAMPLE].strip())
    return tuple(Shape(shape, n, example[shape]) for shape, n in count.most_common(MOST_SHAPES))


def _shape(line: str) -> str:
    tokens = tokens_of(line[:_EXAMPLE])
    known = "".join(_WORDS.get(kind, text) for kind, text in tokens[:MOST_TOKENS])
    return known.strip() + (" ..." if len(tokens) > MOST_TOKENS else "")
