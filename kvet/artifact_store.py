# SPDX-License-Identifier: GPL-2.0-only
"""What hosts hand to each other: artifacts by their digest, and packed attempts by a name.

URL/sha256/<digest>          an artifact, put there once, fetched once per worker
URL/attempts/<run>/<name>    the directory of one attempt, packed; gone when taken in

Anything that fsspec opens will do: a directory, sftp, S3. Whatever comes out of a store is
checked against its digest before it is used.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import fsspec

from kvet import lease
from kvet.cache import cache_root, file_digest, locked
from kvet.errors import InfraError

CACHED = "artifacts"  # the part of a worker's cache that holds what it fetched
# there a file is seen while it is being written; object stores show it when it is whole
SEEN_HALF_WRITTEN = {"file", "local", "sftp", "ssh"}
BACKENDS = {
    "paramiko": ("SSHException",),
    "botocore.exceptions": ("BotoCoreError", "ClientError"),
    "aiohttp": ("ClientError",),
}
_TROUBLE: tuple[type[Exception], ...] = (OSError, ValueError, ImportError)


class ArtifactStore:
    """The store at `url`; a plain path is a directory. May be used by several threads."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._lock = threading.Lock()
        self._put: dict[tuple[str, int, int], str] = {}
        self._checked: set[str] = set()
        with self._told("cannot be opened"):
            self._fs, self._root = fsspec.core.url_to_fs(url)
        protocol = self._fs.protocol
        names = {protocol} if isinstance(protocol, str) else set(protocol)
        self._in_two_steps = bool(names & SEEN_HALF_WRITTEN)

    def put(self, path: Path) -> str:
        """Have the file `path` in the store; returns its digest. What is there is not sent again.

        A file is digested once, as long as its size and time stay.
        """
        stat = path.stat()
        known = (str(path), stat.st_mtime_ns, stat.st_size)
        with self._lock, self._told(f"cannot take {path.name}"):
            if known not in self._put:
                digest = file_digest(path)
                place = self._place(digest)
                if self._has(place, stat.st_size):
                    lease.renew(Path(place))  # of a directory: gc goes by that
                else:
                    self._write(path, place)
                self._put[known] = digest
            return self._put[known]

    def get(self, digest: str) -> Path:
        """The artifact in this host's own cache, fetched where it is not there yet.

        Raises InfraError when the store does not have it or gives something else.
        """
        cache = cache_root()
        path = cache / CACHED / digest
        with lease.using(cache), locked(path.with_name(f"{digest}.lock")):
            if not (digest in self._checked and path.exists()) and not _is(path, digest):
                self.fetch(self._place(digest), digest, path)
            self._checked.add(digest)
            lease.renew(path)
        return path

    def copy(self, digest: str, path: Path) -> None:
        """The artifact as the new file `path`; it is not kept besides."""
        self.fetch(self._place(digest), digest, path)

    def send(self, path: Path, name: str) -> str:
        """Put the file `path` there as the packed attempt `name`; returns its digest."""
        with self._told(f"cannot take {name}"):
            self._write(path, self._pack(name))
        return file_digest(path)

    def take(self, name: str, digest: str, path: Path) -> None:
        """Fetch a packed attempt to `path` and remove it from the store."""
        self.fetch(self._pack(name), digest, path)
        with self._told(f"cannot remove {name}"):
            self._fs.rm_file(self._pack(name))

    def forget(self, run: str) -> None:
        """Remove the packed attempts of `run`: those of lost workers, which nobody takes."""
        place = self._pack(run)
        with self._told(f"cannot remove {run}"):
            if self._fs.exists(place):
                self._fs.rm(place, recursive=True)

    def fetch(self, place: str, digest: str, path: Path) -> None:
        """Copy what is at `place` to `path`, which appears when it is whole and has the digest."""
        half = path.with_name(f".{path.name}.{uuid4().hex[:8]}.partial")
        half.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self._told("lacks something that was put there"):
                self._fs.get_file(place, str(half))
            if not _is(half, digest):
                raise InfraError(
                    f"store {self.url}: {place} is damaged: its SHA-256 is not {digest[:12]}...",
                    hint="remove that file; what it was made from is put there again",
                )
            half.replace(path)
        finally:
            half.unlink(missing_ok=True)

    def _place(self, digest: str) -> str:
        return f"{self._root}/sha256/{digest}"

    def _pack(self, name: str) -> str:
        return f"{self._root}/attempts/{name}"

    def _has(self, place: str, size: int) -> bool:
        """Whether it is there as a whole; one that a killed writer left is shorter."""
        return bool(self._fs.exists(place)) and self._fs.info(place)["size"] == size

    def _write(self, path: Path, place: str) -> None:
        self._fs.makedirs(place.rpartition("/")[0], exist_ok=True)
        half = f"{place}.{uuid4().hex[:8]}.partial" if self._in_two_steps else place
        self._fs.put_file(str(path), half)
        if half != place:
            self._fs.mv(half, place)

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Trouble with the store, in a sentence that names it."""
        try:
            yield
        except _TROUBLE + _of_backends() as error:
            raise InfraError(
                f"store {self.url} {what}: {error}",
                hint="--store takes a directory or a URL of fsspec that every host can reach",
            ) from error


def _is(path: Path, digest: str) -> bool:
    return path.exists() and file_digest(path) == digest


def _of_backends() -> tuple[type[Exception], ...]:
    """What a store may raise besides; its library is loaded with the store alone."""
    loaded = ((sys.modules.get(module), names) for module, names in BACKENDS.items())
    return tuple(getattr(module, name) for module, names in loaded if module for name in names)
