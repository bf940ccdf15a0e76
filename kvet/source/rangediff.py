# SPDX-License-Identifier: GPL-2.0-only
"""git's range-diff of two versions of a series that were applied to one tree."""

from __future__ import annotations

from kvet.source.git import Repo
from kvet.source.series import AppliedSeries

WHO = ("-c", "user.name=kvet", "-c", "user.email=kvet@localhost")
MOST_CHARACTERS = 100_000


def range_diff(repo: Repo, old: AppliedSeries, new: AppliedSeries) -> str:
    """What changed from `old` to `new`, patch by patch; '' when they stand on different trees."""
    if old.base_tree != new.base_tree:
        return ""
    base = _commit(repo, old.base_tree, "base", "")
    tips = [_commits(repo, series, base) for series in (old, new)]
    ranges = [f"{base}..{tip}" for tip in tips]
    text = repo.output("range-diff", "--no-color", *ranges).decode(errors="replace")
    return text[:MOST_CHARACTERS]


def _commits(repo: Repo, series: AppliedSeries, base: str) -> str:
    """The patches of a series as commits on `base`; the last of them."""
    tip = base
    for patch in series.patches:
        tip = _commit(repo, patch.tree_id, patch.subject or patch.path.name, tip)
    return tip


def _commit(repo: Repo, tree: str, message: str, parent: str) -> str:
    parents = ("-p", parent) if parent else ()
    return repo.output(*WHO, "commit-tree", tree, *parents, "-m", message).decode().strip()


def heads(text: str) -> list[str]:
    """The lines of a range-diff that stand for one patch each (`1:  abc = 1:  abc subject`)."""
    return [line for line in text.splitlines() if line and not line.startswith("    ")]
