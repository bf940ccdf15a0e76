# SPDX-License-Identifier: GPL-2.0-only
"""A source that two git processes commit is the one that a single one commits."""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

import pytest

from kvet.errors import InfraError
from kvet.source.first_commit import commit_all, halves, merged


def git(folder: Path, *args: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@localhost")
    argv = ("git", *identity, *args)
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=True).stdout


def fill(folder: Path, seed: int) -> int:
    """Files of all kinds, in a tree of any shape; how many."""
    chance = random.Random(seed)
    names = ["a", "a-b", "a.c", "B", "été", "x" * 200, ":(glob)*", "-n", "a b", "*.o"]
    folders, made = [folder], 0
    for _ in range(chance.randint(1, 60)):
        path = chance.choice(folders) / f"{chance.choice(names)}{chance.randint(0, 99)}"
        if path.exists() or path.is_symlink():
            continue
        kind = chance.random()
        if kind < 0.3:
            path.mkdir()
            folders.append(path)
            continue
        made += 1
        if kind < 0.4:
            path.symlink_to(chance.choice(folders))
        else:
            path.write_bytes(b"x" * int(chance.paretovariate(0.5)) + path.name.encode())
            path.chmod(chance.choice((0o644, 0o755)))
    (folder / ".gitignore").write_text("*.o*\na.c*\n", encoding="ascii")
    return made + 1


@pytest.mark.parametrize("seed", range(12))
def test_two_halves_make_the_same_tree(tmp_path: Path, seed: int) -> None:
    made = fill(tmp_path, seed)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A", "-f")
    tree = git(tmp_path, "write-tree")
    commit_all(tmp_path)
    assert git(tmp_path, "rev-parse", "HEAD^{tree}") == tree
    assert len(git(tmp_path, "ls-files", "-z").split("\0")) == made + 1
    # the index knows the files as they lie there: nothing has to be read again
    assert git(tmp_path, "diff-files", "--name-only") == ""
    git(tmp_path, "fsck", "--strict")
    first, second = halves(tmp_path)
    assert not set(first) & set(second)


def test_the_commit_is_the_same_wherever_it_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = set()
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "Makefile").write_text("VERSION = 6\n", encoding="ascii")
        commit_all(tmp_path / name)
        ids.add(git(tmp_path / name, "rev-parse", "HEAD"))
        monkeypatch.setenv("GIT_DEFAULT_HASH", "sha256")
        monkeypatch.setenv("GIT_AUTHOR_NAME", "somebody")
        monkeypatch.setenv("GIT_INDEX_VERSION", "4")
    assert len(ids) == 1


def test_halves_weigh_about_the_same(tmp_path: Path) -> None:
    for name, size in (("drivers/gpu/amd", 600_000), ("drivers/net", 100_000), ("mm", 500_000)):
        (tmp_path / name).mkdir(parents=True)
        for n in range(20):
            (tmp_path / name / f"{n}.c").write_bytes(b"x" * (size // 20))
    parts = [[tmp_path / name for name in part] for part in halves(tmp_path)]
    sizes = [sum(_size(path) for path in part) for part in parts]
    assert sum(sizes) == 1_200_000
    assert max(sizes) < 0.6 * sum(sizes)


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(os.lstat(p).st_size for p in path.rglob("*") if p.is_file())


def test_an_index_of_another_version_is_not_taken_for_one(tmp_path: Path) -> None:
    with pytest.raises(InfraError, match="version 4, not 2"):
        merged([b"DIRC\0\0\0\4\0\0\0\0" + b"\0" * 20])
