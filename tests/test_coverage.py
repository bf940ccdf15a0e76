# SPDX-License-Identifier: GPL-2.0-only
"""Lines of a series are found in the line table, and QEMU's log says which of them ran."""

from __future__ import annotations

from pathlib import Path

from kvet import proc
from kvet.build.patch_lines import Ran, patch_lines, translated, what_ran
from kvet.build.symbolize import all_functions
from kvet.results.record import Coverage, MissedLine, PatchCoverage
from kvet.run.recording import coverage
from kvet.source.git import Repo
from kvet.source.series import apply_series
from tests.fakes import FakeProject, tree_of

CROSS = "aarch64-linux-gnu-"


def test_lines_with_code_are_those_the_series_wrote(tmp_path: Path) -> None:
    project = FakeProject(tmp_path / "p")
    project.variant("good", "candidate", edit=("mm/vmalloc.c", "addr + 1;", "addr * 3;"))
    tree = tree_of(project)
    repo = Repo(tree.path, tmp_path / "objects")
    patches = sorted((project.root / "patches/good").glob("*.patch"))
    series = apply_series(repo, tree.tree_id, patches)
    source = tmp_path / "kvet" / "src"
    for name in ("mm/vmalloc.c", "mm/ptdump.c"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(repo.blob(series.tree_id, name)[0])
    folder = tmp_path / "build"
    folder.mkdir()
    objects = []
    for name in ("vmalloc", "ptdump"):
        objects.append(str(folder / f"{name}.o"))
        argv = ("-g", "-O1", f"-ffile-prefix-map={source}=/kvet/src", "-c", "-o", objects[-1])
        done = proc.run((f"{CROSS}gcc", *argv, str(source / f"mm/{name}.c")))
        assert done.returncode == 0, done.stderr.decode()
    linked = proc.run(
        (f"{CROSS}ld", "-Ttext=0x10000", "-e", "0", "-o", str(folder / "vmlinux"), *objects)
    )
    assert linked.returncode == 0, linked.stderr.decode()

    lines = patch_lines(folder, repo, series)
    assert lines is not None
    assert set(lines.addresses) == {"mm/vmalloc.c:3"}
    assert lines.patch == {"mm/vmalloc.c:3": 0}
    assert lines.text["mm/vmalloc.c:3"].strip() == "return addr * 3;"
    assert lines.ranges == (all_functions(folder / "vmlinux")["vmap_page_range"][-1],)

    log = folder / "asm.log"
    assert what_ran(lines, log) == Ran()
    log.write_text(
        f"IN: vmap_page_range\n{lines.addresses['mm/vmalloc.c:3'][0]:#018x}:  d503201f\n"
    )
    all_ran = what_ran(lines, log)
    ran = all_ran.lines
    assert ran == ("mm/vmalloc.c:3",)
    assert not log.exists()
    assert all_ran.ways == ()
    told = coverage(lines, ran, ["mm: good"])
    assert told == Coverage((PatchCoverage("mm: good", run=1, code=1),), ("mm/vmalloc.c:3",))
    missed = coverage(lines, (), ["mm: good"]).not_run
    assert missed == (MissedLine("mm/vmalloc.c:3", "return addr * 3;"),)
    # the second time it is read, not worked out
    (folder / "vmlinux").unlink()
    assert patch_lines(folder, repo, series) == lines


def test_a_series_without_patches_has_no_lines(tmp_path: Path) -> None:
    project = FakeProject(tmp_path / "p")
    tree = tree_of(project)
    repo = Repo(tree.path, tmp_path / "objects")
    assert patch_lines(tmp_path, repo, apply_series(repo, tree.tree_id, [])) is None


def test_the_log_is_read_by_address_alone() -> None:
    log = b"----\nIN: f\n0xffff800080010000:  d65f03c0  ret\nOBJD-T: 0x1\n\xff0x12:\n"
    assert translated(log) == {0xFFFF800080010000}
