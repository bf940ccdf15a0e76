# SPDX-License-Identifier: GPL-2.0-only
"""The subcommands that judge kernels: run-matrix, run and nightly.

Options become requests (kvet/run/requests.py) here; heavy imports stay inside the commands.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kvet.cli.options import (
    Commands,
    Spelling,
    add_command,
    add_executor_options,
    add_output_options,
    add_schedule_options,
    add_series_options,
    folder,
    positive,
)
from kvet.cli.reproduce import add_shell_options, shell_of
from kvet.errors import ExitCode, UserError
from kvet.paths import CONFIGS, RESULTS
from kvet.plan.schemas import TOOLCHAIN
from kvet.run.requests import (
    Effort,
    MatrixRequest,
    ResumeRequest,
    RunRequest,
    ShellRequest,
)

if TYPE_CHECKING:
    from kvet.plan.library import Library
    from kvet.results.record import RunRecord
    from kvet.run.applies import Trial
    from kvet.run.plan import Plan


DEFAULT_WORKLOAD = "ptdump-race"


def add_run_matrix(commands: Commands) -> None:
    """run-matrix [configs/NAME.yaml] ..."""
    parser = add_command(
        commands,
        "run-matrix",
        "build, boot and judge every cell of a matrix",
        "  harness.py run-matrix configs/smoke.yaml\n"
        "  harness.py run-matrix --only 'static-key*' --only debug\n"
        "  harness.py run-matrix --resume 20260102-030405-matrix\n",
    )
    parser.add_argument(
        "matrix",
        nargs="?",
        type=Path,
        metavar="configs/NAME.yaml",
        help="the matrix file (default: configs/matrix.yaml)",
    )
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="GLOB",
        help="cells to run: a glob over the cell id, or over one of its names (globs of "
        "different kinds of name narrow each other); baseline and control are kept",
    )
    parser.add_argument("--resume", metavar="RUN", help="go on with an interrupted run")
    parser.add_argument(
        "--as-expected",
        action="store_true",
        help="exit code 0 when every variant came out as its variant.yaml expects, else 1",
    )
    add_executor_options(parser)
    _add_run_options(parser)
    parser.set_defaults(command=run_matrix_command)


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--attempts",
        type=positive,
        metavar="N",
        help="fresh boots for each cell (schedules that run beside a race need one alone)",
    )
    parser.add_argument(
        "--jobs",
        type=positive,
        metavar="N",
        help="boots at a time (default: host CPUs divided by the guest's vCPUs)",
    )
    parser.add_argument(
        "--out", type=folder, metavar="DIR", help="where runs go (default: results)"
    )
    parser.add_argument(
        "--toolchain",
        type=Spelling(TOOLCHAIN, ("gcc", "clang")),
        metavar="{gcc,clang}[-N]",
        help="cross compiler, of version N where the default will not do",
    )
    parser.add_argument(
        "--seed", type=int, metavar="N", help="seed of the run; every attempt derives its own"
    )
    parser.add_argument(
        "--waive",
        action="append",
        default=[],
        metavar="'WHAT because REASON'",
        help="pass although WHAT is said against it, as the report prints it: FILE:LINE never "
        "OUTCOME, or the rule by which the series touches its judge",
    )
    parser.add_argument("--dry-run", action="store_true", help="show the plan and stop")
    add_output_options(parser)


def add_run(commands: Commands) -> None:
    """run --kernel K --variant V|--series PATH ..."""
    parser = add_command(
        commands,
        "run",
        "judge variants and series side by side, with their baseline and control",
        "  harness.py run --variant trylock\n"
        "  harness.py run --series v3.mbox --kernel linux-6.12 --attempts 5\n"
        "  harness.py run --series v1.mbox --series v2.mbox --variant trylock\n"
        "  harness.py run --series THREAD.mbox --all-versions\n"
        "  harness.py run --series ~/linux:v6.12..my-topic --config kasan\n"
        "  harness.py run --variant nolock --boot-shell\n",
    )
    _add_subjects(parser)
    parser.add_argument(
        "--config", default="", metavar="C", help="list configs (default: the workload's, or debug)"
    )
    parser.add_argument(
        "--workload",
        default="",
        metavar="W",
        help="list workloads (default: ptdump-race, and what judges beside it)",
    )
    parser.add_argument(
        "--machine",
        default="",
        metavar="M",
        help="list machines (default: as for --config, or virt)",
    )
    add_schedule_options(parser)
    add_executor_options(parser)
    _add_run_options(parser)
    add_shell_options(parser)
    parser.set_defaults(command=run_command)


def _add_subjects(parser: argparse.ArgumentParser) -> None:
    """What is judged, and what it is based on."""
    parser.add_argument(
        "--kernel",
        default="",
        metavar="K",
        help="see: list kernels; or a commit of --tree (default: what a series says it is made on, "
        "else the newest kernel that takes it)",
    )
    parser.add_argument(
        "--tree",
        default="",
        metavar="GITDIR",
        help="a repository in which the base-commit of a series is looked for",
    )
    parser.add_argument(
        "--variant",
        action="append",
        default=[],
        metavar="V",
        help="see: list variants; or a directory with a variant.yaml; may be given several times",
    )
    add_series_options(parser)
    parser.add_argument(
        "--all-versions",
        action="store_true",
        help="judge every version that a mailbox or thread of --series holds, not the newest alone",
    )
    parser.add_argument(
        "--each-patch",
        nargs="?",
        const="build",
        default="",
        choices=("build", "boot"),
        help="build every series up to each of its patches as well, and boot it",
    )


def run_matrix_command(options: argparse.Namespace) -> int:
    """Run a matrix file, or go on with an interrupted run."""
    from kvet.cli.carry_out import carry_out
    from kvet.run.plan import record_plan
    from kvet.run.planning import plan_matrix, resume_plan

    effort, only = _effort(options), tuple(options.only)
    if options.resume:
        resume = ResumeRequest(options.resume, effort, matrix=options.matrix, only=only)
        plan = resume_plan(resume, library())
    else:
        matrix = options.matrix or CONFIGS / "matrix.yaml"
        plan = plan_matrix(MatrixRequest(matrix, effort, only=only), library())
    if options.dry_run:
        return _show_plan(plan)
    if not options.resume:
        plan = record_plan(plan)
    record = carry_out(plan, quiet=options.quiet, plain=options.plain)
    return _code(record, as_expected=options.as_expected)


def library() -> Library:
    """The data of this checkout; tests put another one here."""
    from kvet.plan.library import Library

    return Library()


def _effort(options: argparse.Namespace) -> Effort:
    from kvet.run.waivers import parse_waiver

    return Effort(
        results=options.out or RESULTS,
        attempts=options.attempts,
        toolchain=options.toolchain or "",
        seed=options.seed,
        jobs=options.jobs or 0,
        executor=options.executor,
        store=options.store or "",
        command=tuple(sys.argv[1:]),
        waivers=tuple(parse_waiver(text) for text in options.waive),
    )


def _code(record: RunRecord, *, as_expected: bool) -> int:
    from kvet.report.text import surprises

    if as_expected:
        return ExitCode.FAIL if surprises(record) else ExitCode.OK
    return record.exit_code


def _show_plan(plan: Plan) -> int:
    """The cells of a plan, their patches and how long they take; nothing is run."""
    from kvet.run.estimate import estimate, learn

    results = plan.out.parent
    learnt = learn(results)
    times = estimate(plan, learnt)
    for each in times.cells:
        cell = each.cell
        print(f"{cell.id}  [{cell.variant.role.value}]  {each.text(plan.attempts)}")
        for patch in cell.variant.patches_for(cell.kernel.name):
            print(f"    {patch}")
    for line in times.lines(learnt, results):
        print(line)
    return 0


def run_command(options: argparse.Namespace) -> int:
    """Judge variants and series, with the baseline and control that their workload names."""
    from kvet.cli.carry_out import carry_out
    from kvet.run.applies import advised
    from kvet.run.plan import record_plan
    from kvet.run.planning import plan_run

    shell = shell_of(options)
    request = _run_request(options)
    with tempfile.TemporaryDirectory(prefix="kvet-series-") as scratch:
        planned = plan_run(request, library(), Path(scratch))
        if shell is not None and len(planned.trials) > 1:
            raise UserError("a shell is opened in one guest", hint="give one --series or --variant")
        _say(planned.first, options)
        for trial in planned.trials:
            _say_what_applies(trial, options)
        _say(planned.notes, options)
        if options.dry_run:
            return _show_plan(planned.plan)
        plan = record_plan(planned.plan, scratch=Path(scratch))
    if shell is not None:
        return _shell_in(plan, shell, options)
    try:
        record = carry_out(plan, quiet=options.quiet, plain=options.plain)
    except UserError as error:
        raise advised(error, planned.trial_of(error)) from error
    return _code(record, as_expected=False)


def _run_request(options: argparse.Namespace) -> RunRequest:
    if not options.series and not options.variant:
        raise UserError("run needs --series or --variant", hint="./harness.py run --help")
    if options.all_versions and not options.series:
        raise UserError("--all-versions is about --series, and there is none")
    if options.proof and not options.series:
        raise UserError("--proof is about --series, and there is none")
    return RunRequest(
        effort=_effort(options),
        kernel=options.kernel,
        tree=options.tree,
        workload=options.workload or DEFAULT_WORKLOAD,
        # a shell is opened in one guest, and prefixes are booted in one
        beside=not (options.workload or shell_of(options)),
        variants=tuple(options.variant),
        series=tuple(options.series),
        proofs=tuple(options.proof),
        all_versions=options.all_versions,
        each_patch=options.each_patch,
        config=options.config,
        machine=options.machine,
        params=_params(options),
    )


def _params(options: argparse.Namespace) -> dict[str, str | int]:
    """Parameters of the workload that the command line sets."""
    asked = {"preemptions": options.preemptions, "points": options.points}
    return {name: value for name, value in asked.items() if value is not None}


def _say_what_applies(trial: Trial, options: argparse.Namespace) -> None:
    """Say what was taken for the series and whether it applies, before anything is built."""
    from kvet.run.applies import series_lines, try_series

    if trial.given is None and not options.dry_run:
        return
    base = f"base: {trial.kernel.name}, {trial.why}"
    _say([*(series_lines(trial.given) if trial.given else ()), base], options)
    _say([try_series(trial)], options)


def _say(lines: Sequence[str], options: argparse.Namespace) -> None:
    """Say something of what is planned, in the place for it."""
    if options.dry_run or not options.quiet:
        for line in lines:
            print(line, file=sys.stdout if options.dry_run else sys.stderr)


def _shell_in(plan: Plan, shell: ShellRequest, options: argparse.Namespace) -> int:
    """Build the judged cell of `plan` and open a shell in its guest."""
    from kvet.events import Events
    from kvet.run.reproduce import open_planned, open_shell
    from kvet.terminal import make_ui

    cell = next(c for c in plan.cells if c.id not in plan.references)
    with make_ui(quiet=options.quiet, plain=options.plain) as ui:
        request = open_planned(plan, cell, Events(ui))
    return open_shell(request, shell, print)
