# SPDX-License-Identifier: GPL-2.0-only
"""What gdb is told: where each section of a module went can be worked out from its symbols."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kvet import proc
from kvet.build.toolchain import CROSS_COMPILE
from kvet.guest.gdb_script import MODULES, marks, write_gdb_commands
from kvet.model import Build

CODE = """
static int twice; int table[4];
__attribute__((section(".init.text"))) int begin(void) { return twice; }
int first(void) { return table[0]; }
int second(void) { return first() + 1; }
"""


@pytest.fixture
def module(tmp_path: Path) -> Path:
    folder = tmp_path / "modules"
    folder.mkdir()
    (tmp_path / "m.c").write_text(CODE)
    path = folder / "kvet_ptdump.ko"
    argv = (f"{CROSS_COMPILE}gcc", "-O1", "-c", str(tmp_path / "m.c"), "-o", str(path))
    assert proc.run(argv).returncode == 0
    return path


def test_each_section_has_one_mark(module: Path) -> None:
    found = marks(module)
    assert found[".init.text"] == ("begin", 0)
    symbol, offset = found[".text"]
    assert (symbol == "first") == (offset == 0)
    assert found[".bss"][0] in ("twice", "table")


def test_the_command_file_names_what_gdb_needs(module: Path, tmp_path: Path) -> None:
    folder = tmp_path / "attempt"
    folder.mkdir()
    build = Build("key", tmp_path, "6.12-kvet", 0.0, True)
    write_gdb_commands(folder / "gdb.cmd", build, Path("/sources"))
    lines = (folder / "gdb.cmd").read_text().splitlines()
    assert f"file {tmp_path / 'vmlinux'}" in lines
    assert "set substitute-path /kvet/src /sources" in lines
    assert lines.index("target remote gdb.sock") > lines.index(f"cd {folder}")
    given = json.loads((folder / MODULES).read_text())
    assert given["modules"]["kvet_ptdump"]["path"] == str(module)
    assert given["types"] == str(module)
