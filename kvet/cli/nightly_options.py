# SPDX-License-Identifier: GPL-2.0-only
"""`nightly`: its options; the night itself is in nightly.py, which loads much more."""

from __future__ import annotations

import argparse
from pathlib import Path

from kvet.cli import run
from kvet.cli.options import (
    Commands,
    add_command,
    add_executor_options,
    add_out,
    add_output_options,
    days,
    gibibytes,
    positive,
)
from kvet.paths import CONFIGS, RESULTS


def add_nightly(commands: Commands) -> None:
    """nightly [configs/nightly.yaml] [--keep N] ..."""
    parser = add_command(
        commands,
        "nightly",
        "newest sources, the nightly matrix, what changed since the last good nightly run",
        "  harness.py nightly\n"
        "  harness.py nightly configs/smoke.yaml --keep 7 --site public\n"
        "  harness.py nightly --against 20260102-030405-nightly\n",
    )
    parser.add_argument(
        "matrix",
        nargs="?",
        type=Path,
        metavar="configs/NAME.yaml",
        help="the matrix file (default: configs/nightly.yaml)",
    )
    parser.add_argument(
        "--keep",
        type=positive,
        default=14,
        metavar="N",
        help="nights to keep whole, besides the last good one; of older ones the records stay "
        "(default: 14)",
    )
    parser.add_argument(
        "--cache-days",
        type=days,
        default=30,
        metavar="D",
        help="days that the cache keeps what no night used (default: 30)",
    )
    parser.add_argument(
        "--cache-size",
        type=gibibytes,
        metavar="GIB",
        help="size of the cache above which what was used longest ago goes first",
    )
    parser.add_argument(
        "--against", metavar="RUN", help="compare with this run, not the last good nightly run"
    )
    parser.add_argument("--site", type=Path, metavar="DIR", help="write the static site as well")
    parser.add_argument("--jobs", type=positive, metavar="N", help="boots at a time")
    add_executor_options(parser)
    add_out(parser)
    add_output_options(parser)
    parser.set_defaults(command=nightly_command)


def nightly_command(options: argparse.Namespace) -> int:
    """Run the night of a matrix; the worst exit code of all that it did."""
    from kvet.cli.nightly import NightlyRequest, run_night
    from kvet.results.folder import find_run

    results = options.out or RESULTS
    request = NightlyRequest(
        matrix=options.matrix or CONFIGS / "nightly.yaml",
        results=results,
        keep=options.keep,
        against=find_run(options.against, results) if options.against else None,
        site=options.site,
        cache_days=options.cache_days,
        cache_most=options.cache_size,
        jobs=options.jobs or 0,
        executor=options.executor,
        store=options.store or "",
        quiet=options.quiet,
        plain=options.plain,
    )
    return run_night(request, run.library())
