# SPDX-License-Identifier: GPL-2.0-only
"""Whether a series can have a build run something: by its paths, and by what was built before."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kvet.build.influence import host_programs, runs_something
from kvet.build.lanes import choose_lane
from kvet.build.worktree import Lane
from kvet.model import SourceTree
from kvet.source.git import Repo

HOST = """\
savedcmd_lib/gen_table := gcc -I /kvet/src/scripts/include -I/kvet/src/security/gen -o x

source_lib/gen_table := /kvet/src/lib/gen.c

deps_lib/gen_table := \\
  /kvet/src/lib/../include/linux/poly.h \\
    $(wildcard include/config/X) \\
  /kvet/src/lib/own.h \\
"""
CROSS = """\
savedcmd_mm/vmalloc.o := ccache aarch64-linux-gnu-gcc -c -o mm/vmalloc.o /kvet/src/mm/vmalloc.c

source_mm/vmalloc.o := /kvet/src/mm/vmalloc.c

deps_mm/vmalloc.o := \\
  /kvet/src/include/linux/vmalloc.h \\
"""


@pytest.fixture
def lane(tmp_path: Path) -> Lane:
    """A lane in which a program for the host and an object were built."""
    made = Lane(tmp_path / "lane-1", {"tree": "t", "pending": None})
    for name, text in (("lib/.gen_table.cmd", HOST), ("mm/.vmalloc.o.cmd", CROSS)):
        path = made.out / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
    return made


def test_what_programs_for_the_host_are_made_of(lane: Lane) -> None:
    found = host_programs(lane.out)
    assert found.files == {"lib/gen.c", "include/linux/poly.h", "lib/own.h"}
    assert found.folders == {"scripts/include", "security/gen"}
    old = lane.out / "lib/.gen_table.cmd"
    old.write_text(HOST.replace("savedcmd_", "cmd_").replace(":= gcc", ":= /usr/bin/clang"))
    assert "lib/own.h" in host_programs(lane.out).files


@pytest.mark.parametrize(
    ("path", "suspect"),
    [
        ("mm/vmalloc.c", False),
        ("include/linux/vmalloc.h", False),
        ("arch/arm64/mm/proc.S", False),
        ("Documentation/mm/vmalloc.rst", False),
        ("MAINTAINERS", False),
        ("mm/Makefile", True),
        ("mm/Kconfig", True),
        ("mm/Makefile.h/../Makefile", True),
        ("scripts/mod/modpost.c", True),
        ("tools/objtool/check.c", True),
        ("usr/gen_init_cpio.c", True),
        ("lib/gen.c", True),
        ("include/linux/poly.h", True),
        ("lib/poly.h", True),
        ("lib/other.c", False),
        ("security/gen/new/poly.h", True),
        ("kernel/gen_kheaders.sh", True),
        ("arch/arm64/tools/sysreg", True),
        ("arch/arm64/kernel/vmlinux.lds.py", True),
    ],
)
def test_a_path_is_suspected_if_it_may_be_run(lane: Lane, path: str, suspect: bool) -> None:
    found = runs_something(["fs/pipe.c", path], lane)
    assert found == (path if suspect else "")


def test_a_lane_that_was_never_built_clears_nobody(tmp_path: Path) -> None:
    empty = Lane(tmp_path / "lane-1", {"tree": "t", "pending": None})
    empty.out.mkdir(parents=True)
    assert runs_something(["mm/vmalloc.c"], empty) == "mm/vmalloc.c"


def test_of_lanes_that_are_as_dear_the_oldest_is_flipped(
    tree: SourceTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = tmp_path / "lanes"
    for number in (1, 2, 3):
        made = Lane(group / f"lane-{number}", {"tree": tree.tree_id, "pending": None})
        made.folder.mkdir(parents=True)
        made.save()
        os.utime(made.folder / "lane.json", (1000, {1: 30, 2: 10, 3: 20}[number]))
    costs = {"lane-1": 400, "lane-2": 500, "lane-3": 900}
    monkeypatch.setattr("kvet.build.lanes.cost", lambda lane, *_: costs[lane.folder.name])
    monkeypatch.setattr(Lane, "dependents", lambda self: {"*": 1000})
    repo = Repo(tree.path, tmp_path / "objects")
    assert choose_lane(group, repo, tree, "other").folder.name == "lane-2"
    costs["lane-2"] = 801  # twice as dear: then the next
    assert choose_lane(group, repo, tree, "other").folder.name == "lane-1"
    costs["lane-3"] = 10
    assert choose_lane(group, repo, tree, "other").folder.name == "lane-3"
