# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's own selftests: which of those that make names were built, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kvet.build.selftests import build_selftests, built_selftests
from kvet.errors import UserError

ELF = b"\x7fELF"


def fake_make(tmp_path: Path, directory: str, build: Callable[[Path], list[str]]) -> Any:
    """A make run in a lane at `tmp_path`; `build` puts programs in a directory and says lines."""
    made = tmp_path / "selftests"

    def run(*argv: str, log: Path) -> None:
        made.mkdir(exist_ok=True)
        if "emit_tests" in argv:
            make.tail.extend(build(made))

    lane = SimpleNamespace(folder=tmp_path, source=lambda path: tmp_path / "src" / path)
    home = tmp_path / "src" / "tools/testing/selftests/futex"
    home.mkdir(parents=True)
    (home / "Makefile").write_text("")
    config = SimpleNamespace(selftests=(directory,))
    request = SimpleNamespace(config=config, toolchain=SimpleNamespace(make_args=()))
    make = SimpleNamespace(
        request=request, lane=lane, tail=[], jobs=1, run=run, of_kernel=lambda *t: ("make", *t)
    )
    return make


def test_tests_that_make_names_and_that_were_built_are_taken(tmp_path: Path) -> None:
    def build(folder: Path) -> list[str]:
        (folder / "one").write_bytes(ELF)
        (folder / "helper").write_bytes(ELF)
        return ["kvet:one", "kvet:lost", "kvet:run.sh", "  CC  one"]

    make = fake_make(tmp_path, "futex", build)
    build_selftests(make)
    assert [p.name for p in built_selftests(make.lane, make.request.config)] == ["one"]


def test_where_a_script_starts_them_every_program_is_taken(tmp_path: Path) -> None:
    def build(folder: Path) -> list[str]:
        (folder / "one").write_bytes(ELF)
        (folder / "one.o").write_bytes(ELF)
        (folder / "settings").write_text("timeout=9")
        return ["kvet:run_vmtests.sh"]

    make = fake_make(tmp_path, "futex", build)
    build_selftests(make)
    assert [p.name for p in built_selftests(make.lane, make.request.config)] == ["one"]


def test_a_directory_that_the_tree_lacks_is_named(tmp_path: Path) -> None:
    make = fake_make(tmp_path, "none", lambda folder: [])
    with pytest.raises(UserError, match="this tree has no tools/testing/selftests/none"):
        build_selftests(make)


def test_where_nothing_builds_the_first_error_is_told(tmp_path: Path) -> None:
    said = ["futex/a.c:3:5: error: 'x' undeclared (first use in this function)"]
    make = fake_make(tmp_path, "futex", lambda folder: said)
    with pytest.raises(UserError, match="selftests/futex does not build: .*undeclared"):
        build_selftests(make)
