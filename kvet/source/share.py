# SPDX-License-Identifier: GPL-2.0-only
"""Sources and series as git packs, for hosts that share no directory."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from kvet import proc
from kvet.cache import beside, locked, need_free
from kvet.errors import InfraError
from kvet.model import SourceTree
from kvet.source.git import Repo

# of an unpacked kernel with its pack
NEEDED_MIB = 3500
# 85,000 blobs: looking for similar ones takes minutes, packing them as they are seconds
QUICKLY = ("-c", "pack.window=0", "-c", "pack.compression=1")


def pack_source(repo: Repo, tree: str) -> Path:
    """All objects of the base `tree` in one file, made once and kept beside the objects."""
    kept = repo.objects / "share" / f"{tree[:16]}.pack"
    with locked(beside(kept, ".lock")):
        if not kept.exists():
            _pack(repo, f"{tree}\n", kept.with_name("making")).rename(kept)
    return kept


def pack_series(repo: Repo, base: str, trees: Iterable[str], folder: Path) -> Path:
    """What `trees`, one after each patch, have and `base` has not, as a file of `folder`."""
    return _pack(repo, "".join(f"{tree}\n" for tree in trees) + f"^{base}\n", folder / "series")


def source_of_pack(pack: Path, source: SourceTree, root: Path) -> SourceTree:
    """`source` of another host, unpacked below `root` from the pack of its tree."""
    folder = root / f"shared-{source.version}-{source.tree_id[:12]}"
    with locked(beside(folder, ".lock")):
        if not folder.exists():
            need_free(root, NEEDED_MIB)
            half = beside(folder, ".partial")
            shutil.rmtree(half, ignore_errors=True)
            half.mkdir(parents=True)
            _git(half, "init", "-q")
            _index(pack, half / ".git" / "objects" / "pack")
            _git(half, "read-tree", source.tree_id)
            _git(half, "checkout-index", "-q", "-f", "-u", "-a")
            half.rename(folder)
    return replace(source, path=folder)


def add_objects(pack: Path, repo: Repo) -> None:
    """Give `repo` the objects of a pack, in its private directory."""
    with locked(beside(repo.objects, ".lock")):
        _index(pack, repo.objects / "pack")


def _pack(repo: Repo, revisions: str, prefix: Path) -> Path:
    prefix.parent.mkdir(parents=True, exist_ok=True)
    words = (*QUICKLY, "pack-objects", "--revs", "-q", str(prefix))
    done = repo.run(*words, stdin=revisions.encode())
    if done.returncode:
        raise InfraError(f"git pack-objects failed: {done.stderr.decode(errors='replace')}")
    name = f"{prefix}-{done.stdout.decode().strip()}"
    Path(f"{name}.idx").unlink(missing_ok=True)
    return Path(f"{name}.pack")


def _index(pack: Path, folder: Path) -> None:
    """Copy `pack` into a directory of packs and have git check and index it."""
    folder.mkdir(parents=True, exist_ok=True)
    own = folder / f"pack-{pack.name.partition('.')[0][:40]}.pack"
    if not own.with_suffix(".idx").exists():
        shutil.copyfile(pack, own)
        _git(folder, "index-pack", str(own))


def _git(folder: Path, *words: str) -> None:
    env = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": "/nonexistent"}
    env |= {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C.UTF-8"}
    done = proc.run(("git", "-C", str(folder), *words), env=env, timeout_s=600)
    if done.returncode:
        raise InfraError(f"git {words[0]} failed: {done.stderr.decode(errors='replace').strip()}")
