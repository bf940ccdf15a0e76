# SPDX-License-Identifier: GPL-2.0-only
"""The order of a run: what is built after what, and what is booted together."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from itertools import groupby
from typing import TypeVar

from kvet.build.builder import Builder
from kvet.build.lanes import cheapest_first
from kvet.build.request import BuildRequest
from kvet.build.worktree import open_lanes
from kvet.model import Role
from kvet.run.cell_run import CellRun

# batches of a wave: more would leave results.json long without news
WAVE = 8
T = TypeVar("T")
R = TypeVar("R")


def batches(
    runs: Sequence[CellRun], request: Callable[[CellRun], BuildRequest], builder: Builder
) -> Iterator[list[CellRun]]:
    """Cells that share one build, cheapest flip of the build tree first."""

    def lane_group(run: CellRun) -> tuple[str, str, int]:
        return (run.cell.kernel.name, run.cell.config.name, run.cell.machine.page_kib)

    for _, group in groupby(sorted(runs, key=lane_group), key=lane_group):
        left: dict[str, list[CellRun]] = {}
        for run in sorted(group, key=lambda r: r.role is not Role.BASELINE):
            left.setdefault(request(run).key, []).append(run)
        while left:
            wanted = {key: request(some[0]) for key, some in left.items()}
            yield left.pop(_next_build(wanted, left, builder))


def _next_build(
    requests: dict[str, BuildRequest], left: dict[str, list[CellRun]], builder: Builder
) -> str:
    """The key to build next: one that is in the cache, else the nearest to a lane's state."""
    for key in requests:
        if builder.find(key):
            return key
    first = next(iter(requests.values()))
    lanes = open_lanes(builder.lanes(first))
    by_tree = {some[0].series.tree_id: key for key, some in left.items() if some[0].series}
    return by_tree[cheapest_first(lanes, builder.repo(first.source), by_tree)[0]]


def waves(each: Iterable[T], ready: Callable[[T], bool]) -> Iterator[list[T]]:
    """What is `ready` for booting together, up to WAVE at a time; anything else by itself."""
    wave: list[T] = []
    for one in each:
        if wave and (len(wave) == WAVE or not ready(one)):
            yield wave
            wave = []
        if ready(one):
            wave.append(one)
        else:
            yield [one]
    if wave:
        yield wave


def built_waves(
    each: Iterable[T], ready: Callable[[T], bool], build: Callable[[T], R]
) -> Generator[list[tuple[T, R]]]:
    """The waves of `each`, all of one built before it is given."""
    for wave in waves(each, ready):
        yield [(one, build(one)) for one in wave]
