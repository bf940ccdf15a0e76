# SPDX-License-Identifier: GPL-2.0-only
"""A night's work: newest sources, the matrix, what changed, every format, old nights thinned.

A night is good when it was judged to its end and is no regression of the last good
night; nightly.json in its folder says so. Later nights are compared with the last good
one, so a regression is told every night until it is gone.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from kvet import formats, source
from kvet.build import Builder
from kvet.cache import cache_root
from kvet.commands import find_run, run_matrix_command
from kvet.compare import compare, compare_text
from kvet.config import PROJECT, Library, Matrix, load_matrix
from kvet.errors import KvetError
from kvet.events import Events
from kvet.formats import Record
from kvet.history import open_history, read_record
from kvet.matrix import matches, plan_cells
from kvet.model import SourceTree
from kvet.report import text_report
from kvet.series import apply_series
from kvet.site import write_site
from kvet.store import read_json, write_json, write_text
from kvet.ui import make_ui

# which exit code wins when there are several (design: 2, 3, 1, 4, 0)
WORST = (2, 3, 1, 4, 0)
# exit codes of a run that judged every cell it could
JUDGED = (0, 1, 4)
# the file that each format goes to; results.json is there already
FILES = {
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
class Night:
    """How one night came out; `reference` is the night it was compared with, '' for none."""

    run: Path
    exit_code: int
    good: bool
    reference: str
    regressions: tuple[str, ...]


def nightly_command(options: argparse.Namespace) -> int:
    """Run the night of `options.matrix` and return the worst exit code, by the design's order."""
    results = options.out or PROJECT / "results"
    path = options.matrix or PROJECT / "configs" / "nightly.yaml"
    matrix = load_matrix(path)
    against = find_run(options.against, results) if options.against else None
    left_out = update_sources(matrix, options)
    for one in left_out:
        print(f"kvet: left out: {one.glob}: {one.why}", file=sys.stderr)
    codes = [one.exit_code for one in left_out]
    run: Path | None = None
    if _anything_left(matrix, left_out):
        run, code = _run(matrix, left_out, results, options)
        codes.append(code)
    if run is not None:
        night = conclude_night(run, results, name=matrix.name, codes=codes, against=against)
        codes.append(night.exit_code)
        prune(results, name=matrix.name, keep=options.keep)
    with open_history(results) as history:
        for note in history.sync(results):
            print(f"kvet: {note}", file=sys.stderr)
    if options.site and any(results.glob("*/results.json")):
        write_site(results, options.site)
    return worst(codes)


def worst(codes: Sequence[int]) -> int:
    """The exit code that wins."""
    return next((code for code in WORST if code in codes), 3)


def _anything_left(matrix: Matrix, left_out: Sequence[LeftOut]) -> bool:
    cells = plan_cells(matrix, Library())
    return not all(any(matches(cell, one.glob) for one in left_out) for cell in cells)


def update_sources(matrix: Matrix, options: argparse.Namespace) -> list[LeftOut]:
    """Bring every kernel of the matrix to its newest version.

    A kernel that cannot be fetched, and a series that does not apply to what was fetched,
    are left out of the night, so that the others are judged all the same.
    """
    cache = cache_root()
    # lists that were fetched for last night's run may be too young to be fetched again
    for stamp in cache.glob("apt/*/updated"):
        stamp.unlink(missing_ok=True)
    library = Library()
    found: list[LeftOut] = []
    cells = plan_cells(matrix, library)
    with make_ui(quiet=options.quiet, plain=options.plain) as ui:
        events = Events(ui)
        for kernel in {c.kernel.name: c.kernel for c in cells}.values():
            try:
                tree = source.open_source(kernel, cache, events=events)
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
    matrix: Matrix, left_out: Sequence[LeftOut], results: Path, options: argparse.Namespace
) -> tuple[Path | None, int]:
    """Run what is left of the matrix: the run's folder (None when nothing ran) and exit code."""
    before = set(results.glob("*/run.json"))
    with _narrowed(matrix, left_out) as path:
        words = argparse.Namespace(
            matrix=path,
            only=[],
            resume=None,
            attempts=None,
            jobs=options.jobs,
            out=results,
            toolchain=None,
            seed=None,
            dry_run=False,
            executor="",
            quiet=options.quiet,
            plain=options.plain,
        )
        try:
            code = run_matrix_command(words)
        except KvetError as error:  # a night that broke off is told of like any other
            print(f"kvet: {error.message}", file=sys.stderr)
            code = error.exit_code
    made = [p.parent for p in sorted(set(results.glob("*/run.json")) - before)]
    ours = [p for p in made if not p.is_symlink() and _is_night(p, matrix.name)]
    run = next((p for p in ours if (p / "results.json").exists()), None)
    return run, code


@contextmanager
def _narrowed(matrix: Matrix, left_out: Sequence[LeftOut]) -> Iterator[Path]:
    """The matrix file, or a copy of it that excludes what is left out tonight."""
    assert matrix.path is not None  # it was loaded from there
    if not left_out:
        yield matrix.path
        return
    spec: dict[str, Any] = yaml.safe_load(matrix.path.read_text(encoding="utf-8"))
    spec["exclude"] = [*matrix.exclude, *(one.glob for one in left_out)]
    if "more_variants" in spec:
        spec["more_variants"] = str((matrix.path.parent / spec["more_variants"]).resolve())
    with tempfile.TemporaryDirectory(prefix="kvet-nightly-") as scratch:
        path = Path(scratch) / matrix.path.name
        path.write_text(yaml.safe_dump(spec, sort_keys=False), encoding="utf-8")
        yield path


def _is_night(folder: Path, name: str) -> bool:
    return bool(read_json(folder / "run.json").get("name") == name)


def conclude_night(
    run: Path, results: Path, *, name: str, codes: Sequence[int], against: Path | None = None
) -> Night:
    """Compare `run` with `against` or the last good night, write every format and nightly.json.

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
    code = worst([*codes, *([1] if regressions else [])])
    night = Night(
        run=run,
        exit_code=code,
        good=not regressions and all(c in JUDGED for c in codes),
        reference=reference.name if reference else "",
        regressions=regressions,
    )
    write_json(run / "nightly.json", night)
    return night


def write_formats(record: Record, run: Path) -> None:
    """Write the report in every format beside results.json."""
    write_text(run / "report.txt", text_report(record))
    for name, draw in formats.FORMATS.items():
        write_text(run / FILES.get(name, f"report.{name}"), draw(record))


def nights(results: Path, *, name: str) -> list[Path]:
    """The folders of the concluded nights of the matrix `name`, oldest first."""
    found = [p.parent for p in sorted(results.glob("*/nightly.json"))]
    return [p for p in found if not p.is_symlink() and _is_night(p, name)]


def last_good(results: Path, *, name: str, before: Path | None = None) -> Path | None:
    """The newest good night; None when there was none before `before`."""
    for night in reversed(nights(results, name=name)):
        earlier = before is None or night.name < before.name
        if earlier and read_json(night / "nightly.json")["good"]:
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
