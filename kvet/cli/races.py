# SPDX-License-Identifier: GPL-2.0-only
"""The subcommand `races`: history as the bench, each race with its fix and without it."""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from kvet.cli.options import Commands, add_command, add_output_options, folder, positive
from kvet.errors import ExitCode
from kvet.paths import RESULTS
from kvet.run.requests import Effort, RunRequest

if TYPE_CHECKING:
    from kvet.plan.races import Race
    from kvet.results.record import RunRecord

ATTEMPTS = 5


def add_races(commands: Commands) -> None:
    """races [--only GLOB] [--attempts N]"""
    parser = add_command(
        commands,
        "races",
        "run real races of the kernel's past, with their fix and without; exit code 0 when each "
        "fails in every boot without it and in none with it, else 1",
        "  harness.py races\n"
        "  harness.py races --only 'net/*' --attempts 3\n"
        "  harness.py races --only keys-revoke\n",
    )
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="GLOB",
        help="races to run: a glob over the name or the subsystem",
    )
    parser.add_argument(
        "--attempts",
        type=positive,
        default=ATTEMPTS,
        metavar="N",
        help=f"boots of each kernel (default: {ATTEMPTS})",
    )
    parser.add_argument(
        "--out", type=folder, metavar="DIR", help="where runs go (default: results)"
    )
    add_output_options(parser)
    parser.set_defaults(command=races_command)


def races_command(options: argparse.Namespace) -> int:
    """Run the races that were chosen, one run each, and print one table."""
    from rich.console import Console

    from kvet.plan.races import chosen, load_races
    from kvet.report.races import race_result, races_table

    console = Console(width=None if Console().is_terminal else 140, highlight=False)
    results = []
    for race in chosen(load_races(), options.only):
        results.append(race_result(race, _run(race, options)))
        if not options.quiet:
            console.print(races_table(results[-1:]))
    console.print(races_table(results))
    good = sum(result.as_it_should for result in results)
    print(f"{good} of {len(results)} fail in every boot without their fix, and in none with it")
    return ExitCode.OK if good == len(results) else ExitCode.FAIL


def _run(race: Race, options: argparse.Namespace) -> RunRecord:
    """Judge the kernel without the fix beside the one with it."""
    from kvet.cache import cache_root
    from kvet.cli.run import library
    from kvet.events import Events, JsonLines
    from kvet.run.plan import record_plan
    from kvet.run.planning import plan_run
    from kvet.run.runner import Runner
    from kvet.terminal import make_ui

    effort = Effort(
        results=options.out or RESULTS,
        attempts=options.attempts,
        command=("races", "--only", race.name),
    )
    known, name = library().with_workload(str(race.folder))
    request = RunRequest(effort, name, kernel=race.kernel, variants=("unfixed",))
    with tempfile.TemporaryDirectory(prefix="kvet-races-") as scratch:
        # boots of earlier runs, which may have been fewer, do not stand for those asked for
        planned = replace(plan_run(request, known, Path(scratch)).plan, references=frozenset())
        plan = record_plan(planned, scratch=Path(scratch))
    with make_ui(quiet=options.quiet, plain=options.plain) as ui:
        events = Events(ui, JsonLines(plan.out / "events.jsonl"))
        return Runner(plan, cache=cache_root(), events=events).run()
