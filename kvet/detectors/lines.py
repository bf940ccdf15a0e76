# SPDX-License-Identifier: GPL-2.0-only
"""Console lines: takes off what loggers put before the kernel's own text.

Forms known: the bare console, printk time stamps with or without caller
(`[T12]`, `[C0]`), dmesg (`<6>`, -T, -x), syslog and journald (`HOST kernel:`),
Android (logcat, vendor CPU and task tags), host time stamps of serial loggers.
"""

from __future__ import annotations

import re
from collections import deque
from typing import NamedTuple

MAX_LINE = 4096
"""Characters of a line that are looked at; printk's own limit is about 1000."""

TAGGED, UNTAGGED = ".000", ".0000"
"""Stamps of lines that had none: a logger said that they are the kernel's, or said nothing."""

# tried on every line: digits without those of other scripts, and nothing tried twice
_STAMP = r"\[ *+([0-9]*+\.[0-9]{3,9}+)\]"
_CALLER = r"(?:\[ *+([CT][0-9]++)\])?+"
PLAIN = re.compile(_STAMP + _CALLER + r" ?")
PLAIN_LINES = re.compile(rf"^(?:{_STAMP}{_CALLER} ?+)?+(.*+)", re.MULTILINE)
"""For many lines at once: stamp, caller and text of each; other forms count as text."""

PLAIN_CONTEXT = re.compile(r"(?:[CT]\d+)?")
_VENDOR_TAGS = re.compile(r"(?:-?\(\d\)\[\d+:[^\]]*\]|\[\d: *[^\]]{1,24}: *\d+\] ?|c\d+ +\d+ )")
_CLOCK = r"[\d:]{8}(?:[.,]\d+)?"
_ISO = rf"\d{{4}}-\d\d-\d\d[T ]{_CLOCK}(?:Z|[+-]\d\d:?\d\d)?"
_SYSLOG = rf"(?:[A-Z][a-z]{{2}} [ \d]\d {_CLOCK}|{_ISO})"
_KERNEL = rf"{_SYSLOG} \S+ (?:kern\.\w+ )?kernel(?:\[\d+\])?: (?:{_STAMP}{_CALLER} ?)?"
_BY_DIGIT = tuple(
    re.compile(form)
    for form in (
        _KERNEL,
        rf"(?:{_ISO}|{_CLOCK}) (?:[|>] ?)?(?:<\d+>)?{_STAMP}{_CALLER} ?",
        rf"\d\d-\d\d {_CLOCK} +\d+ +\d+ [VDIWEF] +(?:kernel *)?: (?:{_STAMP}{_CALLER} ?)?",
    )
)
_BY_BRACKET = tuple(
    re.compile(form)
    for form in (
        rf"\[(?:{_ISO}|{_CLOCK})\] (?:[|>] ?)?(?:<\d+>)?{_STAMP}{_CALLER} ?",
        rf"\[[A-Z][a-z]{{2}} [A-Z][a-z]{{2}} [ \d]\d {_CLOCK} \d{{4}}\](){_CALLER} ",
    )
)
_BY_MONTH = (re.compile(_KERNEL),)
_BY_FACILITY = (re.compile(rf"kern *:\w+ *: (?:{_STAMP}{_CALLER} ?|\[[A-Z][^\]]+\] )?"),)
_BY_LEVEL = (re.compile(rf"<\d+>(?:{_STAMP}{_CALLER} ?)?"),)
MONTHS = frozenset(
    ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
)
_NOT_KERNEL = re.compile(
    rf"{_SYSLOG} [^\s:|>]+ (?!kernel|kern\.)[\w./@-]+(?:\[\d+\])?: "
    r"|(?:user|daemon|auth|local\d|syslog) *:\w+ *: "
)
_FACILITIES = frozenset(("user", "daem", "auth", "loca", "sysl"))
_DRESSED = re.compile(r"[<\[\d]|kern|user|daem|auth|loca|sysl|[A-Z][a-z]{2} [ \d]\d ")
LOGGED = ("", "logger", TAGGED, UNTAGGED)
"""Stamps that say nothing about the time."""

_LATER_STAMP = re.compile(_STAMP + _CALLER + " ")
NO_PROCESS = re.compile(rf"{_SYSLOG} (?:\S+ [\w./@-]+\[\d+\]: {_STAMP}{_CALLER} )?")
"""A clock alone, or a guest's console as the process shows it that runs the guest."""

_HOST_CLOCK = re.compile(r"\d{4}/\d\d/\d\d [\d:]{8} ")


class Stripped(NamedTuple):
    """A line's own text; `stamp` is the kernel's time as printed, `caller` like `T12`.

    `stamp` is "" on a console without time stamps; `start` is where `text` begins.
    """

    stamp: str
    caller: str
    text: str
    start: int


def strip(line: str, upto: int = 0) -> Stripped:
    """Take the prefixes off one line (without its newline).

    Where a line was glued to the rest of another one, the text after the last
    time stamp before column `upto` counts.
    """
    match = PLAIN.match(line)
    if match is None:
        return _strip_other(line, upto)
    if upto and _LATER_STAMP.search(line, match.end(), upto):
        return _after_last_stamp(line, upto)
    end = match.end()
    tag = _VENDOR_TAGS.match(line, end) if line[end : end + 1] in ("(", "-", "[", "c") else None
    if tag:
        return Stripped(match[1], tag[0], line[tag.end() : MAX_LINE].removeprefix(" "), tag.end())
    return Stripped(match[1], match[2] or "", line[end:MAX_LINE], end)


def is_plain(stamp: str, text: str) -> bool:
    """Whether PLAIN_LINES has said all about a line: no logger's form, no vendor's tag."""
    if stamp:
        return text[:1] not in ("(", "-", "[", "c") or _VENDOR_TAGS.match(text) is None
    return _DRESSED.match(text) is None


def _strip_other(line: str, upto: int) -> Stripped:
    head = line[:1]
    user = head.isdigit() or line[:3] in MONTHS or line[:4] in _FACILITIES
    if user and _NOT_KERNEL.match(line):
        return Stripped("user", "user", "", len(line))
    if upto and _LATER_STAMP.search(line, 0, upto):
        return _after_last_stamp(line, upto)
    for form in _forms_for(line):
        match = form.match(line)
        if match:
            start = match.end()
            return Stripped(match[1] or "logger", match[2] or "", line[start:MAX_LINE], start)
    clock = _HOST_CLOCK.match(line) if user else None
    if clock:
        return Stripped("", "", line[clock.end() : MAX_LINE], clock.end())
    return Stripped("", "", line[:MAX_LINE], 0)


def _forms_for(line: str) -> tuple[re.Pattern[str], ...]:
    """The log formats that a line with this beginning may have; mostly none."""
    head = line[:1]
    if head == "[":
        return _BY_BRACKET
    if head == "<":
        return _BY_LEVEL
    if head.isdigit():
        return _BY_DIGIT
    if line.startswith("kern"):
        return _BY_FACILITY
    return _BY_MONTH if line[:3] in MONTHS else ()


def _after_last_stamp(line: str, upto: int) -> Stripped:
    last = deque(_LATER_STAMP.finditer(line, 0, upto), maxlen=1).pop()
    return Stripped(last[1], last[2] or "", line[last.end() : last.end() + MAX_LINE], last.end())


# one letter in front of each: `re` looks for that alone ten times faster
_ESCAPES = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z]|[()][A-B0-2]|[=>])")
_SHOWN_ESCAPES = re.compile(r"\^\[\[[0-9;]*m")


def clean(text: str) -> str:
    """Remove terminal escapes, NULs and carriage returns; the lines stay the same lines."""
    if "\x1b" in text:
        text = _ESCAPES.sub("", text)
    if "^" in text and "^[[" in text:
        text = _SHOWN_ESCAPES.sub("", text)
    if "\0" in text:
        text = text.replace("\0", "")
    if "\r" in text:
        text = text.replace("\r", "")
    return text


def cap_lines(text: str) -> str:
    """Cut every line to MAX_LINE characters, when there are long ones at all."""
    start = 0
    while len(text) - start > MAX_LINE:
        end = text.rfind("\n", start, start + MAX_LINE + 1)
        if end < start:
            return "\n".join([line[:MAX_LINE] for line in text.split("\n")])
        start = end + 1
    return text
