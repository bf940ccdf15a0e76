# SPDX-License-Identifier: GPL-2.0-only
"""Logs whose line ends were written as `\\n`: in one string of JSON, or recorded by asciinema."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

MARK = "\\n"
FEWEST = 6
_EVENT = re.compile(r'\[ *[\d.]+, *"(?P<kind>\w)", *(?P<text>"(?:[^"\\]|\\.)*+") *\] *$')
_HEADER = re.compile(r'\{[^\n]*"version": *[23]\b[^\n]*\}\n *\[')
_ESCAPE = re.compile(r"\\(?:u(?P<code>[0-9a-fA-F]{4})|(?P<letter>.))")
_LETTERS = {"n": "\n", "t": "\t", "r": "", "b": "", "f": ""}


def unwrapper(start: str) -> Callable[[str], str] | None:
    """What brings back the lines of a log that begins with `start`; None when it has its own."""
    if _HEADER.match(start):
        return _recorded
    count = start.count(MARK)
    return _unescaped if count >= FEWEST and count > 4 * start.count("\n") else None


def _recorded(block: str) -> str:
    """What a terminal showed; one event may hold a part of a line, or several lines."""
    events = filter(None, map(_EVENT.match, block.split("\n")))
    return "".join(json.loads(event["text"]) for event in events if event["kind"] == "o")


def _unescaped(block: str) -> str:
    return _ESCAPE.sub(_character, block)


def _character(match: re.Match[str]) -> str:
    if match["code"]:
        return chr(int(match["code"], 16))
    return _LETTERS.get(match["letter"], match["letter"])
