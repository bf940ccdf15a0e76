# SPDX-License-Identifier: GPL-2.0-only
"""Every report says what the run did not exercise, and no more than that."""

from __future__ import annotations

from itertools import cycle

from kvet.report.not_covered import not_covered
from tests.reports import draw, sample_record, typed


def test_what_no_cell_ran_is_named() -> None:
    record = sample_record()
    told = "; ".join(not_covered(typed(record)))
    assert "real hardware" in told
    assert "16K and 64K pages" in told
    assert "memory hot-unplug" in told
    assert "natural speed" in told


def test_what_was_run_is_not_listed() -> None:
    record = sample_record()
    record["host"]["accel"] = "kvm"
    for cell, size in zip(record["cells"], cycle((4, 16, 64)), strict=False):
        cell.update(page_kib=size, vcpus=8, amplified=False)
        for attempt in cell["attempts"]:
            attempt["exposure"].update(pud_maps=1, wx_walks=1, hotplugs=1)
    assert not_covered(typed(record)) == ("more than 8 CPUs",)


def test_a_measurement_is_not_said_to_lack_races() -> None:
    record = sample_record()
    for cell in record["cells"]:
        cell["measures"] = True
    assert not any("hot-unplug" in gap or "amplifier" in gap for gap in not_covered(typed(record)))


def test_what_a_control_ran_does_not_cover_a_candidate() -> None:
    record = sample_record()
    candidates = [c for c in record["cells"] if c["role"] == "candidate" and c["runs"]]
    for cell in record["cells"]:
        ran = cell not in candidates or cell is candidates[0]
        for attempt in cell["attempts"]:
            attempt["exposure"].update(hotplugs=int(cell not in candidates), wx_walks=int(ran))
    gaps = not_covered(typed(record))
    assert any(gap.startswith("memory hot-unplug") and gap.endswith(")") for gap in gaps)
    others = {c["variant"] for c in candidates} - {candidates[0]["variant"]}
    walk = next(gap for gap in gaps if gap.startswith("the W+X walk"))
    assert set(walk.partition(", of ")[2].split(", ")) == others


def own(**facts: object) -> dict[str, object]:
    """A record of which every cell is of a workload that is a directory."""
    record = sample_record()
    for cell in record["cells"]:
        cell.update(does="sides", workload="pipe-resize", config="debug", amplified=False, **facts)
    return record


def test_a_workload_of_ones_own_is_not_said_to_lack_page_tables() -> None:
    told = "; ".join(not_covered(typed(own(not_covered=["pipes that are spliced"]))))
    assert "pipes that are spliced" in told
    assert "no schedule was controlled" in told
    assert "other kernel configurations than debug" in told
    assert "code that pipe-resize does not reach" in told
    assert "tables" not in told
    assert "amplifier" not in told


def test_every_report_ends_with_what_the_workload_leaves_out() -> None:
    record = own(not_covered=["pipes that are spliced"])
    for form in ("text", "html", "mail", "markdown", "b4"):
        drawn = " ".join(draw(form, record).split())
        assert "pipes that are spliced" in drawn
        assert "PUD level" not in drawn
