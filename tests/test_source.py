# SPDX-License-Identifier: GPL-2.0-only
"""A source is fetched and committed once, has the same tree id everywhere, and drift is told."""

from __future__ import annotations

import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from kvet.errors import UserError
from kvet.events import Event, Events
from kvet.model import SourceTree
from kvet.plan.library import load_kernel
from kvet.source.fetch import kernel_version, open_source, sha256_of
from tests.conftest import git
from tests.fakes import DATA


def kernel_file(folder: Path, text: str) -> Path:
    path = folder / "kernels" / "k.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def open_(path: Path, cache: Path, notes: list[str] | None = None) -> SourceTree:
    def listen(event: Event) -> None:
        if event.kind == "note" and notes is not None:
            notes.append(event.text)

    return open_source(load_kernel(path), cache, events=Events(listen))


def test_directory_and_tarball_of_it_have_one_tree_id(tmp_path: Path) -> None:
    shutil.copytree(DATA / "fake-kernel", tmp_path / "linux")
    with tarfile.open(tmp_path / "linux.tar.xz", "w:xz") as tar:
        tar.add(tmp_path / "linux", "linux-6.12.99")
    by_folder = open_(kernel_file(tmp_path, "kind: directory\npath: ../linux\n"), tmp_path / "c")
    by_tar = open_(kernel_file(tmp_path, "kind: tarball\nurl: ../linux.tar.xz\n"), tmp_path / "c")
    assert by_folder.tree_id == by_tar.tree_id
    assert by_folder.version == by_tar.version == "6.12.99"
    assert git(by_tar.path, "status", "--porcelain") == ""


def test_git_source_is_a_commit(tree: SourceTree, tmp_path: Path) -> None:
    shutil.copy(DATA / "fake-kernel" / "Makefile", tree.path)
    git(tree.path, "add", "-A")
    git(tree.path, "commit", "-q", "-m", "with a makefile")
    git(tree.path, "tag", "v1")
    path = kernel_file(tmp_path, f"kind: git\nurl: {tree.path}\nref: v1\n")
    found = open_(path, tmp_path / "c")
    assert found.base_commit == git(tree.path, "rev-parse", "v1")
    assert found.tree_id == git(tree.path, "rev-parse", "v1^{tree}")
    with pytest.raises(UserError, match="cannot fetch nosuch"):
        open_(kernel_file(tmp_path, f"kind: git\nurl: {tree.path}\nref: nosuch\n"), tmp_path / "c")


def test_a_tarball_with_another_digest_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(b"x")
    path = kernel_file(tmp_path, f"kind: tarball\nurl: ../x.tar\nsha256: '{'0' * 64}'\n")
    with pytest.raises(UserError, match="sha256 of"):
        open_(path, tmp_path / "c")
    with pytest.raises(UserError, match="does not exist"):
        open_(kernel_file(tmp_path, "kind: tarball\nurl: ../none.tar\n"), tmp_path / "c")


def test_drift_from_the_lock_is_one_line(tmp_path: Path) -> None:
    shutil.copytree(DATA / "fake-kernel", tmp_path / "linux")

    def pack() -> Path:
        with tarfile.open(tmp_path / "linux.tar", "w") as tar:
            tar.add(tmp_path / "linux", "linux")
        return kernel_file(tmp_path, "kind: tarball\nurl: ../linux.tar\n")

    notes: list[str] = []
    first = open_(pack(), tmp_path / "c", notes)
    assert first.tree_id in (tmp_path / "kernels/lock.yaml").read_text(encoding="utf-8")
    open_(pack(), tmp_path / "c", notes)
    assert notes == []
    (tmp_path / "linux" / "scenario").write_text("other\n")
    second = open_(pack(), tmp_path / "c", notes)
    assert second.tree_id != first.tree_id
    assert len(notes) == 1
    assert notes[0].startswith("k: source drifted from ")


def test_a_folder_without_a_kernel_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no kernel source"):
        kernel_version(tmp_path)
    (tmp_path / "Makefile").write_text("all:\n")
    with pytest.raises(UserError, match="not the top Makefile"):
        kernel_version(tmp_path)


def test_the_digest_is_read_once_per_content(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"one")
    first = sha256_of(path)
    assert (tmp_path / "f.sha256").read_text().startswith(first)
    path.write_bytes(b"three")
    assert sha256_of(path) != first


def test_versions_in_a_name_do_not_make_two_sources_one(tmp_path: Path) -> None:
    for minor in ("6.1", "6.12"):
        shutil.copytree(DATA / "fake-kernel", tmp_path / f"linux-{minor}")
        (tmp_path / f"linux-{minor}" / "scenario").write_text(f"{minor}\n")
    trees = []
    for minor in ("6.1", "6.12"):
        path = tmp_path / "kernels" / f"linux-{minor}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"kind: directory\npath: ../linux-{minor}\n", encoding="utf-8")
        trees.append(open_(path, tmp_path / "c"))
    assert trees[0].tree_id != trees[1].tree_id
    assert trees[0].path != trees[1].path


def test_every_shipped_kernel_loads() -> None:
    for path in (Path(__file__).parent.parent / "kernels").glob("linux-*.yaml"):
        assert replace(load_kernel(path)).kind == "package"
