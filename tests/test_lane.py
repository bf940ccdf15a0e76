# SPDX-License-Identifier: GPL-2.0-only
"""A lane flips between variants and touches nothing else; an expensive flip gets its own lane."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kvet.build.lanes import choose_lane
from kvet.build.worktree import Lane, borrow_lane, fork_lane, open_lanes
from kvet.model import SourceTree
from kvet.source.git import Repo
from kvet.source.series import apply_series
from kvet.store import write_json
from tests.conftest import git, make_patch

NEW_FILES = """\
--- /dev/null
+++ b/lib/new/one.c
@@ -0,0 +1 @@
+int one;
--- /dev/null
+++ b/include/new.h
@@ -0,0 +1 @@
+int new;
"""


@pytest.fixture
def trees(tree: SourceTree, repo: Repo, tmp_path: Path) -> list[str]:
    """Two variants: one changes mm/a.c, the other mm/b.c."""
    found = []
    for name in ("a", "b"):
        patch = tmp_path / f"{name}.patch"
        patch.write_text(make_patch(tree, f"mm/{name}.c", "line_3;", "three;"), encoding="utf-8")
        found.append(apply_series(repo, tree.tree_id, [patch]).tree_id)
    return found


def lane_of(tree: SourceTree, repo: Repo, tmp_path: Path, wanted: str) -> Lane:
    return choose_lane(tmp_path / "lanes", repo, tree, wanted)


def stamps(lane: Lane) -> dict[str, int]:
    files = ("mm/a.c", "mm/b.c", "include/a.h")
    return {name: os.stat(lane.src / name).st_mtime_ns for name in files}


def test_a_flip_touches_what_differs_alone(
    tree: SourceTree, repo: Repo, trees: list[str], tmp_path: Path
) -> None:
    lane = lane_of(tree, repo, tmp_path, trees[0])
    before = stamps(lane)
    assert lane.sync(repo, trees[0]) == ("mm/a.c",)
    after = stamps(lane)
    assert {name for name in before if before[name] != after[name]} == {"mm/a.c"}
    assert lane.sync(repo, trees[0]) == ()
    assert set(lane.sync(repo, trees[1])) == {"mm/a.c", "mm/b.c"}
    assert "three" in (lane.src / "mm/b.c").read_text(encoding="utf-8")
    # the source the lane was linked from is as it was
    assert "three" not in (tree.path / "mm/a.c").read_text(encoding="utf-8")
    assert "three" not in (tree.path / "mm/b.c").read_text(encoding="utf-8")


def test_an_interrupted_flip_is_made_good(
    tree: SourceTree, repo: Repo, trees: list[str], tmp_path: Path
) -> None:
    lane = lane_of(tree, repo, tmp_path, trees[0])
    lane.state["pending"] = trees[0]
    (lane.src / "mm/a.c").unlink()
    (lane.src / "mm/a.c").write_text("half")
    lane.save()
    (again,) = open_lanes(tmp_path / "lanes")
    again.sync(repo, tree.tree_id)
    assert (again.src / "mm/a.c").read_bytes() == (tree.path / "mm/a.c").read_bytes()


def test_a_flip_of_a_common_header_gets_its_own_lane(
    tree: SourceTree, repo: Repo, tmp_path: Path
) -> None:
    lane = lane_of(tree, repo, tmp_path, tree.tree_id)
    write_json(lane.folder / "dependents.json", {"include/a.h": 90, "mm/a.c": 1, "*": 100})
    header = tmp_path / "h.patch"
    header.write_text(make_patch(tree, "include/a.h", "x", "y"), encoding="utf-8")
    source = tmp_path / "c.patch"
    source.write_text(make_patch(tree, "mm/a.c", "line_3;", "three;"), encoding="utf-8")
    near = apply_series(repo, tree.tree_id, [source]).tree_id
    far = apply_series(repo, tree.tree_id, [header]).tree_id
    assert lane_of(tree, repo, tmp_path, near).folder == lane.folder
    given = (tmp_path / "lanes", repo, tree, far)
    assert choose_lane(*given, fork=False).folder == lane.folder
    assert lane_of(tree, repo, tmp_path, far).folder != lane.folder
    assert len(open_lanes(tmp_path / "lanes")) == 2


def test_a_fork_is_independent(
    tree: SourceTree, repo: Repo, trees: list[str], tmp_path: Path
) -> None:
    lane = lane_of(tree, repo, tmp_path, trees[0])
    (lane.out / "x.o").write_text("object")
    os.utime(lane.out / "x.o", (1, 1))
    (lane.out / ".tmp_vmlinux1").write_text("linked anew by every build")
    fork = fork_lane(lane, tmp_path / "lanes" / "lane-9")
    fork.sync(repo, trees[0])
    assert os.stat(fork.out / "x.o").st_mtime == 1
    assert [p.name for p in fork.out.iterdir()] == ["x.o"]
    assert "three" not in (lane.src / "mm/a.c").read_text(encoding="utf-8")
    assert lane.tree == tree.tree_id


def test_half_a_lane_is_removed_by_the_one_who_may_make_lanes(
    tree: SourceTree, repo: Repo, trees: list[str], tmp_path: Path
) -> None:
    """Another run may be making it: whoever only looks must leave it alone."""
    half = tmp_path / "lanes" / "lane-7"
    (half / "out").mkdir(parents=True)
    foreign = tmp_path / "lanes" / "foreign-7"
    (foreign / "out").mkdir(parents=True)
    assert open_lanes(tmp_path / "lanes") == []
    assert (half / "out").is_dir()
    assert lane_of(tree, repo, tmp_path, trees[0]).folder.name == "lane-1"
    assert not half.exists()
    assert not foreign.exists()


def test_a_folder_becomes_a_file_and_back(tree: SourceTree, repo: Repo, tmp_path: Path) -> None:
    git(tree.path, "rm", "-q", "-r", "mm")
    (tree.path / "mm").write_text("x\n", encoding="utf-8")
    git(tree.path, "add", "mm")
    flat = git(tree.path, "write-tree")
    git(tree.path, "reset", "-q", "--hard")
    lane = lane_of(tree, repo, tmp_path, tree.tree_id)
    lane.sync(repo, flat)
    assert (lane.src / "mm").read_text(encoding="utf-8") == "x\n"
    lane.sync(repo, tree.tree_id)
    assert (lane.src / "mm/a.c").is_file()


def test_a_borrowing_lane_copies_what_its_series_reaches_alone(
    tree: SourceTree, repo: Repo, trees: list[str], tmp_path: Path
) -> None:
    lane = lane_of(tree, repo, tmp_path, trees[0])
    lane.sync(repo, trees[0])
    (lane.out / "mm.o").write_text("object", encoding="ascii")
    before = stamps(lane)
    made = borrow_lane(lane, tmp_path / "lanes" / "foreign-1", repo, trees[1])
    assert set(made.sync(repo, trees[1])) == {"mm/a.c", "mm/b.c"}
    assert "include" in made.borrowed and "mm" not in made.borrowed
    assert "three" in (made.src / "mm/b.c").read_text(encoding="utf-8")
    assert list((made.src / "include").iterdir()) == []
    assert made.source("include/a.h") == lane.src / "include/a.h"
    assert made.source("mm/a.c") == made.src / "mm/a.c"
    assert (made.out / "mm.o").read_text(encoding="ascii") == "object"
    shown = {mount.inside: mount.host for mount in made.mounts()}
    assert shown["/kvet/src"] == made.src
    assert shown["/kvet/src/include"] == lane.src / "include"
    # the lane it was taken from is as it was
    assert stamps(lane) == before
    assert "three" in (lane.src / "mm/a.c").read_text(encoding="utf-8")
    assert "three" not in (lane.src / "mm/b.c").read_text(encoding="utf-8")


def test_a_borrowing_lane_takes_new_files_and_folders(
    tree: SourceTree, repo: Repo, tmp_path: Path
) -> None:
    patch = tmp_path / "new.patch"
    patch.write_text(NEW_FILES, encoding="utf-8")
    wanted = apply_series(repo, tree.tree_id, [patch]).tree_id
    lane = lane_of(tree, repo, tmp_path, tree.tree_id)
    made = borrow_lane(lane, tmp_path / "lanes" / "foreign-1", repo, wanted)
    made.sync(repo, wanted)
    assert (made.src / "lib/new/one.c").read_text(encoding="utf-8") == "int one;\n"
    assert (made.src / "include/new.h").read_text(encoding="utf-8") == "int new;\n"
    assert not (lane.src / "lib/new").exists()
    assert not (lane.src / "include/new.h").exists()
    assert "mm" in made.borrowed and "include" not in made.borrowed
