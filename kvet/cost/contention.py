# SPDX-License-Identifier: GPL-2.0-only
"""How freers and walkers wait for each other: what `vmalloc-contention` told, phase by phase.

Phases differ in the gap between two walks. Counts are of all boots of a cell
together, means over its boots.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from kvet.cost.figures import POWER, UNIT_NAMES, CostTable, Figures

NEVER = "never"
SIDES = ("freer", "walker")


def is_contention(variants: Sequence[Figures]) -> bool:
    """Whether these figures come from phases with walks at different gaps."""
    return any(name.startswith("gap_") for v in variants for name in v.values)


def phases(variants: Sequence[Figures]) -> list[str]:
    """Names of the phases, from no walks to walks without a gap."""
    names = dict.fromkeys(n.split(".")[0] for v in variants for n in v.values)
    return [n.removeprefix("gap_") for n in names if n.startswith("gap_")]


def phase_label(phase: str) -> str:
    """The gap of a phase in millions of ticks of the guest's clock, a thousand a microsecond."""
    if phase == NEVER:
        return "no walks"
    return f"gap {int(phase) / 1000:g} M" if phase != "0" else "no gap"


def frequency(variant: Figures, phase: str) -> float | None:
    """Walks in a million ticks of the guest's clock: instructions, and what was idle."""
    walks = variant.mean(f"gap_{phase}.walker.n")
    length = variant.mean(f"gap_{phase}.phase.clock")
    return None if walks is None or not length else 1e6 * walks / length


def small_share(variant: Figures, phase: str) -> float | None:
    """Share of the blocks asked for that got small pages."""
    asked, small = (variant.mean(f"gap_{phase}.blocks.{n}") for n in ("asked", "small"))
    return None if not asked or small is None else small / asked


def histogram(variant: Figures, phase: str, side: str) -> dict[int, int]:
    """Calls of one side by power of two: below 2^n instructions, and not below half of that."""
    start = f"gap_{phase}.{side}{POWER}"
    counts = {
        int(name.removeprefix(start)): round(sum(values))
        for name, values in variant.values.items()
        if name.startswith(start)
    }
    return dict(sorted(counts.items()))


def contention_tables(variants: Sequence[Figures]) -> Iterator[CostTable]:
    """Shares, waits, memory and what the kernel counted of the lock."""
    unit = UNIT_NAMES[variants[0].unit]
    clock = "ticks of the guest's clock" if unit == "instructions" else unit

    def table(title: str, cells: Mapping[str, Sequence[float | None]], digits: int) -> CostTable:
        rows = {
            label: ["-" if x is None else f"{x:.{digits}f}" for x in row]
            for label, row in cells.items()
            if any(x is not None for x in row)
        }
        return CostTable(title, [v.variant for v in variants], rows)

    def mean(name: str) -> dict[str, list[float | None]]:
        return {phase_label(p): [v.mean(f"gap_{p}.{name}") for v in variants] for p in steps}

    def most(name: str) -> dict[str, list[float | None]]:
        return {phase_label(p): [_most(v, f"gap_{p}.{name}") for v in variants] for p in steps}

    steps = phases(variants)
    shares = {phase_label(p): [_percent(small_share(v, p)) for v in variants] for p in steps}
    often = {phase_label(p): [frequency(v, p) for v in variants] for p in steps}
    yield table("huge requests that got small pages, %", shares, 1)
    yield table("walks in a million (M) ticks of the guest's clock", often, 2)
    for side, call in (("freer", "a block to be mapped"), ("walker", "a walk")):
        yield table(f"{side}: {unit} of {call}, mean", mean(f"{side}.mean"), 0)
        yield table(f"{side}: {unit} of {call}, longest", most(f"{side}.longest"), 0)
    yield table("page tables held, most, in pages", most("tables.most"), 0)
    for way in ("read", "write"):
        lock = f"lock of init_mm for {way}"
        yield table(f"{lock}: contentions", mean(f"lock_{way}.contentions"), 0)
        yield table(f"{lock}: longest wait, {clock}", most(f"lock_{way}.wait_longest"), 0)
        yield table(f"{lock}: longest hold, {clock}", most(f"lock_{way}.hold_longest"), 0)


def _most(variant: Figures, name: str) -> float | None:
    """The most of all boots."""
    return max(variant.values.get(name, ()), default=None)


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share
