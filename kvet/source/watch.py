# SPDX-License-Identifier: GPL-2.0-only
"""What is new in mailboxes, maildirs and branches since they were last looked at."""

from __future__ import annotations

import mailbox
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.header import decode_header, make_header
from email.message import Message
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from kvet.errors import UserError
from kvet.source.place import open_place
from kvet.source.subject import parse_subject

MESSAGE_ID = re.compile(r"<([^<>\s]+)>")


@dataclass(frozen=True, slots=True)
class Watched:
    """One place of configs/watch.yaml: an mbox or maildir, or branches of a repository.

    `match` is a pattern that the subject of a series, or the name of a branch, must contain.
    """

    name: str
    mbox: Path | None = None
    maildir: Path | None = None
    git: Path | None = None
    base: str = ""
    branches: tuple[str, ...] = ("*",)
    match: str = ""


@dataclass(frozen=True, slots=True)
class News:
    """Something to judge: its key, by which it is known later, and what `--series` takes."""

    key: str
    title: str
    spec: str


def news(watched: Watched, seen: Collection[str], folder: Path) -> list[News]:
    """What is there and not in `seen`; mails of a series are copied to `folder`.

    Raises UserError for a place that is not there.
    """
    found = _branches(watched) if watched.git else _series(watched, folder)
    wanted = re.compile(watched.match, re.IGNORECASE)
    return [one for one in found if one.key not in seen and wanted.search(one.title)]


def _branches(watched: Watched) -> Iterator[News]:
    assert watched.git is not None
    place = open_place(watched.git)
    for name, tip in place.branches():
        if any(fnmatchcase(name, glob) for glob in watched.branches):
            base = place.merge_base(watched.base, tip)
            if base and base != tip:
                yield News(tip, name, f"{watched.git}:{base}..{tip}")


def _series(watched: Watched, folder: Path) -> Iterator[News]:
    """The newest posting of each thread with patches; known by the mail that stands for it."""
    for number, thread in enumerate(_threads(_mails(watched)), start=1):
        patches = [mail for mail in thread if _is_patch(mail)]
        if not patches:
            continue
        newest = max(_version(mail) for mail in patches)
        first = min((m for m in patches if _version(m) == newest), key=_number)
        path = folder / f"{watched.name}-{number:04d}.mbox"
        # with a From line, as a mailbox has it
        path.write_bytes(b"".join(b"From mail Thu Jan  1 00:00:00 1970\n" + _escaped(mail) + b"\n"
                                  for mail in thread))  # fmt: skip
        yield News(_id(first), _subject(first), str(path))


def _mails(watched: Watched) -> list[Message]:
    path = watched.mbox or watched.maildir
    assert path is not None
    if not path.expanduser().exists():
        raise UserError(f"watch {watched.name}: {path} does not exist")
    kind: Any = mailbox.mbox if watched.mbox else mailbox.Maildir
    return list(kind(path.expanduser(), create=False))


def _threads(mails: Sequence[Message]) -> list[list[Message]]:
    """Mails that answer one another, each group in the order it came."""
    root: dict[str, str] = {}

    def find(name: str) -> str:
        while root.setdefault(name, name) != name:
            name = root[name]
        return name

    for mail in mails:
        for other in _parents(mail):
            root[find(_id(mail))] = find(other)
    groups: dict[str, list[Message]] = {}
    for mail in mails:
        groups.setdefault(find(_id(mail)), []).append(mail)
    return list(groups.values())


def _id(mail: Message) -> str:
    found = MESSAGE_ID.search(str(mail.get("Message-ID", "")))
    return found[1] if found else str(hash(mail.as_bytes()))


def _parents(mail: Message) -> list[str]:
    return MESSAGE_ID.findall(f"{mail.get('In-Reply-To', '')} {mail.get('References', '')}")


def _subject(mail: Message) -> str:
    return " ".join(str(make_header(decode_header(str(mail.get("Subject", ""))))).split())


def _is_patch(mail: Message) -> bool:
    tags, _ = parse_subject(_subject(mail))
    return tags.patch and not tags.reply and not tags.bot


def _version(mail: Message) -> tuple[int, ...]:
    return parse_subject(_subject(mail))[0].version or (1,)


def _number(mail: Message) -> int:
    number = parse_subject(_subject(mail))[0].number
    return 1 if number is None else number


def _escaped(mail: Message) -> bytes:
    return re.sub(rb"^(>*From )", rb">\1", mail.as_bytes(), flags=re.MULTILINE)


def watched_of(spec: Mapping[str, Any], folder: Path) -> tuple[Watched, ...]:
    """The places of a watch file; paths in it start at its directory `folder`."""

    def at(text: str | None) -> Path | None:
        path = Path(text).expanduser() if text else None
        return path and (path if path.is_absolute() else folder / path)

    return tuple(
        Watched(
            name=one["name"],
            mbox=at(one.get("mbox")),
            maildir=at(one.get("maildir")),
            git=at(one.get("git")),
            base=one.get("base", ""),
            branches=tuple(one.get("branches", ["*"])),
            match=one.get("match", ""),
        )
        for one in spec["watch"]
    )
