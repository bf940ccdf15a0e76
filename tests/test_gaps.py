# SPDX-License-Identifier: GPL-2.0-only
"""Every report says what the run did not exercise, and no more than that."""

from __future__ import annotations

from kvet.gaps import not_covered
from tests.reports import sample_record


def test_what_no_cell_ran_is_named() -> None:
    record = sample_record()
    told = "; ".join(not_covered(record))
    assert "real hardware" in told
    assert "16K and 64K pages" in told
    assert "memory hot-unplug" in told
    assert "natural speed" in told


def test_what_was_run_is_not_listed() -> None:
    record = sample_record()
    record["host"]["accel"] = "kvm"
    for cell, size in zip(record["cells"], (4, 16, 64), strict=False):
        cell.update(page_kib=size, vcpus=8, amplified=False)
        for attempt in cell["attempts"]:
            attempt["exposure"].update(pud_maps=1, wx_walks=1, hotplugs=1)
    assert not_covered(record) == ("more than 8 CPUs",)


def test_a_measurement_is_not_said_to_lack_races() -> None:
    record = sample_record()
    for cell in record["cells"]:
        cell["measures"] = True
    assert not any("hot-unplug" in gap or "amplifier" in gap for gap in not_covered(record))
