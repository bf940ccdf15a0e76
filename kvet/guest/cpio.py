# SPDX-License-Identifier: GPL-2.0-only
"""Writes initramfs archives (cpio, newc form) without root.

The form is described in the kernel's driver-api/early-userspace/buffer-format.rst.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass, field

TRAILER = "TRAILER!!!"


@dataclass(slots=True)
class Archive:
    """A newc archive in memory; parents of every name are added by themselves."""

    _chunks: list[bytes] = field(default_factory=list)
    _names: set[str] = field(default_factory=set)

    def folder(self, name: str) -> None:
        """Add a directory, if it is not there yet."""
        if name.strip("/") not in self._names:
            self._add(name, stat.S_IFDIR | 0o755)

    def file(self, name: str, content: bytes, *, mode: int = 0o644) -> None:
        """Add a regular file."""
        self._add(name, stat.S_IFREG | mode, content)

    def link(self, name: str, target: str) -> None:
        """Add a symbolic link."""
        self._add(name, stat.S_IFLNK | 0o777, target.encode())

    def node(self, name: str, major: int, minor: int) -> None:
        """Add a character device."""
        self._add(name, stat.S_IFCHR | 0o600, device=(major, minor))

    def close(self) -> bytes:
        """The finished archive."""
        self._add(TRAILER, 0)
        return b"".join(self._chunks)

    def _add(
        self, name: str, mode: int, content: bytes = b"", device: tuple[int, int] = (0, 0)
    ) -> None:
        path = name.strip("/")
        parent = path.rpartition("/")[0]
        if parent and parent not in self._names:
            self.folder(parent)
        self._names.add(path)
        encoded = path.encode() + b"\0"
        # ino, mode, uid, gid, nlink, mtime, size, dev, rdev, name size, checksum
        numbers = (len(self._names), mode, 0, 0, 1, 0, len(content), 0, 0, *device)
        header = "070701" + "".join(f"{n:08x}" for n in (*numbers, len(encoded), 0))
        self._chunks.append(_pad(header.encode() + encoded) + _pad(content))


def _pad(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
