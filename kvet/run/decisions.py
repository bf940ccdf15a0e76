# SPDX-License-Identifier: GPL-2.0-only
"""Which outcomes of a series' own branches the attempts of a cell saw, and which they never did."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kvet.build.branches import outcomes
from kvet.build.patch_lines import PatchLines
from kvet.model import Attempt, Waiver
from kvet.results.record import Decisions, NeverSeen
from kvet.run.waivers import waived_way


def decisions(
    lines: PatchLines | None, attempts: Iterable[Attempt], waivers: Sequence[Waiver]
) -> Decisions | None:
    """The outcomes of all branches over all attempts; None where no attempt logged them."""
    logged = [a.ways for a in attempts if a.ways is not None]
    if lines is None or not logged:
        return None
    found = list(outcomes(lines.branches, {way for ways in logged for way in ways}))
    # a module may have come in by name
    dead = set(lines.uncalled) - {each.function for each in found if each.seen}
    never = []
    for each in (o for o in found if not o.seen):
        text = lines.text.get(each.place, "").strip()
        why = waived_way(waivers, each.place, text, each.words)
        if not why and each.function in dead:
            why = f"nothing in this kernel leads to {each.function}()"
        never.append(NeverSeen(each.place, each.function, text, each.words, why))
    return Decisions(
        all=len(found),
        seen=sum(o.seen for o in found),
        certain=sum(o.seen and o.surely for o in found),
        never=tuple(never),
        selects=lines.selects,
    )


def decision_doubts(known: Decisions | None) -> list[str]:
    """Why silence is no PASS: outcomes that never happened and are not waived."""
    never = [each for each in known.never if not each.waived] if known else []
    if not never:
        return []
    told = [f"{each.place} never {each.words}" for each in never[:MOST_TOLD]]
    more = f" and {len(never) - MOST_TOLD} more" if len(never) > MOST_TOLD else ""
    return [f"outcomes of the series that never happened: {'; '.join(told)}{more}"]


MOST_TOLD = 3
