# SPDX-License-Identifier: GPL-2.0-only
"""Which lane builds what: the one that has least to compile for it, or a new one."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from kvet.build.spare import unchanged
from kvet.build.worktree import Lane, fork_lane, new_lane, open_lanes
from kvet.model import SourceTree
from kvet.source.git import Repo

# a lane is forked when the cheapest one would recompile more than this share of its objects:
# so many compilations take as long, from ccache, as the copy
FORK_SHARE = 0.05
MAX_LANES = 3


def cost(lane: Lane, repo: Repo, tree: str) -> int:
    """About how many objects a flip of `lane` to `tree` compiles, were none of them spared."""
    counts = lane.dependents()
    return sum(max(1, counts.get(path, 1)) for path in repo.changed(lane.tree, tree))


def _cheapest(lanes: Sequence[Lane], repo: Repo, tree: str) -> list[tuple[int, int]]:
    """Cost and index of each lane, the cheapest first; what is spared is asked if it matters."""
    costs = sorted((cost(lane, repo, tree), i) for i, lane in enumerate(lanes))
    if costs[0][0] <= _few(lanes[costs[0][1]]):
        return costs
    return sorted((c - len(unchanged(lanes[i], repo, tree)), i) for c, i in costs)


def _few(lane: Lane) -> float:
    return FORK_SHARE * lane.dependents().get("*", 0)


def choose_lane(
    folder: Path, repo: Repo, source: SourceTree, tree: str, *, fork: bool = True
) -> Lane:
    """The lane that reaches `tree` cheapest; forks a new one when all would rebuild much.

    Without `fork` it takes what there is: for a copy that nobody will build in again. The
    caller holds the lock of `folder`: a lane that is half made, or a copy for foreign
    code, was left by a crash.
    """
    half = (sub for sub in folder.glob("lane-*") if not (sub / "lane.json").exists())
    for left in (*half, *folder.glob("foreign-*")):
        shutil.rmtree(left, ignore_errors=True)
    lanes = open_lanes(folder)
    if not lanes:
        return new_lane(folder / "lane-1", source.path, source.tree_id)
    costs = _cheapest(lanes, repo, tree)
    least, best = costs[0]
    if not fork or least <= _few(lanes[best]):
        return lanes[best]
    if len(lanes) >= MAX_LANES:
        # of those that are about as dear the one that nobody used for longest
        return min((lanes[i] for own, i in costs if own <= 2 * least), key=Lane.last_used)
    return fork_lane(lanes[best], folder / f"lane-{len(lanes) + 1}")


def cheapest_first(lanes: Sequence[Lane], repo: Repo, trees: Iterable[str]) -> list[str]:
    """`trees` in the order that flips common headers least: nearest next, over all lanes."""
    left = list(dict.fromkeys(trees))
    if not lanes:
        return left
    return sorted(left, key=lambda tree: min(cost(lane, repo, tree) for lane in lanes))
