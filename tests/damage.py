# SPDX-License-Identifier: GPL-2.0-only
"""What mails and commit messages do to a splat: wrapped, shortened, decoded."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable

from tests.forms import reshaped, rows_of, template

_OFFSET = re.compile(r"\+0x[0-9a-f]+/0x[0-9a-f]+")
_REGISTER = re.compile(
    r"(?:x\d+ *:|pstate:|sp :|Code:|Hardware name|Modules linked|CPU: |Tainted:)"
)
_FRAME = re.compile(r" [\w.]+\+0x[0-9a-f]+/0x[0-9a-f]+")
Damage = Callable[[str], str]


def bare(text: str) -> str:
    return reshaped(rows_of(text), template("{x}"))


def stamped(text: str) -> str:
    return reshaped(rows_of(text), template("{s} {x}"))


def _wrapped(text: str, width: int, first: str = "", rest: str = "") -> str:
    lines = []
    for line in text.splitlines():
        parts = textwrap.wrap(
            line, width, drop_whitespace=True, break_long_words=False, break_on_hyphens=False
        ) or [""]
        indent = line[: len(line) - len(line.lstrip())]
        parts[0] = indent + parts[0].lstrip()
        lines += [first + parts[0], *(rest + part for part in parts[1:])]
    return "\n".join(lines) + "\n"


def _frames_lose(pattern: str, by: str) -> Damage:
    def change(text: str) -> str:
        lines = bare(text).splitlines()
        return "".join(
            (re.sub(pattern, by, line) if _FRAME.match(line) else line) + "\n" for line in lines
        )

    return change


def _decoded(text: str) -> str:
    return _OFFSET.sub(" (mm/some-file.c:123 (discriminator 2)) ", bare(text))


def _commit(text: str, indent: str = "    ") -> str:
    """As commit messages quote it: no registers, no offsets in frames, indented."""
    lines = _frames_lose(_OFFSET.pattern, "")(text).splitlines()
    kept = [line for line in lines if not _REGISTER.match(line)]
    return "Subject: [PATCH] mm: fix it\n\nIt crashed:\n\n" + "".join(
        f"{indent}{line}\n" for line in kept
    )


SAME: dict[str, Damage] = {
    "wrapped": lambda text: _wrapped(stamped(text), 76),
    "wrapped, bare": lambda text: _wrapped(bare(text), 76),
    "wrapped, narrow": lambda text: _wrapped(stamped(text), 66),
    "wrapped, quoted": lambda text: _wrapped(stamped(text), 74, "> ", "> "),
    "wrapped after quoting": lambda text: _wrapped(stamped(text), 72, "> ", ""),
    "wrapped, twice quoted": lambda text: _wrapped(bare(text), 70, ">> ", ">> "),
    "no offsets": _frames_lose(_OFFSET.pattern, ""),
    "calls": _frames_lose(_OFFSET.pattern, "()"),
    "no sizes": _frames_lose(r"/0x[0-9a-f]+", ""),
    "decoded": _decoded,
    "decoded, absolute": lambda text: _decoded(text).replace("(mm/", "(/usr/src/linux-6.12/mm/"),
    "addresses": _frames_lose(r"^ ", "[<ffff800080123456>] "),
    "marks": lambda text: re.sub(r"(?m)^(.*Call trace:\n.*)$", r"\1 (P)", bare(text)),
    "commit": _commit,
    "commit, tab": lambda text: _commit(text, "\t"),
    "commit, two blanks": lambda text: _commit(text, "  "),
}
