# SPDX-License-Identifier: GPL-2.0-only
"""Whose a data race is that KCSAN reports, by file and line of its two accesses."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from kvet.model import Finding, Frame
from kvet.run.data_races import ELSEWHERE, weighed

ABOUT = ("mm/pagewalk.c", "arch/arm64/mm/*")
WALK = Frame("walk_pgd_range", "0x1c8/0x5b0", location="mm/pagewalk.c:145")
FREE = Frame("pmd_free_pte_page", "0x40/0x100", location="arch/arm64/mm/mmu.c:1330")
READ = Frame("pmd_leaf", location="arch/arm64/include/asm/pgtable.h:40", touched=True)
TICK = Frame("tick_sched_timer", "0x20/0xa0", location="kernel/time/tick-sched.c:90")
CALL = Frame("vfs_read", "0x20/0xa0", location="fs/read_write.c:480")


def race(title: str) -> Finding:
    return Finding(kind="kcsan", title=f"KCSAN: data-race in {title}")


@pytest.mark.parametrize(
    ("title", "frames", "changed"),
    [
        ("tick_sched_timer / walk_pgd_range", (TICK, CALL, WALK), ()),
        ("pmd_free_pte_page", (FREE, CALL), ()),
        ("tick_sched_timer / vfs_read", (TICK, CALL), ("fs/read_write.c",)),
    ],
)
def test_a_race_in_a_file_that_is_looked_at_is_a_suspicion(
    title: str, frames: Sequence[Frame], changed: Sequence[str]
) -> None:
    one = weighed(race(title), frames, ABOUT, changed)
    assert (one.suspicion, one.suppressed) == (True, False)


def test_a_race_of_a_line_of_the_series_is_a_finding() -> None:
    found = race("pmd_free_pte_page / walk_pgd_range")
    assert weighed(found, (FREE, CALL, READ, WALK), ABOUT, ()) == found


def test_a_race_elsewhere_is_set_aside_and_says_why() -> None:
    one = weighed(race("tick_sched_timer / vfs_read"), (TICK, WALK, CALL), ABOUT, ("mm/ptdump.c",))
    assert (one.suspicion, one.suppressed, one.notes) == (False, True, (ELSEWHERE,))


def test_a_race_whose_place_is_not_known_stays_a_finding() -> None:
    found = race("tick_sched_timer / vfs_read")
    assert weighed(found, (Frame("vfs_read", "0x20/0xa0"),), ABOUT, ()) == found


def test_other_findings_stay_as_they_are() -> None:
    found = Finding(kind="oops", title="Oops in walk_pgd_range")
    assert weighed(found, (WALK,), ABOUT, ()) == found
