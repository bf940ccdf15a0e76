# SPDX-License-Identifier: GPL-2.0-only
"""What a build may do, on a fake kernel tree: real git, make, compiler, sandbox."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from kvet.build import make, request, spare
from kvet.build.diagnostics import LINK_ERROR
from kvet.cache import cache_root
from kvet.errors import UserError
from kvet.events import Event, Events
from kvet.plan.library import load_matrix
from kvet.plan.matrix import plan_cells
from kvet.results.record import RunRecord
from kvet.run.plan import Plan
from kvet.run.runner import Runner
from tests.fakes import FakeProject, cell


def test_every_folder_of_guest_modules_is_built_and_is_part_of_the_key(
    project: FakeProject,
    run: Callable[..., RunRecord],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    record = run("stock", attempts=1)
    folder = Path(cell(record, "stock").build.folder) / "modules"
    assert [p.name for p in sorted(folder.iterdir())] == [
        "kvet_cost.ko",
        "kvet_counter.ko",
        "kvet_engine.ko",
        "kvet_provoke.ko",
        "kvet_ptdump.ko",
    ]
    before = request.module_digest()
    copies = [tmp_path / m.name for m in request.MODULES]
    for copy, module in zip(copies, request.MODULES, strict=True):
        shutil.copytree(module, copy)
    monkeypatch.setattr(request, "MODULES", tuple(copies))
    assert request.module_digest() == before
    for copy in copies:
        with (copy / "main.c").open("a", encoding="utf-8") as file:
            file.write("\n")
        assert request.module_digest() != before
        before = request.module_digest()


def test_a_build_failure_blames_the_variant_and_the_matrix_goes_on(
    project: FakeProject, run: Callable[..., RunRecord]
) -> None:
    project.variant("broken", "control", "breach")
    project.variant("good", "candidate", edit=("mm/ptdump.c", "addr + 2", "addr + missing"))
    seen: list[Event] = []
    record = run("stock", "broken", "good", listener=seen.append)
    built = {e.subject: e.text for e in seen if e.stage == "build" and e.kind == "end"}
    assert built["fake+good+small"] == "failed" and built["fake+broken+small"] == "built"
    failed = cell(record, "good")
    assert (failed.conclusion, failed.failures, failed.runs) == ("FAIL", 1, 1)
    assert failed.build.finding is not None
    assert failed.build.finding.title.startswith("build: mm/ptdump.c:3: ")
    assert "missing" in Path(failed.build.log).read_text(encoding="utf-8")
    assert "In function" in failed.build.finding.excerpt[0]
    assert cell(record, "broken").conclusion == "FAIL"
    assert record.exit_code == 1


def test_warnings_that_a_variant_adds_are_listed(
    project: FakeProject, run: Callable[..., RunRecord]
) -> None:
    edit = ("mm/ptdump.c", "{\n", "{\n\tint unused;\n")
    project.variant("good", "candidate", edit=edit)
    record = run("stock", "good")
    added = cell(record, "good").build.warnings_added
    assert len(added) == 1
    assert "mm/ptdump.c" in added[0]
    assert "unused" in added[0]


def test_a_lost_option_names_itself_and_its_dependency(
    project: FakeProject, run: Callable[..., RunRecord]
) -> None:
    with (project.root / "configs/kconfig/small.config").open("a") as file:
        file.write("CONFIG_PTDUMP_DEBUGFS=y\n")
    with pytest.raises(UserError) as caught:
        run("stock")
    assert "CONFIG_PTDUMP_DEBUGFS" in caught.value.message
    assert "ABSENT" in caught.value.message
    assert "small.config" in caught.value.message


@pytest.mark.parametrize("compiler", ["gcc", "aarch64-linux-gnu-gcc-13", "clang", "clang-19"])
def test_an_error_of_a_compilers_options_is_one_whatever_its_version(compiler: str) -> None:
    assert LINK_ERROR.search(f"{compiler}: error: unrecognized command-line option '-mx'")
    assert not LINK_ERROR.search(f"{compiler}: warning: '-mx' is deprecated")


def test_a_compiler_that_the_tree_refuses_is_told_in_one_line(
    project: FakeProject, run: Callable[..., RunRecord]
) -> None:
    makefile = project.root / "tree" / "Makefile"
    refusal = "\t@printf '***\\n*** C compiler is too old.\\n***   Minimum: 17\\n'; exit 1\n"
    text = makefile.read_text(encoding="utf-8").replace("\t@: > $(O)/.config\n", refusal)
    makefile.write_text(text, encoding="utf-8")
    record = run("stock")
    error = cell(record, "stock").reason
    assert "this tree cannot be configured: C compiler is too old, Minimum: 17 (" in error
    assert "--toolchain {gcc,clang}-N" in error
    assert "\n" not in error


def test_a_patch_that_does_not_apply_ends_the_run_before_any_build(
    project: FakeProject, run: Callable[..., RunRecord]
) -> None:
    project.variant("good", "candidate", edit=("mm/vmalloc.c", "addr + 1", "addr + 3"))
    patch = next((project.root / "patches/good").glob("*.patch"))
    text = patch.read_text(encoding="utf-8").replace("addr + 1", "addr + 7")
    lines = [x for x in text.splitlines() if not x.startswith("index ")]
    patch.write_text("\n".join(lines) + "\n", encoding="utf-8")
    seen: list[Event] = []
    with pytest.raises(UserError) as caught:
        run("stock", "good", listener=seen.append)
    assert "mm/vmalloc.c, hunk 1" in caught.value.message
    assert not [e for e in seen if e.stage == "build"]


def test_a_foreign_series_is_built_without_writing_to_the_compiler_cache(
    project: FakeProject, run: Callable[..., RunRecord], tmp_path: Path
) -> None:
    run("stock", attempts=1)
    project.variant("good", "candidate", edit=("mm/vmalloc.c", "addr + 1", "addr + 31337"))
    matrix = replace(load_matrix(project.root / "configs/m.yaml"), variants=("good",))
    (planned,) = plan_cells(matrix, project.library)
    planned = replace(planned, variant=replace(planned.variant, foreign=True))
    cached = sorted((cache_root() / "ccache").rglob("*R"))
    plan = Plan(name="m", cells=(planned,), out=tmp_path / "foreign", attempts=1)
    record = Runner(plan, cache=cache_root(), events=Events()).run()
    assert cell(record, "good").attempts[0].status == "PASS"
    assert sorted((cache_root() / "ccache").rglob("*R")) == cached
    assert not list((cache_root() / "lanes").rglob("foreign-*"))


def test_a_variant_that_loses_an_option_is_an_error_of_its_own(
    project: FakeProject, run: Callable[..., RunRecord]
) -> None:
    """The matrix goes on; the config is not to blame."""
    project.variant("broken", "control", "breach")
    lost = ("Kconfig", 'bool "4K pages"', 'bool "4K pages"\n\tdepends on GONE')
    project.variant("loses", "candidate", edit=lost)
    project.variant("good", "candidate", edit=("mm/vmalloc.c", "addr + 1", "addr + 3"))
    record = run("stock", "loses", "broken", "good")
    assert cell(record, "loses").conclusion == "ERROR"
    assert "the series changes Kconfig: " in cell(record, "loses").reason
    assert "CONFIG_ARM64_4K_PAGES=y" in cell(record, "loses").reason
    assert cell(record, "good").conclusion == "PASS"
    assert record.exit_code == 3


def test_an_edit_of_a_header_compiles_what_it_can_change(
    project: FakeProject, run: Callable[..., RunRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spare, "WORTH_A_PROOF", 1)
    monkeypatch.setattr(make, "OBJECTS_WORTH_INDEXING", 1)
    header, work = "include/vmap.h", project.root / "work"
    project.variant("unused", "candidate", edit=(header, "addr % VMAP", "addr / VMAP"))
    project.variant("decides", "candidate", edit=(header, "4\n", "4\nstruct vmap { int x; };\n"))
    source = work / "mm/ptdump.c"
    source.write_text(source.read_text().replace("addr + 2", "vmap_level(addr)"))
    (work / header).write_text((work / header).read_text().replace("addr % VMAP", "addr & VMAP"))
    project.variant("both", "candidate", edit=(header, "addr & VMAP", "addr * VMAP"))
    seen: list[Event] = []
    record = run("stock", "unused", "decides", "both", attempts=1, listener=seen.append)
    built = {e.subject: e.text for e in seen if e.stage == "build" and e.kind == "end"}
    names = ("stock", "unused", "decides", "both")
    folders = {name: Path(cell(record, name).build.folder) for name in names}
    logs = {name: (folder / "build.log").read_text() for name, folder in folders.items()}
    compiled = {name: sorted(re.findall(r"CC +(\S+)", log)) for name, log in logs.items()}
    assert compiled["stock"] == compiled["decides"] == ["mm/ptdump.o", "mm/vmalloc.o"]
    assert compiled["unused"] == []
    assert built["fake+unused+small"] == "built (2 objects spared)"
    assert compiled["both"] == ["mm/ptdump.o"]
    assert built["fake+both+small"] == "built (1 objects spared)"
    code = {name: (f / "Image").read_bytes().split(b"\n")[1] for name, f in folders.items()}
    assert code["stock"] == code["unused"] == code["decides"] != code["both"]
