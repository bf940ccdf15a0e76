# SPDX-License-Identifier: GPL-2.0-only
"""Opens what holds several logs: zip and tar archives, mails with base64 bodies or attachments.

Members that hold no text are left out: an artefact of a CI job has the logs beside the kernel.
"""

from __future__ import annotations

import email
import email.policy
import io
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from kvet import archives
from kvet.archives import HEAD, Member, Reader, reader_of
from kvet.detectors.capture import STDIN

_HEADER = re.compile(rb"(?:From |[A-Za-z][A-Za-z0-9-]*: )[^\n]*\n")
_BASE64 = re.compile(rb"(?im)^content-transfer-encoding: *base64")


def members(path: Path) -> Iterator[Member] | None:
    """Each file in the archive or mail `path` ("-": standard input); None for an ordinary log.

    OSError when `path` cannot be opened; what the iterator raises: see `archives.members`.
    """
    if str(path) == STDIN:
        stream = cast(io.BufferedReader, sys.stdin.buffer)
        reader = _reader(stream.peek(HEAD)[:HEAD])
        return archives.members(path, _copied(stream), reader) if reader else None
    with open(path, "rb") as raw:
        reader = _reader(raw.read(HEAD))
    return archives.members(path, open(path, "rb"), reader) if reader else None


def _reader(head: bytes) -> Reader | None:
    reader = reader_of(head)
    if reader is None and _HEADER.match(head) and _BASE64.search(head):
        return _mail
    return reader


@contextmanager
def _copied(stream: IO[bytes]) -> Iterator[IO[bytes]]:
    """A stream as a file, since archives have their lists of contents at the end."""
    with tempfile.TemporaryFile() as copy:
        shutil.copyfileobj(stream, copy)
        copy.seek(0)
        yield copy


def _mail(file: IO[bytes]) -> Iterator[Member]:
    whole = archives.take("", file)
    mail = email.message_from_bytes(whole.content, policy=email.policy.default)
    for number, part in enumerate(mail.walk()):
        content = None if part.is_multipart() else part.get_payload(decode=True)
        if isinstance(content, bytes) and content.strip():
            yield Member(part.get_filename() or f"part {number}", content, whole.whole)
