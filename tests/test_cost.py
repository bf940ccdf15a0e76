# SPDX-License-Identifier: GPL-2.0-only
"""Cost figures: what counts as a difference, how sure it is, and what the table says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from kvet.cost.figures import compare, figures, interval, spread, welch
from kvet.cost.tables import cost_report
from kvet.errors import InfraError, UserError
from kvet.paths import PROJECT
from kvet.plan.library import Library, load_matrix
from kvet.plan.matrix import plan_cells
from kvet.run.attempt import guest_args
from kvet.store import write_json
from tests.more import go
from tests.reports import sample_record, typed

Values = Mapping[str, Sequence[float]]
TABLE = "none.map_2m_table.typical"


def cell(variant: str, values: Values, status: str = "DONE", measures: bool = True) -> Any:
    boots = range(len(next(iter(values.values()))))
    metrics = [{n: {"value": v[i], "unit": "insns"} for n, v in values.items()} for i in boots]
    return {
        "kernel": "linux-6.12",
        "variant": variant,
        "config": "timing",
        "machine": "icount",
        "workload": "vmalloc-cost",
        "measures": measures,
        "attempts": [{"n": i + 1, "status": status, "metrics": m} for i, m in enumerate(metrics)],
    }


def record(*cells: Any) -> Any:
    host = {"qemu": "10.0.2", "compiler": "gcc 12", "kernels": {"linux-6.12": {"version": "6.12"}}}
    return whole({"run": "r", "host": host, "cells": list(cells)})


def whole(measured: Any) -> Any:
    """`measured` with all that a record on disk has."""
    full = sample_record()
    like = full["cells"][0]
    for made in measured["cells"]:
        boots = [{**like["attempts"][0], **a} for a in made["attempts"]]
        made.update({**like, **made, "attempts": boots})
    return {**full, **measured}


def differences(**variants: Sequence[float]) -> dict[str, Any]:
    made = record(*(cell(name, {TABLE: values}) for name, values in variants.items()))
    (group,) = figures(typed(made)).values()
    return {d.variant: d for d in compare(group, next(iter(variants)))}


def test_twenty_instructions_are_found_and_counted() -> None:
    found = differences(nolock=[471, 471, 471], extra=[491, 491, 491])["extra"]
    assert found.matters
    assert (found.size, found.low, found.high, found.p) == (20, 20, 20, 0)


def test_a_spread_gives_an_interval_that_holds_the_difference() -> None:
    found = differences(stock=[1000, 1001, 999, 1000], other=[1030, 1031, 1029, 1032])["other"]
    assert found.matters
    assert 29 <= found.low <= found.size <= found.high <= 32
    assert 0 < found.half <= 2


@pytest.mark.parametrize(
    "other",
    [
        [1004, 1004, 1004],  # below five instructions
        [1009, 1009, 1009],  # below one percent
        [1012, 1004, 1030],  # not all of the interval reaches the minimum
        [1000, 1000, 1000],
    ],
)
def test_what_is_below_the_minimum_effect_is_no_difference(other: list[float]) -> None:
    assert not differences(stock=[1000, 1000, 1000], other=other)["other"].matters


def test_a_saving_counts_as_well() -> None:
    found = differences(stock=[8866, 8866], other=[471, 471])["other"]
    assert (found.matters, found.size) == (True, -8395)


def test_one_boot_proves_nothing() -> None:
    found = differences(stock=[100], other=[900])["other"]
    assert (found.matters, found.p) == (False, 1)


def test_p_values_are_corrected_over_all_comparisons() -> None:
    found = differences(stock=[100, 101, 102], a=[103, 104, 106], b=[200, 201, 202])
    assert found["b"].p < found["a"].p <= found["a"].p_holm
    assert found["b"].p_holm == pytest.approx(min(1, 2 * found["b"].p))


def test_without_spread_there_is_nothing_to_resample() -> None:
    assert interval([5, 5], [3, 3]) == (2, 2)
    assert (welch([5, 5], [3, 3]), welch([5, 5], [5, 5])) == (0, 1)
    assert interval([5, 6, 7], [3, 3, 4]) == interval([5, 6, 7], [3, 3, 4])


def test_only_done_attempts_of_measuring_cells_count() -> None:
    values = {TABLE: [1.0, 2.0]}
    made = record(cell("a", values, status="ERROR"), cell("b", values, measures=False))
    assert figures(typed(made)) == {}


def test_spread_names_the_widest_figure() -> None:
    values = {TABLE: [1000, 1001, 1000], "none.dump.typical": [500, 500, 500]}
    (group,) = figures(typed(record(cell("stock", values)))).values()
    share, where = spread(group)
    assert share == pytest.approx(0.001, rel=0.01)
    assert where == "stock map_2m_table"


def ten_variants() -> Any:
    names = ["stock", "read-lock", "static-key-unsynced", *(f"v{i}" for i in range(7))]
    return record(
        *(
            cell(
                name,
                {
                    "none.nothing.typical": [0.0, 0.0],
                    TABLE: [500.0 + 100 * i, 500.0 + 100 * i],
                    "always.vmalloc_huge_2m_table.typical": [404982.0, 404983.0],
                    "always.vmalloc_huge_2m_table.own": [10131.0, 10132.0],
                    "always.vmalloc_huge_2m_table.small": [0.0, 0.0],
                },
            )
            for i, name in enumerate(names)
        )
    )


def test_the_table_fits_a_hundred_columns_and_says_what_it_counts() -> None:
    text = cost_report(typed(ten_variants()))
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 100
    assert "Guest instructions, never time" in text
    assert "difference to read-lock, no walker" in text
    assert "+100" in text
    assert "394851" in text  # what the caller waits for: all less its own
    assert "nothing" not in text
    assert "huge requests" not in text  # all zero: left out


def test_the_command_wants_a_run_that_measured(tmp_path: Path, capsys: Any) -> None:
    run = tmp_path / "r"
    write_json(run / "run.json", {})
    write_json(run / "results.json", ten_variants())
    words = ("cost", "r", "--out", str(tmp_path), "--against", "stock")
    assert go(*words) == 0
    assert "difference to stock" in capsys.readouterr().out
    write_json(run / "results.json", record())
    with pytest.raises(UserError, match="measured nothing"):
        go(*words)
    write_json(run / "results.json", {"run": "r"})
    with pytest.raises(InfraError, match="not a record"):
        go(*words)


def test_on_hardware_cycles_and_nanoseconds_have_columns_of_their_own() -> None:
    made = record(cell("stock", {TABLE: [100.0, 101.0], "none.map_2m_table.ns": [40.0, 41.0]}))
    for attempt in made["cells"][0]["attempts"]:
        attempt["metrics"][TABLE]["unit"] = "cycles"
        attempt["metrics"]["none.map_2m_table.ns"]["unit"] = "ns"
    text = cost_report(typed(made))
    assert "CPU cycles and nanoseconds." in text
    assert "no walker: CPU cycles from call to return" in text
    assert "no walker: nanoseconds from call to return" in text
    assert "instructions of" not in text
    assert "nanoseconds" not in cost_report(typed(ten_variants()))


@pytest.mark.parametrize("accel", ["tcg", "kvm"])
def test_the_guest_is_told_when_time_is_real(accel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kvet.run.attempt.resolve_accel", lambda wanted: accel)
    (planned, *_) = plan_cells(load_matrix(PROJECT / "configs/cost.yaml"), Library())
    assert ("kvet.accel=kvm" in guest_args(planned, 1)) == (accel == "kvm")
