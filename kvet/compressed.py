# SPDX-License-Identifier: GPL-2.0-only
"""Opens compressed files as if they were not: gzip, xz, lzma, bzip2, zstd and lz4.

The form is told by content.  A file that is cut off or damaged gives what could be
unpacked before the damage, and says so: the caller decides whether a part is enough.
"""

from __future__ import annotations

import bz2
import io
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Protocol, cast

from kvet.errors import UserError

SUFFIXES = (".gz", ".xz", ".bz2", ".zst", ".lz4")
MOST_BYTES = 256 << 20  # a file that unpacks to more is no mailbox, and may be a bomb
PIECE = 256
"""Bytes unpacked at a time: less than 16 MiB come out of them, and no more is lost at damage."""

_BUFFER = 1 << 16
_CUT = "the file is cut off"


class Decoder(Protocol):
    """What unpacks one compressed stream; those of the standard library are such."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes | None: ...

    def decompress(self, data: bytes, /) -> bytes: ...


def _zstd() -> Decoder:
    import zstandard  # few need it, and all would wait for it

    return _Foreign(zstandard.ZstdDecompressor().decompressobj(), zstandard.ZstdError)


def _lz4() -> Decoder:
    import lz4.frame

    return _Foreign(lz4.frame.LZ4FrameDecompressor(), RuntimeError)


class _Foreign:
    """A decoder of another library, with the errors of this one."""

    def __init__(self, decoder: Any, error: type[Exception]) -> None:
        self._decoder = decoder
        self._error = error

    @property
    def eof(self) -> bool:
        return bool(self._decoder.eof)

    @property
    def unused_data(self) -> bytes | None:
        return cast("bytes | None", self._decoder.unused_data)

    def decompress(self, data: bytes, /) -> bytes:
        try:
            return cast(bytes, self._decoder.decompress(data))
        except self._error as error:
            raise EOFError(str(error)) from error


DECODERS: tuple[tuple[bytes, Callable[[], Decoder]], ...] = (
    (b"\x1f\x8b", lambda: zlib.decompressobj(wbits=31)),
    (b"\xfd7zXZ\x00", lzma.LZMADecompressor),
    (b"]\x00\x00", lzma.LZMADecompressor),
    (b"BZh", bz2.BZ2Decompressor),
    (b"\x28\xb5\x2f\xfd", _zstd),
    (b"\x04\x22\x4d\x18", _lz4),
)
MAGICS = tuple(magic for magic, _ in DECODERS)
_DAMAGED = (EOFError, OSError, lzma.LZMAError, zlib.error)


class Unpacking(io.RawIOBase):
    """The content of a compressed stream; reading ends at damage, which `damage` then names."""

    def __init__(self, packed: IO[bytes], make: Callable[[], Decoder]) -> None:
        super().__init__()
        self.damage = ""
        self.count = 0
        self._packed = packed
        self._make = make
        self._decoder = make()
        self._rest = b""
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready and self._fill():
            pass
        size = min(len(buffer), len(self._ready))
        buffer[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        self.count += size
        return size

    def _fill(self) -> bool:
        """Unpack one more piece; False when nothing more will come."""
        if self.damage:
            return False
        decoder = self._decoder
        if decoder.eof:
            return self._next_stream()
        piece = self._take()
        if not piece:
            self.damage = _CUT
            return False
        try:
            self._ready = memoryview(decoder.decompress(piece))
            if decoder.eof:
                self._rest = (decoder.unused_data or b"") + self._rest
        except _DAMAGED as error:
            self.damage = str(error)
        return not self.damage

    def _next_stream(self) -> bool:
        """Begin the stream behind one that ended: packed files may be joined, or padded."""
        while piece := self._take():
            piece = piece.lstrip(b"\0")
            if piece:
                self._rest = piece + self._rest
                self._decoder = self._make()
                return True
        return False

    def _take(self) -> bytes:
        if not self._rest:
            self._rest = self._packed.read(_BUFFER)
        piece, self._rest = self._rest[:PIECE], self._rest[PIECE:]
        return piece


def unpacking(stream: IO[bytes], head: bytes) -> Unpacking | None:
    """What unpacks `stream`, which begins with `head`; None when it is not compressed."""
    make = next((make for magic, make in DECODERS if head.startswith(magic)), None)
    return Unpacking(stream, make) if make else None


def unpacked(data: bytes, *, name: Path, most: int = MOST_BYTES) -> bytes:
    """`data` itself, or what it holds when it is compressed; `name` is where it came from.

    Raises UserError for data that is damaged or unpacks to more than `most` bytes.
    """
    stream = unpacking(io.BytesIO(data), data)
    if stream is None:
        return data
    content = io.BufferedReader(stream, _BUFFER).read(most + 1)
    if len(content) > most:
        raise UserError(f"unpacks to more than {most >> 20} MiB", path=name)
    if stream.damage:
        raise UserError(f"is compressed and cannot be unpacked: {stream.damage}", path=name)
    return content


def read_unpacked(path: Path) -> bytes:
    """The content of the file `path`, unpacked when it is compressed."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", path=path) from error
    return unpacked(data, name=path)
