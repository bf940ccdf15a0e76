# SPDX-License-Identifier: GPL-2.0-only
"""Undoes what captures do to the ends of lines: shared tails, and breaks at a terminal's width.

The number of lines stays the same: an empty one is left where a rest was taken away.
"""

from __future__ import annotations

import re
from collections.abc import Callable

SAMPLE = 1 << 12
FEWEST = 6
NARROWEST = 60
WIDEST = 250

LONGEST_TAIL = 60
LONGEST_LEVEL = 24
_LEVELS = ("emerg", "alert", "crit", "error", "err", "warning", "warn", "notice", "info", "debug")
_LEVEL = rf"(?:kern\.)?(?:{'|'.join(_LEVELS)})"
_LEVEL_TAIL = re.compile(
    rf"(?i)(?:[ \t]*[\[(<] *{_LEVEL} *[\])>]|(?:[ \t]*[,;|]|\t| - ) *{_LEVEL})$"
)
_OWN_ENDS = re.compile(r"[\])>.:]+|\s*\[[\w-]+\]")
"""What many lines of a kernel may end with, as frames of one module do."""

_STAMPED = re.compile(r"[^\w\n]{0,12}\[ *\d+\.\d+\]")
_INVISIBLE = ("\u200b", "\u200c", "\u200d", "\u2060", "\ufeff", "\xad")
_BLANKS = ("\xa0", "\u202f", "\u2007")
_LINE_ENDS = ("\u2028", "\u2029", "\x85")


def repaired(block: str) -> str:
    """`block` without what shows nothing, without tails that all lines share, and unbroken."""
    if not block.isascii():
        block = _visible(block)
    sample = block[:SAMPLE].split("\n")
    if len(block) > SAMPLE:
        sample.pop()
    tail = _shared_tail(sample)
    if tail is not None:
        block = "\n".join([tail(line) for line in block.split("\n")])
        sample = [tail(line) for line in sample]
    width = max(map(len, sample), default=0)
    if NARROWEST <= width <= WIDEST and _is_broken(sample, width):
        return _unbroken(block, width)
    return block


def _visible(block: str) -> str:
    """`block` without characters that show nothing, and with ordinary blanks."""
    for character in _INVISIBLE:
        if character in block:
            block = block.replace(character, "")
    for character in _BLANKS:
        if character in block:
            block = block.replace(character, " ")
    for character in _LINE_ENDS:
        if character in block and block.count(character) > block.count("\n"):
            block = block.replace(character, "\n")
    return block


def _shared_tail(sample: list[str]) -> Callable[[str], str] | None:
    """What takes off the end that nine of ten lines share; mostly there is none."""
    lines = [line for line in sample if line]
    total = len(lines)
    if total < FEWEST:
        return None
    end = lines[total // 2][-1]
    # few lines decide for most logs
    few = lines[:: max(total // 8, 1)]
    if _most_end_with_level(few):
        levels = sum(map(_ends_with_level, lines)) >= 0.9 * total
        return (lambda line: _LEVEL_TAIL.sub("", line)) if levels else None
    if sum(line[-1] == end for line in few) < 0.7 * len(few):
        return None
    if sum(line[-1] == end for line in lines) < 0.9 * total:
        return None
    tail = _longest_tail(lines)
    return (lambda line: line.removesuffix(tail)) if tail else None


def _most_end_with_level(lines: list[str]) -> bool:
    """Whether seven of ten do; a few that do not are enough to tell."""
    left = len(lines) - 0.7 * len(lines)
    for line in lines:
        left -= not _ends_with_level(line)
        if left < 0:
            return False
    return True


def _ends_with_level(line: str) -> bool:
    start = max(0, len(line) - LONGEST_LEVEL)
    end = line[start:].rstrip("])> ").lower()
    return end.endswith(_LEVELS) and _LEVEL_TAIL.search(line, start) is not None


def _longest_tail(lines: list[str]) -> str:
    """The longest end that nine of ten lines share, from a character that is no letter on."""
    middle = lines[len(lines) // 2]
    tail = ""
    for size in range(1, min(len(middle), LONGEST_TAIL) + 1):
        longer = middle[-size:]
        if sum(line.endswith(longer) for line in lines) < 0.9 * len(lines):
            break
        tail = longer
    begin = next((at for at, one in enumerate(tail) if not one.isalnum() and one != "_"), None)
    tail = "" if begin is None else tail[begin:]
    return "" if _OWN_ENDS.fullmatch(tail) else tail


def _is_broken(sample: list[str], width: int) -> bool:
    """Whether lines without a time stamp are the rests of lines of exactly `width`."""
    full = [index for index, line in enumerate(sample[:-1]) if len(line) == width]
    if len(full) < 2 or sum(not _STAMPED.match(sample[index + 1]) for index in full) < 2:
        return False
    stamped = [_STAMPED.match(line) is not None for line in sample]
    rests = sum(not stamped[index + 1] for index in full)
    loose = sum(not mark for line, mark in zip(sample, stamped, strict=True) if line.strip())
    return rests >= 0.8 * loose and 2 * stamped.count(True) >= len(sample) - loose


def _unbroken(block: str, width: int) -> str:
    lines = block.split("\n")
    # from below, so that a line broken twice comes together again
    for index in range(len(lines) - 2, -1, -1):
        below = lines[index + 1]
        if len(lines[index]) == width and below and not _STAMPED.match(below):
            lines[index] += below
            lines[index + 1] = ""
    return "\n".join(lines)
