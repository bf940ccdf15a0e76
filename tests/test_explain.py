# SPDX-License-Identifier: GPL-2.0-only
"""A deadlock is drawn, a use after free says who freed; other kinds say nothing more."""

from __future__ import annotations

from pathlib import Path

from kvet.detectors import scan_file
from kvet.detectors.chains import brought_locks, chains
from kvet.detectors.explain import explanation
from kvet.model import Finding

CONSOLES = Path(__file__).parent / "data" / "consoles"


def test_a_recursion_is_drawn_with_both_places() -> None:
    logs = [p for p in sorted(CONSOLES.glob("*double-lock*")) if p.suffix in (".log", ".txt")]
    found = [f for path in logs for f in scan_file(path) if f.kind == "lockdep"]
    assert found
    text = "\n".join(explanation(found[0]))
    assert "takes a lock that it already holds" in text
    assert "pmd_free_pte_page" in text
    assert "vmap_range_noflush" in text


def test_what_needs_no_explanation_gets_none() -> None:
    assert explanation(Finding(kind="oops", title="Oops in f")) == ()
    assert explanation(Finding(kind="kasan", title="KASAN: x in f")) == ()


def _circle() -> list[str]:
    return (CONSOLES / "lockdep-circle.txt").read_text(encoding="utf-8").splitlines()


def test_both_chains_of_a_circle_are_told() -> None:
    assert chains(_circle()) == [
        "#2 (init_mm).mmap_lock: free_tables <- worker",
        "#1 cpu_hotplug_lock: flip_key <- worker",
        "#0 &dev->state_lock: dump_state",
    ]
    now = ["", "stack backtrace:", "Call trace:", " dump_state+0x1/0x2", " caller+0x1/0x2"]
    assert chains(_circle() + now)[-1] == "now: dump_state <- caller"
    assert len(chains(_circle() + now)) == 3


def test_many_chains_keep_the_last() -> None:
    many = [line for n in range(9, 0, -1) for line in (f"-> #{n} (l{n}){{+}}:", f" f{n}+0x1/0x2")]
    assert [line[:2] for line in chains(many)] == ["#9", "#8", "#7", "#1"]


def test_the_locks_that_the_series_brings_in_are_named() -> None:
    locks = ["&dev->state_lock", "cpu_hotplug_lock", "(init_mm).mmap_lock", "&x->lock"]
    assert brought_locks(locks, ["\tmmap_read_lock(&init_mm);", "\tx->lock = 1;"]) == [locks[2]]
    assert brought_locks(locks, ["static DEFINE_MUTEX(state_lock);"]) == [locks[0]]
    assert brought_locks(locks, ["\tmutex_lock(&other->lock);"]) == []
    found = Finding(kind="lockdep", title="possible deadlock", excerpt=tuple(_circle()))
    told = explanation(found, ["\tmmap_write_lock(&init_mm);"])
    assert told[-1] == "  the series takes or adds: (init_mm).mmap_lock"
    assert "takes or adds" not in "".join(explanation(found))
