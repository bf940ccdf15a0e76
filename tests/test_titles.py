# SPDX-License-Identifier: GPL-2.0-only
"""The findings of a run are told once each, whatever number of boots showed them."""

from __future__ import annotations

from typing import Any

from rich.console import Group

from kvet.report.text import splat_top
from kvet.report.titles import families, known_titles, titles_table
from kvet.terminal import drawn
from tests.reports import attempt, cell, finding, sample_record, typed, typed_finding


def _run() -> dict[str, Any]:
    read = finding("KASAN: use-after-free Read in free_it")
    fault = finding("BUG: unable to handle kernel paging request in free_it")
    follows = finding("WARNING in aftermath", suppressed=True)
    read["uptime_s"] = 2.5
    for one in (read, fault):
        one["family"] = "bad-access free_it"
    follows["family"] = "warning aftermath"
    return {
        **sample_record(),
        "cells": [
            cell("stock", "baseline", "INCONCLUSIVE", [attempt(1, "PASS", [])]),
            cell(
                "nolock",
                "control",
                "FAIL",
                [
                    attempt(1, "FAIL", [read, read, follows]),
                    attempt(2, "FAIL", [fault]),
                    attempt(3, "ERROR", [fault]),
                ],
            ),
            cell("trylock", "candidate", "FAIL", [attempt(1, "FAIL", [read])]),
        ],
    }


def test_a_title_is_counted_once_a_boot_and_variant() -> None:
    read, follows, fault = known_titles(typed(_run()))
    assert read.seen == {"nolock": 1, "trylock": 1}
    assert read.counted == {"nolock": 2, "trylock": 1}
    assert read.first[1:] == (1, 2.5)
    assert fault.seen == {"nolock": 1}
    assert (read.alone, follows.alone, read.baseline) == (True, False, False)


def test_faces_of_one_defect_stand_together() -> None:
    (family,) = (f for f in families(known_titles(typed(_run()))).values() if len(f) > 1)
    assert [known.kind for known in family] == ["kasan", "kasan"]
    text = drawn(Group(*titles_table(typed(_run()))), color=False, width=120)
    assert "  KASAN: use-after-free Read in free_it\n" in text
    assert "  = BUG: unable to handle kernel paging request in free_it\n" in text
    assert "new; nolock 1/2, trylock 1/1; first in " in text
    assert "aftermath" not in text


def test_what_the_baseline_shows_is_not_new() -> None:
    run = _run()
    run["cells"][0]["attempts"][0]["findings"] = [finding("BUG: old")]
    text = drawn(Group(*titles_table(typed(run))), color=False, width=120)
    assert "BUG: old\n      baseline has it; stock 1/1;" in text


def test_without_findings_there_is_no_table() -> None:
    assert list(titles_table(typed({**sample_record(), "cells": []}))) == []


def test_the_source_line_of_a_touched_frame_is_shown() -> None:
    lines = splat_top(typed_finding(finding("KASAN: x")), most=12)
    at = next(i for i, line in enumerate(lines) if "touched by the series" in line)
    assert lines[at + 1].strip() == "if (a < b && c)"
    assert sum("if (a < b" in line for line in lines) == 1
