# SPDX-License-Identifier: GPL-2.0-only
"""`harness.py bisect`: which patch of a series, or commit of a range, brings a finding in."""

from __future__ import annotations

import argparse
import dataclasses
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kvet.cli.options import (
    Commands,
    Spelling,
    add_command,
    add_executor_options,
    folder,
    positive,
)
from kvet.errors import ExitCode, UserError
from kvet.paths import RESULTS
from kvet.plan.schemas import TOOLCHAIN

if TYPE_CHECKING:
    from kvet.events import Events
    from kvet.plan.library import Library
    from kvet.run.bisect import Bisection, Bisector


def add_bisect(commands: Commands) -> None:
    """bisect --series X | --tree T --good A --bad B ..."""
    parser = add_command(
        commands,
        "bisect",
        "find the patch or commit that brings a finding in",
        "  harness.py bisect --series v3.mbox\n"
        "  harness.py bisect --tree ~/linux --good v6.12 --bad my-topic --title 'KASAN: use'\n"
        "  harness.py bisect --resume 20260102-030405-bisect-v3\n",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--series", default="", metavar="PATH", help="as for run; bad as a whole")
    what.add_argument("--tree", default="", metavar="GITDIR", help="with --good and --bad")
    what.add_argument("--resume", default="", metavar="RUN", help="go on where it was interrupted")
    parser.add_argument("--good", default="", metavar="A", help="a commit without the finding")
    parser.add_argument("--bad", default="", metavar="B", help="a commit that shows it")
    parser.add_argument("--kernel", default="", metavar="K", help="what a series is put on")
    parser.add_argument(
        "--title", default="", metavar="T", help="part of the finding's title (default: the usual)"
    )
    parser.add_argument("--config", default="", metavar="C", help="see: list configs")
    parser.add_argument("--workload", default="ptdump-race", metavar="W", help="list workloads")
    parser.add_argument("--machine", default="", metavar="M", help="see: list machines")
    parser.add_argument(
        "--toolchain",
        default="gcc",
        type=Spelling(TOOLCHAIN, ("gcc", "clang")),
        metavar="{gcc,clang}[-N]",
        help="cross compiler",
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="seed of all attempts")
    parser.add_argument("--jobs", type=positive, metavar="N", help="boots at a time")
    add_executor_options(parser)
    parser.add_argument("--out", type=folder, metavar="DIR", help="where runs go")
    parser.add_argument("--quiet", action="store_true", help="no progress, only the answer")
    parser.set_defaults(command=bisect_command)


@dataclass(frozen=True, slots=True)
class Asked:
    """ask.json: what is bisected, in words that mean the same on another day."""

    series: str
    tree: str
    good: str
    bad: str
    kernel: str
    title: str
    config: str
    workload: str
    machine: str
    toolchain: str
    seed: int


def _library() -> Library:
    from kvet.plan.library import Library

    return Library()


def bisect_command(options: argparse.Namespace) -> int:
    """Bisect to the end and say what was found; 4 when it cannot be narrowed down to one."""
    from kvet.cache import cache_root
    from kvet.events import Events
    from kvet.run.bisect import Bisector
    from kvet.run.planning import check_boards
    from kvet.terminal import make_ui

    out, asked = _asked(options)
    with make_ui(quiet=options.quiet, plain=True) as ui:
        events = Events(ui)
        bisection = dataclasses.replace(
            _bisection(out, asked, events),
            jobs=options.jobs or 0,
            executor=options.executor,
            store=options.store or "",
        )
        check_boards((bisection.cell,), bisection.executor)
        bisector = Bisector(bisection, cache=cache_root(), events=events)
        try:
            bisector.run()
        except KeyboardInterrupt:
            print(f"go on with: harness.py bisect --resume {out.name}")
            raise
    print("\n".join(_report(bisector)))
    return ExitCode.OK if len(bisector.search.culprits) == 1 else ExitCode.INCONCLUSIVE


def _asked(options: argparse.Namespace) -> tuple[Path, Asked]:
    """The directory of a bisection, new or to go on with, and what is asked there."""
    from kvet.run.plan import own_folder
    from kvet.run.planning import run_id
    from kvet.store import read_as, write_json

    results = options.out or RESULTS
    if options.resume:
        out = results / Path(options.resume).name
        if not (out / "ask.json").is_file():
            raise UserError(f"{out} is no bisection to go on with")
        return out, read_as(out / "ask.json", Asked)
    if options.tree and not (options.good and options.bad):
        raise UserError("--tree needs --good and --bad")
    if options.series and (options.good or options.bad):
        raise UserError("--good and --bad are of --tree; a series is bad as a whole")
    names = ("series", "tree", "good", "bad", "kernel", "title", "config", "workload", "machine")
    words = {name: getattr(options, name) for name in names}
    asked = Asked(**words, toolchain=options.toolchain, seed=options.seed)
    out = own_folder(results / run_id("bisect"))
    if asked.series:
        asked = _kept_series(asked, out)
    write_json(out / "ask.json", asked)
    return out, asked


def _kept_series(asked: Asked, out: Path) -> Asked:
    """The same with a copy of the series: it may be a mail on standard input."""
    import tempfile

    from kvet.run.base import Choice
    from kvet.run.judged import Judged
    from kvet.source.given import open_series

    place = out / "patches"
    place.mkdir()
    with tempfile.TemporaryDirectory(prefix="kvet-series-") as scratch:
        given = open_series(asked.series, Path(scratch))
        kernel = asked.kernel
        if not kernel:
            from kvet.cache import cache_root

            (chosen,) = Choice(_library(), cache_root()).choose([Judged(given.variant, given)])
            kernel = chosen.kernel.name
            if not chosen.kernel.path.exists():
                raise UserError("a series of commits is bisected with --tree, --good and --bad")
            print(f"base: {kernel}, {chosen.why}")
        for number, patch in enumerate(given.variant.patches, start=1):
            shutil.copyfile(patch, place / f"{number:04d}.patch")
    return dataclasses.replace(asked, kernel=kernel)


def _bisection(out: Path, asked: Asked, events: Events) -> Bisection:
    """What is asked with its source at hand."""
    from kvet.build.builder import Builder
    from kvet.cache import cache_root
    from kvet.model import Role, Variant
    from kvet.plan.library import pick_one
    from kvet.run.bisect import Bisection
    from kvet.run.bisect_points import points_of_range, points_of_series
    from kvet.run.planning import bare_cell
    from kvet.source.fetch import open_source
    from kvet.source.git import Repo
    from kvet.source.place import open_place
    from kvet.source.series import apply_series

    library, cache = _library(), cache_root()
    if asked.tree:
        place = open_place(Path(asked.tree))
        ends = [place.commit(name) for name in (asked.good, asked.bad)]
        for name, commit in zip((asked.good, asked.bad), ends, strict=True):
            if not commit:
                raise UserError(f"--tree {asked.tree}: has no commit {name!r}")
        kernel = place.kernel(ends[0], library.root / "kernels")
        points = points_of_range(place, *ends)
        source = open_source(kernel, cache, events=events)
        repo = Repo(place.path.expanduser(), cache / "objects" / f"{source.tree_id[:16]}-tried")
    else:
        kernel = pick_one("kernel", library.kernels(), asked.kernel)
        source = open_source(kernel, cache, events=events)
        repo = Builder(cache).repo(source)
        patches = sorted((out / "patches").glob("*.patch"))
        points = points_of_series(apply_series(repo, source.tree_id, patches))
    variant = Variant(name="bisect", title="bisect", role=Role.CANDIDATE)
    return Bisection(
        points=points,
        cell=bare_cell(library, kernel, variant, (asked.config, asked.machine, asked.workload)),
        source=source,
        repo=repo,
        out=out,
        title=asked.title,
        toolchain=asked.toolchain,
        seed=asked.seed,
        foreign=not asked.tree,
    )


def _report(bisector: Bisector) -> list[str]:
    """What was found, on what evidence, and how sure it is."""
    search, state, points = bisector.search, bisector.state, bisector.of.points
    assert state.wanted is not None and state.rate is not None
    found = [points[n] for n in search.culprits]
    shown = [f"{point.name} {point.subject!r}" for point in found]
    first = (
        f"{shown[0]} brings it in"
        if len(found) == 1
        else "one of these brings it in, the others could not be tried:\n  " + "\n  ".join(shown)
    )
    rate, good = state.rate, [s for s in state.steps.values() if s.outcome == "good"]
    lines = [
        f"{first}: {state.wanted.title}" if len(found) == 1 else f"{first}\n{state.wanted.title}",
        f"  at the bad end it shows in {rate.hits} of {rate.boots} boots; a step was called good "
        f"after {rate.wanted} without it",
        *(f"  {bisector.told(step)}" for _, step in sorted(state.steps.items())),
        f"  confidence {100 * search.confidence(rate):.1f}%: what {len(good)} good steps may have "
        "missed at that rate",
        f"  {state.builds} builds for {len(state.steps) + 1} kernels; see bisect.json in "
        f"{bisector.of.out}",
    ]
    if search.good == 0:
        lines.insert(-1, f"  {points[0].name} was taken to be good; it was not booted")
    return lines
