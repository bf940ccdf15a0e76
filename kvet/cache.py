# SPDX-License-Identifier: GPL-2.0-only
"""Where kvet keeps what it need not make again, and how two runs share it."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
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


# parts of the cache: name, what is in it, whether `gc` may remove single old entries of it
PARTS = {
    "sources": "kernel sources, unpacked once",
    "lanes": "build trees, one for each kernel, config and toolchain",
    "builds": "finished kernels by key",
    "ccache": "compiled objects",
    "objects": "git objects of applied series",
    "rootfs": "initramfs layers and guest packages",
    "evidence": "attempts of baselines and controls",
    "apt": "package lists",
}
AGING = ("builds", "lanes", "objects", "evidence")


def show_cache() -> int:
    """Print each part of the cache with its size."""
    root = cache_root()
    print(f"{root}")
    for name, text in PARTS.items():
        if (root / name).exists():
            print(f"  {size_of(root / name) >> 20:7d} MiB  {name:<9} {text}")
    return 0


def size_of(folder: Path) -> int:
    """Bytes on disk below `folder`; a file with several links counts once."""
    seen: set[int] = set()
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            stat = os.lstat(os.path.join(path, name))
            if stat.st_ino not in seen:
                seen.add(stat.st_ino)
                total += stat.st_blocks * 512
    return total


def collect_garbage(*, days: float, everything: bool) -> int:
    """Remove what was not used for `days` days, or all that kvet made; says how much that was."""
    root = cache_root()
    doomed = [root / name for name in PARTS] if everything else list(_unused(root, days))
    freed = 0
    for path in doomed:
        if path.exists():
            freed += size_of(path) if path.is_dir() else path.stat().st_size
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    print(f"{root}: {freed >> 20} MiB freed")
    return 0


def _unused(root: Path, days: float) -> Iterator[Path]:
    """Entries of the aging parts that nobody opened lately; a use renews an entry's time."""
    oldest = time.time() - days * 86400
    for part in AGING:
        for path in sorted((root / part).glob("*")):
            if path.suffix != ".lock" and path.stat().st_mtime < oldest:
                yield path
