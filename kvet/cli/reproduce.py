# SPDX-License-Identifier: GPL-2.0-only
"""`harness.py reproduce`: one recorded attempt again, its memory, a shell or a visit in its guest.

Heavy imports stay inside the command.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from kvet.cli.options import (
    Commands,
    add_command,
    add_executor_options,
    add_out,
    add_output_options,
)
from kvet.errors import ExitCode, UserError
from kvet.model import Status
from kvet.paths import RESULTS
from kvet.run.requests import ReproduceRequest, ShellRequest, VisitRequest

CODES = {Status.PASS: ExitCode.OK, Status.DONE: ExitCode.OK, Status.FAIL: ExitCode.FAIL}

if TYPE_CHECKING:
    from concurrent.futures import Future

    from kvet.model import Attempt
    from kvet.run.reproduce import Recorded


def add_reproduce(commands: Commands) -> None:
    """reproduce RUN/CELL[/ATTEMPT] ..."""
    parser = add_command(
        commands,
        "reproduce",
        "repeat one recorded attempt: same build, seed and arguments",
        "  harness.py reproduce latest/linux-6.12+nolock+debug+virt+ptdump-race/1\n"
        "  harness.py reproduce latest/linux-6.12+nolock+debug+virt+ptdump-race --drgn\n"
        "  harness.py reproduce latest/linux-6.12+nolock+debug+virt+ptdump-race \\\n"
        "      --run stress --get /sys/kernel/debug/kernel_page_tables -o tables.txt\n",
    )
    parser.add_argument("what", metavar="RUN/CELL[/ATTEMPT]")
    add_out(parser)
    add_output_options(parser)
    add_shell_options(parser)
    parser.add_argument(
        "--drgn",
        action="store_true",
        help="open the guest's memory as it was at the finding: the tasks and locks it names, "
        "the page-table path of its address; then drgn's prompt",
    )
    parser.add_argument(
        "--run", default="", metavar="COMMAND", help="run COMMAND in the guest, over its ssh"
    )
    parser.add_argument(
        "--get",
        default="",
        metavar="GUESTPATH",
        help="copy a file of the guest to this directory, after --run if that is given",
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="with --get: the new file it goes to"
    )
    parser.add_argument(
        "--schedule",
        default="",
        metavar="ID",
        help="run this schedule alone, as the report of a ptdump-explore cell names it",
    )
    add_executor_options(parser)
    parser.set_defaults(command=reproduce_command)


def add_shell_options(parser: argparse.ArgumentParser) -> None:
    """--boot-shell, --ssh and --gdb."""
    parser.add_argument(
        "--boot-shell",
        action="store_true",
        help="boot the same kernel, command line and initramfs to a shell instead",
    )
    parser.add_argument(
        "--ssh", action="store_true", help="with --boot-shell: connect over ssh as well"
    )
    parser.add_argument(
        "--gdb", action="store_true", help="start the guest stopped, with a gdb stub"
    )


def shell_of(options: argparse.Namespace) -> ShellRequest | None:
    """The shell asked for, if one is.

    Raises UserError for --ssh without the shell it leads to, and for a shell without a terminal:
    before minutes go into a build that nobody could look into.
    """
    if options.ssh and not options.boot_shell:
        raise UserError("--ssh goes with --boot-shell", hint="add --boot-shell")
    if not options.boot_shell and not options.gdb:
        return None
    if not sys.stdin.isatty():
        asked = "--boot-shell" if options.boot_shell else "--gdb"
        raise UserError(f"{asked} needs a terminal", hint="run it without a pipe")
    return ShellRequest(ssh=options.ssh, gdb=options.gdb)


def _visit(options: argparse.Namespace) -> VisitRequest | None:
    """What is to be done over ssh, if anything. Raises UserError for what cannot be."""
    if not options.run and not options.get:
        if options.output is not None:
            raise UserError("-o goes with --get", hint="add --get GUESTPATH")
        return None
    if options.boot_shell or options.gdb or options.drgn:
        raise UserError("--run and --get go without --boot-shell, --gdb and --drgn")
    wanted = VisitRequest(options.run, options.get, options.output)
    if wanted.output is not None and not wanted.get:
        raise UserError("-o goes with --get", hint="add --get GUESTPATH")
    if wanted.get:
        _refuse_taken(wanted.local)
    return wanted


def _refuse_taken(path: Path) -> None:
    if not path.name:
        raise UserError("--get: names no file", hint="give the whole path of a file in the guest")
    if path.exists() or path.is_symlink():
        raise UserError(f"{path} exists and is not overwritten", hint="-o ANOTHER, or remove it")
    if not path.parent.is_dir():
        raise UserError(f"{path.parent} is not a directory", hint=f"mkdir -p {path.parent}")


def reproduce_command(options: argparse.Namespace) -> int:
    """Repeat one recorded attempt, or look around in its guest."""
    from kvet.events import Events
    from kvet.plan.library import Library
    from kvet.run.reproduce import open_recorded, open_shell, other_build, visit
    from kvet.terminal import make_ui

    wanted = _visit(options)
    shell = shell_of(options)
    if options.executor and (wanted or shell or options.drgn):
        raise UserError(
            "--executor boots elsewhere; a shell, a visit or --drgn needs the guest here"
        )
    request = ReproduceRequest(options.what, options.out or RESULTS, options.schedule)
    with make_ui(quiet=options.quiet, plain=options.plain) as ui:
        recorded = open_recorded(request, Library(), Events(ui))
    if note := other_build(recorded):
        print(f"kvet: {note}", file=sys.stderr)
    if options.drgn:
        return _memory(recorded)
    if wanted is not None:
        code = visit(recorded.request, wanted, out=sys.stdout.buffer, err=sys.stderr.buffer)
        if wanted.get:
            print(f"{wanted.local}: {wanted.local.stat().st_size} bytes", file=sys.stderr)
        return code
    if shell is not None:
        return open_shell(recorded.request, shell, print)
    return _tell(recorded, _boot_again(recorded, options))


def _boot_again(recorded: Recorded, options: argparse.Namespace) -> Attempt:
    """The attempt once more, on this host or on a worker of the scheduler that was named."""
    from kvet.run.attempt import run_attempt
    from kvet.run.executor import Places, open_executor

    request = recorded.request
    if not options.executor:
        return run_attempt(request)  # in this thread, so that Ctrl-C ends the guest at once
    places = Places(
        run=f"{recorded.run.name}-{request.folder.name}",
        machines=(request.cell.machine,),
        jobs=0,
        executor=options.executor,
        store=options.store or "",
    )
    with open_executor(places, lambda line: print(line, file=sys.stderr)) as executor:
        again: Future[Attempt] = executor.submit(run_attempt, request)
        return again.result()


def _memory(recorded: Recorded) -> int:
    """Open the memory of a recorded attempt; without a dump, boot again and keep it this time."""
    from kvet.run.reproduce import boot_for_memory, kept_memory, look_into

    attempt = kept_memory(recorded)
    if attempt is None:
        print("no memory dump is on record: booting again to make one", file=sys.stderr)
        attempt = boot_for_memory(recorded)
    look_into(recorded, attempt, print)
    return 0


def _tell(recorded: Recorded, attempt: Attempt) -> int:
    """Print what the repeated attempt showed beside what was recorded.

    Exit code 1 when it fails again, 0 when it passes, 3 when it did not run.
    """
    ending = attempt.ending.value if attempt.ending else "no boot"
    took = f"{attempt.seconds:.1f} s"
    print(f"{attempt.status.value} {ending} in {took}; console: {recorded.request.folder}")
    known = recorded.cell.new_titles + recorded.cell.known_titles
    for title in dict.fromkeys(f.title for f in attempt.findings):
        print(f"  {title}  ({'as recorded' if title in known else 'not in the record'})")
    if attempt.status is not Status.FAIL and attempt.detail:
        print(f"  {attempt.detail}")
    return CODES.get(attempt.status, ExitCode.ERROR)
