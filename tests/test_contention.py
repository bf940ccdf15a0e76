# SPDX-License-Identifier: GPL-2.0-only
"""Waits of freers and walkers: read from a record, in tables, in the page and in the mail."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import pytest

from kvet.cost.contention import frequency, histogram, phases, small_share
from kvet.cost.figures import Figures, figures
from kvet.cost.plots import plots_of
from kvet.cost.tables import cost_report
from kvet.report.html import html_report
from tests.reports import cell as report_cell
from tests.reports import draw, sample_record, typed

PAIR = {"none.map_2m_table.typical": 471.0, "always.map_2m_table.own": 471.0}


def boot(n: int, metrics: dict[str, tuple[float, str]]) -> dict[str, Any]:
    return {
        "n": n, "status": "DONE", "ending": "POWEROFF", "seconds": 3.0, "boot_seconds": 1.0,
        "ready_seconds": 1.0, "seed": n, "console": "", "findings": [], "exposure": {},
        "exposed": False, "state": {}, "detail": "", "provenance": {},
        "metrics": {name: {"value": v, "unit": u} for name, (v, u) in metrics.items()},
    }  # fmt: skip


def phase(gap: str, *, walks: int, small: int, longest: int) -> dict[str, tuple[float, str]]:
    told = {
        "freer.n": (100, "calls"),
        "freer.mean": (500, "insns"),
        "freer.longest": (longest, "insns"),
        "freer.below_2e9": (90, "calls"),
        "freer.below_2e19": (10, "calls"),
        "walker.n": (walks, "calls"),
        "blocks.asked": (100, "requests"),
        "blocks.small": (small, "requests"),
        "phase.length": (5_000_000, "insns"),
        "phase.clock": (10_000_000, "ticks"),
        "tables.most": (8, "pages"),
        "lock_read.contentions": (3, "times"),
        "lock_read.wait_longest": (400_000, "ticks"),
    }
    return {f"gap_{gap}.{name}": value for name, value in told.items()}


def measured(variant: str, role: str, boots: list[dict[str, Any]], workload: str) -> Any:
    made = report_cell(variant, role, "PASS", boots, config="timing")
    return {**made, "workload": workload, "machine": "icount", "measures": True}


def contention_record() -> Any:
    def boots(small: int) -> list[dict[str, Any]]:
        return [
            boot(n, phase("never", walks=0, small=0, longest=900)
                 | phase("1000", walks=20, small=small, longest=400_000 + n))
            for n in (1, 2)
        ]  # fmt: skip

    cells = [
        measured("read-lock", "candidate", boots(0), "vmalloc-contention"),
        measured("trylock", "candidate", boots(40), "vmalloc-contention"),
    ]
    return {**sample_record(), "run": "waits", "cells": cells}


def cost_record(extra: float = 20.0) -> Any:
    def boots(more: float) -> list[dict[str, Any]]:
        return [boot(n, {k: (v + more, "insns") for k, v in PAIR.items()}) for n in (1, 2)]

    cells = [
        measured("stock", "baseline", boots(0), "vmalloc-cost"),
        measured("mine", "candidate", boots(extra), "vmalloc-cost"),
    ]
    return {**sample_record(), "run": "costs", "cells": cells}


def group(record: Any) -> list[Figures]:
    (found,) = figures(typed(record)).values()
    return found


def test_a_phase_tells_shares_frequency_and_distribution() -> None:
    _, trylock = group(contention_record())
    assert phases([trylock]) == ["never", "1000"]
    assert (small_share(trylock, "never"), small_share(trylock, "1000")) == (0, 0.4)
    assert (frequency(trylock, "never"), frequency(trylock, "1000")) == (0, 2)
    assert histogram(trylock, "1000", "freer") == {9: 180, 19: 20}
    assert histogram(trylock, "1000", "walker") == {}


def test_a_wait_of_one_boot_alone_is_in_the_distribution() -> None:
    record = contention_record()
    record["cells"][1]["attempts"][1]["metrics"]["gap_1000.freer.below_2e25"] = {
        "value": 1,
        "unit": "calls",
    }
    assert histogram(group(record)[1], "1000", "freer") == {9: 180, 19: 20, 25: 1}


def test_the_tables_state_the_worst_of_all_boots() -> None:
    text = cost_report(typed(contention_record()))
    row = next(x for x in text.splitlines() if x.startswith("gap 1 M") and "400002" in x)
    assert row.split()[-2:] == ["400002", "400002"]
    assert "lock of init_mm for read: longest wait, ticks of the guest's clock" in text
    assert "for write" not in text  # nothing was said of it
    assert "Widest spread" not in text


def test_on_hardware_waits_are_nanoseconds() -> None:
    record = contention_record()
    for told in (a["metrics"] for c in record["cells"] for a in c["attempts"]):
        for metric in told.values():
            metric["unit"] = metric["unit"].replace("insns", "ns")
    text = cost_report(typed(record))
    assert "freer: nanoseconds of a block to be mapped, mean" in text
    assert "instructions of" not in text


def test_every_plot_is_xml_that_names_itself_and_its_colours() -> None:
    found = [
        *plots_of(group(contention_record()), "", "a"),
        *plots_of(group(cost_record()), "stock", "b"),
    ]
    assert len(found) == 3 + 2
    for plot in found:
        root = ElementTree.fromstring(plot.svg)
        assert root.get("role") == "img"
        words = {e.get("id"): e.text for e in root if e.tag.endswith(("title", "desc"))}
        assert words == {f"{plot.name}-t": plot.title, f"{plot.name}-d": plot.description}
        assert "var(--text)" in plot.svg
        assert not re.search(r"#0001|#0002|<script|<style|https?://(?!www\.w3\.org)", plot.svg)
    ids = [i for plot in found for i in re.findall(r' id="([^"]+)"', plot.svg)]
    assert len(ids) == len(set(ids))


def test_a_plot_tells_differences_in_words_too() -> None:
    plot = next(iter(plots_of(group(cost_record()), "stock", "p")))
    assert "mine +20 (95 % interval +20 to +20)" in plot.description
    assert plot.svg == next(iter(plots_of(group(cost_record()), "stock", "p"))).svg


def test_the_page_has_plots_and_tables_of_what_was_measured() -> None:
    page = html_report(typed(cost_record()))
    assert page.count("<svg ") == 2
    assert "difference to stock, no walker" in page
    assert "<td>+20</td>" in page
    assert "<svg" not in html_report(typed(sample_record()))
    beside = draw("html", sample_record(), contention_record())
    assert "huge requests that got small pages" in beside


@pytest.mark.parametrize("beside", [False, True])
def test_the_mail_has_the_lines_of_its_candidates(beside: bool) -> None:
    record = cost_record()
    text = draw("mail", *((sample_record(), record) if beside else (record,)))
    assert "Cost in guest instructions, never time (costs: linux, timing, icount," in text
    assert "difference to stock, no walker:" in text
    row = next(x for x in text.splitlines() if x.startswith("  map_2m_table"))
    assert row.split() == ["map_2m_table", "+20"]
    prose = [x for x in text.splitlines() if "instructions" in x]
    assert max(map(len, prose)) <= 72


def test_the_mail_says_who_waits() -> None:
    text = draw("mail", contention_record())
    assert "huge requests that got small pages, %:" in text
    assert "freer: instructions of a block to be mapped, longest:" in text
    assert "mean:" not in text


def test_a_mail_without_measurement_is_silent_about_cost() -> None:
    assert "Cost in" not in draw("mail", sample_record())
    slower = draw("mail", cost_record(extra=1.0))
    assert "difference to" not in slower
