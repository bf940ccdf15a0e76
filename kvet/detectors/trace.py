# SPDX-License-Identifier: GPL-2.0-only
"""What the trace of a splat says: its frames in order, and whether it is whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from kvet.detectors.frames import PLACES, REPORTER, SYMBOL, frame_of
from kvet.detectors.splat import FEW_FRAMES, MAX_FRAMES, OWN_LINE, SIDE, USE, Splat
from kvet.detectors.table import Row
from kvet.model import Frame


def frames_of(splat: Splat) -> tuple[Frame, ...]:
    """The call trace of a splat, the faulting place first when it is told apart."""
    frames: list[Frame] = []
    first = next(iter(splat.frames), 0)
    for text in splat.texts[1:first]:
        if "+0x" in text and PLACES["pc"].regex.match(text):
            symbol = SYMBOL.search(text)
            frames = [frame_of(symbol)] if symbol else []
            break
    previous = first - 1
    sides = _sides(splat.texts)
    side = ""
    end = next((start for start in splat.starts if start > first), len(splat.texts))
    for index, match in splat.frames.items():
        if index > previous + 3 or index > end or len(frames) >= MAX_FRAMES:
            break
        if sides:
            side = next((sides[at] for at in range(index, -1, -1) if at in sides), "")
        frame = frame_of(match, side)
        if not (len(frames) == 1 and frames[0] == frame):
            frames.append(frame)
        previous = index
    own = _without_reporter(frames)
    if splat.beside:
        own = [replace(frame, side=USE) for frame in own]
    return (*own, *(frame_of(match, splat.sides[at]) for at, match in splat.beside.items()))


def _without_reporter(frames: list[Frame]) -> list[Frame]:
    """The frames without those that only print: the first that does more is the first one."""
    own = next((i for i, frame in enumerate(frames) if not REPORTER.fullmatch(frame.func)), 0)
    return frames[own:]


def _sides(texts: Sequence[str]) -> dict[int, str]:
    """The lines that name the side of the frames below them; mostly there are none."""
    if not texts[0].startswith(OWN_LINE):
        return {}
    found = ((index, SIDE.match(text)) for index, text in enumerate(texts))
    return {index: match[1] for index, match in found if match}


def is_cut_off(row: Row, splat: Splat, found: bool) -> bool:
    """Whether the splat lacks what its kind always prints: a stack, or frames in one."""
    if row.cut or (row.ways and not found):
        return True
    if not row.stack:
        return False
    if not splat.starts:
        return len(splat.frames) < FEW_FRAMES
    return not all(_has_frames(splat, start) for start in splat.starts)


def _has_frames(splat: Splat, start: int) -> bool:
    for index in range(start + 1, min(len(splat.texts), start + 16)):
        if index in splat.frames:
            return True
        if index in splat.starts:
            return False
    return any("(stack is not available)" in text for text in splat.texts[start : start + 16])
