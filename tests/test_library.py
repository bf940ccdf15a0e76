# SPDX-License-Identifier: GPL-2.0-only
"""The data directories of the project itself: what ships is complete, reviewable and documented."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from kvet.errors import UserError
from kvet.model import Cell, Floor, Role, Variant, Waiver
from kvet.paths import PROJECT
from kvet.plan.library import Library, load_matrix, load_variant, load_workload
from kvet.plan.matrix import find_cell, machine_for, plan_cells
from kvet.run.judged import judged_of
from kvet.run.requests import Effort, RunRequest

LIBRARY = Library()
MUTANTS = sorted(PROJECT.glob("tests/mutants*/*/variant.yaml"))
SHIPPED = [*LIBRARY.variants().values(), *(load_variant(p) for p in MUTANTS)]


@pytest.mark.parametrize("variant", SHIPPED, ids=lambda v: v.name)
def test_every_variant_says_what_is_expected_and_why(variant: Variant) -> None:
    assert variant.expected
    assert len(variant.why) > 20
    assert variant.kernels


@pytest.mark.parametrize("path", sorted(PROJECT.glob("patches/**/*.patch")), ids=lambda p: p.name)
def test_every_patch_explains_itself(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    head, _, rest = text.partition("\n\n")
    subject = re.search(r"^Subject: \[PATCH\] (.*(?:\n .*)*)", head, re.MULTILINE)
    assert subject is not None
    assert len(subject.group(1).replace("\n ", " ")) <= 75
    message = rest.partition("\n---\n")[0]
    assert "Signed-off-by: " in message
    assert len(message.split()) > 40
    assert max(map(len, message.splitlines())) <= 75


def test_the_default_matrix_holds_every_design() -> None:
    matrix = load_matrix(PROJECT / "configs/matrix.yaml")
    assert set(matrix.variants) == set(LIBRARY.variants())


def test_every_matrix_plans() -> None:
    for path in PROJECT.glob("configs/*.yaml"):
        cells = plan_cells(load_matrix(path), LIBRARY)
        roles = {c.variant.role for c in cells}
        assert {Role.BASELINE, Role.CONTROL, Role.CANDIDATE} <= roles, path


@pytest.mark.parametrize("only", [(), ("trylock",)])
def test_cells_of_a_plan_are_never_compared_one_by_one(
    monkeypatch: pytest.MonkeyPatch, only: tuple[str, ...]
) -> None:
    def compare(one: Cell, other: object) -> bool:
        raise AssertionError("each cell against each other: planning grows with the square")

    whole = plan_cells(load_matrix(PROJECT / "configs/matrix.yaml"), LIBRARY)
    monkeypatch.setattr(Cell, "__eq__", compare)
    cells = plan_cells(load_matrix(PROJECT / "configs/matrix.yaml"), LIBRARY, only=only)
    wanted = {"stock", "nolock", *only} if only else {c.variant.name for c in whole}
    assert [c.id for c in cells] == [c.id for c in whole if c.variant.name in wanted]


def test_mutants_are_enough_and_of_both_kinds() -> None:
    mutants = [load_variant(p) for p in MUTANTS]
    assert sum(m.expected == "FAIL" for m in mutants) >= 29
    assert sum(m.expected == "INCONCLUSIVE" for m in mutants) >= 10
    assert sum(m.expected == "PASS" for m in mutants) >= 18
    shipped = LIBRARY.variants()
    bases = [shipped[name].patches for name in ("rcu-free", "nolock", "trylock")]
    for mutant in mutants:
        base = next(b for b in bases if mutant.patches[: len(b)] == b)
        assert len(mutant.patches) > len(base), mutant.name


def test_a_variant_on_an_unknown_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "v" / "variant.yaml"
    path.parent.mkdir()
    path.write_text("title: t\nrole: candidate\nonto: nothing\n")
    with pytest.raises(UserError, match="key onto"):
        load_variant(path)


def test_every_name_is_in_the_documentation() -> None:
    docs = "".join(p.read_text(encoding="utf-8") for p in PROJECT.glob("docs/*.md"))
    for kind in ("configs", "workloads"):
        for name in getattr(LIBRARY, kind)():
            assert f"`{name}`" in docs, f"{name} is not in docs/"


def test_every_option_has_a_reason_above_its_block() -> None:
    for path in PROJECT.glob("configs/kconfig/*.config"):
        blocks = path.read_text(encoding="utf-8").strip().split("\n\n")
        for block in blocks:
            assert re.match(r"# (?!CONFIG_)\S+ \S+", block), f"{path}: {block[:60]}"


WORKLOAD = "title: t\nseconds: 1\nfloor: "


@pytest.mark.parametrize(
    ("text", "floor"),
    [
        ("{a: 1, b: 2}", Floor(any={"a": 1, "b": 2})),
        ("{each: {a: 1}, any: {b: 2}}", Floor(each={"a": 1}, any={"b": 2})),
        ("{each: {a: 1}}", Floor(each={"a": 1})),
    ],
)
def test_a_floor_names_counters_of_which_one_or_each_is_wanted(
    tmp_path: Path, text: str, floor: Floor
) -> None:
    path = tmp_path / "w.yaml"
    path.write_text(WORKLOAD + text + "\n")
    assert load_workload(path).floor == floor


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("{each: {a: 1}, b: 2}", "floor.b"),
        ("{each: {a: 0}}", "floor.each.a"),
        ("{a: x}", "floor.a"),
    ],
)
def test_a_floor_that_says_nothing_is_refused(tmp_path: Path, text: str, key: str) -> None:
    path = tmp_path / "w.yaml"
    path.write_text(WORKLOAD + text + "\n")
    with pytest.raises(UserError, match=f"key {key}"):
        load_workload(path)


VARIANT = "title: t\nrole: candidate\nwaive:\n  - "


@pytest.mark.parametrize(
    ("text", "waiver"),
    [
        ("{line: 'a.c:1', reason: r}", Waiver("r", line="a.c:1")),
        ("{text: if, outcome: 'true', reason: r}", Waiver("r", text="if", outcome="true")),
        ("{judge: lockdep, reason: r}", Waiver("r", judge="lockdep")),
    ],
)
def test_a_waiver_has_a_reason(tmp_path: Path, text: str, waiver: Waiver) -> None:
    path = tmp_path / "v" / "variant.yaml"
    path.parent.mkdir()
    path.write_text(VARIANT + text + "\n")
    assert load_variant(path).waivers == (waiver,)


@pytest.mark.parametrize(
    "text", ["{line: 'a.c:1'}", "{reason: r}", "{line: 'a.c:1', text: x, reason: r}"]
)
def test_a_waiver_of_everything_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "v" / "variant.yaml"
    path.parent.mkdir()
    path.write_text(VARIANT + text + "\n")
    with pytest.raises(UserError, match="waive"):
        load_variant(path)


def test_what_is_waived_of_a_base_is_waived_of_what_is_made_onto_it(tmp_path: Path) -> None:
    base = LIBRARY.variants()["rcu-free"].waivers
    path = tmp_path / "v" / "variant.yaml"
    path.parent.mkdir()
    path.write_text("title: t\nrole: candidate\nonto: rcu-free\n")
    assert base
    assert load_variant(path).waivers == base


def test_a_variant_is_a_name_or_a_directory(tmp_path: Path) -> None:
    library = Library()
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "variant.yaml").write_text("title: mine\nrole: candidate\nonto: trylock\n")
    assert library.variant("trylock").name == "trylock"
    for word in (f"{folder}", f"{folder}/", f"{folder}/variant.yaml"):
        assert library.variant(word) == load_variant(folder / "variant.yaml")
    with pytest.raises(UserError, match=r"there is no variant\.yaml"):
        library.variant(f"{tmp_path}/")
    with pytest.raises(UserError, match="did you mean trylock"):
        library.variant("tryloc")


def test_run_judges_the_variant_of_a_directory(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "variant.yaml").write_text("title: mine\nrole: candidate\nonto: trylock\n")
    asked = RunRequest(Effort(tmp_path), "", variants=(f"{folder}/", "nolock"))
    assert [one.variant.name for one in judged_of(asked, Library(), tmp_path)] == ["mine", "nolock"]
    other = tmp_path / "other" / "mine"
    shutil.copytree(folder, other)
    asked = replace(asked, variants=(str(folder), str(other)))
    with pytest.raises(UserError, match="two variants are called mine"):
        judged_of(asked, Library(), tmp_path)


def test_guests_have_the_memory_that_their_config_needs() -> None:
    cells = plan_cells(load_matrix(PROJECT / "configs/matrix.yaml"), LIBRARY, only=("nolock",))
    kasan, debug = (
        next(c for c in cells if c.config.name == name and c.machine.name == "virt")
        for name in ("kasan", "debug")
    )
    plain = LIBRARY.machines()["virt"].mem_mib
    assert (debug.machine.mem_mib, kasan.machine.mem_mib) == (plain, kasan.config.mem_mib)
    assert kasan.config.mem_mib > plain
    assert find_cell(LIBRARY, kasan.cell_id).machine == kasan.machine


def test_memory_for_a_config_leaves_boards_and_larger_guests_alone() -> None:
    config = replace(LIBRARY.configs()["kasan"], mem_mib=1000)
    guest = LIBRARY.machines()["virt"]
    large = replace(guest, mem_mib=2000, maxmem_mib=3000)
    board = LIBRARY.machines()["board"]
    assert machine_for(large, config) == large
    assert machine_for(board, config) == board
    grown = machine_for(replace(guest, mem_mib=500, maxmem_mib=800), config)
    assert (grown.mem_mib, grown.maxmem_mib) == (1000, 1000)
