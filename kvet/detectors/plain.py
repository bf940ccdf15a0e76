# SPDX-License-Identifier: GPL-2.0-only
"""Brings the lines of a log into the one form that the rest of the package reads."""

from __future__ import annotations

from kvet.detectors.heads import Looked, look, strange
from kvet.detectors.prefix import Form, Sample, anchors, learn, undress
from kvet.detectors.wrapped import is_narrow, rejoin

MAX_KNOWN = 24
NEAR = 2048
MOST_NEAR = 3


class Undresser:
    """Takes prefixes off one block of a log after the other; it remembers those it has learnt."""

    def __init__(self) -> None:
        self._forms: tuple[Form, ...] = ()

    def __call__(self, block: str) -> tuple[str, list[Looked]]:
        """`block`, line by line in plain form, and the lines in it that may begin a splat."""
        raw = block
        if self._forms:
            block = undress(block, self._forms)
        looked = look(block)
        odd = strange(block, looked) or _near_broken_lines(block, looked)
        if odd:
            block, learnt = self._learn(block, odd)
            looked = look(block) if learnt else looked
        if looked:
            whole = rejoin(raw, block, [line.start for line in looked])
            if whole != block:
                return whole, look(whole)
        return block, looked

    def without_heads(self, block: str) -> str:
        """`block` in plain form although no line in it may begin a splat."""
        return self._learn(block, [])[0]

    def _learn(self, block: str, odd: list[Sample]) -> tuple[str, bool]:
        forms = learn([*odd, *anchors(block)], block)
        if not forms:
            return block, False
        self._forms = (*self._forms, *forms)[-MAX_KNOWN:]
        return undress(block, forms), True


def _near_broken_lines(block: str, looked: list[Looked]) -> list[Sample]:
    """What is known of the lines below those that may be broken first lines of a splat."""
    if not looked or any(line.row for line in looked):
        return []
    bare = [line.start for line in looked if line.raw[:1] != "["]
    near = (block[start : start + NEAR] for start in bare[:MOST_NEAR])
    return [sample for text in near if is_narrow(text) for sample in anchors(text)]
