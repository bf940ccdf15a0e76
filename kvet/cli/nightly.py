# SPDX-License-Identifier: GPL-2.0-only
"""A night's work: newest sources, the matrix, what changed, every format, old nights thinned.

A night is good when it was judged to its end and is no regression of the last good
nightly run; nightly.json in its directory says so. Later nights are compared with the last good
one, so a regression is told every night until it is gone.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kvet import garbage
from kvet.build.builder import Builder
from kvet.cache import cache_root
from kvet.cli.carry_out import carry_out
from kvet.cli.options import warn
from kvet.cli.watch import WatchRequest, watch
from kvet.errors import JUDGED, ExitCode, KvetError, worst
from kvet.events import Events
from kvet.model import SourceTree
from kvet.plan.library import Library, Matrix, load_matrix
from kvet.plan.matrix import matches, plan_cells
from kvet.report import formats
from kvet.report.pages import write_site
from kvet.results.compare import compare, compare_text
from kvet.results.history import open_history
from kvet.results.record import PlanRecord, RunRecord, read_record
from kvet.run.plan import record_plan
from kvet.run.planning import plan_matrix
from kvet.run.requests import Effort, MatrixRequest
from kvet.source import fetch
from kvet.source.series import apply_series
from kvet.store import read_as, write_json, write_text
from kvet.terminal import make_ui

# what is judged beside the matrix, where there is such a file in configs/
WATCH = "watch.yaml"
# the file that each format goes to; results.json is there already
FILES = {
    "text": "report.txt",
    "json": "results.json",
    "html": "report.html",
    "junit": "junit.xml",
    "ktap": "report.ktap",
    "kcidb": "kcidb.json",
    "markdown": "report.md",
    "mail": "report.eml",
    "b4": "b4.json",
}
# what is left of a night that was thinned: enough for history, site, reports and reproduce
KEPT = ("run.json", "results.json", "nightly.json", "compare.txt", "patches")


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Cells that cannot be run tonight: a glob over their ids, why, and its exit code."""

    glob: str
    why: str
    exit_code: int


@dataclass(frozen=True, slots=True)
class _Judged:
    """Of nightly.json what later nights ask."""

    good: bool


@dataclass(frozen=True, slots=True)
class Night:
    """How one night came out; `reference` is the night it was compared with, '' for none."""

    run: Path
    exit_code: int
    good: bool
    reference: str
    regressions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NightlyRequest:
    """One night of `matrix`: what it is compared with, where it goes, how much is kept.

    `against` None is the last good night; `keep` nights stay whole; of the cache stays what
    was used in the last `cache_days` days, `cache_most` bytes at most (None: whatever that is);
    `jobs` 0 fits the host; with `executor` the workers behind it build and boot.
    """

    matrix: Path
    results: Path
    keep: int
    cache_days: float = 30
    cache_most: int | None = None
    against: Path | None = None
    site: Path | None = None
    jobs: int = 0
    executor: str = ""
    store: str = ""
    quiet: bool = False
    plain: bool = False

    @property
    def effort(self) -> Effort:
        """How each run of the night is carried out."""
        return Effort(self.results, jobs=self.jobs, executor=self.executor, store=self.store)


def run_night(request: NightlyRequest, library: Library) -> int:
    """Run one night and return the worst exit code, by the design's order."""
    results = request.results
    matrix = load_matrix(request.matrix)
    with make_ui(quiet=request.quiet, plain=request.plain) as ui:
        left_out = update_sources(matrix, library, Events(ui))
    for one in left_out:
        warn(f"left out: {one.glob}: {one.why}")
    codes = [one.exit_code for one in left_out]
    run: Path | None = None
    if _anything_left(matrix, left_out, library):
        run, code = _run(request, left_out, library)
        codes.append(code)
    if run is not None:
        night = conclude_night(run, results, name=matrix.name, codes=codes, against=request.against)
        codes.append(night.exit_code)
        prune(results, name=matrix.name, keep=request.keep)
    garbage.collect(cache_root(), days=request.cache_days, most=request.cache_most)
    if (path := library.root / "configs" / WATCH).exists():
        codes += _watch(request, path, library)
    _publish(results, request.site)
    return worst(codes, default=ExitCode.ERROR)


def _watch(request: NightlyRequest, path: Path, library: Library) -> list[int]:
    """Judge what is new in the places that the file `path` names."""
    watched = WatchRequest(path, request.effort, quiet=request.quiet, plain=request.plain)
    try:
        return watch(watched, library)
    except KvetError as error:  # the night of the matrix stands
        warn(error.message)
        return [error.exit_code]


def _publish(results: Path, site: Path | None) -> None:
    """Bring the history and, where it is wanted, the site up to date."""
    with open_history(results) as history:
        for note in history.sync(results):
            warn(note)
    if site and any(results.glob("*/results.json")):
        write_site(results, site, warn)


def _anything_left(matrix: Matrix, left_out: Sequence[LeftOut], library: Library) -> bool:
    cells = plan_cells(matrix, library)
    return not all(any(matches(cell, one.glob) for one in left_out) for cell in cells)


def update_sources(matrix: Matrix, library: Library, events: Events) -> list[LeftOut]:
    """Bring every kernel of the matrix to its newest version.

    A kernel that cannot be fetched, and a series that does not apply to what was fetched,
    are left out of the night, so that the others are judged all the same.
    """
    cache = cache_root()
    # lists that were fetched for last night's run may be too young to be fetched again
    for stamp in cache.glob("apt/*/updated"):
        stamp.unlink(missing_ok=True)
    found: list[LeftOut] = []
    cells = plan_cells(matrix, library)
    for kernel in {c.kernel.name: c.kernel for c in cells}.values():
        try:
            tree = fetch.open_source(kernel, cache, events=events)
        except KvetError as error:
            found.append(LeftOut(f"{kernel.name}+*", error.message, error.exit_code))
            continue
        events.note(f"{kernel.name}: {tree.version} ({tree.origin})")
        variants = {c.variant.name: c.variant for c in cells if c.kernel.name == kernel.name}
        for variant in variants.values():
            patches = variant.patches_for(kernel.name)
            found += _unless_it_applies(f"{kernel.name}+{variant.name}+*", tree, patches)
    return found


def _unless_it_applies(glob: str, tree: SourceTree, patches: Sequence[Path]) -> list[LeftOut]:
    try:
        apply_series(Builder(cache_root()).repo(tree), tree.tree_id, patches)
    except KvetError as error:
        return [LeftOut(glob, error.message, error.exit_code)]
    return []


def _run(
    request: NightlyRequest, left_out: Sequence[LeftOut], library: Library
) -> tuple[Path | None, int]:
    """Run what is left of the matrix: the run's directory (None without results) and exit code."""
    asked = MatrixRequest(
        request.matrix,
        replace(request.effort, command=tuple(sys.argv[1:])),
        exclude=tuple(one.glob for one in left_out),
    )
    plan = record_plan(plan_matrix(asked, library))
    try:
        code = carry_out(plan, quiet=request.quiet, plain=request.plain).exit_code
    except KvetError as error:  # a night that broke off is told of like any other
        warn(error.message)
        code = error.exit_code
    return (plan.out if (plan.out / "results.json").exists() else None), code


def _is_night(folder: Path, name: str) -> bool:
    return bool(read_as(folder / "run.json", PlanRecord).name == name)


def conclude_night(
    run: Path, results: Path, *, name: str, codes: Sequence[int], against: Path | None = None
) -> Night:
    """Compare `run` with `against` or the last good nightly run; write formats and nightly.json.

    `codes` are the exit codes so far; a regression counts as 1.
    """
    record = read_record(run / "results.json")
    reference = against or last_good(results, name=name, before=run)
    regressions: tuple[str, ...] = ()
    if reference is not None:
        comparison = compare([read_record(reference / "results.json"), record])
        names = comparison.names
        regressions = tuple(f"{names[c.cell]}: {c.regression}" for c in comparison.regressions)
        text = compare_text(comparison)
        write_text(run / "compare.txt", text)
        print(f"\n{text}", end="")
    write_formats(record, run)
    code = worst([*codes, *([ExitCode.FAIL] if regressions else [])], default=ExitCode.ERROR)
    night = Night(
        run=run,
        exit_code=code,
        good=not regressions and all(c in JUDGED for c in codes),
        reference=reference.name if reference else "",
        regressions=regressions,
    )
    write_json(run / "nightly.json", night)
    return night


def write_formats(record: RunRecord, run: Path) -> None:
    """Write the report in every format beside results.json."""
    for name, draw in formats.FORMATS.items():
        if name != "json":  # that is results.json, which is there
            write_text(run / FILES[name], draw(record))


def nights(results: Path, *, name: str) -> list[Path]:
    """The directories of the concluded nights of the matrix `name`, oldest first."""
    found = [p.parent for p in sorted(results.glob("*/nightly.json"))]
    return [p for p in found if not p.is_symlink() and _is_night(p, name)]


def last_good(results: Path, *, name: str, before: Path | None = None) -> Path | None:
    """The newest good night; None when there was none before `before`."""
    for night in reversed(nights(results, name=name)):
        earlier = before is None or night.name < before.name
        judged: _Judged = read_as(night / "nightly.json", _Judged)
        if earlier and judged.good:
            return night
    return None


def prune(results: Path, *, name: str, keep: int) -> list[Path]:
    """Thin all but the `keep` newest nights and the last good one; returns those thinned.

    A thinned night keeps its records and patches and loses consoles and drawn reports;
    runs of other matrices are never touched.
    """
    found = nights(results, name=name)
    spared = {*found[len(found) - keep :], last_good(results, name=name)}
    thinned = []
    for night in found:
        doomed = [p for p in night.iterdir() if p.name not in KEPT]
        if night in spared or not doomed:
            continue
        for path in doomed:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        thinned.append(night)
    return thinned
