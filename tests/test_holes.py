# SPDX-License-Identifier: GPL-2.0-only
"""What once came out PASS and must not: each test failed with the verdict of before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kvet.guest.boot import Boot, GuestReport
from kvet.guest.report_port import parse_lines
from kvet.model import Attempt, Conclusion, Ending, Finding, Floor, Role, Status
from kvet.run.attempt import through_door
from kvet.run.verdict import Evidence, Verdict, conclude, judge_attempt

OWN = Finding(kind="warning", title="WARNING in what_this_tree_prints")
FLOOR = Floor(any={"overlaps": 10})
MET = {"overlaps": 50}


def boot(ending: Ending = Ending.POWEROFF, detail: str = "") -> Boot:
    return Boot(
        ending=ending,
        console=Path("c"),
        report=Path("r"),
        seconds=1.0,
        boot_s=0.5,
        ready_s=0.7,
        banner="Linux version 6.12-kvet-1 (x)",
        argv=(),
        detail=detail,
    )


def said(complete: bool = True, **changes: Any) -> GuestReport:
    whole = GuestReport(complete=complete, tests={"churn": True}, exposure=MET)
    return replace(whole, **changes)


def judge(
    report: GuestReport,
    *console: Finding,
    ran: Boot | None = None,
    floor: Floor = FLOOR,
) -> Attempt:
    evidence = Evidence(
        boot=ran or boot(), report=report, console=console, release="6.12-kvet-1", floor=floor
    )
    return judge_attempt(Attempt(n=1), evidence)


def verdict(*attempts: Attempt) -> Verdict:
    """The verdict beside a baseline that prints a warning of its own."""
    baseline = judge(said(), OWN)
    return conclude(Role.CANDIDATE, attempts, wanted=len(attempts), baseline=[baseline])


def test_the_baselines_own_warning_alone_is_excused() -> None:
    assert verdict(judge(said(), OWN)).conclusion is Conclusion.PASS


@pytest.mark.parametrize("ending", [Ending.HANG, Ending.PANIC])
def test_a_known_warning_does_not_excuse_how_the_guest_ended(ending: Ending) -> None:
    attempt = judge(said(complete=False), OWN, ran=boot(ending, "no sign of life for 45 s"))
    found = verdict(attempt)
    assert found.conclusion is Conclusion.FAIL
    assert OWN.title not in found.new_titles


@pytest.mark.parametrize(
    ("ending", "report", "reason"),
    [
        (Ending.TIMEOUT, said(), "TIMEOUT"),
        (Ending.LOST, said(), "LOST"),
        (Ending.POWEROFF, said(complete=False), "before its report was complete"),
        (Ending.POWEROFF, said(tests={"churn": False}), "churn"),
    ],
)
def test_a_known_warning_makes_no_clean_run_of_a_broken_one(
    ending: Ending, report: GuestReport, reason: str
) -> None:
    found = verdict(judge(report, OWN, ran=boot(ending)))
    assert found.conclusion is Conclusion.ERROR
    assert (found.failures, found.runs) == (0, 0)
    assert reason in found.reason


@pytest.mark.parametrize(
    "state",
    [
        {"init_mm_lock": "held"},
        {"churn_alive": "1/2"},
        {"walkers_alive": "0/1"},
        {"readers_stuck": "1"},
        {"tainted": str(1 << 7)},
        {"debug_locks": "0"},
    ],
)
def test_a_known_warning_does_not_excuse_the_state_at_the_end(state: dict[str, str]) -> None:
    found = verdict(judge(said(state=state), OWN))
    assert found.conclusion is Conclusion.FAIL
    assert len(found.new_titles) == 1


def test_a_walk_that_a_slow_host_has_not_let_end_holds_the_lock_by_right() -> None:
    held = {"init_mm_lock": "held"}
    walking = {**MET, "walks": 14, "walks_done": 13}
    assert verdict(judge(said(state=held, exposure=walking))).conclusion is Conclusion.PASS
    ended = {**walking, "walks_done": 14}
    assert verdict(judge(said(state=held, exposure=ended))).conclusion is Conclusion.FAIL


def test_a_state_that_a_splat_explains_is_no_second_finding() -> None:
    state = {"tainted": str(1 << 9 | 1 << 7), "debug_locks": "0"}
    oops = Finding(kind="oops", title="Internal error in f")
    assert verdict(judge(said(state=state), oops)).new_titles == (oops.title,)


def test_a_state_that_was_told_before_the_guest_hung_counts() -> None:
    report = said(complete=False, state={"readers_stuck": "2"})
    attempt = judge(report, ran=boot(Ending.HANG, "no sign of life"))
    assert attempt.status is Status.FAIL
    assert "SIGKILL" in attempt.detail


def test_lockdep_that_is_off_in_the_baseline_too_says_nothing() -> None:
    off = judge(said(state={"debug_locks": "0"}))
    found = conclude(Role.CANDIDATE, [off], wanted=1, baseline=[off])
    assert found.conclusion is Conclusion.INCONCLUSIVE
    assert "lockdep" in found.reason


@pytest.mark.parametrize(
    ("state", "exposure", "word"),
    [
        ({"missing": "walker:wx,probe:pud_free_pmd_page"}, {}, "probe pud_free_pmd_page"),
        ({"missing": "site:pmd_clear"}, {}, "site pmd_clear"),
        ({"nmissed": "3"}, {}, "3 hits"),
        ({"quarantine": "none: no memory"}, {}, "no memory"),
        ({}, {"untracked": 2}, "2 tables"),
    ],
)
def test_what_the_oracle_lacked_is_named_and_no_pass(
    state: dict[str, str], exposure: dict[str, int], word: str
) -> None:
    attempt = judge(said(state=state, exposure={**MET, **exposure}))
    assert attempt.status is Status.PASS
    found = verdict(attempt)
    assert found.conclusion is Conclusion.INCONCLUSIVE
    assert word in found.reason


def test_a_complete_oracle_is_no_reason() -> None:
    state = {"missing": "none", "nmissed": "0", "quarantine": "12 of 4096 pages"}
    assert verdict(judge(said(state=state))).conclusion is Conclusion.PASS


def test_a_file_of_debugfs_that_the_series_takes_away_is_missed() -> None:
    gone = judge(said(state={"missing_doors": "door:check_wx_pages"}))
    found = verdict(gone)
    assert found.conclusion is Conclusion.INCONCLUSIVE
    assert "door check_wx_pages is missing" in found.reason
    # one that this tree does not have at all is not the series' doing
    both = conclude(Role.CANDIDATE, [gone], wanted=1, baseline=[gone])
    assert both.conclusion is Conclusion.PASS


SUSPECT = Finding(
    kind="table-freed-under-walk", title="freed under a walk", origin="module", suspicion=True
)
INSIDE = Finding(kind="memory-corrupt", title="bad in f", origin="module", door="internal")


@pytest.mark.parametrize(
    ("finding", "word"), [(SUSPECT, "suspicion"), (INSIDE, "public door")], ids=["rule", "door"]
)
def test_what_nothing_confirms_blames_nobody_and_passes_nobody(finding: Finding, word: str) -> None:
    attempt = judge(said(findings=(finding,)))
    assert attempt.status is Status.PASS
    found = verdict(attempt)
    assert found.conclusion is Conclusion.INCONCLUSIVE
    assert (found.failures, found.new_titles, found.unconfirmed) == (0, (), (finding.title,))
    assert word in found.reason


def test_an_access_confirms_a_suspicion() -> None:
    oops = Finding(kind="page-fault", title="fault in walk_pte_range")
    found = verdict(judge(said(findings=(SUSPECT,)), oops))
    assert found.conclusion is Conclusion.FAIL
    assert (found.new_titles, found.unconfirmed) == ((oops.title,), (SUSPECT.title,))


def test_a_file_of_debugfs_confirms_what_an_internal_call_showed() -> None:
    outside = replace(INSIDE, door="file")
    found = verdict(judge(said(findings=(INSIDE,))), judge(said(findings=(outside,))))
    assert found.conclusion is Conclusion.FAIL
    assert found.failures == 2
    assert found.unconfirmed == ()


def test_starvation_that_the_baseline_knows_is_the_hosts() -> None:
    starved = Finding(kind="starved", title="starved: walk-1", origin="module")
    lost = Finding(kind="memory-corrupt", title="memory-corrupt in f", origin="module")
    for finding, want in ((starved, Conclusion.PASS), (lost, Conclusion.FAIL)):
        both = judge(said(findings=(finding,)))
        assert conclude(Role.CANDIDATE, [both], wanted=1, baseline=[both]).conclusion is want
        assert verdict(both).conclusion is Conclusion.FAIL


def test_the_port_tells_suspicions_and_doors() -> None:
    report = parse_lines(
        [
            "# kvet suspicion table-freed-under-walk pmd_free_pte_page freed under a walk",
            "# kvet stack free pmd_free_pte_page+0x0/0xac",
            "# kvet door internal",
            "# kvet finding memory-corrupt vmap memory-corrupt in vmap",
            "# kvet door file",
        ]
    )
    first, second = report.findings
    assert (first.suspicion, first.door, first.frames[0].func) == (
        True,
        "internal",
        "pmd_free_pte_page",
    )
    assert (second.suspicion, second.door) == (False, "file")


@pytest.mark.parametrize("door", ["file", "internal"])
def test_an_access_says_by_which_door_its_walk_came_in(door: str) -> None:
    oops = Finding(
        kind="page-fault",
        title="fault in walk_pte_range",
        excerpt=(f"kvet: ACCESS to table 0x41234 by cat, given back 153 us ago, door {door}",),
    )
    died = judge(said(complete=False), through_door(oops), ran=boot(Ending.PANIC, "Oops"))
    found = verdict(died)
    want = Conclusion.FAIL if door == "file" else Conclusion.INCONCLUSIVE
    assert found.conclusion is want
    assert through_door(OWN) == OWN


EACH = Floor(each={"meet_pmd": 20, "meet_pud": 5}, any={"overlaps": 20, "backoffs": 20})


@pytest.mark.parametrize(
    ("exposure", "short"),
    [
        ({"meet_pmd": 20, "meet_pud": 5, "backoffs": 20}, ()),
        ({"meet_pmd": 90, "backoffs": 20}, ("meet_pud 0 of 5",)),
        (
            {"meet_pmd": 20, "meet_pud": 5, "backoffs": 19},
            ("overlaps 0 of 20 or backoffs 19 of 20",),
        ),
    ],
)
def test_each_floor_and_one_way_to_meet(exposure: dict[str, int], short: tuple[str, ...]) -> None:
    attempt = judge(said(exposure=exposure), floor=EACH)
    assert attempt.short_of == short
    assert attempt.exposed is not bool(short)
    found = verdict(attempt)
    assert found.conclusion is (Conclusion.INCONCLUSIVE if short else Conclusion.PASS)
    assert all(text in found.reason for text in short)


def test_without_a_floor_nothing_proves_a_race() -> None:
    assert not judge(said(), floor=Floor()).exposed
