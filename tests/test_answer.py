# SPDX-License-Identifier: GPL-2.0-only
"""The answer that every report begins with, and the look of what is as it must be."""

from __future__ import annotations

import re

import pytest

from kvet.report.answer import answer, subject
from kvet.report.facts import mood, outcome
from tests.reports import Cell, attempt, cell, draw, finding, sample_record, typed, typed_cell
from tests.test_contention import cost_record

OOPS = "BUG in walk_it"


def failing(variant: str, uptimes: list[float], **more: object) -> Cell:
    boots = [
        attempt(n, "FAIL", [{**finding(OOPS), "uptime_s": uptime}], OOPS)
        for n, uptime in enumerate(uptimes, start=1)
    ]
    boots.append(attempt(len(boots) + 1, "PASS", []))
    return cell(variant, "candidate", "FAIL", boots, new_titles=[OOPS], reason=OOPS, **more)


def passing(variant: str, boots: int = 2, **more: object) -> Cell:
    passed = [attempt(n, "PASS", []) for n in range(1, boots + 1)]
    return cell(variant, "candidate", "PASS", passed, **more)


@pytest.fixture
def record() -> Cell:
    """Two that hold on the same evidence, one that breaks, one that is open; its references."""
    made = sample_record()
    references = made["cells"][:2]
    undecided = cell("v4", "candidate", "INCONCLUSIVE", [attempt(1, "PASS", [])])
    made["cells"] = [*references, passing("v2"), failing("v1", [1.5, 2.5, 0.5]), passing("v3")]
    made["cells"].append(undecided)
    return made


def test_the_answer_says_what_holds_what_breaks_how_and_when(record: Cell) -> None:
    assert answer(typed(record)) == (
        "v1 fails, v4 is open, v2 and v3 hold. "
        "v2 and v3 hold: no finding in 2 boots of debug, the race run in each, a failure rate "
        "above 78% excluded at 95%; controls caught: nolock in 1/1. "
        f"v1 breaks: {OOPS} in 3 of 4 boots of debug, first after 1.5 s of uptime. "
        "v4 is undecided: race not exercised (debug)."
    )
    assert subject(typed(record)) == "v1 fails, v4 is open, v2 and v3 hold"


def test_of_many_variants_in_one_state_the_first_are_told_in_full(record: Cell) -> None:
    boots = [attempt(1, "PASS", [])]
    opened = [cell(f"u{n}", "candidate", "INCONCLUSIVE", boots) for n in range(8)]
    broken = [failing(f"b{n}", [1.0]) for n in range(6)]
    record["cells"] = [*record["cells"][:2], *opened, *broken]
    told = answer(typed(record))
    assert [f"u{n} is undecided" in told for n in range(8)] == [True] * 5 + [False] * 3
    assert [f"b{n} breaks" in told for n in range(6)] == [True] * 5 + [False]
    assert "1 more is broken. u0 is" in told
    assert told.endswith("3 more are open.")
    assert "u6 and u7 are open" in told


def test_what_was_tested_in_part_is_open_and_what_was_not_is_said_so(record: Cell) -> None:
    ended = [cell("v2", "candidate", "ERROR", [], config="kasan", reason="no attempt ran")]
    record["cells"] = [*record["cells"][:2], passing("v2"), *ended]
    assert subject(typed(record)) == "v2 is open"
    assert "v2 is undecided: no attempt ran (kasan); it holds in debug." in answer(typed(record))
    record["cells"] = [*record["cells"][:2], *ended]
    assert subject(typed(record)) == "v2 was not tested"
    assert "v2 was not tested: no attempt ran" in answer(typed(record))


def test_what_the_litmus_test_alone_refutes_is_told_once(record: Cell) -> None:
    proof = {"word": "REFUTED", "reason": "pmd.litmus: Sometimes 4/11"}
    refuted = passing("v1", proof=proof) | {"conclusion": "FAIL"}
    record["cells"] = [*record["cells"][:2], refuted]
    assert answer(typed(record)) == (
        "v1 breaks: REFUTED in the memory model, bound to this build (pmd.litmus: Sometimes 4/11); "
        "none of 2 boots of debug showed it."
    )


def test_a_variant_that_breaks_somewhere_holds_elsewhere(record: Cell) -> None:
    more = [failing("v1", [1.0], config="kasan"), passing("v1", config="lockdep")]
    record["cells"] = [*record["cells"][:2], record["cells"][3], *more]
    assert answer(typed(record)) == (
        f"v1 breaks: {OOPS} in 3 of 4 boots of debug, first after 1.5 s of uptime; "
        "the same in 1/2 of kasan; it holds in lockdep."
    )


def test_evidence_of_several_configurations_is_added_up(record: Cell) -> None:
    record["cells"] = [*record["cells"][:2], passing("v2"), passing("v2", 3, config="kasan")]
    assert "no finding in 2 boots of debug and 3 boots of kasan" in answer(typed(record))


def test_a_series_that_does_not_build_and_a_control_that_slips_through(record: Cell) -> None:
    title = "mm/vmalloc.c:3: error: expected ';'"
    bad = cell("v5", "candidate", "FAIL", [], reason=title, build={"finding": finding(title)})
    control = cell("nolock", "control", "INCONCLUSIVE", [attempt(1, "PASS", [])])
    record["cells"] = [bad, control]
    told = answer(typed(record))
    assert told.startswith(f"v5 does not build: {title} (debug).")
    assert told.endswith("The control nolock was NOT caught in debug: no PASS there counts.")


def test_a_control_that_did_not_run_did_not_slip_through(record: Cell) -> None:
    record["cells"] = [cell("v5", "candidate", "ERROR", []), cell("nolock", "control", "ERROR", [])]
    told = answer(typed(record))
    assert told.endswith("The control nolock was not tested in debug: no PASS there counts.")
    assert "NOT caught" not in told


def test_nothing_but_references_has_no_answer(record: Cell) -> None:
    record["cells"] = record["cells"][:2]
    assert answer(typed(record)).startswith("Nothing was judged")


def test_what_it_costs_is_told_where_it_was_measured(record: Cell) -> None:
    told = answer(typed(record), measured=typed(cost_record()))
    assert "Cost in guest" not in told  # nothing of this run was measured there
    told = answer(typed(cost_record()))
    assert re.search(r"Cost in guest instructions against stock: \w+ \+20 \(\+[\d.]+%\) in", told)


@pytest.mark.parametrize("name", ["text", "markdown", "mail", "html"])
def test_every_report_for_people_begins_with_the_answer(record: Cell, name: str) -> None:
    text = re.sub(r"<[^>]*>", "", draw(name, record).partition("<body>")[2] or draw(name, record))
    text = " ".join(text.replace("\\", "").split())
    told, table = text.index("v2 and v3 hold: no finding"), text.lower().index("variant")
    assert told < (text.index("role") if name == "text" else table), text[:600]
    # what they are judged by is below the line
    below = text[table:]
    assert below.index("v4") < below.index("stock") < below.index("nolock")


def test_what_is_as_it_must_be_looks_so(record: Cell) -> None:
    page = draw("html", record)
    row = page[page.index('<th scope="row">nolock') :].partition("</tr>")[0]
    assert 'class="pass"' in row and "<b>caught</b>" in row and "FAIL" not in row
    control = typed_cell(record["cells"][1])
    assert (outcome(control), mood(control)) == ("caught", "PASS")
    missed = typed_cell(cell("nolock", "control", "PASS", [attempt(1, "PASS", [])]))
    assert (outcome(missed), mood(missed)) == ("NOT CAUGHT", "FAIL")
    assert mood(typed_cell(record["cells"][0])) == "DONE"  # an idle baseline
    assert mood(typed_cell(record["cells"][3])) == "FAIL"


def test_the_subject_of_a_mail_names_what_failed_and_what_passed(record: Cell) -> None:
    assert "Subject: kvet: v1 fails, v4 is open, v2 and v3 hold (linux)" in draw("mail", record)
