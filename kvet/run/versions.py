# SPDX-License-Identifier: GPL-2.0-only
"""Versions beside one another: which builds are the same code, and what git says of the patches."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from itertools import pairwise

from kvet.errors import KvetError
from kvet.events import Events
from kvet.model import Build, Role, SourceTree
from kvet.results.changes import ChangeRecord
from kvet.run.cell_run import CellRun
from kvet.run.exposure import floor_for
from kvet.source.git import Repo
from kvet.source.rangediff import range_diff

MOST_NAMES = 40
Repos = Callable[[SourceTree], Repo]


def find_twins(
    batch: Sequence[CellRun], runs: Sequence[CellRun], given: Collection[str], events: Events
) -> None:
    """What builds the same code as another series that was given is not booted again."""
    done = [r for r in runs if r.build and r not in batch and r.attempts]
    for run in (r for r in batch if not r.attempts):
        run.twin = _twin(run, [*done, *batch], given)
        if run.twin:
            events.note(f"{run.cell.id}: same code as {run.twin}, whose boots stand for it")


def share_attempts(run: CellRun, runs: Sequence[CellRun]) -> None:
    """Take the attempts of the same code."""
    for other in runs if run.twin else ():
        if other.cell.variant.name == run.twin and other.group == run.group:
            run.attempts, run.wanted = other.attempts, other.wanted
            run.faults, run.again = other.faults, other.again


def _twin(run: CellRun, runs: Sequence[CellRun], given: Collection[str]) -> str:
    """The series whose attempts stand for those of `run`, since both builds are the same code.

    '' when there is none. Only series that were given count, of one group and one floor.
    """
    if run.role is not Role.CANDIDATE or run.cell.variant.name not in given or run.build is None:
        return ""
    for other in runs:
        if other is run:
            break
        if other.build and not other.twin and _alike(run, other, given) and _same(run, other):
            return other.cell.variant.name
    return ""


def _alike(run: CellRun, other: CellRun, given: Collection[str]) -> bool:
    """Whether two cells differ in the series alone."""
    floors = {repr(floor_for(r.cell.variant, r.cell.workload)) for r in (run, other)}
    return other.cell.variant.name in given and other.group == run.group and len(floors) == 1


def _same(run: CellRun, other: CellRun) -> bool:
    found = compared(other.build, run.build)
    return found is not None and found.same is True


def compared(old: Build | None, new: Build | None) -> ChangeRecord | None:
    """What differs between two builds, without names of cells; None where that is not known."""
    if old is None or new is None:
        return None
    if old.key == new.key:
        return ChangeRecord(kernel="", config="", old="", new="", same=True)
    # half a second to import: only who compares pays
    from kvet.cost.same_code import match_cached

    try:
        match = match_cached(old, new)
    except KvetError:
        return None
    return ChangeRecord(
        kernel="",
        config="",
        old="",
        new="",
        same=match.same,
        functions=match.functions[:MOST_NAMES],
        functions_left_out=max(0, len(match.functions) - MOST_NAMES),
        data=match.data[:MOST_NAMES],
        lines=match.lines,
    )


def version_changes(
    runs: Sequence[CellRun], trees: dict[str, SourceTree], repos: Repos, given: Collection[str]
) -> tuple[ChangeRecord, ...]:
    """From each given series to the next, in the order they were given, once a build."""
    groups: dict[tuple[str, str, int], dict[str, CellRun]] = {}
    for run in runs:
        cell = run.cell
        if cell.variant.name in given and run.series is not None:
            key = (cell.kernel.name, cell.config.name, cell.machine.page_kib)
            groups.setdefault(key, {}).setdefault(cell.variant.name, run)
    found = []
    for (kernel, config, _), versions in groups.items():
        repo = repos(trees[kernel])
        for (old, one), (new, other) in pairwise(versions.items()):
            assert one.series is not None and other.series is not None
            made = compared(one.build, other.build) or ChangeRecord(kernel="", config="", old="",
                                                                    new="")  # fmt: skip
            text = range_diff(repo, one.series, other.series)
            found.append(
                replace(made, kernel=kernel, config=config, old=old, new=new, range_diff=text)
            )
    return tuple(found)
