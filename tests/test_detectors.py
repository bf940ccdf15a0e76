# SPDX-License-Identifier: GPL-2.0-only
"""The findings engine: its table, its ways through damaged logs, its limits, its explanations.

`pytest --update` rewrites the expectations of the consoles in tests/data/consoles,
of which the .log files are trimmed logs of our own boots (tests/provoke.py makes
them) and the .txt files were written by hand in the kernel's print formats.
"""

from __future__ import annotations

import io
import json
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import strategies as st

from kvet.cli.scan_log import ScanRequest, as_json, scan_log_main
from kvet.detectors import Trigger, blocks, engine, scan, scan_file, scan_text
from kvet.detectors.heads import find_hits, next_stop, settle
from kvet.detectors.splat import cut
from kvet.detectors.table import Row, table
from kvet.model import Finding

CONSOLES = Path(__file__).parent / "data" / "consoles"
LOGS = sorted(CONSOLES.glob("*.log"))
ROWS = {row.id: row for row in table().rows}
LINES = json.loads((CONSOLES / "lines.json").read_text(encoding="utf-8"))
TEXTS = {path.stem: path.read_text(encoding="utf-8") for path in CONSOLES.glob("*.txt")}
CLEAN = TEXTS["clean"]
STAMPED = {key: row for key, row in ROWS.items() if row.example.startswith("[ ")}
WHOLE = {key: row for key, row in STAMPED.items() if not (row.inside or row.cut or row.reboot)}
PROVOKED = {
    *("kasan", "kfence", "ubsan", "page-fault", "null-deref", "oops", "bug", "list-corruption"),
    *("panic", "stack-overflow", "warning", "refcount", "odebug", "lockdep", "atomic-sleep"),
    *("hung-task", "rcu-stall", "soft-lockup", "hard-lockup", "bad-page"),
}
_PREFIX = re.compile(r"^\[ *(\d+\.\d+)\](\[ *[TC]\d+\])? ?", re.MULTILINE)

by_row = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())
some_rows = st.sampled_from(list(ROWS.values()))


def titles(findings: list[Finding]) -> list[str]:
    return [finding.title for finding in findings]


def called(row: Row, caller: str) -> list[str]:
    """The lines of a row's example, all printed by `caller`."""
    lines = row.example.splitlines()
    return [_PREFIX.sub(rf"[ \1][{caller:>6}] ", line) for line in lines]


# --- the table ---


@by_row
def test_every_row_finds_its_example(row: Row) -> None:
    first, *more = scan_text(row.example)
    assert first.title == row.expect
    assert first.kind == row.kind.format(breach=row.expect.split()[0])
    assert all(finding.suppressed for finding in more)


@by_row
def test_no_row_shadows_another(row: Row) -> None:
    hits = find_hits(row.example)
    own = hits[0].row
    if not own.reboot:
        own, _ = settle(hits[0], cut(row.example, hits[0], next_stop(hits, 0)))
    assert own.id == row.id


def test_rows_are_unique_and_complete() -> None:
    assert len(ROWS) == len(table().rows)
    for row in ROWS.values():
        assert row.has in row.example and row.example and row.expect, row.id


@by_row
def test_the_live_trigger_sees_what_the_engine_sees(row: Row) -> None:
    found = [seen for seen in map(Trigger(), row.example.splitlines()) if seen]
    assert row.reboot or found
    assert not row.fatal or any(seen.fatal for seen in found)


@by_row
def test_titles_are_stable(row: Row) -> None:
    """Other addresses, CPUs, PIDs, offsets, times and compiler suffixes give the same title."""
    rnd = random.Random(row.id)
    text = row.example
    for pattern, make in (
        (r"(?<=\+0x)[0-9a-f]+(?=/)", lambda: f"{rnd.randrange(1, 0x400):x}"),
        (
            r"(?<=CPU#)\d+|(?<=CPU: )\d+|(?<=on cpu )\d+|(?<=on CPU)\d+",
            lambda: str(rnd.randrange(9)),
        ),
        (r"(?<=PID: )\d+|(?<=pid )\d+", lambda: str(rnd.randrange(2, 99999))),
        (r"(?<=ffff)[0-9a-f]{12}\b", lambda: f"{rnd.randrange(1 << 44, 1 << 48):012x}"),
    ):
        text = re.sub(pattern, lambda _, make=make: make(), text)  # type: ignore[misc]
    shift = rnd.randrange(10, 999)
    text = re.sub(r"\[ *(\d+)\.(\d{6})\]", lambda m: f"[{int(m[1]) + shift:5}.{m[2]}]", text)
    assert scan_text(text)[0].title == row.expect
    for suffix in (".isra.0", ".constprop.0", ".cold", ".llvm.1234567890"):
        suffixed = re.sub(r"(?<=\w)\+0x(?=[0-9a-f]+/)", f"{suffix}+0x", text)
        assert scan_text(suffixed)[0].title == row.expect


# --- what is no splat ---


def test_clean_boot_lines_are_no_findings() -> None:
    assert scan_text(CLEAN) == []
    assert [line for line in CLEAN.splitlines() if scan([line.encode(), b""])] == []


@pytest.mark.parametrize("line", LINES["user_space"])
def test_lines_of_user_space_do_not_count(line: str) -> None:
    assert scan_text(line + "\n") == []


def test_every_splat_of_a_log_is_found() -> None:
    blocks = []
    for number, row in enumerate(WHOLE.values(), 200):
        blocks.append("\n".join([*called(row, f"T{number}"), ""]))
        blocks.append(CLEAN[CLEAN.index("[    0.031415]") : CLEAN.index("INFO:    BL1")])
    found = scan_text("".join(blocks))
    assert {row.expect for row in WHOLE.values()} <= set(titles(found))
    assert [f.first_line for f in found] == sorted(f.first_line for f in found)


@pytest.mark.parametrize("callers", [("T71", "T72"), ("C0", "C1"), ("T71", "C1")])
@pytest.mark.parametrize(
    "pair",
    [("kasan-access", "warn"), ("deadlock-circular", "paging-request"), ("bug", "rcu-stall")],
)
def test_interleaved_cpus_are_told_apart(pair: tuple[str, str], callers: tuple[str, str]) -> None:
    one, two = (called(ROWS[key], who) for key, who in zip(pair, callers, strict=True))
    mixed = []
    while one or two:
        mixed += one[:2] + two[:1]
        one, two = one[2:], two[1:]
    found = scan_text("\n".join(mixed))
    assert sorted(titles(found)) == sorted(ROWS[key].expect for key in pair)
    assert not any(finding.corrupted for finding in found)


def _template(form: str) -> Callable[[str], str]:
    return lambda text: "".join(form.replace("{}", line) + "\n" for line in text.splitlines())


def _lava_yaml(text: str) -> str:
    quoted = text.replace("'", "''").splitlines()
    return "".join(f"- {{dt: '2024-01-02T03', lvl: target, msg: '{line}'}}\n" for line in quoted)


def _lava_json(text: str, between: str = "\n") -> str:
    records = ({"dt": "2024-01-02T03", "lvl": "target", "msg": m} for m in text.splitlines())
    return between.join(map(json.dumps, records))


DRESSINGS: dict[str, Callable[[str], str]] = {
    **{name: _template(form) for name, form in LINES["dressings"].items()},
    "lava yaml": _lava_yaml,
    "lava json": _lava_json,
    "one line of json": lambda text: "[" + _lava_json(text, ", ") + "]",
}


@pytest.mark.parametrize("dress", DRESSINGS.values(), ids=DRESSINGS.keys())
def test_dressings_come_off(dress: Callable[[str], str]) -> None:
    for row in WHOLE.values():
        assert row.expect in titles(scan_text(dress(row.example))), row.id


def test_broken_utf8_in_a_splat(tmp_path: Path) -> None:
    raw = ROWS["warn"].example.encode().replace(b"\n", b" \xc3\x28\xff\n")
    path = tmp_path / "console.log"
    path.write_bytes(raw)
    assert titles(scan_file(path)) == titles(scan(raw.splitlines(True))) == [ROWS["warn"].expect]


@pytest.mark.parametrize("row", WHOLE.values(), ids=WHOLE.keys())
def test_a_cut_splat_is_corrupted_and_a_whole_one_is_not(row: Row) -> None:
    if not row.stack:
        return
    lines = row.example.splitlines()
    head = find_hits(row.example)[0].number
    (alone, *_) = scan_text("\n".join(lines[:head]))
    assert alone.corrupted
    whole = scan_text(row.example)[0]
    assert not whole.corrupted or row.id == "el1-exception"


def test_after_a_fatal_splat_everything_is_suppressed_until_the_next_boot() -> None:
    oops, warning = called(ROWS["paging-request"], "T7"), called(ROWS["warn"], "T9")
    boot = ["[    0.000000][    T0] Booting Linux on physical CPU 0x0000000000 [0x000f0510]"]
    found = scan(oops + warning + boot + [re.sub(r"^\[ +", "[9", line) for line in warning])
    assert [(f.title, f.suppressed) for f in found] == [
        (ROWS["paging-request"].expect, False),
        (ROWS["warn"].expect, True),
        (ROWS["warn"].expect, False),
    ]


OOPS_AT_A_FREED_TABLE = """\
[    2.000000][   T41] Unable to handle kernel paging request at virtual address ffff000012345000
[    2.000000][   T41] Internal error: Oops: 0000000096000007 [#1] PREEMPT SMP
[    2.000000][   T41] kvet: ACCESS to table 0x5234 by cat, given back 8 us ago by pid 40, door file
[    2.000000][   T41] kvet: free by pid 40:
[    2.000000][   T40]  of_another_task+0x8/0x10
[    2.000000][   T41]  pud_free_pmd_page+0x0/0xac
[    2.000000][   T41]  vmap_range_noflush+0x1f8/0x4a0
[    2.000000][   T41] Modules linked in: kvet_race(O)
[    2.000000][   T41] pc : ptdump_pte_entry+0x20/0x40
[    2.000000][   T41] lr : walk_pte_range+0x10/0x80
[    2.000000][   T41] Call trace:
[    2.000000][   T41]  ptdump_pte_entry+0x20/0x40
[    2.000000][   T41]  walk_pgd_range+0x2f4/0x700
[    2.000000][   T41] ---[ end trace 0000000000000000 ]---
"""


def test_an_oops_at_a_freed_table_shows_the_stack_of_its_free_and_is_named_after_its_own() -> None:
    alone = [line for line in OOPS_AT_A_FREED_TABLE.splitlines() if " kvet: " not in line]
    alone = [line for line in alone if "_free_" not in line and "vmap_" not in line]
    for console in (OOPS_AT_A_FREED_TABLE, OOPS_AT_A_FREED_TABLE.replace("[   T40]", "[   T41]")):
        found = scan_text(console)[0]
        assert found.title == scan(alone)[0].title
        assert found.title.endswith(" in ptdump_pte_entry")
    frames = [(f.side, f.func, f.offset) for f in scan_text(OOPS_AT_A_FREED_TABLE)[0].frames]
    assert frames == [
        ("use", "ptdump_pte_entry", "0x20/0x40"),
        ("use", "walk_pgd_range", "0x2f4/0x700"),
        ("free", "pud_free_pmd_page", "0x0/0xac"),
        ("free", "vmap_range_noflush", "0x1f8/0x4a0"),
    ]
    assert {f.side for f in scan(alone)[0].frames} == {""}


def test_a_reboot_without_a_reason_is_a_finding_and_an_orderly_one_is_not() -> None:
    boot = "[    0.000000] Booting Linux on physical CPU 0x0000000000 [0x000f0510]\n"
    up = "[    3.000000] up\n"
    assert titles(scan_text(boot + up + boot)) == ["unexpected kernel reboot"]
    assert scan_text(boot + up + "[    4.000000] reboot: Restarting system\n" + boot) == []
    assert scan_text(boot + boot) == []


def test_repetitions_are_counted_out() -> None:
    text = "".join(
        f"[{second:5}.000000] BUG: workqueue lockup - pool cpus=2 stuck for {second}s!\n"
        for second in range(1, 5000)
    )
    assert len(scan_text(text)) == engine.MAX_ALIKE


def test_blocks_do_not_change_the_findings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [
        "\n".join([*called(row, f"T{200 + n}"), *CLEAN.splitlines()[8:20], ""])
        for n, row in enumerate(WHOLE.values())
    ]
    text = "".join(parts)
    path = tmp_path / "console.log"
    path.write_text(text, encoding="utf-8")
    want = scan_text(text)
    monkeypatch.setattr(blocks, "BLOCK", 5000)
    monkeypatch.setattr(engine, "LOOK_AHEAD", 20000)
    assert scan_text(text) == want
    assert scan_file(path) == want
    assert scan(text.splitlines()) == want
    path.write_text(DRESSINGS["one line of json"](text), encoding="utf-8")
    assert titles(scan_file(path)) == titles(want)


def test_one_endless_line_does_not_hide_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "console.log"
    path.write_bytes(b"x" * (10 << 20) + b"\n" + ROWS["bug"].example.encode())
    (found,) = scan_file(path)
    assert (found.title, found.first_line) == (ROWS["bug"].expect, 2)
    assert scan_text(path.read_text(encoding="utf-8")) == [found]


# --- consoles of our own boots ---


@pytest.mark.parametrize("path", LOGS, ids=lambda path: path.stem)
def test_consoles_of_our_own_boots(path: Path, update: bool) -> None:
    found = scan_file(path)
    got = [dict(as_json(f), frames=[f"{x.side} {x.func}".strip() for x in f.frames]) for f in found]
    expected = path.with_suffix(".json")
    if update:
        expected.write_text(json.dumps(got, indent=1) + "\n", encoding="utf-8")
    assert got == json.loads(expected.read_text(encoding="utf-8"))


def test_every_kind_that_can_be_provoked_is() -> None:
    expected = [json.loads(path.with_suffix(".json").read_text(encoding="utf-8")) for path in LOGS]
    kinds = {found["kind"] for log in expected for found in log if not found["suppressed"]}
    assert kinds >= PROVOKED


def test_scan_log_prints_one_json_line_a_file() -> None:
    out = io.StringIO()
    assert scan_log_main(ScanRequest(LOGS, True), out) == 0
    records = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [record["file"] for record in records] == [str(path) for path in LOGS]
    out = io.StringIO()
    assert scan_log_main(ScanRequest([CONSOLES / "double-lock.log"], False), out) == 1
    assert "possible deadlock in pmd_free_pte_page [lockdep]" in out.getvalue()
