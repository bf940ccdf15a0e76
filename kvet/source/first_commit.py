# SPDX-License-Identifier: GPL-2.0-only
"""Commits all files of a source to a repository of its own, with two processors.

Naming 1.5 GB of files by their digests is nearly all of the work, and git uses one processor for
it. So two of them add half of the tree each, to an index of their own, and the two are merged: a
list of entries, sorted by name, with a head and a digest (gitformat-index(5)).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import struct
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from kvet import proc
from kvet.errors import InfraError

# one pack instead of 85,000 loose files, lightly compressed
IMPORT = ("-c", "core.bigFileThreshold=1", "-c", "core.compression=1", "-c", "gc.auto=0")
# nobody's configuration; the date is part of the commit id, a constant one makes it repeatable
ENV = {
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_DEFAULT_HASH": "sha1",
    "GIT_LITERAL_PATHSPECS": "1",
    "GIT_AUTHOR_NAME": "kvet",
    "GIT_AUTHOR_EMAIL": "kvet@localhost",
    "GIT_AUTHOR_DATE": "2025-01-01T00:00:00Z",
    "GIT_COMMITTER_NAME": "kvet",
    "GIT_COMMITTER_EMAIL": "kvet@localhost",
    "GIT_COMMITTER_DATE": "2025-01-01T00:00:00Z",
}
HEAD = struct.Struct(">4sLL")  # signature, version, number of entries
FIXED = 62  # bytes of an entry before its name
A_FILE = 4096  # bytes that take as long to name as opening a file


def commit_all(folder: Path) -> None:
    """Commit every file of `folder`, those that its .gitignore would hide included.

    Raises InfraError with what git said.
    """
    git = folder / ".git"
    shutil.rmtree(git, ignore_errors=True)
    _git(folder, "init", "-q")
    parts = [part for part in halves(folder) if part]
    indexes = [git / f"index-{n}" for n in range(len(parts))]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(_add, [folder] * len(parts), parts, indexes))
    (git / "index").write_bytes(merged([index.read_bytes() for index in indexes]))
    for index in indexes:
        index.unlink()
    _git(folder, "commit", "-q", "--allow-empty", "-m", "base")


def _add(folder: Path, paths: Sequence[str], index: Path) -> None:
    options = (*IMPORT, "-c", "core.splitIndex=false")
    env = {"GIT_INDEX_FILE": str(index), "GIT_INDEX_VERSION": "2"}
    _git(folder, *options, "add", "-A", "-f", "--", *paths, env=env)


def halves(folder: Path) -> tuple[list[str], list[str]]:
    """Files and directories of `folder`, in two parts that take about as long to commit."""
    weights = _weights(folder)
    first: list[str] = []
    second: list[str] = []
    left = weights[str(folder)] / 2
    at = str(folder)
    while at:
        below = ""
        for path in sorted(entry.path for entry in os.scandir(at) if entry.path in weights):
            if weights[path] <= left and not below:
                left -= weights[path]
                first.append(os.path.relpath(path, folder))
            elif not below and os.path.isdir(path) and not os.path.islink(path):
                below = path  # shared out itself; what comes after it goes to the other
            else:
                second.append(os.path.relpath(path, folder))
        at = below
    return first, second


def _weights(folder: Path) -> dict[str, int]:
    """What each file and directory with files weighs."""
    weights: dict[str, int] = {}
    for at, folders, files in os.walk(folder, topdown=False):
        if at == str(folder / ".git") or at.startswith(f"{folder}/.git/"):
            continue
        links = [name for name in folders if os.path.islink(os.path.join(at, name))]
        for name in (*files, *links):
            path = os.path.join(at, name)
            weights[path] = os.lstat(path).st_size + A_FILE
        whole = sum(weights.get(os.path.join(at, name), 0) for name in (*folders, *files))
        if whole or at == str(folder):
            weights[at] = whole
    return weights


def merged(indexes: Sequence[bytes]) -> bytes:
    """One git index, version 2, of several that have no path in common.

    Raises InfraError for what is no such index.
    """
    entries = sorted(entry for index in indexes for entry in _entries(index))
    body = HEAD.pack(b"DIRC", 2, len(entries)) + b"".join(raw for _, raw in entries)
    return body + hashlib.sha1(body, usedforsecurity=False).digest()


def _entries(index: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and bytes of each entry."""
    signature, version, count = HEAD.unpack_from(index)
    if (signature, version) != (b"DIRC", 2):
        raise InfraError(f"git wrote an index of version {version}, not 2")
    at = HEAD.size
    for _ in range(count):
        end = index.index(b"\0", at + FIXED)
        # one to eight NUL bytes, up to a multiple of eight
        size = (end - at + 8) & ~7
        yield index[at + FIXED : end], index[at : at + size]
        at += size


def _git(folder: Path, *args: str, env: dict[str, str] | None = None) -> None:
    done = proc.run(
        ("git", "-C", str(folder), *args), env={**os.environ, **ENV, **(env or {})}, timeout_s=3600
    )
    if done.returncode:
        raise InfraError(f"git failed: {done.stderr.decode(errors='replace').strip()}")
