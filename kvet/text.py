# SPDX-License-Identifier: GPL-2.0-only
"""Text that people read: cleaned of what a terminal or a parser chokes on, shortened, linked."""

from __future__ import annotations

import re
from collections.abc import Callable

# takes a line for a person; the command line alone decides where it goes
Say = Callable[[str], object]

# what a terminal, a mail reader or an XML parser may choke on; tab and newline stay
CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"
)
ESCAPE_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[@-Z\\-_])")
MESSAGE_ID = re.compile(r"^[^<>\s@]+@[^<>\s@]+$")


def clean(text: object) -> str:
    """`text` without control characters and terminal sequences; safe in XML 1.0 and mail."""
    return CONTROL.sub("", ESCAPE_SEQUENCE.sub("", str(text).replace("\r\n", "\n")))


def one_line(text: object) -> str:
    """`text` cleaned, with every run of white space turned into one blank."""
    return " ".join(clean(text).split())


def percent(share: float | None) -> str:
    """A share as whole per cent, `-` for None."""
    return f"{100 * share:.0f}%" if share is not None else "-"


def lore(link: str) -> str:
    """The address of a message id; an http(s) address stays; empty for anything else."""
    if re.match(r"^https?://[^\s]+$", link):
        return link
    return f"https://lore.kernel.org/r/{link}" if MESSAGE_ID.match(link) else ""
