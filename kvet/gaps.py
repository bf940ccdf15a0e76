# SPDX-License-Identifier: GPL-2.0-only
"""What a run did not exercise, read off its record: every report ends with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

PAGE_SIZES = (4, 16, 64)
# exposure counters without which a part of the race was not run at all
PARTS = {
    "pud_maps": "tables freed at the PUD level (blocks of 1 GiB)",
    "wx_walks": "the W+X walk",
    "hotplugs": "memory hot-unplug, which frees tables of the linear map "
    "(machine virt-hotplug, workload ptdump-hotunplug)",
}


def not_covered(record: Mapping[str, Any]) -> tuple[str, ...]:
    """Sentences without a full stop, the weightiest first."""
    return tuple(_gaps(record))


def _gaps(record: Mapping[str, Any]) -> Iterator[str]:
    cells = record["cells"]
    if record["host"].get("accel") != "kvm":
        yield (
            "real hardware: weak memory ordering of arm64 is hidden by an x86 host under emulation"
        )
    run = {cell.get("page_kib", PAGE_SIZES[0]) for cell in cells}
    others = [f"{size}K" for size in PAGE_SIZES if size not in run]
    if others:
        yield f"{' and '.join(others)} pages"
    yield f"more than {max((cell.get('vcpus', 1) for cell in cells), default=1)} CPUs"
    races = [cell for cell in cells if not cell.get("measures")]
    if races and all(cell["amplified"] for cell in races):
        yield "natural speed: every race was run with the amplifier"
    for counter, text in PARTS.items() if races else ():
        if not any(a["exposure"].get(counter) for cell in races for a in cell["attempts"]):
            yield text
