# SPDX-License-Identifier: GPL-2.0-only
"""Makes titles stable: what changes from boot to boot is replaced by a word."""

from __future__ import annotations

import re

MAX_TITLE = 120

_STEPS = (
    (re.compile(r"syz-executor\.?\d+(?:[/:]\d+)?"), "syz-executor"),
    (re.compile(r"syzkaller\d+(?:[/:]\d+)?"), "syzkaller"),
    (re.compile(r"(?<![a-zA-Z0])(?:0x)?[0-9a-f]{6,}"), "ADDR"),
    (re.compile(r"\d{1,3}(?:\.\d{1,3}){3}"), "IP"),
    (re.compile(r"(\.\w+)(?::\d+)+"), r"\1:LINE"),
    (re.compile(r"([A-Za-z]\w+)(?:\.[\w.$]+)?\+0x[0-9a-z]+/0x[0-9a-z]+"), r"\1"),
    (re.compile(r"CPU#\d+"), "CPU"),
    (re.compile(r"(?<=\W)\d+(?=\W|$)"), "NUM"),
)
_CHANGING = re.compile(r"\W\d|[0-9a-f]{6}|:\d|\+0x|CPU#|syz|[^ -~]|  ")
_CONTROL = re.compile(r"[^ -~]")


def stable(title: str) -> str:
    """Replace addresses, numbers, CPUs and offsets, and fold white space."""
    title = title[: 4 * MAX_TITLE]
    if _CHANGING.search(title):
        for regex, word in _STEPS:
            title = regex.sub(word, title)
        title = _CONTROL.sub("", title.replace("\t", " "))
        title = re.sub(r" {2,}", " ", title)
    return title[:MAX_TITLE].strip()
