# SPDX-License-Identifier: GPL-2.0-only
"""Finds the patches of one series in a mailbox as the list keeps it.

A thread holds a cover letter, replies, mails that came twice and older
versions beside the newest; what is taken is one mail for each number of the
newest version, in order, and nothing is taken in silence for what it is not.
"""

from __future__ import annotations

import email
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.message import Message
from pathlib import Path

from kvet import proc
from kvet.errors import UserError

TAGS = re.compile(r"^\s*((?:\[[^\]]*\]\s*)+)")
NUMBER = re.compile(r"(?<![\w.])(\d+)/(\d+)(?![\w.])")
VERSION = re.compile(r"(?:[\s\[]|PATCH)v(\d+)(?=[\s\],])", re.IGNORECASE)
REPLY = re.compile(r"^\s*(?:re|aw|sv|fwd?)\s*:", re.IGNORECASE)
DIFF = re.compile(
    r"^(?:@@ -\d|GIT binary patch|Binary files |rename to |copy to |new mode |new file mode "
    r"|deleted file mode )",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Mail:
    """One mail that holds a patch: `number` of `total` in `version`; 0 of 0 without a number."""

    path: Path
    subject: str
    message_id: str
    version: int
    number: int
    total: int


def is_mailbox(path: Path) -> bool:
    """Whether `path` begins as an mbox does; a line `From ...` further down is prose."""
    with path.open("rb") as file:
        return file.read(8192).lstrip().startswith(b"From ")


def split_mailbox(path: Path, folder: Path) -> tuple[Path, ...]:
    """The patches in the mbox `path` in order, each a file of its own in `folder`.

    Raises UserError when a part of the series is missing, or given twice.
    """
    done = proc.run(("git", "mailsplit", "--keep-cr", f"-o{folder}", str(path)))
    if done.returncode:
        raise UserError(f"is not a mailbox: {done.stderr.decode(errors='replace')}", path=path)
    files = sorted(p for p in folder.iterdir() if p.name.isdigit())
    mails = [mail for mail in map(_read_mail, files) if mail is not None]
    if len(files) == 1 and mails:
        return (path,)
    chosen = _one_of_each(mails, path)
    return tuple(_named(mail, number) for number, mail in enumerate(chosen, start=1))


def _read_mail(path: Path) -> Mail | None:
    """The mail in `path`; None for a reply, a cover letter and whatever holds no diff."""
    mail = email.message_from_bytes(path.read_bytes())
    subject, message_id = _header(mail, "Subject"), _header(mail, "Message-ID")
    text = _text_of(mail)
    tags = found.group(1) if (found := TAGS.match(subject)) else ""
    numbered = NUMBER.search(tags)
    number, total = (int(numbered[1]), int(numbered[2])) if numbered else (0, 0)
    if REPLY.match(subject) or (numbered and not number) or not DIFF.search(text):
        return None
    version = VERSION.search(tags)
    bare = subject[len(tags) :].strip()
    return Mail(path, bare, message_id, int(version[1]) if version else 1, number, total)


def _header(mail: Message, name: str) -> str:
    """A header on one line with its words decoded; as it stands where they cannot be."""
    raw = mail.get(name, "")
    try:
        text = str(make_header(decode_header(raw)))
    except (HeaderParseError, LookupError, ValueError):
        text = str(raw)
    return " ".join(text.split())


def _text_of(mail: Message) -> str:
    """Every text of a mail with its transfer encoding undone."""
    parts = [part for part in mail.walk() if part.get_content_maintype() in ("text", "application")]
    payloads = [part.get_payload(decode=True) for part in parts]
    return "\n".join(p.decode(errors="replace") for p in payloads if isinstance(p, bytes))


def _one_of_each(mails: Iterable[Mail], path: Path) -> list[Mail]:
    """The mails of the newest version, each once, in the order of their numbers."""
    # a mail that came over two lists, or was sent again, is the same patch
    once = {(m.version, m.number or m.message_id or m.path, m.subject): m for m in mails}
    newest = max((mail.version for mail in once.values()), default=1)
    chosen = sorted(
        (mail for mail in once.values() if mail.version == newest),
        key=lambda mail: (mail.number, mail.path.name),
    )
    _refuse_gaps([mail for mail in chosen if mail.number], newest, path)
    return chosen


def _refuse_gaps(numbered: Sequence[Mail], version: int, path: Path) -> None:
    """Raise UserError unless there is just one mail for each number of the series."""
    hint = "put the patches that are meant, with a `series` file, into a folder: a quilt directory"
    by_number: dict[int, Mail] = {}
    for mail in numbered:
        other = by_number.setdefault(mail.number, mail)
        if other is not mail:
            raise UserError(
                f"holds two patches {mail.number}/{mail.total} of v{version}: "
                f"{other.subject!r} and {mail.subject!r}",
                path=path,
                hint=hint,
            )
    total = max((mail.total for mail in numbered), default=0)
    missing = [f"{n}/{total}" for n in range(1, total + 1) if n not in by_number]
    if missing:
        raise UserError(f"lacks patch {', '.join(missing)} of v{version}", path=path, hint=hint)


def _named(mail: Mail, number: int) -> Path:
    """Give a split mail the name that format-patch would have given it."""
    words = re.sub(r"[^A-Za-z0-9._]+", "-", mail.subject).strip("-.")[:52].strip("-.")
    return mail.path.rename(mail.path.with_name(f"{number:04d}-{words or 'patch'}.patch"))
