# SPDX-License-Identifier: GPL-2.0-only
"""The points of a bisection: the prefixes of a series, or the commits of a repository."""

from __future__ import annotations

from kvet.errors import UserError
from kvet.run.bisect import Point
from kvet.source.place import Place
from kvet.source.series import AppliedSeries


def points_of_series(series: AppliedSeries) -> list[Point]:
    """The base, then the series up to each of its patches."""
    total = len(series.patches)
    patches = (
        Point(f"patch {number}/{total}", patch.subject, patch.tree_id)
        for number, patch in enumerate(series.patches, start=1)
    )
    return [Point("base", "the tree without the series", series.base_tree), *patches]


def points_of_range(place: Place, good: str, bad: str) -> list[Point]:
    """The commit `good`, then those up to `bad`, along first parents.

    Raises UserError when the one is not below the other.
    """
    commits = place.first_parents(good, bad)
    if not commits or not place.is_below(good, bad):
        raise UserError(f"{place.path}: {bad[:12]} is not above {good[:12]}")
    ends = [Point(good[:12], "the good end", place.tree(good))]
    return [*ends, *(Point(commit[:12], subject, tree) for commit, tree, subject in commits)]
