# SPDX-License-Identifier: GPL-2.0-only
"""Where kvet keeps what it need not make again, and how two runs share it."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kvet.errors import InfraError


def cache_root() -> Path:
    """`$KVET_CACHE`, else `$XDG_CACHE_HOME/kvet`, else `~/.cache/kvet`."""
    if chosen := os.environ.get("KVET_CACHE"):
        return Path(chosen).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base).absolute() / "kvet"


def beside(path: Path, ending: str) -> Path:
    """`path` with `ending` added; `with_suffix` would take the `.12` off a version."""
    return path.with_name(path.name + ending)


def file_digest(path: Path) -> str:
    """The SHA-256 of a file's content, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on `path` against threads and processes.

    `path` is a directory, or a file that is made when absent.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    flags = os.O_RDONLY if path.is_dir() else os.O_WRONLY | os.O_CREAT
    file = os.open(path, flags | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


def need_free(path: Path, mib: int) -> None:
    """Raise InfraError unless the file system of `path` has `mib` MiB free."""
    path.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(path).free >> 20
    if free < mib:
        raise InfraError(
            f"{path}: {free} MiB free, {mib} MiB are needed",
            hint="harness.py gc, or set KVET_CACHE to a directory on a larger disk",
        )
