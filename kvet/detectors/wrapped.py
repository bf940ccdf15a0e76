# SPDX-License-Identifier: GPL-2.0-only
"""Joins lines that a mail program broke in two: what cannot stand alone goes to the line above.

The number of lines stays the same: an empty one is left where a rest was taken away.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from kvet.detectors.frames import FRAME
from kvet.detectors.heads import fitting_row
from kvet.detectors.lines import PLAIN, strip
from kvet.detectors.prefix import ANCHOR

WIDEST = 82
NARROWEST = 56
SPAN = 8192
MAX_SPLATS = 200
OPEN_END = 40
"""Characters at the end of a line that show whether something must follow.  Any more are blanks."""


_LONG = re.compile(r"\n[^\n]{101}")
_BARE_LINE = re.compile(r"\n[^\[\n]")
_WORD = re.compile(r"[>|\s]*(\S+)")

_QUOTE = re.compile(r"(?:[>|:#*;/+-]{0,8}[ \t]?){0,8}")
_APART = re.compile(r"[>|\s]*(?:[-=]{5,}|$)")
_HEX = re.compile(r" *[0-9a-f]{2,16}(?: |$)")
_TAIL = re.compile(
    r" *(?:\[?[A-Za-z_$][\w.$]*(?:\+0x[0-9a-f]+)?[\])]*|\+0x[0-9a-f]+\S*|\[<?[0-9a-f]+>?\].*)"
)
_PLACE = re.compile(r"(?:at:?|in|RIP.*|PC is|IP|\]|\?|\d)\s*$")
_OPEN = re.compile(
    r"(?:\b(?:RIP|PC|IP|EIP|pc|lr|in|at|is|from|of|for|to|by|on|and|a|the|than|not|address"
    r"|lock|held|acquire|kernel)|RIP: 00\d\d|[:,(]|>\](?: \?)?|\.[chS]:\d+|Comm|Not|\[)[ \t]*$"
)
_HEAD = re.compile(
    r"(?:[a-z]+: )?(?:BUG|WARNING|INFO|Unable|general|Kernel|kernel|Internal|Oops|UBSAN|NMI"
    r"|Unhandled|SError|unregister|refcount_t|Unexpected|Insufficient|\[ )"
)


def rejoin(raw: str, plain: str, heads: Sequence[int]) -> str:
    """`plain` with the broken lines of its splats joined; they begin at `heads`.

    `raw` is the same text, line by line, with all that stood before them.
    """
    spans = [span for span in _spans(plain, heads) if _may_be_wrapped(plain[span[0] : span[1]])]
    if not spans:
        return plain
    lines = plain.split("\n")
    before = lines[:] if raw is plain else raw.split("\n")
    if len(before) != len(lines):
        return plain
    first = done = 0
    for start, end in spans:
        first += plain.count("\n", done, start)
        done = start
        last = min(first + plain.count("\n", start, end) + 1, len(lines))
        _rejoin_lines(before[first:last], lines, first)
    return "\n".join(lines)


def _spans(text: str, heads: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Where splats that begin at `heads` may reach, without counting a line twice."""
    done = -1
    for head in heads[:MAX_SPLATS]:
        if head >= done:
            done = text.find("\n", head + SPAN)
            done = len(text) if done < 0 else done
            yield head, done


def _may_be_wrapped(text: str) -> bool:
    """Whether `text` has lines that may be rests, and hardly any longer than a mail's."""
    text = text.rstrip("\n")
    if text[:1] == "[" and not _BARE_LINE.search(text):
        return False
    return is_narrow(text)


def is_narrow(text: str) -> bool:
    """Whether hardly any line is longer than those of a mail."""
    # the first line has no line feed before it
    long = len(text.split("\n", 1)[0]) > 100
    for _ in _LONG.finditer(text):
        if long:
            return False
        long = True
    return True


def _rejoin_lines(before: Sequence[str], lines: list[str], first: int) -> None:
    """Join lines from number `first` on, as many as `before` has."""
    here = lines[first : first + len(before)]
    plain = PLAIN.match(here[0]) is not None
    stamped = [PLAIN.match(line) is not None or (not plain and _is_logged(line)) for line in here]
    pairs = _pairs(before, here, stamped)
    # a word longer than a line stands alone in one
    broken = [index for index in pairs if " " in before[index].strip("> |\t")]
    width = max((len(before[index]) for index in broken), default=0)
    full = {index for index in pairs if _is_full(before[index], here[index + 1], width)}
    if width < NARROWEST or (stamped.count(True) > len(here) // 4 and len(full) < 0.6 * len(pairs)):
        return
    # from below, so that a line broken twice comes together again
    for index in reversed(pairs):
        if index in full or _OPEN.search(here[index], max(0, len(here[index]) - OPEN_END)):
            rest = _rest(before[index], here[index], here[index + 1], width, stamped[index])
            if rest:
                here[index] = f"{here[index].rstrip()} {rest}"
                here[index + 1] = ""
    lines[first : first + len(before)] = here


def _is_logged(line: str) -> bool:
    return line[:1] not in ("", " ") and strip(line).stamp != ""


def _pairs(before: Sequence[str], lines: Sequence[str], stamped: Sequence[bool]) -> list[int]:
    """The lines whose rest may be in the line below."""
    return [
        index
        for index in range(len(lines) - 1)
        if len(before[index]) <= WIDEST
        and not stamped[index + 1]
        and (stamped[index] or lines[index + 1][:1] != " ")
        and lines[index].strip()
        and not _APART.match(lines[index + 1])
    ]


def _is_full(line: str, below: str, width: int) -> bool:
    """Whether the first word of `below` had no room in `line`."""
    word = _WORD.match(below)
    return len(line) + 1 + len(word[1] if word else "") > width


def _rest(raw: str, line: str, below: str, width: int, stamped: bool) -> str:
    """What belongs behind `line`, which was `raw`, when `below` cannot stand alone."""
    start = strip(line).start if stamped else 0
    own = line[start:]
    if stamped:
        quote = _QUOTE.match(raw)
        below = below.strip().removeprefix(quote[0].strip() if quote else "").strip()
    elif ANCHOR.match(below) or FRAME.match(below) or _HEAD.match(below):
        follows = "+0x" not in own and FRAME.match(below) is not None
        return below.strip() if follows and _needs_symbol(own, below) else ""
    word = below.split(" ", 1)[0] if below else ""
    if not word or len(raw) + 1 + len(word) <= min(width, len(raw) + 40):
        return below if word and _needs_symbol(own, below) else ""
    whole = stamped or _lacks_rest(own) or _OPEN.search(own) or _HEX.match(below)
    return below if whole else ""


def _lacks_rest(own: str) -> bool:
    """Whether `own` begins a splat, and says too little as it stands."""
    row = fitting_row(own, timed=False) if _HEAD.match(own) else None
    return _HEAD.match(own) is not None and (row is None or row.cut)


def _needs_symbol(own: str, below: str) -> bool:
    """Whether a place was announced at the end of `own` and begins `below`."""
    return bool(_OPEN.search(own) and _TAIL.match(below) and _PLACE.search(own))
