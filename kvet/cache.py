# SPDX-License-Identifier: GPL-2.0-only
"""Where kvet keeps what it need not make again, and how two runs share it."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kvet.errors import InfraError


def cache_root() -> Path:
    """`$KVET_CACHE`, else `$XDG_CACHE_HOME/kvet`, else `~/.cache/kvet`."""
    if chosen := os.environ.get("KVET_CACHE"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "kvet"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on `path` (made when absent) against threads and processes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def need_free(path: Path, mib: int) -> None:
    """Raise InfraError unless the file system of `path` has `mib` MiB free."""
    path.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(path).free >> 20
    if free < mib:
        raise InfraError(
            f"{path}: {free} MiB free, {mib} MiB are needed",
            hint="harness.py gc, or set KVET_CACHE to a folder on a larger disk",
        )
