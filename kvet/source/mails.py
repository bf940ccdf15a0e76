# SPDX-License-Identifier: GPL-2.0-only
"""Reads mails that may hold patches: from mailboxes, maildirs, directories and single files.

Transfer encodings, CRLF, attachments, in-body headers and scissors are undone
here; which of the mails make a series is decided in kvet/source/thread.py.
"""

from __future__ import annotations

import email
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.message import Message
from email.utils import parsedate_to_datetime
from pathlib import Path

from kvet import proc
from kvet.compressed import SUFFIXES, read_unpacked, unpacked
from kvet.errors import UserError
from kvet.source.diff import holds_diff, prose_of, without_transport_cr
from kvet.source.subject import Tags, parse_subject

KNOWN_NAME = re.compile(
    rf"^(?:\d+|.*\.(?:patch|diff|eml|mbox|mbx|mail|msg))(?:{'|'.join(map(re.escape, SUFFIXES))})?$",
    re.IGNORECASE,
)
PATCH_NAME = re.compile(
    r"\.(?:patch|diff|txt|mbox|eml)(?:\.(?:gz|xz|bz2|zst|lz4))?$", re.IGNORECASE
)
PATCH_TYPES = {"text/x-patch", "text/x-diff", "text/patch", "text/diff", "application/x-patch"}
SCISSORS = re.compile(
    rb"^(?=.*-)(?=.*(?:>8|8<|>%|%<))[- \t<>8%]+(?:cut here)?[- \t<>8%]*$",
    re.MULTILINE | re.IGNORECASE,
)
IN_BODY = re.compile(r"^(From|Subject|Date): +(\S.*)$", re.IGNORECASE)
MESSAGE_IDS = re.compile(r"<([^<>\s]+)>")
DEEPEST = 4  # mails attached to mails attached to mails
# a name that format-patch, or a person after it, gave: version and number
FILE_NUMBER = re.compile(r"^(?:v(\d+)-)?(\d{1,4})[-_.]")
# `mm-fix-v2.patch`; `v6.12-fix.patch` is made for a kernel
FILE_VERSION = re.compile(r"(?:^|[-_.])v(\d{1,4})(?![\d])(?!\.\d)(?=[-_.])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Mail:
    """One mail, or one patch attached to it.

    `body` has its transfer encoding undone; `raw` is the mail as it came, and
    `as_sent` says that git reads the same from it as stands in `body`.
    `parents` are the message ids it answers, the nearest first.
    """

    file: Path
    raw: bytes
    body: bytes
    subject: str = ""
    tags: Tags = field(default_factory=Tags)
    author: str = ""
    date: str = ""
    message_id: str = ""
    parents: tuple[str, ...] = ()
    as_sent: bool = True
    attached: bool = False
    carrier: str = ""  # message id of the mail that a patch is attached to

    @property
    def holds_diff(self) -> bool:
        """Whether there is a diff in it that is not quoted."""
        return holds_diff(self.body)

    @property
    def sent(self) -> float:
        """When it was sent, in seconds since 1970; 0 where it does not say."""
        try:
            return parsedate_to_datetime(self.date).timestamp()
        except (TypeError, ValueError, OverflowError):
            return 0.0


def read_place(path: Path) -> tuple[Mail, ...]:
    """Every mail of a mailbox, maildir, directory of mails or file, in the order it lies there."""
    if not path.is_dir():
        return tuple(read_file(path))
    if (path / "cur").is_dir() or (path / "new").is_dir():
        return tuple(_maildir(path))
    return tuple(mail for file in mail_files(path) for mail in read_file(file))


def mail_files(folder: Path) -> list[Path]:
    """The files of `folder` that mails and patches are kept in, by number, then by name."""
    names = [p for p in folder.iterdir() if KNOWN_NAME.match(p.name) and not p.is_dir()]
    return sorted((inside(folder, p.name) for p in names), key=lambda p: _natural(p.name))


def _natural(name: str) -> list[tuple[int, int, str]]:
    """A key that sorts `2-x` before `10-x`."""
    parts = re.split(r"(\d+)", name)
    return [(0, int(p), "") if p.isdigit() else (1, 0, p) for p in parts if p]


def inside(folder: Path, name: str, *, named_by: Path | None = None) -> Path:
    """`folder/name`, provided that it is a file and does not lead out of `folder`."""
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise UserError(f"{name} leaves the directory {folder}", path=named_by or folder)
    if not path.is_file():
        raise UserError(f"{name} does not exist in {folder}", path=named_by or folder)
    return path


def _maildir(path: Path) -> Iterator[Mail]:
    # the module of the standard library wants all directories, which packers leave out when empty
    files = [file for part in ("cur", "new") for file in (path / part).glob("[!.]*")]
    for file in sorted(files, key=lambda file: file.name.partition(":")[0]):
        trashed = "T" in file.name.partition(":2,")[2]
        if file.is_file() and not trashed:
            yield from read_mail(file.read_bytes(), path)


def read_file(path: Path) -> Iterator[Mail]:
    """The mails of one file: a mailbox, a mail, or a bare diff; compressed or not."""
    yield from _read_bytes(read_unpacked(path), path, 0)


def _read_bytes(data: bytes, path: Path, depth: int) -> Iterator[Mail]:
    if re.match(rb"\s*<(?:!doctype html|html)", data[:200], re.IGNORECASE):
        raise UserError(
            "is a web page", path=path, hint="take the mails themselves: t.mbox.gz, or raw"
        )
    parts = split_mbox(data, path) if is_mbox(data) else (data,)
    for raw in parts:
        yield from read_mail(raw, path, depth)


def is_mbox(data: bytes) -> bool:
    """Whether `data` begins as an mbox does; a line `From ...` further down is prose."""
    return data[:8192].lstrip().startswith(b"From ")


def split_mbox(data: bytes, path: Path) -> tuple[bytes, ...]:
    """The mails of an mbox; git knows a separator from prose that begins with `From`."""
    with tempfile.TemporaryDirectory(prefix="kvet-mbox-") as scratch:
        done = proc.run(("git", "mailsplit", "--keep-cr", f"-o{scratch}"), stdin=data, brief=True)
        if done.returncode:
            reason = done.stderr.decode(errors="replace").strip()
            raise UserError(f"is not a mailbox: {reason}", path=path)
        files = sorted(Path(scratch).iterdir(), key=lambda p: int(p.name))
        return tuple(file.read_bytes() for file in files)


def read_mail(raw: bytes, path: Path, depth: int = 0) -> Iterator[Mail]:
    """The mail `raw`, and behind it each attached patch that is a mail of its own."""
    message = email.message_from_bytes(raw)
    if not any(message.get(name) for name in ("From", "Subject", "Date", "Message-ID")):
        yield _bare(raw, path)
        return
    parts = _Parts()
    _collect(message, parts)
    subject = _header(message, "Subject")
    tags, bare = parse_subject(subject)
    mails = [x for x in parts.attached if _is_mail(x)]
    files = [x for x in parts.attached if holds_diff(x) and not _is_mail(x)]
    if len(mails) == 1 and tags.patch and not tags.reply:
        # the same patch as a file, so that no mail program spoils it
        files, mails = [mails[0][len(prose_of(mails[0])) :]], []
    inline = b"\n".join(parts.inline)
    if files or any(holds_diff(x) for x in mails):
        inline = prose_of(inline)
    body = b"\n".join([inline, *files])
    mail = Mail(
        file=path,
        raw=raw,
        body=without_transport_cr(body),
        subject=bare,
        tags=tags,
        author=_header(message, "From"),
        date=_header(message, "Date"),
        message_id=next(iter(MESSAGE_IDS.findall(_header(message, "Message-ID"))), ""),
        parents=_parents(message),
        as_sent=not message.is_multipart() and b"\r\n" not in raw,
        attached=bool(files),
    )
    mail = _in_body(replace(mail, as_sent=mail.as_sent and mail.body == body))
    yield mail
    if depth < DEEPEST:
        for data in mails:
            yield from _attached(mail, data, depth)


def _attached(carrier: Mail, data: bytes, depth: int) -> Iterator[Mail]:
    """The patches of an attachment; they answer what the mail that carries them answers."""
    for mail in _read_bytes(data, carrier.file, depth + 1):
        yield replace(
            mail,
            tags=replace(mail.tags, reply=carrier.tags.reply),
            author=mail.author or carrier.author,
            message_id=mail.message_id or carrier.message_id,
            parents=mail.parents or carrier.parents,
            attached=True,
            carrier=carrier.message_id,
        )


@dataclass(frozen=True, slots=True)
class _Parts:
    """The parts of a mail that may hold a patch: `inline` text, and files."""

    inline: list[bytes] = field(default_factory=list)
    attached: list[bytes] = field(default_factory=list)


def _collect(message: Message, parts: _Parts) -> None:
    """Sort the leaves of `message` into `parts`, leaving out HTML, signatures and pictures."""
    kind, name = message.get_content_type(), message.get_filename() or ""
    if kind == "message/rfc822":
        parts.attached.extend(bytes(x) for x in message.get_payload() if isinstance(x, Message))
    elif message.is_multipart():
        for part in message.get_payload():
            if isinstance(part, Message):
                _collect(part, parts)
    else:
        payload = message.get_payload(decode=True)
        content = payload if isinstance(payload, bytes) else b""
        if kind in PATCH_TYPES or PATCH_NAME.search(name):
            parts.attached.append(without_transport_cr(unpacked(content, name=Path(name))))
        elif kind == "text/plain" and message.get_content_disposition() != "attachment":
            parts.inline.append(content)
        elif kind == "text/plain" and holds_diff(content):
            parts.attached.append(without_transport_cr(content))


def _is_mail(data: bytes) -> bool:
    """Whether an attachment has headers of its own, as format-patch writes them."""
    message = email.message_from_bytes(data[:65536])
    return bool(message.get("Subject")) and bool(message.get("From") or is_mbox(data))


def _header(message: Message, name: str) -> str:
    """A header on one line with its words decoded; as it stands where they cannot be."""
    raw = next((str(v) for k, v in message.raw_items() if k.lower() == name.lower()), "")
    # some mail programs send UTF-8 in headers without a word about it
    raw = raw.encode("utf-8", errors="surrogateescape").decode("utf-8", errors="replace")
    try:
        text = str(make_header(decode_header(raw)))
    except (HeaderParseError, LookupError, ValueError):
        text = raw
    return " ".join(text.encode(errors="replace").decode().split())


def _parents(message: Message) -> tuple[str, ...]:
    """What a mail answers: In-Reply-To, then References from the last to the first."""
    direct = [
        x for value in message.get_all("In-Reply-To", []) for x in MESSAGE_IDS.findall(str(value))
    ]
    older = [
        x for value in message.get_all("References", []) for x in MESSAGE_IDS.findall(str(value))
    ]
    return tuple(dict.fromkeys([*direct, *reversed(older)]))


def _in_body(mail: Mail) -> Mail:
    """`mail` with headers that begin its body in place of its own, as git takes them.

    What stands above a line of scissors is talk, if a patch begins below it: scissors
    frame a quoted log as well.
    """
    prose = prose_of(mail.body)
    body = mail.body
    if cut := SCISSORS.search(prose):
        below = body[cut.end() :].lstrip(b"\r\n")
        if mail.tags.reply or re.match(rb"(?:From|Subject): |\[PATCH", below):
            body = below
            mail = replace(mail, body=body, as_sent=False)
    lines = prose_of(body).lstrip(b"\r\n").decode(errors="replace").splitlines()
    found: dict[str, str] = {}
    for line in lines:
        if match := IN_BODY.match(line):
            found[match[1].lower()] = match[2]
        elif line.startswith((" ", "\t")) and found:
            found[list(found)[-1]] += " " + line.strip()
        else:
            break
    if not found and lines and lines[0].startswith("[PATCH"):
        found["subject"] = lines[0]
    return _overridden(mail, found)


def _overridden(mail: Mail, found: dict[str, str]) -> Mail:
    """`mail` with the in-body headers `found`; a reply stays one whatever stands in it."""
    if "from" in found and "@" in found["from"]:
        mail = replace(mail, author=found["from"])
    if "subject" in found:
        tags, bare = parse_subject(found["subject"])
        known = tags if tags.patch else mail.tags
        mail = replace(mail, subject=bare, tags=replace(known, reply=mail.tags.reply))
    return mail


def _bare(raw: bytes, path: Path) -> Mail:
    """A diff without mail headers; Mercurial, StGit, quilt and Debian say who and what above it."""
    body = without_transport_cr(raw)
    author = subject = ""
    for line in prose_of(body).decode(errors="replace").splitlines():
        if found := re.match(r"^(?:# User|From:|Author:) +(\S.*@.*)$", line):
            author = author or found[1]
        elif found := re.match(r"^(?:Subject|Description): +(\S.*)$", line):
            subject = subject or found[1]
        elif line.strip() and not line.startswith(("#", "---", "Index:", "===")):
            subject = subject or line.strip()
    tags, bare = parse_subject(subject)
    return Mail(path, raw, body, bare, tags, author, as_sent=body == raw)


def with_file_version(mails: Sequence[Mail]) -> list[Mail]:
    """`mails` with the version that a file's name gives where the subject gives none."""
    out = []
    for mail in mails:
        found = FILE_VERSION.search(mail.file.name)
        if found and not mail.tags.version:
            mail = replace(mail, tags=replace(mail.tags, version=(int(found[1]),), patch=True))
        out.append(mail)
    return out


def as_patch(mail: Mail) -> bytes:
    """`mail` as a file that git reads: as it was sent where that can be, else written plainly."""
    if mail.as_sent:
        return mail.raw
    if not mail.subject and not mail.author:
        return mail.body
    heads = (
        ("From", mail.author),
        ("Date", mail.date),
        ("Subject", f"[PATCH] {mail.subject}"),
        ("Message-ID", f"<{mail.message_id}>" if mail.message_id else ""),
        ("MIME-Version", "1.0"),
        ("Content-Type", "text/plain; charset=UTF-8"),
        ("Content-Transfer-Encoding", "8bit"),
    )
    lines = [f"{name}: {value}" for name, value in heads if value]
    return "\n".join(lines).encode() + b"\n\n" + mail.body
