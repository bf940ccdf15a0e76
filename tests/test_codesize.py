# SPDX-License-Identifier: GPL-2.0-only
"""Code of two builds: what counts as a difference, bytes, stack, both sides in columns."""

from __future__ import annotations

import html
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from kvet import proc
from kvet.build.toolchain import CROSS_COMPILE
from kvet.cost.code import code_record, compare_builds
from kvet.cost.code_text import code_report, side_lines
from kvet.cost.disassembly import Insn, disassemble, side_by_side, stack_bytes
from kvet.cost.vmlinux import changed_functions, read_binary, resized
from kvet.errors import UserError
from kvet.model import Build
from kvet.paths import PROJECT
from kvet.plan.library import Library, load_matrix
from kvet.plan.matrix import plan_cells
from kvet.report.html import html_report
from kvet.results.code_record import CodeRecord, CodeRow, FunctionChange, packed_row
from kvet.results.record import RunRecord
from kvet.run.cell_run import CellRun, measured_pairs
from tests.reports import sample_record, typed

COMMON = """
    .text
    .type caller, %function
caller:
    stp x29, x30, [sp, #-48]!
    sub sp, sp, #0x20
    adrp x0, table
    add x0, x0, :lo12:table
    ldr x1, [x0]
    cbz x1, 1f
    bl helper
1:  add sp, sp, #0x20
    ldp x29, x30, [sp], #48
    ret
    .size caller, . - caller
"""
HELPER = """
    .type helper, %function
helper:
    {body}
    ret
    .size helper, . - helper
"""
DATA = """
    .data
    .space {space}
    .type table, %object
table: .quad 1
    .size table, . - table
    .type key.7, %object
key.7: .space {key}
    .size key.7, . - key.7
"""


def link(folder: Path, name: str, *parts: str) -> Path:
    """An ELF file of assembly text; addresses are as the linker lays it out."""
    source, target = folder / f"{name}.s", folder / name
    source.write_text("".join(parts), encoding="utf-8")
    for argv in (
        (f"{CROSS_COMPILE}as", "-o", f"{source}.o", str(source)),
        (f"{CROSS_COMPILE}ld", "-e", "0", "-o", str(target), f"{source}.o"),
    ):
        done = proc.run(argv)
        assert done.returncode == 0, done.stderr.decode()
    return target


@pytest.fixture
def builds(tmp_path: Path) -> Mapping[str, Path]:
    """The same program: as it is, moved about, with a nop, and with a table of another size."""
    data = DATA.format(space=8, key=8)
    helper = HELPER.format(body="mov x0, #1")
    pad = "    .text\n    .space 4096\n"
    return {
        "base": link(tmp_path, "base", COMMON, helper, data),
        "moved": link(tmp_path, "moved", pad, helper, COMMON, DATA.format(space=24, key=8)),
        "nop": link(tmp_path, "nop", COMMON, HELPER.format(body="mov x0, #1\n    nop"), data),
        "other": link(tmp_path, "other", COMMON.replace("bl helper", "bl other"), helper,
                      HELPER.replace("helper", "other").format(body="nop"),
                      DATA.format(space=8, key=16)),
    }  # fmt: skip


def changes(builds: Mapping[str, Path], new: str) -> list[str]:
    old = read_binary(builds["base"])
    return [p.name for p in changed_functions(old, read_binary(builds[new]))]


def test_code_that_only_moved_is_the_same(builds: Mapping[str, Path]) -> None:
    assert changes(builds, "base") == changes(builds, "moved") == []


def test_a_nop_and_another_callee_are_differences(builds: Mapping[str, Path]) -> None:
    assert changes(builds, "nop") == ["helper"]
    assert changes(builds, "other") == ["caller", "other"]


def test_bytes_are_counted_by_name_without_the_compilers_numbers(
    builds: Mapping[str, Path],
) -> None:
    found = resized(read_binary(builds["base"]), read_binary(builds["other"]))
    assert [(r.name, r.is_function, r.old, r.new) for r in found] == [
        ("key", False, 8, 16),
        ("other", True, 0, 8),
    ]


def test_the_record_names_addresses_and_tells_the_stack(builds: Mapping[str, Path]) -> None:
    record = compare_builds(builds["base"], builds["other"])
    caller = next(f for f in record.functions if f.name == "caller")
    assert caller.stack == (80, 80)
    assert "|bl    helper\tbl    other" in caller.rows
    assert " ldr   x1, [x0]" in caller.rows
    added = next(f for f in record.functions if f.name == "other")
    assert (added.bytes, added.stack) == ((None, 8), (None, 0))
    assert added.rows == (">\tnop", ">\tret")


def test_addresses_are_named_where_they_are_made(builds: Mapping[str, Path]) -> None:
    binary = read_binary(builds["moved"])
    caller = next(s for s in binary.symbols if s.name == "caller")
    (told,) = disassemble([(binary, caller)])
    assert [i.text for i in told[2:7]] == [
        "adrp  x0, table",
        "add   x0, x0, table",
        "ldr   x1, [x0]",
        "cbz   x1, +0x1c",
        "bl    helper",
    ]
    assert compare_builds(builds["base"], builds["moved"]).functions == ()


def test_a_nop_alone_counts_where_the_series_touched_the_function(
    builds: Mapping[str, Path],
) -> None:
    assert compare_builds(builds["base"], builds["nop"]).functions == ()
    helper = next(s for s in read_binary(builds["nop"]).symbols if s.name == "helper")
    record = compare_builds(builds["base"], builds["nop"], {helper.address})
    assert record.functions[0].rows[1] == ">\tnop"
    assert record.functions[0].touched is True


def insns(*texts: str) -> list[Insn]:
    return [Insn(text, text.split("+")[0]) for text in texts]


def test_a_jump_that_only_moved_is_alike_and_far_rows_are_left_out() -> None:
    old = insns("a", "b", "c", "d", "b.ne +0x8", "x", "e", "f", "g", "h", "i")
    new = insns("a", "b", "c", "d", "b.ne +0xc", "y", "e", "f", "g", "h", "i")
    rows = side_by_side(old, new)
    assert (rows[0].mark, rows[0].left) == ("~", "2")
    assert (rows[3].mark, rows[3].left, rows[3].right) == (" ", "b.ne +0x8", "b.ne +0xc")
    assert (rows[4].mark, rows[4].left, rows[4].right) == ("|", "x", "y")
    assert (rows[-1].mark, rows[-1].left) == ("~", "2")
    assert side_by_side(old, old) == []


def test_stack_is_the_deepest_point() -> None:
    early = insns("stp   x29, x30, [sp, #-32]!", "ldp   x29, x30, [sp], #32", "ret")
    late = insns("sub   sp, sp, #0x1, lsl #12", "str   x19, [sp, #-16]!")
    assert (stack_bytes(early), stack_bytes([*early, *late])) == (32, 4112)


def entry(builds: Mapping[str, Path], variant: str = "mine") -> CodeRecord:
    told = compare_builds(builds["base"], builds["other"])
    return replace(told, kernel="k", config="timing", variant=variant, baseline="stock")


def coded(*code: CodeRecord) -> RunRecord:
    return replace(typed(sample_record()), run="r", code=code)


def test_the_report_fits_a_hundred_columns(builds: Mapping[str, Path]) -> None:
    record = coded(entry(builds))
    assert "harness.py cost r --code mine" in code_report(record)
    text = code_report(record, "mine")
    assert max(map(len, text.splitlines())) <= 100
    assert "key" in text and "caller: 40 -> 40 bytes, stack 80 -> 80" in text
    line = next(x for x in text.splitlines() if "bl    other" in x)
    assert line.split() == ["bl", "helper", "|", "bl", "other"]
    with pytest.raises(UserError, match="of nobody"):
        code_report(record, "nobody")
    with pytest.raises(UserError, match="compared no code"):
        code_report(coded())


def shown(*rows: str, left_out: int = 0) -> FunctionChange:
    return FunctionChange("f", False, (8, 8), (0, 0), rows, left_out)


def test_rows_come_back_as_they_were_packed() -> None:
    rows = [CodeRow(" ", "a", "a"), CodeRow(" ", "b +1", "b +2"), CodeRow("|", "x", "y")]
    rows += [CodeRow("<", "gone", ""), CodeRow(">", "", "new"), CodeRow("~", "7", "")]
    assert shown(*map(packed_row, rows)).side_by_side() == rows


def test_what_is_alike_stands_on_both_sides() -> None:
    rows = (" same", " b +0x4\tb +0x8", "<gone", "~3")
    new = side_lines(shown(">\tadrp  x0, init_mm"))
    assert new == [(">", " > adrp  x0, init_mm")]
    lines = side_lines(shown(*rows, left_out=2), 8)
    assert [" ".join(line.split()) for _, line in lines] == [
        "same same",
        "b +0x4 b +0x8",
        "gone <",
        "... 3 alike",
        "... 2 more rows",
    ]


def test_a_place_that_a_static_key_patches_names_its_key(tmp_path: Path) -> None:
    table = """
    .section __jump_table, "aw"
    .global __start___jump_table
    __start___jump_table:
    .long place - .
    .long slow - .
    .quad key.7 - . + 1
    .global __stop___jump_table
    __stop___jump_table:
"""
    body = "nop\nplace: nop\n    ret\nslow: mov x0, #2"
    data = DATA.format(space=8, key=16)
    plain = link(tmp_path, "plain", HELPER.format(body="nop\n    ret\n    mov x0, #2"), data)
    keyed = link(tmp_path, "keyed", HELPER.format(body=body), data, table)
    binary = read_binary(keyed)
    (helper,) = binary.by_name(functions=True)["helper"]
    (told,) = disassemble([(binary, helper)])
    assert [i.text for i in told[:3]] == ["nop", "nop   (key key +0xc)", "ret"]
    # a key is a difference even where the series wrote no line
    rows = compare_builds(plain, keyed).functions[0].rows
    assert ">\tnop   (key key +0xc)" in rows


def test_each_two_builds_are_compared_once_and_kept(
    builds: Mapping[str, Path], tmp_path: Path
) -> None:
    cells = plan_cells(load_matrix(PROJECT / "configs/cost.yaml"), Library())
    runs = [CellRun(cell, 1) for cell in cells[:3]]
    for run, name in zip(runs, ("base", "other", "other"), strict=True):
        folder = tmp_path / "cache" / name
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(builds[name], folder / "vmlinux")
        run.build = Build(name, folder, "6.12", 1.0, True)
    (entry,) = code_record(measured_pairs(runs))
    assert (entry.baseline, entry.variant) == ("stock", runs[1].cell.variant.name)
    assert entry.builds == ("base", "other")
    for run in runs:
        assert run.build is not None
        run.build.vmlinux.write_bytes(b"no longer an ELF file")
    assert code_record(measured_pairs(runs)) == (entry,)
    next((tmp_path / "cache/other").glob("code-*.json")).unlink()
    assert code_record(measured_pairs(runs)) == ()


def test_the_page_shows_sizes_and_both_sides(builds: Mapping[str, Path]) -> None:
    page = html_report(coded(entry(builds, "<mine>")))
    assert '<h2 id="code">' in page
    assert "<mine>" not in page and "&lt;mine&gt;: sizes and code beside stock" in page
    changed = re.search(r'<span class="changed">(bl .*?)</span>', page)
    assert changed is not None
    assert html.unescape(changed.group(1)).split() == ["bl", "helper", "|", "bl", "other"]
    assert '<h2 id="code">' not in html_report(coded())
