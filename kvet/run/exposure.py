# SPDX-License-Identifier: GPL-2.0-only
"""Whether a race was run: exposure counters of one boot against the floor of its cell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kvet.model import COUNTED_STATUSES, Attempt, Floor, Variant, Workload

# walks of the W+X check more than checks, in one boot, that are no chance
BEGUN_AGAIN = 8


def floor_for(variant: Variant, workload: Workload) -> Floor:
    """The exposure floor of a cell: the variant's own where it states one."""
    return variant.floor or workload.floor


def shortfalls(exposure: Mapping[str, int], floor: Floor) -> tuple[str, ...]:
    """What kept a boot below its floor, as `counter COUNT of LEAST`; empty when it was reached.

    Without a floor nothing proves a race, and that is what is said.
    """
    if not floor:
        return ("no floor is stated",)

    def text(name: str, least: int) -> str:
        return f"{name} {exposure.get(name, 0)} of {least}"

    short = [text(*item) for item in floor.each.items() if exposure.get(item[0], 0) < item[1]]
    if floor.any and all(exposure.get(name, 0) < least for name, least in floor.any.items()):
        short.append(" or ".join(text(*item) for item in floor.any.items()))
    return tuple(short)


def restart_doubts(attempts: Iterable[Attempt]) -> list[str]:
    """A check for W+X mappings that makes more than its one walk begins again when it is disturbed.

    Freers rest now and then, so that a race of seconds does not show whether it ever ends.
    """
    for attempt in attempts:
        walks, checks = (attempt.exposure.get(name, 0) for name in ("walks_wx", "wx_walks"))
        if attempt.status in COUNTED_STATUSES and walks >= checks + BEGUN_AGAIN:
            return [
                f"walks begin again: {walks} in {checks} checks for W+X mappings; "
                "that each ends while tables are freed without a rest is not shown"
            ]
    return []
