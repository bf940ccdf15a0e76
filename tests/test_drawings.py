# SPDX-License-Identifier: GPL-2.0-only
"""Lockdep reports are drawn, and side stacks of memory reports are read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kvet.detectors import scan_file, scan_text
from kvet.detectors.allocations import memory_history
from kvet.detectors.lockdep import explain
from tests.test_detectors import CONSOLES, TEXTS


@pytest.mark.parametrize("path", sorted(CONSOLES.glob("lockdep-*.txt")), ids=lambda path: path.stem)
def test_lockdep_reports_are_drawn(path: Path, update: bool) -> None:
    text = TEXTS[path.stem]
    drawn = explain(text.splitlines(), touched={"flip_key"})
    expected = path.with_suffix(".drawing")
    if update:
        expected.write_text("\n".join(drawn) + "\n", encoding="utf-8")
    assert drawn == expected.read_text(encoding="utf-8").splitlines()
    broken = re.sub(r"(?<=lock)\){", "\n){", text)
    assert explain(broken.splitlines(), touched={"flip_key"}) == drawn


def test_the_deadlock_of_our_own_boot_is_drawn() -> None:
    (found,) = scan_file(CONSOLES / "double-lock.log")
    assert explain(found.excerpt, touched={"pmd_free_pte_page"}) == [
        "kvet-churn/0 (pid 41): takes a lock that it already holds",
        "  (init_mm).mmap_lock   taken in vmap_range_noflush",
        "  `-> (init_mm).mmap_lock   wanted in pmd_free_pte_page *, while still held",
        "  * changed by the series",
    ]


def test_a_long_circle_is_folded() -> None:
    head, _, rest = TEXTS["lockdep-circle"].partition("-> #2")
    chain = [f"-> #{n} (lock_{n}){{+.+.}}:\n       taker_{n}+0x4/0x8\n" for n in range(30, 0, -1)]
    text = head + "".join(chain) + rest[rest.index("-> #0") :]
    drawn = explain(text.splitlines(), touched={"dump_state"})
    assert len(drawn) == 12
    assert "... 23 more ..." in drawn[6]
    assert "wanted in dump_state *" in drawn[10]


def test_who_allocated_and_who_freed() -> None:
    sides = memory_history(TEXTS["kasan-history"].splitlines())
    assert [(side.role, side.pid, side.func) for side in sides] == [
        ("allocated", 77, "makes_table"),
        ("freed", 78, "drops_table.isra.0"),
        ("queued", None, "queues_it"),
        ("allocated", 9, "wants_table"),
        ("freed", 10, "gives_back"),
    ]
    assert sides[0].frames[-1].module == "sample"
    (found,) = scan_text(TEXTS["kasan-history"])
    assert [frame.func for frame in found.frames] == ["note_page"]
    assert memory_history(found.excerpt)[:2] == sides[:2]
