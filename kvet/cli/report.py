# SPDX-License-Identifier: GPL-2.0-only
"""The subcommands that read what runs left: report, compare, cost, history, site, export.

Options become arguments of the functions that do the work; heavy imports stay inside.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from kvet.cli.options import Commands, add_command, add_out, positive, warn
from kvet.errors import UserError
from kvet.paths import RESULTS

if TYPE_CHECKING:
    from kvet.results.record import RunRecord


def add_report(commands: Commands) -> None:
    """report RUN [--format F] [-o FILE]"""
    parser = add_command(
        commands,
        "report",
        "draw the report of a run again",
        "  harness.py report latest\n  harness.py report latest --format html -o run.html\n",
    )
    parser.add_argument("run", metavar="RUN", help="a directory of results/, or 'latest'")
    parser.add_argument(
        "--format",
        default="text",
        metavar="F",
        help="text (default), json, html, junit, ktap, kcidb, markdown, mail or b4",
    )
    parser.add_argument("--cost", default="", metavar="RUN", help="say what that run measured, too")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE")
    add_out(parser)
    parser.set_defaults(command=report_command)


def add_compare(commands: Commands) -> None:
    """compare RUN RUN..."""
    parser = add_command(
        commands,
        "compare",
        "show what changed from the first run to the others; exit code 1 for a regression",
        "  harness.py compare 20261123-151342-matrix latest\n",
    )
    parser.add_argument("runs", nargs="+", metavar="RUN")
    add_out(parser)
    parser.set_defaults(command=compare_command)


def add_cost(commands: Commands) -> None:
    """cost RUN [--against V] [--code [V]]"""
    parser = add_command(
        commands,
        "cost",
        "show what each variant costs, in guest instructions",
        "  harness.py run-matrix configs/cost.yaml && harness.py cost latest\n"
        "  harness.py cost latest --code static-key\n",
    )
    parser.add_argument("run", metavar="RUN", help="a run of configs/cost.yaml, or 'latest'")
    parser.add_argument(
        "--against",
        action="append",
        metavar="V",
        help="variant to compare with (default: stock and read-lock)",
    )
    parser.add_argument(
        "--code",
        nargs="?",
        const="",
        metavar="V",
        help="bytes that each build adds; of one variant the functions side by side, too",
    )
    add_out(parser)
    parser.set_defaults(command=cost_command)


def add_history(commands: Commands) -> None:
    """history [--rebuild] [--last N] [--name MATRIX]"""
    parser = add_command(
        commands,
        "history",
        "show what each cell came to in the last runs",
        "  harness.py history\n  harness.py history --name nightly --last 10\n",
    )
    parser.add_argument(
        "--rebuild", action="store_true", help="rebuild results/history.db from the runs"
    )
    parser.add_argument(
        "--last", type=positive, default=5, metavar="N", help="runs to show (default: 5)"
    )
    parser.add_argument(
        "--name", default="", metavar="MATRIX", help="only runs of that matrix (nightly, smoke)"
    )
    add_out(parser)
    parser.set_defaults(command=history_command)


def add_site(commands: Commands) -> None:
    """site -o DIR"""
    parser = add_command(
        commands,
        "site",
        "write a static site over all runs, with a page for each variant",
        "  harness.py site -o public\n",
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="where its pages go"
    )
    add_out(parser)
    parser.set_defaults(command=site_command)


def add_export(commands: Commands) -> None:
    """export RUN/CELL[/ATTEMPT] [-o FILE]"""
    parser = add_command(
        commands,
        "export",
        "pack one recorded boot for somebody who has QEMU and nothing else",
        "  harness.py export latest/linux-6.12+nolock+debug+virt+ptdump-race\n"
        "  harness.py export latest/linux-6.12+nolock+debug+virt+ptdump-race/2 -o bug.tar.gz\n",
    )
    parser.add_argument("what", metavar="RUN/CELL[/ATTEMPT]")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE.tar.gz",
        help="the archive (default: kvet-RUN-VARIANT-CONFIG.tar.gz here)",
    )
    add_out(parser)
    parser.set_defaults(command=export_command)


def print_report(record: RunRecord, measured: RunRecord | None = None) -> None:
    """The report of a run as text, as wide as the terminal is."""
    from kvet.report.text import text_report
    from kvet.terminal import WIDTH, make_console, wants_color

    console = make_console()
    width = max(WIDTH, console.width) if console.is_terminal else WIDTH
    shown = min(width, 140)
    sys.stdout.write(text_report(record, color=wants_color(), width=shown, measured=measured))
    sys.stdout.flush()


def report_command(options: argparse.Namespace) -> int:
    """Draw one report of a run from its results.json."""
    from kvet.report import formats
    from kvet.results.folder import find_run
    from kvet.results.record import read_record
    from kvet.store import write_text

    results = options.out or RESULTS
    draw = formats.FORMATS.get(options.format)
    if draw is None:
        raise UserError(f"--format {options.format}: there are: {', '.join(formats.FORMATS)}")
    record = read_record(find_run(options.run, results) / "results.json")
    measured = None
    if options.cost:
        measured = read_record(find_run(options.cost, results) / "results.json")
    if options.output is None and options.format == "text":
        print_report(record, measured)
        return 0
    text = draw(record, measured=measured)
    if options.output is None:
        sys.stdout.write(text)
    else:
        write_text(options.output, text)
    return 0


def compare_command(options: argparse.Namespace) -> int:
    """Print what changed between recorded runs; exit code 1 for a regression."""
    from kvet.results.compare import compare, compare_text
    from kvet.results.folder import find_run
    from kvet.results.record import read_record
    from kvet.terminal import make_console, wants_color

    if len(options.runs) < 2:
        raise UserError("name two runs or more; the first is what the others are compared with")
    runs = [find_run(name, options.out or RESULTS) for name in options.runs]
    comparison = compare([read_record(run / "results.json") for run in runs])
    sys.stdout.write(compare_text(comparison, color=wants_color(), width=make_console().width))
    return comparison.exit_code


def cost_command(options: argparse.Namespace) -> int:
    """Print the cost tables of a run, or what its builds have in code."""
    from kvet.cost.code_text import code_report
    from kvet.cost.figures import REFERENCES, figures
    from kvet.cost.tables import cost_report
    from kvet.results.folder import find_run
    from kvet.results.record import read_record

    record = read_record(find_run(options.run, options.out or RESULTS) / "results.json")
    if options.code is not None:
        sys.stdout.write(code_report(record, options.code))
        return 0
    if not figures(record):
        raise UserError(
            f"run {record.run} measured nothing", hint="harness.py run-matrix configs/cost.yaml"
        )
    sys.stdout.write(cost_report(record, options.against or REFERENCES))
    return 0


def history_command(options: argparse.Namespace) -> int:
    """Bring the history up to date with the run directories and print the trends."""
    from kvet.report.trends import trend_text
    from kvet.results.history import open_history
    from kvet.terminal import wants_color

    results = options.out or RESULTS
    with open_history(results) as history:
        for note in history.sync(results, rebuild=options.rebuild):
            print(f"kvet: {note}", file=sys.stderr)
        runs = history.runs(name=options.name)
        if not runs:
            which = f"called {options.name!r} " if options.name else ""
            raise UserError(f"no run {which}is on record in {results}")
        sys.stdout.write(trend_text(history, runs, last=options.last, color=wants_color()))
    return 0


def site_command(options: argparse.Namespace) -> int:
    """Write the site of all runs to the directory `options.output`."""
    from kvet.report.pages import write_site

    count = write_site(options.out or RESULTS, options.output, warn)
    print(f"{options.output / 'index.html'}: {count} runs")
    return 0


def export_command(options: argparse.Namespace) -> int:
    """Pack one recorded boot (RUN/CELL[/ATTEMPT]); prints where it went."""
    from kvet.run.export import make_bundle, write_bundle

    bundle = make_bundle(options.what, options.out or RESULTS)
    path = options.output or Path(f"{bundle.name}.tar.gz")
    write_bundle(bundle, path)
    print(f"{path}: {path.stat().st_size >> 20} MiB; unpack it and run {bundle.name}/repro.sh")
    return 0
