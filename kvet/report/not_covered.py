# SPDX-License-Identifier: GPL-2.0-only
"""What a run did not exercise, read off its record: every report ends with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from kvet.model import Attempt, Role
from kvet.results.booted import boards_of, is_hardware
from kvet.results.record import CellRecord, RunRecord

PAGE_SIZES = (4, 16, 64)
# exposure counters without which a part of the race of page tables was not run at all
PARTS = {
    "pud_maps": "tables freed at the PUD level (blocks of 1 GiB)",
    "wx_walks": "the W+X walk",
    "hotplugs": "memory hot-unplug, which frees tables of the linear map "
    "(machine virt-hotplug, workload ptdump-hotunplug)",
}
CHANCE = "orders of the sides that chance did not bring: no schedule was controlled"
TESTS = "what the kernel's own tests do not look at"
# what a workload that is a directory cannot show, by what it does
LIMITS: Mapping[str, str] = {
    "run": CHANCE,
    "sides": CHANCE,
    "race": "accesses outside of the functions that the race names",
    "kunit": TESTS,
    "kselftest": TESTS,
    "module": TESTS,
    "locktorture": TESTS,
    "rcutorture": TESTS,
}


def not_covered(record: RunRecord) -> tuple[str, ...]:
    """Sentences without a full stop, the weightiest first, each once."""
    return tuple(dict.fromkeys(_gaps(record)))


def _gaps(record: RunRecord) -> Iterator[str]:
    cells = record.cells
    if not is_hardware(record):
        yield (
            "real hardware: weak memory ordering of arm64 is hidden by an x86 host under emulation"
        )
    if boards := boards_of(record):
        yield f"branches of a series: nothing logs which code ran on {_and(boards)}"
    run = {cell.page_kib for cell in cells}
    others = [f"{size}K" for size in PAGE_SIZES if size not in run]
    if others:
        yield f"{' and '.join(others)} pages"
    yield f"more than {max((cell.vcpus for cell in cells), default=1)} CPUs"
    races = [cell for cell in cells if not cell.measures]
    yield from _of_directories([cell for cell in races if cell.does])
    shipped = [cell for cell in races if not cell.does]
    if shipped and all(cell.amplified for cell in shipped):
        yield "natural speed: every race was run with the amplifier"
    yield from _parts(shipped)


def _of_directories(cells: Sequence[CellRecord]) -> Iterator[str]:
    """What workloads that are directories leave out: what they say, and what their kind cannot."""
    for cell in cells:
        yield from cell.not_covered
    yield from _by_kind(cells)
    if cells:
        yield f"other kernel configurations than {_and({cell.config for cell in cells})}"
        yield f"code that {_and({cell.workload for cell in cells})} does not reach"


def _by_kind(cells: Iterable[CellRecord]) -> Iterator[str]:
    for cell in cells:
        explored = [e for a in cell.attempts for e in a.explorations]
        bounds = [e.bounds[-1][0] for e in explored if any(ran for _, ran, _ in e.bounds)]
        if bounds:
            yield f"schedules with more than {max(bounds)} preemptions"
        elif cell.does == "race":
            yield CHANCE
        if cell.does in LIMITS:
            yield LIMITS[cell.does]


def _and(names: Iterable[str]) -> str:
    return " and ".join(sorted(names))


def _parts(races: Sequence[CellRecord]) -> Iterator[str]:
    """The parts of the race of page tables that no candidate ran, or not all of them."""
    # what a control ran says nothing about the candidates
    judged = [cell for cell in races if cell.role is Role.CANDIDATE and cell.runs] or races
    for counter, text in PARTS.items() if judged else ():
        ran = {c.variant for c in judged if any(_ran(a, counter) for a in c.attempts)}
        lacking = [v for v in dict.fromkeys(c.variant for c in judged) if v not in ran]
        if lacking:
            yield f"{text}, of {', '.join(lacking)}" if ran else text


def _ran(attempt: Attempt, part: str) -> bool:
    """Whether an attempt ran that part of the race, by chance or under controlled schedules."""
    sides = [one.sides for one in attempt.explorations if sum(run for _, run, _ in one.bounds)]
    explored = {
        "pud_maps": any(text.startswith("pud:") for text in sides),
        "wx_walks": any("wx" in text for text in sides),
    }
    return bool(attempt.exposure.get(part)) or explored.get(part, False)
