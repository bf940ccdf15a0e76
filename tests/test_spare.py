# SPDX-License-Identifier: GPL-2.0-only
"""Which objects of a lane make is told to leave alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kvet.build import spare as module
from kvet.build.lanes import choose_lane, cost
from kvet.build.spare import spare, unchanged
from kvet.build.worktree import Lane
from kvet.model import SourceTree
from kvet.source.git import Repo
from kvet.source.series import apply_series
from kvet.store import write_json
from tests.conftest import make_patch, make_tree

HEADER = "static inline int used(void)\n{\n\treturn 1;\n}\nint other(void);\n"
CMD = (
    "savedcmd_mm/{0}.o := ccache aarch64-linux-gnu-gcc -I/kvet/src/include -c -o mm/{0}.o\n\n"
    "source_mm/{0}.o := /kvet/src/mm/{0}.c\n\ndeps_mm/{0}.o := \\\n"
    "    $(wildcard include/config/SMP) \\\n  /kvet/src/include/a.h \\\n{1}"
    "  include/generated/autoconf.h \\\n"
)


@pytest.fixture
def tree(tmp_path: Path) -> SourceTree:
    """a.c names what the header defines, b.c and c.c include it and do not."""
    files = {
        "include/a.h": HEADER,
        "include/b.h": "#define UNUSED 1\n",
        "mm/a.c": "int a(void) { return used(); }\n",
        "mm/b.c": "int b(void) { return other(); }\n",
        "mm/c.c": "int c(void) { return other(); }\n",
    }
    return make_tree(tmp_path / "tree", files)


@pytest.fixture
def lane(tree: SourceTree, repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lane:
    """A lane whose objects are all of the base."""
    monkeypatch.setattr(module, "WORTH_A_PROOF", 2)
    made = choose_lane(tmp_path / "lanes", repo, tree, tree.tree_id)
    (made.out / "mm").mkdir()
    generated = made.out / "include/generated"
    generated.mkdir(parents=True)
    (generated / "autoconf.h").write_text("#define CONFIG_SMP 1\n")
    for name in "abc":
        more = "  /kvet/src/include/b.h \\\n" if name == "c" else ""
        (made.out / f"mm/.{name}.o.cmd").write_text(CMD.format(name, more))
        (made.out / f"mm/{name}.o").write_text("object")
        os.utime(made.out / f"mm/{name}.o", (1, 1))
    write_json(made.folder / "dependents.json", {"include/a.h": 3, "mm/a.c": 1, "*": 60})
    made.built = tree.tree_id
    return made


def flipped(tree: SourceTree, repo: Repo, tmp_path: Path, *edits: tuple[str, str, str]) -> str:
    """The id of the tree with some files edited."""
    found = tree.tree_id
    for n, (file, old, new) in enumerate(edits):
        patch = tmp_path / f"{n}.patch"
        patch.write_text(make_patch(tree, file, old, new), encoding="utf-8")
        found = apply_series(repo, found, [patch]).tree_id
    return found


BODY = ("include/a.h", "return 1", "return 2")


def names(paths: frozenset[Path]) -> set[str]:
    return {path.name for path in paths}


def test_objects_that_name_nothing_of_the_edit_are_spared(
    tree: SourceTree, repo: Repo, lane: Lane, tmp_path: Path
) -> None:
    new = flipped(tree, repo, tmp_path, BODY)
    same = unchanged(lane, repo, new)
    assert names(same) == {"b.o", "c.o"}
    assert cost(lane, repo, new) == 3
    lane.sync(repo, new)
    spare(same)
    header = (lane.src / "include/a.h").stat().st_mtime
    times = {name: (lane.out / f"mm/{name}.o").stat().st_mtime for name in "abc"}
    assert times["a"] == 1
    assert min(times["b"], times["c"]) >= header


def test_a_lane_is_not_forked_for_what_it_is_spared(
    tree: SourceTree, repo: Repo, lane: Lane, tmp_path: Path
) -> None:
    new = flipped(tree, repo, tmp_path, BODY)
    write_json(lane.folder / "dependents.json", {"include/a.h": 3, "*": 20})
    assert choose_lane(tmp_path / "lanes", repo, tree, new).folder == lane.folder
    lane.built = ""
    assert choose_lane(tmp_path / "lanes", repo, tree, new).folder != lane.folder


def test_who_depends_on_another_edit_is_not(
    tree: SourceTree, repo: Repo, lane: Lane, tmp_path: Path
) -> None:
    source = flipped(tree, repo, tmp_path, BODY, ("mm/b.c", "other()", "other() + 1"))
    assert names(unchanged(lane, repo, source)) == {"c.o"}
    both = flipped(tree, repo, tmp_path, BODY, ("include/b.h", "UNUSED 1", "UNUSED 2"))
    assert names(unchanged(lane, repo, both)) == {"b.o", "c.o"}
    struct = flipped(
        tree, repo, tmp_path, BODY, ("include/b.h", "UNUSED 1", "UNUSED 1\nstruct x {}")
    )
    assert unchanged(lane, repo, struct) == frozenset()


def test_a_lane_whose_objects_are_of_more_than_one_tree_spares_none(
    tree: SourceTree, repo: Repo, lane: Lane, tmp_path: Path
) -> None:
    new = flipped(tree, repo, tmp_path, BODY)
    lane.built = ""
    assert unchanged(lane, repo, new) == frozenset()
    assert cost(lane, repo, new) == 3
    lane.built = new
    assert unchanged(lane, repo, tree.tree_id) == frozenset()


def test_a_proof_is_good_until_the_object_is_compiled_anew(
    tree: SourceTree, repo: Repo, lane: Lane, tmp_path: Path
) -> None:
    new = flipped(tree, repo, tmp_path, BODY)
    assert names(unchanged(lane, repo, new)) == {"b.o", "c.o"}
    cmd = lane.out / "mm/.b.o.cmd"
    os.utime(cmd, (5, 5))
    assert names(unchanged(lane, repo, new)) == {"c.o"}
    (lane.out / "mm/.c.o.cmd").unlink()
    assert unchanged(lane, repo, new) == frozenset()


def test_a_file_that_cannot_be_read_proves_nothing(
    tree: SourceTree, repo: Repo, lane: Lane, tmp_path: Path
) -> None:
    (lane.out / "include/generated/autoconf.h").unlink()
    assert unchanged(lane, repo, flipped(tree, repo, tmp_path, BODY)) == frozenset()


def test_few_objects_are_compiled_without_a_thought(
    tree: SourceTree, repo: Repo, lane: Lane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WORTH_A_PROOF", 4)
    assert unchanged(lane, repo, flipped(tree, repo, tmp_path, BODY)) == frozenset()
