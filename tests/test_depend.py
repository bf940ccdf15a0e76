# SPDX-License-Identifier: GPL-2.0-only
"""ccache goes by what the compiler read only where nothing else is read: real ccache, real gcc."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from kvet.build.depend import may_depend
from kvet.build.make import CCACHE
from kvet.source.git import Repo
from kvet.source.series import AppliedSeries

GCC = "aarch64-linux-gnu-gcc"
PLAIN = "int one(void) { return 1; }\n"
READS = 'asm(".section .rodata\\n.incbin \\"blob\\"\\n");\n'


def compiled(folder: Path, source: str, *, depend: bool) -> bytes:
    """What `kvet/build/ccache.sh` makes of a source, with a cache below `folder`."""
    env = {"PATH": os.environ["PATH"], "CCACHE_DIR": str(folder / "cache")}
    env |= {"KVET_DEPEND": "1"} if depend else {}
    argv = (CCACHE, GCC, "-Wp,-MMD,one.d", "-c", "-o", "one.o", source)
    subprocess.run(argv, cwd=folder, env=env, check=True)
    return (folder / "one.o").read_bytes()


@pytest.mark.parametrize("name", ["reads.c", "reads.S"])
def test_what_the_assembler_reads_is_never_taken_from_the_cache(tmp_path: Path, name: str) -> None:
    text = '.section .rodata\n.incbin "blob"\n' if name.endswith(".S") else READS
    (tmp_path / name).write_text(text, encoding="ascii")
    for content in (b"the first", b"and the second"):
        (tmp_path / "blob").write_bytes(content)
        assert content in compiled(tmp_path, name, depend=True)


def test_a_first_compilation_runs_no_preprocessor_and_a_second_no_compiler(tmp_path: Path) -> None:
    """Both ways find what either has put there."""
    (tmp_path / "plain.c").write_text(PLAIN, encoding="ascii")
    made = compiled(tmp_path, "plain.c", depend=True)
    assert [compiled(tmp_path, "plain.c", depend=depend) for depend in (True, False)] == [made] * 2
    said = subprocess.run(
        ("ccache", "--print-stats"),
        env={"PATH": os.environ["PATH"], "CCACHE_DIR": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    counts = dict(line.split("\t") for line in said.splitlines())
    assert counts["direct_cache_hit"] == "2"
    # a preprocessor that had run would have been asked for what it found
    assert counts["preprocessed_cache_miss"] == counts["preprocessed_cache_hit"] == "0"


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    folder = tmp_path / "source"
    folder.mkdir()
    git(folder, "init", "-q")
    return Repo(folder, tmp_path / "objects")


def git(folder: Path, *args: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@localhost")
    argv = ("git", *identity, *args)
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=True).stdout


def committed(repo: Repo, files: dict[str, str]) -> str:
    """The tree with `files` alone."""
    for path in repo.path.iterdir():
        if path.name != ".git":
            shutil.rmtree(path)
    for name, text in files.items():
        (repo.path / name).parent.mkdir(parents=True, exist_ok=True)
        (repo.path / name).write_text(text, encoding="ascii")
    git(repo.path, "add", "-A")
    git(repo.path, "commit", "-q", "--allow-empty", "-m", "tree")
    return git(repo.path, "rev-parse", "HEAD^{tree}").strip()


BASE = {"mm/vmalloc.c": PLAIN, "kernel/configs.c": READS, "include/linux/a.h": "#define A 1\n"}


@pytest.mark.parametrize(
    ("base", "added", "may"),
    [
        ({}, {"mm/vmalloc.c": PLAIN * 2}, True),
        ({}, {}, True),
        ({"include/linux/b.h": READS}, {"mm/vmalloc.c": PLAIN * 2}, False),
        ({"lib/part.c": READS}, {"mm/vmalloc.c": PLAIN * 2}, False),
        ({}, {"include/linux/a.h": READS}, False),
        ({}, {"lib/table.inc": READS}, False),
        ({}, {"lib/table.inc": READS.upper()}, False),
        ({}, {":!lib": PLAIN, "lib/a.c": READS}, False),
        ({}, {"lib/[a].c": READS}, False),
    ],
    ids=[
        "plain",
        "no series",
        "a header",
        "a source",
        "the series",
        "what the series includes",
        "in capitals",
        "a name that would leave out others",
        "a name that is a pattern",
    ],
)
def test_one_way_to_read_more_is_enough(
    repo: Repo, base: dict[str, str], added: dict[str, str], may: bool
) -> None:
    before = committed(repo, {**BASE, **base})
    after = committed(repo, {**BASE, **base, **added})
    changed = dict.fromkeys(added, "M")
    series = AppliedSeries(before, after, "id", (), changed, "")
    assert may_depend(repo, series) is may
    assert may_depend(repo, series) is may  # from the note


def test_a_series_of_more_files_than_fit_a_command_line_is_built_the_long_way(repo: Repo) -> None:
    tree = committed(repo, BASE)
    changed = {f"lib/{n}.c": "M" for n in range(1001)}
    assert not may_depend(repo, AppliedSeries(tree, tree, "id", (), changed, ""))


def test_a_tree_that_git_cannot_read_is_built_the_long_way(repo: Repo) -> None:
    committed(repo, BASE)
    assert not may_depend(repo, AppliedSeries("0" * 40, "0" * 40, "id", (), {}, ""))
