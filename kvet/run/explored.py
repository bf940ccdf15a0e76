# SPDX-License-Identifier: GPL-2.0-only
"""What a boot of controlled schedules left out, as reasons why its silence is no PASS."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from kvet.explorations import Exploration
from kvet.model import COUNTED_STATUSES, Attempt, Workload

NORMAL_GP_MOST = 1  # preemptions, where grace periods are not expedited


def schedule_doubts(workload: Workload, attempts: Sequence[Attempt]) -> list[str]:
    """Sides that a boot never came to, and explorations that their time ran out on too early."""
    params = workload.params
    if "sides" not in params or params.get("schedule"):
        return []
    counted = [a for a in attempts if a.status in COUNTED_STATUSES]
    return list(dict.fromkeys(text for a in counted for text in _lacking(a, workload, params)))


def _lacking(
    attempt: Attempt, workload: Workload, params: Mapping[str, str | int]
) -> Iterator[str]:
    told = {one.sides for one in attempt.explorations}
    for sides in str(params["sides"]).split("+"):
        if sides not in told:
            yield f"schedules of {sides} were not run"
    most = min(workload.complete, int(params.get("preemptions", workload.complete)))
    for one in attempt.explorations:
        if one.ending == "missing":
            yield f"schedules of {one.sides} were not run: this kernel lacks one of the sides"
            continue
        least = min(most, NORMAL_GP_MOST) if one.normal_gp else most
        # where no table is ever replaced there is nothing to run: the floor says so; a side
        # without memory differs from the one with it only where memory is asked for
        if one.ending != "nothing" and one.completed < least:
            yield _unfinished(one, least)


def _unfinished(one: Exploration, least: int) -> str:
    ran = sum(run for n, run, _ in one.bounds if n <= least)
    there = sum(count for n, _, count in one.bounds if n <= least)
    why = "the time ran out" if one.ending == "out-of-time" else "the guest did not end them"
    return (
        f"of {one.sides} only {ran} of {there} known schedules with at most {least} preemptions "
        f"ran: {why}"
    )
