# SPDX-License-Identifier: GPL-2.0-only
"""Opens a log as people keep it: compressed, in UTF-16, with the line ends of other systems.

What comes out is a stream of UTF-8 with `\\n`; what holds no text is refused by name.
"""

from __future__ import annotations

import codecs
import io
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, cast

from kvet.compressed import MAGICS, unpacking
from kvet.errors import UserError

HEAD = 1 << 16
STDIN = "-"

_LONE_CR = re.compile(rb"(?<![\r\n])\r(?![\r\n])")
_NO_LOGS = (
    (b"\x7fELF", 0, "an ELF file", ""),
    (b"PK\x03\x04", 0, "a zip archive", "unpack it"),
    (b"ustar", 257, "a tar archive", "unpack it"),
    (b"7z\xbc\xaf", 0, "a 7-Zip archive", "unpack it and scan the logs inside"),
    (b"KDUMP   ", 0, "a crash dump", "take the log out with `makedumpfile --dump-dmesg`"),
    (b"LPKSHHRH", 0, "a binary journal", "print it with `journalctl -k -o short-monotonic --file`"),
    (b"%PDF-", 0, "a PDF", "scan the text"),
    (b"\x89PNG", 0, "a picture", "scan the text"),
    (b"\xff\xd8\xff", 0, "a picture", "scan the text"),
)
_BOMS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)
_NO_TEXT = frozenset((b"\xff", b"\xfe", b"\xef", b"\x7f", b"%", b"\x89", b"P", b"7", b"\x04"))


@contextmanager
def opened(path: Path | str, damage: list[str] | None = None) -> Iterator[IO[bytes]]:
    """The text of the log at `path` ("-": standard input) as UTF-8 with `\n` line ends.

    OSError when the file cannot be opened; UserError when it is damaged or no log.
    A caller who can use a part gives a list for `damage`: after the last byte that
    could be unpacked it holds what was wrong.
    """
    standard = str(path) == STDIN
    name = Path("standard input") if standard else Path(path)
    with (
        nullcontext(sys.stdin.buffer) if standard else open(path, "rb", HEAD) as raw,
        opened_stream(cast(io.BufferedReader, raw), name, damage) as stream,
    ):
        yield stream


@contextmanager
def opened_stream(
    packed: io.BufferedReader, name: Path, damage: list[str] | None = None
) -> Iterator[IO[bytes]]:
    """The same for a log that is open already; `name` is how errors call it."""
    content = unpacking(packed, packed.peek(8)[:8])
    stream = cast(io.BufferedReader, io.BufferedReader(content, HEAD) if content else packed)
    if content and not stream.peek(1) and content.damage:
        raise _damaged(name, content.damage)
    yield _readable(stream, name)
    if content and content.damage:
        if damage is None:
            raise _damaged(name, content.damage)
        damage.append(content.damage)


def is_ordinary(head: bytes) -> bool:
    """Whether bytes that begin so are plain UTF-8 text with line feeds, as most logs are."""
    if head.startswith(MAGICS) or b"\0" in head[:HEAD] or head[:1] in _NO_TEXT:
        return False
    start = head[:256]
    if len(start.translate(None, _ODD)) < 0.85 * len(start):
        return False
    cr = head.find(b"\r")
    return cr < 0 or b"\n" in head[:cr] or head[cr + 1 : cr + 2] in (b"\n", b"\r")


def _damaged(path: Path, why: str) -> UserError:
    return UserError(f"is damaged: {why}", path=path, hint="copy it again")


def _readable(stream: io.BufferedReader, path: Path) -> IO[bytes]:
    """`stream` recoded; UserError when no log can be in it."""
    head = stream.peek(HEAD)[:HEAD]
    for magic, at, what, hint in _NO_LOGS:
        if head[at : at + len(magic)] == magic:
            raise UserError(f"is {what}, not a log", path=path, hint=hint)
    encoding = _encoding(head)
    if encoding is None and _is_binary(head):
        raise UserError("holds no text", path=path, hint="give the log as text")
    lone = len(_LONE_CR.findall(head)) > head.count(b"\n")
    if encoding or lone:
        return cast("IO[bytes]", _Recoded(stream, encoding or "utf-8", lone))
    return cast("IO[bytes]", stream)


def _encoding(head: bytes) -> str | None:
    """The encoding that a byte order mark or the place of NULs tells; None for UTF-8."""
    for bom, name in _BOMS:
        if head.startswith(bom):
            return name
    sample = head[: len(head) & ~1]
    if len(sample) >= 16:
        half = len(sample) // 2
        if sample[1::2].count(0) > 0.7 * half and sample[0::2].count(0) < 0.1 * half:
            return "utf-16-le"
        if sample[0::2].count(0) > 0.7 * half and sample[1::2].count(0) < 0.1 * half:
            return "utf-16-be"
    return None


def _is_binary(head: bytes) -> bool:
    """Whether most bytes are none that a console prints; a burst of NULs is no reason."""
    without = head.replace(b"\0", b"")
    odd = len(without) - len(without.translate(None, _ODD))
    return len(without) > 64 and odd > 0.15 * len(without)


_ODD = bytes(set(range(32)) - set(b"\t\n\r\x1b\x08\x0c\x07")) + b"\x7f"


class _Recoded:
    """Reads another encoding, or line ends of carriage returns alone, as plain UTF-8."""

    def __init__(self, stream: io.BufferedReader, encoding: str, lone_cr: bool) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(encoding)(errors="replace")
        self._lone_cr = lone_cr

    def read(self, size: int = -1) -> bytes:
        """About `size` bytes; all that is left when negative; nothing at the end."""
        while True:
            raw = self._stream.read(size)
            text = self._decoder.decode(raw, final=not raw)
            if text or not raw:
                break
        if self._lone_cr:
            text = text.replace("\r\n", "\n").replace("\r", "\n")
        return text.encode("utf-8", "replace")
