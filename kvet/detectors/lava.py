# SPDX-License-Identifier: GPL-2.0-only
"""Takes console lines out of the containers of test systems: LAVA logs in YAML and JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from kvet.detectors import containers

_YAML_LINE = re.compile(r'- \{ *"?dt"?:')
_JSON_LINE = re.compile(r'\s*\[?\s*\{ *"(?:dt|lvl)":|\s*\[?\s*\{ *"msg":[^\n]*"lvl"')
_TARGET = re.compile(r'"?lvl"?: *"?(?:target|feedback)\b')
_MESSAGE = re.compile(
    r'(?>.*?\bmsg"?: *)(?:"(?P<double>(?:[^"\\]|\\.)*+)"|'
    r"'(?P<single>(?:[^']|'')*+)'|(?P<bare>[^}\n]*+)\}?$)"
)
_RECORD = re.compile(r"\} *, *(?=\{)")


def unwrapper(head: str) -> Callable[[str], str]:
    """The function that unwraps blocks of a log which begins with `head`."""
    start = head[:4096].lstrip()
    if _YAML_LINE.match(start):
        return _unwrap_lines
    if _JSON_LINE.match(start):
        return _unwrap_json
    return containers.unwrapper(head) or _as_is


def is_one_line_json(head: bytes) -> bool:
    """Whether a log that begins with `head` has all its JSON records in one endless line."""
    return (
        b"\n" not in head and _JSON_LINE.match(head[:4096].decode("utf-8", "replace")) is not None
    )


def _as_is(block: str) -> str:
    return block


def _unwrap_json(block: str) -> str:
    """JSON records, one a line or all in one line: then each record counts as a line."""
    if block.count("\n") <= 1:
        block = _RECORD.sub("},\n", block)
    return _unwrap_lines(block)


def _unwrap_lines(block: str) -> str:
    lines = block.split("\n")
    return "\n".join(map(_message, lines))


def _message(line: str) -> str:
    """The console text of one record; "" for what the test system itself said."""
    if not _TARGET.search(line[:400]):
        return "" if "lvl" in line[:400] else line
    match = _MESSAGE.match(line[:65536])
    if match is None:
        return ""
    if match["double"] is not None:
        return _plain(match["double"])
    if match["single"] is not None:
        return match["single"].replace("''", "'").replace("\n", " ")
    return match["bare"].strip()


def _plain(quoted: str) -> str:
    if "\\" not in quoted:
        return quoted
    try:
        text = json.loads(f'"{quoted}"')
    except ValueError:
        text = quoted.replace('\\"', '"').replace("\\\\", "\\")
    return str(text).replace("\n", " ")
