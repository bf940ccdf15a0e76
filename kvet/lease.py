# SPDX-License-Identifier: GPL-2.0-only
"""Who uses the cache right now: one file a process, locked for as long as that process lives."""

from __future__ import annotations

import fcntl
import os
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_held: dict[Path, int] = {}


@dataclass(frozen=True, slots=True)
class Lease:
    """A living process that uses the cache, and since when (seconds of the epoch)."""

    pid: int
    command: str
    since: float


def holders(root: Path) -> list[Lease]:
    """The other living processes that use the cache at `root`."""
    return [lease for _, lease in _leases(root) if lease is not None]


def sweep(root: Path) -> None:
    """Remove the files of dead processes; only for who is inside `removing`."""
    for path, lease in _leases(root):
        if lease is None:
            path.unlink(missing_ok=True)


def _leases(root: Path) -> Iterator[tuple[Path, Lease | None]]:
    """Each file of another process, and the lease if that process lives."""
    for path in sorted((root / "leases").glob("*")):
        if path.name == str(os.getpid()):
            continue
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield path, None
        except BlockingIOError:
            command = os.read(file, 500).decode(errors="replace")
            yield path, Lease(int(path.name), command, os.fstat(file).st_mtime)
        finally:
            os.close(file)


def renew(entry: Path) -> None:
    """Mark an entry of the cache as used now: what was used since a lease began is in use."""
    try:
        os.utime(entry)
    except FileNotFoundError:
        return


@contextmanager
def using(root: Path) -> Iterator[None]:
    """While in here, nothing is removed: what is looked up and renewed stays.

    From the first time on this process has a lease, until its end or until it uses another
    cache. The kernel drops the lock with the process, however that ends.
    """
    with _gate(root, fcntl.LOCK_SH):
        if root not in _held:
            _begin(root)
        yield


def _begin(root: Path) -> None:
    """Take the lease of this process; nobody sweeps its file before it is locked."""
    folder = root / "leases"
    folder.mkdir(parents=True, exist_ok=True)
    file = os.open(folder / str(os.getpid()), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    fcntl.flock(file, fcntl.LOCK_EX)
    os.truncate(file, 0)
    os.write(file, shlex.join(sys.argv).encode(errors="replace")[:500])
    while _held:
        os.close(_held.popitem()[1])
    _held[root] = file


@contextmanager
def removing(root: Path) -> Iterator[float]:
    """While in here, nobody looks anything up; gives the time since which everything is in use."""
    with _gate(root, fcntl.LOCK_EX):
        yield min((each.since for each in holders(root)), default=time.time())


@contextmanager
def _gate(root: Path, how: int) -> Iterator[None]:
    root.mkdir(parents=True, exist_ok=True)
    file = os.open(root / "gate.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(file, how)
        yield
    finally:
        os.close(file)
