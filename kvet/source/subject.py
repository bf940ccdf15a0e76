# SPDX-License-Identifier: GPL-2.0-only
"""What the subject of a mail says of the patch in it: version, number, and what is no patch.

Knows the forms of git (`[PATCH v2 1/3]`), patchwork (`[net,v2,1/3]`), Mercurial
(`[PATCH 1 of 3]`) and of the bots that mail diffs of what was applied.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

TAGS = re.compile(r"^\s*((?:\[[^\[\]]*(?:\[[^\[\]]*\][^\[\]]*)*\]\s*)+):?\s*")
REPLY = re.compile(r"^\s*(?:(?:re|aw|sv|antw|fwd?|wg)(?:\[\d+\])?\s*[:\uff1a]\s*)+", re.IGNORECASE)
NUMBER = re.compile(r"(?<![\w.])(\d{1,4})(?:\s*/\s*| of )(\d{1,4})(?![\w.])", re.IGNORECASE)
VERSION = re.compile(r"^(?:PATCH|RFC|RESEND)?[-_]?v(\d{1,4})(?:\.(\d))?$", re.IGNORECASE)
# `[PATCH v6.1 1/2]` is a backport, `[PATCH v2.1 1/2]` a reroll
LONGTERM = re.compile(r"^v(?:4\.[49]|5\.4|6\.[16]|[4-9]\.\d\d)$", re.IGNORECASE)
BOT = re.compile(
    r'^(?:Patch ".*" has been |FAILED: patch |Applied "|\+ \S+\.patch '
    r"|\S+\.patch (?:added|removed))",
    re.IGNORECASE,
)
NO_PATCH = {"tip", "tip:", "git", "pull", "merged", "obsolete", "failures", "report", "bug"}


@dataclass(frozen=True, slots=True)
class Tags:
    """The marks of one subject.

    `version` is () and `number` None where the subject names none; number 0 is
    the cover letter. `patch` says that the sender calls it a patch.
    """

    version: tuple[int, ...] = ()
    number: int | None = None
    total: int = 0
    patch: bool = False
    reply: bool = False
    bot: bool = False


def parse_subject(subject: str) -> tuple[Tags, str]:
    """The marks of `subject`, and the subject without them."""
    text, reply = subject, False
    marks = ""
    # `[External] Re: [PATCH 1/2] x`: lists and mail programs put theirs before those of others
    while True:
        if found := REPLY.match(text):
            reply, text = True, text[found.end() :]
        elif found := TAGS.match(text):
            marks, text = f"{marks} {found[1]}", text[found.end() :]
        else:
            break
    words = [word for word in re.split(r"[\[\]\s,;]+", marks) if word]
    numbered = NUMBER.search(marks)
    version = _version(words)
    lower = {word.lower() for word in words}
    says_patch = any(word.startswith(("patch", "rfc")) for word in lower)
    return Tags(
        version=version,
        number=int(numbered[1]) if numbered else None,
        total=int(numbered[2]) if numbered else 0,
        patch=says_patch or bool(version) or numbered is not None,
        reply=reply,
        bot=bool(BOT.match(text)) or (bool(lower & NO_PATCH) and not says_patch),
    ), text.strip()


def _version(words: list[str]) -> tuple[int, ...]:
    for word in words:
        if (found := VERSION.match(word)) and not LONGTERM.match(word):
            return tuple(int(part) for part in found.groups() if part is not None)
    return ()


def version_label(version: tuple[int, ...]) -> str:
    """`v2` for (2,); a series without a version is v1."""
    return "v" + ".".join(str(part) for part in version or (1,))
