# SPDX-License-Identifier: GPL-2.0-only
"""Spares the objects of a lane that an edit of headers leaves as they are.

make compiles whatever is older than a file that it was made of. An object that is proven to be
the same after the edit (kvet/build/unreached.py) gets the time of now, and is left alone.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from kvet.build.unreached import unreached
from kvet.build.worktree import Lane
from kvet.source.git import Edit, Repo

# a line of what kbuild keeps of an object: a header, or the source itself. Unlike DEPENDENCY of
# worktree.py it knows files by their place and not by their suffix: none may be missed here
MADE_OF = re.compile(
    rb"^(?:source_\S+ :=|) +(?:/kvet/src/|\.\./src/)?([\w.][^\s$()]*)(?: \\)?$", re.M
)
# fewer are compiled sooner than they are thought about
WORTH_A_PROOF = 20


@dataclass(frozen=True, slots=True)
class Proof:
    """That an object is the same after an edit: good until it is compiled anew."""

    cmd_time: int  # ns, of what kbuild keeps of the object
    files: frozenset[str]


# by lane and edit of headers: which variant comes next is asked over and over
_proofs: dict[tuple[str, frozenset[tuple[str, str, str]]], Mapping[Path, Proof]] = {}


def spare(objects: Iterable[Path]) -> None:
    """Let make leave these alone, if nothing but headers changed and it has not run since."""
    for path in objects:
        os.utime(path)


def unchanged(lane: Lane, repo: Repo, tree: str) -> frozenset[Path]:
    """The objects that are the same after a flip of `lane` to `tree`, and make would compile.

    Only of a lane whose objects all are of one tree.
    """
    if not lane.built or lane.built != lane.tree:
        return frozenset()
    changed = repo.edits(lane.built, tree)
    headers = {p: e for p, e in changed.items() if e.status == "M" and p.endswith(".h")}
    counts = lane.dependents()
    if sum(counts.get(path, 0) for path in headers) < WORTH_A_PROOF:
        return frozenset()
    key = (str(lane.folder), frozenset((p, e.before, e.after) for p, e in headers.items()))
    if key not in _proofs:
        _proofs[key] = _prove(lane, repo, headers)
    others = changed.keys() - headers.keys()
    return frozenset(
        path
        for path, proof in _proofs[key].items()
        if others.isdisjoint(proof.files) and _cmd_time(path) == proof.cmd_time
    )


def _prove(lane: Lane, repo: Repo, headers: Mapping[str, Edit]) -> Mapping[Path, Proof]:
    edits = {p: (_text(repo, e.before), _text(repo, e.after)) for p, e in headers.items()}
    objects = {str(path): made_of(path) for path in built_objects(lane)}
    touched = {name: files for name, files in objects.items() if not files.isdisjoint(edits)}
    names: set[str] = set().union(*touched.values())
    texts = {path: text for path in names if (text := _source(lane, path)) is not None}
    texts |= {path: new for path, (_, new) in edits.items()}
    whole = {name: files for name, files in touched.items() if files <= texts.keys()}
    same = map(Path, unreached(edits, whole, texts))
    return {path: Proof(_cmd_time(path), objects[str(path)]) for path in same}


def built_objects(lane: Lane) -> list[Path]:
    """The objects that a lane's O= tree holds, by what kbuild keeps of each."""
    found = []
    for cmd in lane.out.rglob(".*.o.cmd"):
        path = cmd.with_name(cmd.name[1 : -len(".cmd")])
        if path.exists():
            found.append(path)
    return found


def made_of(built: Path) -> frozenset[str]:
    """The files that an object was made of, below the source or the O= tree."""
    return frozenset(match[1].decode() for match in MADE_OF.finditer(_cmd(built).read_bytes()))


def _cmd(built: Path) -> Path:
    return built.with_name(f".{built.name}.cmd")


def _cmd_time(built: Path) -> int:
    try:
        return _cmd(built).stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _text(repo: Repo, blob_id: str) -> str:
    return repo.content(blob_id).decode("utf-8", "replace")


def _source(lane: Lane, path: str) -> str | None:
    for file in (lane.source(path), lane.out / path):
        try:
            return file.read_text("utf-8", "replace")
        except OSError:
            continue
    return None
