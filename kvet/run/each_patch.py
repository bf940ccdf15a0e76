# SPDX-License-Identifier: GPL-2.0-only
"""Every prefix of a series: does each patch build where it stands, and does the kernel still hold.

Whoever bisects lands between two patches of a series; each must be a kernel.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path

from kvet.build.builder import Builder, BuildFailure
from kvet.build.request import BuildRequest
from kvet.errors import KvetError
from kvet.events import Events
from kvet.model import COUNTED_STATUSES, Attempt, Build, Cell, Role
from kvet.results.prefixes import PrefixRecord
from kvet.run.attempt import AttemptRequest, run_attempt, seed_for
from kvet.run.cell_run import CellRun
from kvet.run.guest_layers import guest_layers
from kvet.run.plan import Plan
from kvet.run.verdict import new_findings, titles
from kvet.source.series import AppliedSeries, apply_series


@dataclass(frozen=True, slots=True)
class PrefixRequest:
    """A cell whose series is taken apart; `whole` is the build that was asked for it all.

    `boots` fresh boots of each prefix, 0 for builds alone; `warnings` and `titles` are those of
    the baseline, which no patch is blamed for.
    """

    cell: Cell
    whole: BuildRequest
    layers: tuple[Path, ...]
    folder: Path
    seed: int
    boots: int
    warnings: frozenset[str] = frozenset()
    titles: frozenset[str] = frozenset()


def prefix_request(
    run: CellRun,
    runs: Sequence[CellRun],
    whole: BuildRequest,
    plan: Plan,
    layers: tuple[Path, ...],
) -> PrefixRequest:
    """What is to be done with the series of `run`, by the plan and what its baseline showed."""
    beside = [r for r in runs if r.group == run.group and r.role is Role.BASELINE]
    return PrefixRequest(
        cell=run.cell,
        whole=whole,
        layers=layers,
        folder=plan.out / run.cell.id,
        seed=plan.seed,
        boots=plan.attempts if plan.each_patch == "boot" else 0,
        warnings=frozenset(w for r in beside if r.build for w in r.build.warnings),
        titles=frozenset(titles(a for r in beside for a in r.attempts)),
    )


def try_prefixes(
    request: PrefixRequest, builder: Builder, executor: Executor, events: Events
) -> Iterator[PrefixRecord]:
    """Build, and boot, the first patch, the first two, and so on; the whole is not done again."""
    source, whole = request.whole.source, request.whole.series
    repo, known = builder.repo(source), request.warnings
    cell, total = request.cell, len(whole.patches)
    for number in range(1, total):
        paths = [patch.path for patch in whole.patches[:number]]
        series = apply_series(repo, source.tree_id, paths)
        found = PrefixRecord(
            kernel=cell.kernel.name,
            config=cell.config.name,
            variant=cell.variant.name,
            number=number,
            total=total,
            subject=series.patches[-1].subject,
        )
        with events.step("build", f"{cell.variant.name} up to patch {number}/{total}") as step:
            found, build = _built(found, request, builder, series)
            step.say(found.fault or found.trouble or ("cached" if found.cached else "built"))
        if build is not None:
            added = tuple(w for w in build.warnings if w not in known)
            found, known = replace(found, warnings_added=added), known | {*build.warnings}
            found = _booted(found, request, build, executor) if request.boots else found
        yield found


def _built(
    found: PrefixRecord, request: PrefixRequest, builder: Builder, series: AppliedSeries
) -> tuple[PrefixRecord, Build | None]:
    started = time.monotonic()
    try:
        built = builder.build(replace(request.whole, series=series))
    except KvetError as error:
        return replace(found, trouble=error.message), None
    seconds = round(time.monotonic() - started, 2)
    if isinstance(built, BuildFailure):
        return replace(found, fault=built.finding.title, seconds=seconds), None
    return replace(found, cached=built.cached, seconds=seconds), built


def _booted(
    found: PrefixRecord, request: PrefixRequest, build: Build, executor: Executor
) -> PrefixRecord:
    """The prefix with what its boots showed."""
    boots = [_boot(found, request, build, n) for n in range(1, request.boots + 1)]
    attempts = list(executor.map(run_attempt, boots))
    counted = [a for a in attempts if a.status in COUNTED_STATUSES]
    blamed = [new for a in counted if (new := new_findings(a, request.titles))]
    return replace(
        found,
        runs=len(counted),
        failures=len(blamed),
        title=blamed[0][0].title if blamed else "",
        trouble="" if counted else _trouble(attempts),
    )


def _trouble(attempts: Sequence[Attempt]) -> str:
    return next((a.detail for a in attempts if a.detail), "no boot counted")


def _boot(found: PrefixRecord, request: PrefixRequest, build: Build, n: int) -> AttemptRequest:
    place, source = f"prefix-{found.number}", request.whole.source.path
    return AttemptRequest(
        cell=request.cell,
        build=build,
        initrd=guest_layers(request.cell, build, request.layers, source, request.whole.series.diff),
        folder=request.folder / place / f"attempt-{n}",
        n=n,
        seed=seed_for(request.seed, f"{request.cell.id}/{place}", n),
        source=source,
    )
