# SPDX-License-Identifier: GPL-2.0-only
"""Applies a patch series, patch by patch, with git's own machinery.

Patches are applied to an index, not to files: the source tree stays clean
whatever happens, and every patch has a tree id of its own.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kvet.cache import beside
from kvet.errors import UserError
from kvet.source.git import Repo
from kvet.source.patchfile import Patch, read_patch, read_raw
from kvet.source.rejected import AlreadyMerged, already_merged, why_not
from kvet.store import read_json, write_json

MOST_DIFF = 200_000
RECIPE = "2"  # raise it when a change here makes the notes of applied series wrong


@dataclass(frozen=True, slots=True)
class AppliedPatch:
    """One patch as applied: `tree_id` is the tree after it."""

    path: Path
    subject: str
    message_id: str
    sha256: str
    tree_id: str
    author: str = ""


@dataclass(frozen=True, slots=True)
class AppliedSeries:
    """A series on its base: the resulting tree and which files differ from the base.

    `series_id` is KCIDB's patchset_hash: the sha256 over the newline-terminated
    sha256 of each patch in order (kcidb-io schema v5.3). `diff` is the whole
    series as one unified diff, the first files of it where it is very long.
    """

    base_tree: str
    tree_id: str
    series_id: str
    patches: tuple[AppliedPatch, ...]
    changed: Mapping[str, str]
    diff: str = ""


def apply_series(
    repo: Repo, base_tree: str, patches: Sequence[Path], *, explain: bool = True
) -> AppliedSeries:
    """Apply `patches` in order to `base_tree`; nothing but objects is written.

    What was applied once is read from a note beside those objects. Raises
    AlreadyMerged for a series of which the tree holds patches, and UserError that
    names the patch, the file and the hunk that failed; without `explain` UserError
    that names the patch alone, for who only asks whether it applies.
    """
    raw = [hashlib.sha256(read_raw(path)).hexdigest() for path in patches]
    digest = hashlib.sha256("\n".join([RECIPE, base_tree, *raw]).encode()).hexdigest()
    note = repo.objects / "applied" / f"{digest[:16]}.json"
    if note.exists():
        return _noted(read_json(note), patches)
    series = _apply_all(repo, base_tree, patches, explain)
    write_json(note, series)
    return series


def _noted(note: Mapping[str, Any], patches: Sequence[Path]) -> AppliedSeries:
    """The series of a note; `patches` are where its patches lie today."""
    applied = [
        AppliedPatch(**patch | {"path": path})
        for patch, path in zip(note["patches"], patches, strict=True)
    ]
    return AppliedSeries(**{**note, "patches": tuple(applied)})


def _apply_all(repo: Repo, base_tree: str, patches: Sequence[Path], explain: bool) -> AppliedSeries:
    applied: list[AppliedPatch] = []
    with tempfile.TemporaryDirectory(prefix="kvet-series-") as scratch:
        index = Path(scratch) / "index"
        read = [read_patch(path, Path(scratch)) for path in patches]
        _fill(index, repo, base_tree)
        try:
            for patch in read:
                tree = applied[-1].tree_id if applied else base_tree
                applied.append(_apply(repo, index, patch, tree, explain))
        except UserError as error:
            if not explain:
                raise
            raise already_merged(repo, index, read, base_tree) or error from error
    tree = applied[-1].tree_id if applied else base_tree
    digest = hashlib.sha256("".join(f"{p.sha256}\n" for p in applied).encode())
    return AppliedSeries(
        base_tree=base_tree,
        tree_id=tree,
        series_id=digest.hexdigest(),
        patches=tuple(applied),
        changed=repo.changed(base_tree, tree),
        diff=_whole_files(repo.diff(base_tree, tree)),
    )


def _fill(index: Path, repo: Repo, tree: str) -> None:
    """Make `index` that of a base tree; the first one is kept, and copied from then on."""
    kept = repo.objects / f"index-{tree[:16]}"
    if _is_whole(kept):
        shutil.copyfile(kept, index)
        return
    repo.output("read-tree", tree, index=index)
    half = beside(kept, f".{os.getpid()}-{threading.get_ident()}")
    try:
        shutil.copyfile(index, half)
        half.rename(kept)
    except OSError:  # a full disk: the next one takes as long as this one
        half.unlink(missing_ok=True)


def _is_whole(index: Path) -> bool:
    """Whether a file is an index as git wrote it: its digest comes last (gitformat-index(5))."""
    try:
        data = index.read_bytes()
    except OSError:
        return False
    return hashlib.sha1(data[:-20], usedforsecurity=False).digest() == data[-20:]


def _whole_files(diff: str) -> str:
    """As many whole files of `diff` as are at most `MOST_DIFF` characters."""
    if len(diff) <= MOST_DIFF:
        return diff
    return diff[: max(0, diff.rfind("\ndiff --git ", 0, MOST_DIFF) + 1)]


def _apply(repo: Repo, index: Path, patch: Patch, tree: str, explain: bool) -> AppliedPatch:
    """Apply one patch to `index`, which holds `tree`."""
    done = repo.run("apply", "--cached", "--3way", "-", index=index, stdin=patch.diff)
    if done.returncode or repo.output("ls-files", "--unmerged", index=index):
        if not explain:
            raise UserError("does not apply", path=patch.path)
        raise why_not(repo, index, patch, tree)
    made = repo.output("write-tree", index=index).decode().strip()
    if made == tree:
        raise AlreadyMerged("is already applied: it changes nothing here", path=patch.path)
    return AppliedPatch(
        patch.path, patch.subject, patch.message_id, patch.sha256, made, patch.author
    )
