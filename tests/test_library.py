# SPDX-License-Identifier: GPL-2.0-only
"""The data folders of the project itself: what ships is complete, reviewable and documented."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kvet.config import PROJECT, Library, load_matrix, load_variant
from kvet.errors import UserError
from kvet.matrix import plan_cells
from kvet.model import Role, Variant

LIBRARY = Library()
MUTANTS = sorted((PROJECT / "tests/mutants").glob("*/variant.yaml"))
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


def test_mutants_are_enough_and_of_both_kinds() -> None:
    mutants = [load_variant(p) for p in MUTANTS]
    assert sum(m.expected == "FAIL" for m in mutants) >= 12
    assert sum(m.expected == "PASS" for m in mutants) >= 4
    shipped = LIBRARY.variants()
    bases = [shipped[name].patches for name in ("nolock", "trylock")]
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
