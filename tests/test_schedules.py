# SPDX-License-Identifier: GPL-2.0-only
"""Controlled schedules: what the guest says, what the record keeps, what reports make of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from kvet.cell_id import CellId
from kvet.errors import UserError
from kvet.explorations import Exploration
from kvet.guest.report_port import parse_lines
from kvet.plan.library import Library
from kvet.plan.matrix import find_cell
from kvet.report.not_covered import not_covered
from kvet.report.schedules import (
    diagram,
    drawn,
    explorations,
    failing_lines,
    schedule_id,
    statement,
)
from kvet.report.text import text_report
from kvet.run.attempt import guest_args
from kvet.run.plan import with_params
from kvet.run.reproduce import _one_schedule
from kvet.store import plain
from tests.reports import attempt, cell, draw, finding, sample_record, typed, typed_cell

CLEAN = """\
# kvet exploring pmd dump,block
# kvet schedule 0 F
# kvet schedule 1 W:W@walk_pgd_range+0x454/1/F
# kvet explore sides pmd dump,block
# kvet explore probes 303 functions 20 refused 1 loops 0
# kvet explore-unprobed refused walk_pgd_range+0x10
# kvet explore points 36 shared 1 unreached 0 repeats 2 timeouts 0
# kvet explore preemptions 0 run 2 of 2
# kvet explore preemptions 1 run 36 of 36
# kvet explore preemptions 2 run 284 of 284
# kvet explore rounds 322 us 161000 failed 0
# kvet explored all
"""
FAILING = """\
# kvet exploring pud dump,block
# kvet schedule 27 W:W@walk_pgd_range+0x454/1/F
# kvet explore points 35 shared 1 unreached 0 repeats 0 timeouts 0
# kvet explore preemptions 0 run 2 of 2
# kvet explore preemptions 1 run 24 of 35
# kvet explore rounds 27 us 13000 failed 1
# kvet explore failing W:W@walk_pgd_range+0x454/1/F
# kvet explore what an entry that was cleared is used as a pointer to a table
# kvet explore-event W load walk_pgd_range+0x450/0x748 1 PMD-entry 1000000043086003
# kvet explore-event W preempted F
# kvet explore-event F store pmd_free_pte_page+0x44/0xcc 1 PMD-entry 0
# kvet explore-event F barrier pmd_free_pte_page+0x48/0xcc 1 -
# kvet explore-event F call pmd_free_pte_page+0x50/0xcc 1 down_read
# kvet explore-event F call pmd_free_pte_page+0x54/0xcc 1 memset
# kvet explore-event F blocked W
# kvet explore-event W load ptdump_pte_entry+0x18/0x5c 1 ffff00ffc0000000
# kvet explored failed
"""


def explored(text: str) -> tuple[Exploration, ...]:
    return parse_lines(text.splitlines()).explorations


def test_a_clean_exploration_tells_how_many_of_how_many() -> None:
    (one,) = explored(CLEAN)
    assert one.sides == "pmd:dump,block"
    assert one.bounds == ((0, 2, 2), (1, 36, 36), (2, 284, 284))
    assert (one.points, one.rounds, one.repeats, one.failing) == (36, 322, 2, "")
    assert one.unprobed == ("refused walk_pgd_range+0x10",)
    assert statement(one) == (
        "pmd:dump,block: 322 of 322 schedules with at most 2 preemptions at 36 points, 0 failed "
        "(2000 rounds/s of guest time, 1 instructions without a probe)"
    )
    assert failing_lines(one) == []


def test_what_a_guest_died_in_is_the_schedule_that_it_named_last() -> None:
    (one,) = explored(CLEAN.partition("# kvet explore sides")[0])
    assert one.failing == "W:W@walk_pgd_range+0x454/1/F"
    assert "the guest died in W:W@walk_pgd_range+0x454/1/F" in statement(one)


def test_a_level_without_blocks_is_said_to_hold_nothing() -> None:
    (one,) = explored("# kvet exploring pmd dump,block\n# kvet explored nothing\n")
    assert one.failing == ""
    assert "nothing to explore" in statement(one)


def test_sides_that_a_kernel_lacks_are_not_said_to_be_explored() -> None:
    (one,) = explored("# kvet exploring pmd wx,block\n# kvet explored missing\n")
    assert statement(one) == "pmd:wx,block: this kernel lacks one of the sides, no schedule was run"


def test_where_no_memory_is_asked_for_that_is_said() -> None:
    told = (
        "# kvet exploring pmd dump,nomem\n"
        "# kvet explore what no memory is asked for\n"
        "# kvet explored nothing\n"
    )
    (one,) = explored(told)
    assert statement(one) == "pmd:dump,nomem: no memory is asked for, nothing to explore"


def test_the_record_gives_back_what_was_read() -> None:
    for one in explored(CLEAN + FAILING):
        assert msgspec.convert(plain(one), Exploration) == one


def test_the_diagram_has_one_column_a_thread_and_time_downwards() -> None:
    lines = diagram(explored(FAILING)[0])
    assert lines[0].index("W: walk") < lines[0].index("| F: free")
    kept = [line for line in lines if "load" in line or "store" in line or "call" in line]
    assert [line.startswith("load") for line in kept] == [True, False, False, True]
    assert "store PMD-entry = 0" in kept[1]
    assert "call down_read" in kept[2]
    assert not any("memset" in line or "barrier" in line for line in lines)
    assert any("-- sleeps --" in line for line in lines)
    assert lines[-1].startswith("Here W fails: an entry that was cleared")


def test_a_call_that_got_no_memory_is_told() -> None:
    at = "# kvet explore-event F store pmd_free_pte_page+0x44"
    refused = "# kvet explore-event F call pmd_free_pte_page+0x40/0xcc 1 __kmalloc_cache_noprof"
    quiet = explored(FAILING.replace(at, f"{refused}\n{at}"))
    assert not any("kmalloc" in line for line in diagram(quiet[0]))
    told = explored(FAILING.replace(at, f"{refused} 0\n{at}"))
    assert any("call __kmalloc_cache_noprof -> 0" in line for line in diagram(told[0]))


def test_the_step_that_fails_and_the_hand_overs_are_told_apart() -> None:
    found = drawn(explored(FAILING)[0])
    assert found is not None
    assert found.titles[0].startswith("W: walk")
    assert [step.mood for step in found.steps].count("fails") == 1
    assert found.steps[-1].mood == "fails"
    assert {"stopped here", "sleeps"} <= {s.what for s in found.steps if s.mood == "handed"}
    assert {step.column for step in found.steps} == {0, 1}


def test_a_failing_schedule_without_events_has_no_diagram() -> None:
    one = replace(explored(FAILING)[0], events=())
    assert drawn(one) is None
    assert len([line for line in failing_lines(one) if line]) == 1


def test_html_draws_the_round_as_a_table_and_marks_lines_of_the_series() -> None:
    record = record_with_schedules()
    failing = record["cells"][-1]["attempts"][0]["explorations"][-1]
    failing["events"] = [{**event, "location": "mm/a.c:3"} for event in failing["events"]]
    record["cells"][-1]["coverage"] = {"run": ["mm/a.c:3"], "not_run": [], "patches": []}
    page = draw("html", record)
    assert '<table class="schedule">' in page
    assert page.count('<td class="step fails') == 1
    assert page.count(" touched") >= 1
    assert "Marked: lines of the series." in page
    assert "Marked: lines" not in draw("html", record_with_schedules())


def record_with_schedules() -> dict[str, Any]:
    failed = attempt(1, "FAIL", [finding("it")])
    failed["explorations"] = [plain(one) for one in explored(CLEAN + FAILING)]
    made = cell("barrier", "candidate", "FAIL", [failed], new_titles=["it"])
    sample = sample_record()
    return {**sample, "cells": [*sample["cells"], made]}


@pytest.mark.parametrize("name", ["text", "html", "mail"])
def test_reports_say_how_many_draw_the_failing_one_and_give_its_replay(name: str) -> None:
    record = record_with_schedules()
    text = text_report(typed(record), width=140) if name == "text" else draw(name, record)
    assert "322 of 322 schedules" in " ".join(text.split())
    assert "store PMD-entry = 0" in text
    assert "--schedule pud:dump,block:W:W@walk_pgd_range+0x454/1/F" in text


def test_the_attempt_that_failed_speaks_for_its_sides() -> None:
    passed, failed = attempt(1, "PASS", []), attempt(2, "FAIL", [])
    one = explored(FAILING)[0]
    passed["explorations"] = [plain(replace(one, failing="", events=()))]
    failed["explorations"] = [plain(one)]
    ((number, found),) = explorations(typed_cell(cell("v", "candidate", "FAIL", [passed, failed])))
    assert number == 2
    assert schedule_id(found) == "pud:dump,block:W:W@walk_pgd_range+0x454/1/F"


CELL = "linux-6.12+nolock+debug"


def test_what_was_sampled_states_its_probability() -> None:
    more = "# kvet explore sampled 600 sides 2 steps 10 changes 2\n# kvet explored out-of-time\n"
    (one,) = explored(CLEAN.replace("# kvet explored all\n", more))
    assert (one.sampled, one.threads, one.steps, one.changes) == (600, 2, 10, 2)
    # 1 - (1 - 1/200) ** 600
    assert "600 more drawn at random" in statement(one)
    assert "depth 3 with a probability of at least 0.95" in statement(one)
    assert "the time ran out" in statement(one)


def test_the_round_with_normal_grace_periods_stands_beside_the_others() -> None:
    both = explored(f"{CLEAN}# kvet grace-periods normal\n{CLEAN}")
    assert [one.normal_gp for one in both] == [False, True]
    ran = attempt(1, "PASS", [])
    ran["explorations"] = [plain(one) for one in both]
    found = explorations(typed_cell(cell("v", "candidate", "PASS", [ran])))
    assert len(found) == 2
    assert "grace periods not expedited" in statement(found[1][1])


def test_levels_and_walks_under_controlled_schedules_are_covered() -> None:
    ran = attempt(1, "PASS", [])
    record = {**sample_record(), "cells": [cell("v", "candidate", "PASS", [ran])]}
    assert any("PUD level" in gap for gap in not_covered(typed(record)))
    both = CLEAN + CLEAN.replace("exploring pmd dump", "exploring pud wx")
    ran["explorations"] = [plain(one) for one in explored(both)]
    gaps = not_covered(typed(record))
    assert not any("PUD level" in gap or "W+X walk" in gap for gap in gaps)


def test_a_replay_is_the_same_cell_with_one_schedule() -> None:
    made = find_cell(Library(), CellId.parse(f"{CELL}+explore+ptdump-explore"))
    alone = _one_schedule(made, "pud:dump,block:F:F@a.isra.0+0x4/1/W,W@b+0x18/2/F")
    words = guest_args(alone, 1)
    assert "kvet.sides=pud:dump,block" in words
    assert "kvet.schedule=F:F@a.isra.0+0x4/1/W,W@b+0x18/2/F" in words
    assert alone.id == made.id


@pytest.mark.parametrize(
    "name", ["W", "pmd:dump,block:S1/2", "pmd:dump", "pmd:dump,block:W:W@f+12/1", "pmd:a b:W"]
)
def test_what_is_no_schedule_is_refused(name: str) -> None:
    made = find_cell(Library(), CellId.parse(f"{CELL}+explore+ptdump-explore"))
    with pytest.raises(UserError, match="not FORM:SIDES:NAME"):
        _one_schedule(made, name)


def test_a_race_has_no_schedules() -> None:
    made = find_cell(Library(), CellId.parse(f"{CELL}+virt+ptdump-race"))
    with pytest.raises(UserError, match="does not control schedules"):
        _one_schedule(made, "pmd:dump,block:W")


def test_parameters_of_the_command_line_replace_those_of_the_workload() -> None:
    made = find_cell(Library(), CellId.parse(f"{CELL}+explore+ptdump-explore"))
    changed = with_params(made, {"preemptions": 3, "points": "all"})
    words = guest_args(changed, 1)
    assert {"kvet.preemptions=3", "kvet.points=all"} <= set(words)
    assert changed.id == made.id
    race = find_cell(Library(), CellId.parse(f"{CELL}+virt+ptdump-race"))
    with pytest.raises(UserError, match="has no parameter preemptions"):
        with_params(race, {"preemptions": 3})
