# SPDX-License-Identifier: GPL-2.0-only
"""The files in zip and tar archives, compressed ones too, within bounds."""

from __future__ import annotations

import io
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from kvet.compressed import unpacking
from kvet.errors import UserError

HEAD = 1 << 16
MOST_MEMBERS = 500
MOST_BYTES = 64 << 20
_BROKEN = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError)


class Member(NamedTuple):
    """One file of an archive; `whole` is false when it is longer than MOST_BYTES."""

    name: str
    content: bytes
    whole: bool = True


class Damaged(Exception):
    """An archive is damaged or cut off; the text says how."""


class TooMany(Exception):
    """An archive holds more files than MOST_MEMBERS; the rest was not read."""


Reader = Callable[[IO[bytes]], Iterator[Member]]


def reader_of(head: bytes) -> Reader | None:
    """What takes the files out of an archive that begins with `head`; None when it is none."""
    if head.startswith(b"PK\x03\x04"):
        return _zip
    return _tar if _is_tar(head) else None


def members(
    path: Path, opened: AbstractContextManager[IO[bytes]], reader: Reader
) -> Iterator[Member]:
    """What `reader` finds in the file that `opened` gives; `path` is how errors call it.

    Raises Damaged after the last file that is whole, TooMany after the last that is taken,
    UserError when one is locked.
    """
    try:
        with opened as file:
            for count, member in enumerate(reader(file)):
                if count == MOST_MEMBERS:
                    raise TooMany
                yield member
    except _BROKEN as error:
        raise Damaged(str(error)) from error
    except RuntimeError as error:
        # the only one that zipfile raises: a member needs a password
        raise UserError(f"cannot be unpacked: {error}", path=path) from error


def unpack(path: Path, folder: Path) -> bool:
    """Write the files of the archive `path` to `folder`; False when it is none.

    Raises UserError for what is damaged, too large, or has names that lead out of `folder`.
    """
    try:
        with open(path, "rb") as raw:
            reader = reader_of(raw.read(HEAD))
            raw.seek(0)
            for member in members(path, raw, reader) if reader else ():
                _write(member, path, folder)
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", path=path) from error
    except Damaged as error:
        raise UserError(f"is damaged: {error}", path=path, hint="copy it again") from error
    except TooMany as error:
        message = f"holds more than {MOST_MEMBERS} files"
        raise UserError(message, path=path, hint="unpack it, and give its directory") from error
    return reader is not None


def _write(member: Member, path: Path, folder: Path) -> None:
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts or not member.whole:
        what = "leads out of the archive" if member.whole else "is too long"
        raise UserError(f"cannot be unpacked: {member.name} {what}", path=path)
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(member.content)


def _is_tar(head: bytes) -> bool:
    stream = unpacking(io.BytesIO(head), head)
    start = io.BufferedReader(stream).read(512) if stream else head
    return start[257:262] == b"ustar"


def take(name: str, file: IO[bytes]) -> Member:
    """As much of an open file as is taken."""
    content = file.read(MOST_BYTES)
    return Member(name, content, whole=len(content) < MOST_BYTES or not file.read(1))


def _zip(file: IO[bytes]) -> Iterator[Member]:
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            if not info.is_dir():
                with archive.open(info) as member:
                    yield take(info.filename, member)


def _tar(file: IO[bytes]) -> Iterator[Member]:
    stream = unpacking(file, file.read(8))
    file.seek(0)
    plain = io.BufferedReader(stream) if stream else file
    with tarfile.open(fileobj=plain, mode="r|") as archive:
        for info in archive:
            member = archive.extractfile(info) if info.isfile() else None
            if member is not None:
                yield take(info.name, member)
