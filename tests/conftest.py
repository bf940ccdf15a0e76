# SPDX-License-Identifier: GPL-2.0-only
"""Fixtures shared by all tests: nobody's home, git configuration or cache is touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvet import proc
from kvet.cache import cache_root
from kvet.model import SourceTree
from kvet.source.git import Repo

REAL_CACHE = cache_root()


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--boot`: also tests that build and boot real kernels; `--update`: rewrite expectations."""
    parser.addoption("--boot", action="store_true", help="also build and boot real kernels")
    parser.addoption(
        "--update",
        action="store_true",
        help="write what is found in tests/data/consoles as what is expected; look at the diff",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without `--boot` real boots are skipped; with it they come last."""
    for item in items:
        if "boot" in item.keywords and not config.getoption("--boot"):
            item.add_marker(pytest.mark.skip(reason="needs --boot"))
    items.sort(key=lambda item: "boot" in item.keywords)


@pytest.fixture
def update(request: pytest.FixtureRequest) -> bool:
    """Whether the expectations of the console fixtures are to be rewritten."""
    return bool(request.config.getoption("--update"))


@pytest.fixture(autouse=True)
def _isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home, a cache and a git configuration of the test's own."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("KVET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for name in ("NO_COLOR", "FORCE_COLOR", "XDG_CACHE_HOME", "GIT_DIR"):
        monkeypatch.delenv(name, raising=False)


def git(folder: Path, *args: str) -> str:
    """Run git in `folder` as a neutral identity."""
    identity = ("-c", "user.name=t", "-c", "user.email=t@localhost")
    done = proc.run(("git", "-C", str(folder), *identity, *args), brief=True)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().strip()


def make_tree(folder: Path, files: dict[str, str]) -> SourceTree:
    """A committed source tree with these files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    git(folder, "init", "-q")
    git(folder, "add", "-A", "-f")
    git(folder, "commit", "-q", "-m", "base")
    return SourceTree(
        path=folder,
        base_commit=git(folder, "rev-parse", "HEAD"),
        tree_id=git(folder, "rev-parse", "HEAD^{tree}"),
        version="6.12.0",
        origin="test",
    )


@pytest.fixture
def tree(tmp_path: Path) -> SourceTree:
    """A small source tree with two C files."""
    body = "".join(f"int line_{i};\n" for i in range(30))
    return make_tree(tmp_path / "tree", {"mm/a.c": body, "mm/b.c": body, "include/a.h": "x\n"})


@pytest.fixture
def repo(tree: SourceTree, tmp_path: Path) -> Repo:
    """The object store of `tree`."""
    return Repo(tree.path, tmp_path / "objects")


def make_patch(tree: SourceTree, file: str, old: str, new: str, subject: str = "change it") -> str:
    """A git-format patch that replaces `old` by `new` in `file`; the tree stays as it was."""
    path = tree.path / file
    before = path.read_text(encoding="utf-8")
    assert old in before
    path.write_text(before.replace(old, new), encoding="utf-8")
    git(tree.path, "commit", "-q", "-a", "-m", subject)
    text = git(tree.path, "format-patch", "-1", "--stdout", "--no-signature") + "\n"
    git(tree.path, "reset", "-q", "--hard", tree.base_commit)
    return text
