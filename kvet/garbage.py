# SPDX-License-Identifier: GPL-2.0-only
"""What the cache holds, and what of it may go: by age, by size, and what killed runs left."""

from __future__ import annotations

import os
import shutil
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kvet import lease
from kvet.errors import UserError

# parts of the cache and what is in each
PARTS = {
    "sources": "kernel sources, unpacked once",
    "lanes": "build trees, one for each kernel, config and toolchain",
    "builds": "finished kernels by key",
    "ccache": "compiled objects",
    "objects": "git objects of applied series",
    "rootfs": "initramfs layers and guest packages",
    "evidence": "attempts of baselines and controls",
    "prove": "herd7, its answers and what was said of builds",
    "store": "what workers on other hosts fetch",
    "artifacts": "what a worker fetched, by digest",
    "boots": "attempts that a worker runs now",
    "apt": "package lists",
    "leases": "who uses the cache now",
}
# parts of which single old entries may go: they are made again without the network
AGING = ("builds", "lanes", "objects", "evidence", "store/sha256", "artifacts")
# what a writer makes before it renames it, or a build from foreign code before it throws it away
LEFTOVERS = (
    *("builds/*.partial", "builds/*.damaged-*", "lanes/*/foreign-*", "rootfs/*.partial"),
    *("sources/*.partial", "evidence/.*.half-written", "rootfs/tmp*", "prove/tmp*"),
    *("artifacts/.*.partial", "store/*/*.partial", "boots/*"),
    *(".*.doomed", "*/.*.doomed"),
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that may go: bytes on disk, and when it was used last (seconds of the epoch)."""

    path: Path
    size: int
    used: float


def sizes(root: Path) -> Iterator[tuple[str, int, str]]:
    """Each part that is there: name, bytes, what it is."""
    for name, text in PARTS.items():
        if (root / name).exists():
            yield name, size_of(root / name), text


def size_of(path: Path) -> int:
    """Bytes on disk of a file or below a directory; a file with several links counts once."""
    if not path.is_dir():
        return path.lstat().st_blocks * 512
    seen: set[int] = set()
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            stat = os.lstat(os.path.join(folder, name))
            if stat.st_ino not in seen:
                seen.add(stat.st_ino)
                total += stat.st_blocks * 512
    return total


def empty(root: Path) -> int:
    """Remove all that kvet made; returns the bytes. A cache that is in use is left alone."""
    with lease.removing(root):
        if users := lease.holders(root):
            raise UserError(
                f"the cache is in use by process {users[0].pid} ({users[0].command})",
                path=root,
                hint="wait for its end; without --all, gc removes only what nobody uses",
            )
        return sum(_remove(root / name) for name in PARTS)


def collect(root: Path, *, days: float, most: int | None = None) -> int:
    """Remove what was not used for `days` days and what killed runs left; returns the bytes.

    `most` is the size in bytes that the cache may have afterwards: what was used longest ago
    goes first. What a living process may use stays whatever its age or size.
    """
    with lease.removing(root) as since:
        lease.sweep(root)
        freed = sum(_remove(path) for path in leftovers(root, since))
        entries = sorted(_entries(root, since), key=lambda entry: entry.used)
        oldest = time.time() - days * 86400
        old = [entry for entry in entries if entry.used < oldest]
        freed += sum(_remove(entry.path) for entry in old)
        if most is not None:
            total = sum(size for _, size, _ in sizes(root))
            for entry in entries[len(old) :]:
                if total <= most:
                    break
                total -= entry.size
                freed += _remove(entry.path)
    return freed


def leftovers(root: Path, since: float | None = None) -> list[Path]:
    """Half-made files and directories that no living process can still be making."""
    if since is None:
        since = min((each.since for each in lease.holders(root)), default=time.time())
    found = (path for pattern in LEFTOVERS for path in root.glob(pattern))
    return sorted(path for path in found if path.lstat().st_mtime < since)


def _entries(root: Path, since: float) -> Iterator[Entry]:
    """What may go: entries of the aging parts, and old sources, that no living process uses."""
    aging = (path for part in AGING for path in (root / part).glob("*"))
    for path in (*aging, *superseded(root / "sources")):
        used = path.lstat().st_mtime
        if path.suffix != ".lock" and not path.name.startswith(".") and used < since:
            yield Entry(path, size_of(path), used)


def superseded(sources: Path) -> list[Path]:
    """Sources and packages of which a newer version lies beside them, oldest first."""
    found: dict[str, list[Path]] = defaultdict(list)
    for path in sources.glob("*-" + "[0-9a-f]" * 12):
        found[path.name[:-13]].append(path)
    for path in sources.glob("debs/*.deb"):
        found[path.name.partition("_")[0] + ".deb"].append(path)
    ordered = (sorted(group, key=lambda p: p.stat().st_mtime) for group in found.values())
    return [path for group in ordered for path in group[:-1]]


def _remove(path: Path) -> int:
    """Remove a file or a directory, out of sight first; returns its bytes."""
    if not path.exists() and not path.is_symlink():
        return 0
    size = size_of(path)
    if path.is_dir() and not path.is_symlink():
        doomed = path.with_name(f".{path.name}.doomed")
        path.rename(doomed)
        shutil.rmtree(doomed)
    else:
        path.unlink()
    return size
