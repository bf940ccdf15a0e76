# SPDX-License-Identifier: GPL-2.0-only
"""Two builds as code, with a real compiler and linker: what differs is named, lines are no code."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvet import proc
from kvet.build.toolchain import CROSS_COMPILE
from kvet.cost.same_code import Match, match_builds, match_cached
from kvet.errors import InfraError
from kvet.model import Build

SOURCE = r"""
#define WORDS_(n) #n
#define WORDS(n) WORDS_(n)
extern const char banner[];
__attribute__((noinline)) void warn(int line, const char *text) { asm volatile("" :: "r"(line), "r"(text)); }
int size = 5;
__attribute__((noinline)) int walk(int *table)
{
	warn(__LINE__, banner);
	table[1] = 1;
	table[2] = size;
	return 0;
}
int later(int *table)
{
	warn(__LINE__, banner);
	return walk(table) + 1;
}
asm(".pushsection .rodata\n.globl kallsyms_names\n"
    "kallsyms_names: .asciz \"initcall_" WORDS(__LINE__) "\"\n.popsection");
"""  # noqa: E501


def run(*argv: str | Path) -> None:
    done = proc.run([str(word) for word in argv])
    assert done.returncode == 0, done.stderr.decode()


def build(folder: Path, text: str, key: str, *, module: bytes = b"") -> Build:
    """A linked image of `text` and the release of `key`."""
    folder.mkdir()
    (folder / "a.c").write_text(text)
    # a kernel has the number of its build as well, and more than one name for its start
    number = f'const char linux_banner[] = "#{ord(key[0])} SMP";\n'
    (folder / "b.c").write_text(f'const char banner[] = "6.12-kvet-{key}";\n{number}')
    gcc = (f"{CROSS_COMPILE}gcc", "-O2", "-g", "-ffreestanding", "-fno-pic", "-c")
    run(*gcc, folder / "a.c", "-o", folder / "a.o")
    run(*gcc, folder / "b.c", "-o", folder / "b.o")
    names = ("--defsym=__pi__text=0x10000", "--defsym=_text=0x10000")
    link = ("-Ttext=0x10000", *names, "-e", "walk", "--build-id")
    parts = (folder / "a.o", folder / "b.o")
    run(f"{CROSS_COMPILE}ld", *link, "-o", folder / "vmlinux", *parts)
    run(f"{CROSS_COMPILE}objcopy", "-O", "binary", "-R", ".note.*", folder / "vmlinux",
        folder / "Image")  # fmt: skip
    (folder / "modules").mkdir()
    (folder / "modules/kvet.ko").write_bytes(module)
    return Build(key, folder, f"6.12-kvet-{key}", 1.0, False)


def match(tmp_path: Path, text: str, **more: bytes) -> Match:
    old = build(tmp_path / "old", SOURCE, "aaaa")
    return match_builds(old, build(tmp_path / "new", text, "bbbb", **more))


def test_the_release_of_a_build_is_no_code(tmp_path: Path) -> None:
    assert match(tmp_path, SOURCE) == Match(True)


def test_a_comment_moves_the_numbers_of_lines_alone(tmp_path: Path) -> None:
    found = match(tmp_path, SOURCE.replace("int later", "/* a\n * comment */\nint later"))
    assert found == Match(True, lines=1)


def test_a_number_that_is_no_line_is_code(tmp_path: Path) -> None:
    found = match(tmp_path, SOURCE.replace("table[1] = 1", "table[1] = 2"))
    assert found == Match(False, ("walk",))


def test_data_is_named(tmp_path: Path) -> None:
    assert match(tmp_path, SOURCE.replace("size = 5", "size = 6")) == Match(False, data=("size",))


def test_a_barrier_names_its_function_and_no_other(tmp_path: Path) -> None:
    """All that comes behind it has moved, and calls lead to other addresses; lines too."""
    text = SOURCE.replace("\ttable[2]", '\tasm volatile("dmb ishst" ::: "memory");\n\ttable[2]')
    assert match(tmp_path, text) == Match(False, ("walk",))


def test_a_module_counts(tmp_path: Path) -> None:
    with pytest.raises(InfraError, match="cannot compare"):  # it is no ELF file
        match(tmp_path, SOURCE, module=b"other")


def test_a_comparison_is_made_once(tmp_path: Path) -> None:
    old, new = build(tmp_path / "old", SOURCE, "aaaa"), build(tmp_path / "new", SOURCE, "bbbb")
    assert match_cached(old, new).same
    (new.folder / "Image").unlink()
    assert match_cached(old, new).same
