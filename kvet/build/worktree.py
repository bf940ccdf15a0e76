# SPDX-License-Identifier: GPL-2.0-only
"""A lane: one persistent source copy with its O= tree, flipped from variant to variant.

The source is a farm of hard links to the pristine tree; a file that a variant
changes is replaced, never written through, and all others keep their mtime, so
make rebuilds only what the change reaches. A variant that edits a header
everybody includes gets a lane of its own instead of flipping a good one.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from kvet import proc
from kvet.build.sandbox import Mount
from kvet.errors import InfraError
from kvet.source.git import Repo
from kvet.store import read_json, write_json

SOURCE = "/kvet/src"
DEPENDENCY = re.compile(
    rb"(?:^|\s)(?:/kvet/src/|\.\./src/)?([\w][\w./+-]*\.(?:h|c|S|lds|dts\w*))\b"
)
# what every build links anew, more than half of an O= tree
LINKED = re.compile(r"vmlinux(\.o)?|System\.map|\.tmp_vmlinux.*")


@dataclass(slots=True)
class Lane:
    """One lane on disk: `src` (the tree a build reads) and `out` (its O= tree).

    `borrowed` are directories of the source that another lane holds for it, by their path.
    """

    folder: Path
    state: dict[str, Any]
    borrowed: Mapping[str, Path] = field(default_factory=dict)

    @property
    def src(self) -> Path:
        return self.folder / "src"

    @property
    def out(self) -> Path:
        return self.folder / "out"

    @property
    def tree(self) -> str:
        """Tree id that `src` holds."""
        return str(self.state["tree"])

    @property
    def built(self) -> str:
        """Tree id that every object of `out` was built from; "" when some may be of another."""
        return str(self.state.get("built", ""))

    @built.setter
    def built(self, tree: str) -> None:
        self.state["built"] = tree
        self.save()

    def mounts(self) -> tuple[Mount, ...]:
        """The source and the O= tree as the sandbox shows them."""
        borrowed = (Mount(path, f"{SOURCE}/{name}") for name, path in self.borrowed.items())
        return (
            Mount(self.src, SOURCE),
            *borrowed,
            Mount(self.out, "/kvet/out", writable=True),
        )

    def source(self, path: str) -> Path:
        """Where the source file `path` lies, be it borrowed."""
        for name, folder in self.borrowed.items():
            if path.startswith(f"{name}/"):
                return folder / path[len(name) + 1 :]
        return self.src / path

    def own(self, path: Path) -> Path:
        """`path` of what a build left, to be read outside of it.

        Raises InfraError for one that leads out of the lane: the series made it, as a link
        or by its name, and the user's files are none of its business.
        """
        real = path.resolve()
        roots = (self.folder, *self.borrowed.values())
        if not any(real.is_relative_to(root.resolve()) for root in roots):
            raise InfraError(f"the build left {path.name} out of its lane: {real}")
        return path

    def kconfig_roots(self) -> tuple[Path, ...]:
        """The directories that hold all Kconfig files of an arm64 kernel."""
        foreign = re.compile(r"arch/(?!arm64(/|$))")
        return (self.src, *(p for name, p in self.borrowed.items() if not foreign.match(name)))

    def last_used(self) -> float:
        """When its state was written last, in seconds of the epoch."""
        return (self.folder / "lane.json").stat().st_mtime

    def save(self) -> None:
        """Write the state; a crash leaves the old or the new one."""
        write_json(self.folder / "lane.json", self.state)

    def sync(self, repo: Repo, tree: str) -> tuple[str, ...]:
        """Make `src` hold `tree`; returns the paths that were touched."""
        paths = self.stale(repo, tree)
        if paths:
            self.state["pending"] = tree
            self.save()
        # what is removed first makes room: a directory may become a file, or a file a directory
        for path, status in sorted(paths.items(), key=lambda item: item[1] != "D"):
            _replace(self.src / path, None if status == "D" else repo.blob(tree, path))
        self.state |= {"tree": tree, "pending": None}
        self.save()
        return tuple(paths)

    def stale(self, repo: Repo, tree: str) -> Mapping[str, str]:
        """Paths of `src` to be written before it holds `tree`, each with its status letter.

        An interrupted sync is made good: what it may have written is written again.
        """
        pending = self.state.get("pending")
        paths = dict(repo.changed(self.tree, tree))
        if pending:
            paths |= {p: _status(repo, tree, p) for p in repo.changed(self.tree, pending)}
        return paths

    def dependents(self) -> Mapping[str, int]:
        """How many objects depend on each source file, by the .cmd files of the last build."""
        path = self.folder / "dependents.json"
        return read_json(path) if path.exists() else {}

    def index_dependents(self) -> None:
        """Count anew; worth it after a build that compiled much."""
        counts: Counter[str] = Counter()
        for cmd in self.out.rglob(".*.o.cmd"):
            names = {m.group(1).decode() for m in DEPENDENCY.finditer(cmd.read_bytes())}
            counts.update(names)
        counts["*"] = sum(1 for _ in self.out.rglob(".*.o.cmd"))
        write_json(self.folder / "dependents.json", counts)


def _status(repo: Repo, tree: str, path: str) -> str:
    return "M" if repo.output("ls-tree", tree, "--", path) else "D"


def _replace(path: Path, blob: tuple[bytes, bool] | None) -> None:
    """Put new content under `path` without writing through a hard link; None removes it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    if blob is None:
        return
    content, executable = blob
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o755 if executable else 0o644)


def open_lanes(folder: Path) -> list[Lane]:
    """The usable lanes under `folder`; one that another run is making just now is none yet."""
    found = (sub for sub in sorted(folder.glob("lane-*")) if (sub / "lane.json").exists())
    return [Lane(sub, read_json(sub / "lane.json")) for sub in found]


def new_lane(folder: Path, source: Path, base: str) -> Lane:
    """A lane under `folder` that holds tree `base`, linked to the pristine `source`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "out").mkdir()
    _copy(source, folder / "src", link=True)
    shutil.rmtree(folder / "src" / ".git", ignore_errors=True)
    lane = Lane(folder, {"tree": base, "pending": None, "config": "", "warnings": {}})
    lane.save()
    return lane


def fork_lane(lane: Lane, folder: Path) -> Lane:
    """A copy of `lane` (source linked, O= tree copied with its mtimes) under `folder`."""
    _clear(folder)
    _copy(lane.src, folder / "src", link=True)
    return _copy_objects(lane, Lane(folder, json.loads(json.dumps(lane.state))))


def borrow_lane(lane: Lane, folder: Path, repo: Repo, tree: str) -> Lane:
    """A copy of `lane` that is good for a sync to `tree` and no other.

    What that sync does not reach is not copied but read from `lane`, which nobody
    may flip meanwhile: 90,000 links cost more than the compiler does.
    """
    _clear(folder)
    touched = {str(p) for path in lane.stale(repo, tree) for p in PurePosixPath(path).parents}
    borrowed = dict(_borrow(lane.src, folder / "src", "", touched))
    return _copy_objects(lane, Lane(folder, json.loads(json.dumps(lane.state)), borrowed))


def _borrow(
    source: Path, target: Path, below: str, touched: set[str]
) -> Iterator[tuple[str, Path]]:
    """Link the files of `touched` directories of `source` to `target`; the others are given."""
    target.mkdir()
    for entry in sorted(source.iterdir()):
        path = f"{below}{entry.name}"
        if not entry.is_dir() or entry.is_symlink():
            _link(entry, target / entry.name)
        elif path in touched:
            yield from _borrow(entry, target / entry.name, f"{path}/", touched)
        else:
            (target / entry.name).mkdir()
            yield path, entry


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:  # another file system, or one that has no hard links
        shutil.copy2(source, target, follow_symlinks=False)


def _clear(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def _copy_objects(lane: Lane, fork: Lane) -> Lane:
    """Give `fork` the O= tree of `lane` with its mtimes, but for what is linked anew anyway."""
    fork.out.mkdir()
    entries = [str(p) for p in sorted(lane.out.iterdir()) if not LINKED.fullmatch(p.name)]
    if entries:
        _cp("-a", "--target-directory", str(fork.out), "--", *entries)
    if (lane.folder / "dependents.json").exists():
        shutil.copy2(lane.folder / "dependents.json", fork.folder)
    fork.save()
    return fork


def _copy(source: Path, target: Path, *, link: bool) -> None:
    """`cp -a`, with hard links where both are on one file system."""
    same_device = os.stat(source).st_dev == os.stat(target.parent).st_dev
    flag = "-al" if link and same_device else "-a"
    _cp(flag, "--no-target-directory", str(source), str(target))


def _cp(*args: str) -> None:
    done = proc.run(("cp", "--reflink=auto", *args), timeout_s=900)
    if done.returncode:
        raise InfraError(f"cannot copy: {done.stderr.decode(errors='replace').strip()}")
