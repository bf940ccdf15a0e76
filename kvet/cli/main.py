# SPDX-License-Identifier: GPL-2.0-only
"""The command line: one small function of options for each subcommand, errors to exit codes.

Heavy imports stay inside the commands, so that `scan-log` and `--help` start at once.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from textwrap import fill

from kvet import interrupt
from kvet.cli.bisect import add_bisect
from kvet.cli.gc import add_cache, add_gc
from kvet.cli.nightly_options import add_nightly
from kvet.cli.options import Commands, add_command, add_scan_options
from kvet.cli.prove import add_prove
from kvet.cli.races import add_races
from kvet.cli.report import (
    add_compare,
    add_cost,
    add_export,
    add_history,
    add_report,
    add_site,
)
from kvet.cli.reproduce import add_reproduce
from kvet.cli.run import add_run, add_run_matrix
from kvet.cli.worker import add_worker
from kvet.errors import MEANINGS, WORST_FIRST, ExitCode, KvetError

CODES = "; ".join(f"{code} {meaning}" for code, meaning in MEANINGS.items())
ORDER = " ".join(str(code) for code in WORST_FIRST)
EPILOG = f"""\
{fill(f"exit codes: {CODES}. The worst wins: {ORDER}.", 92)}

examples:
  harness.py doctor                                   what is missing, and the command that mends it
  harness.py run-matrix                               the default matrix, configs/matrix.yaml
  harness.py run-matrix --only trylock --attempts 10  one variant with its baseline and control
  harness.py run --series v3.mbox                     judge a series from the list
  harness.py run --variant nolock --boot-shell        look around in the guest
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code. Only here are errors printed."""
    words = sys.argv[1:] if argv is None else list(argv)
    if sys.stdout is None:  # closed by who wants the exit code alone
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    parser = build_parser()
    options = parser.parse_args(words)
    logging.basicConfig(
        level=logging.DEBUG if options.verbose else logging.WARNING,
        format="%(name)s: %(message)s",
    )
    if not options.verbose:  # that a QEMU or a board has gone is told in our words
        for name in ("qemu.qmp", "paramiko"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    interrupt.install()
    try:
        code: int = options.command(options)
        sys.stdout.flush()
    except KvetError as error:
        print(f"kvet: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"  fix: {error.hint}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("\nkvet: interrupted; what had ended is kept", file=sys.stderr)
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # the interpreter flushes on its way out, into a pipe that nobody reads
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.BROKEN_PIPE
    except OSError as error:
        print(f"kvet: {_told(error)}", file=sys.stderr)
        return ExitCode.ERROR
    except Exception:  # python would exit with 1, which says that a candidate FAILs
        if interrupt.asked():  # a library made another error of it
            print("\nkvet: interrupted; what had ended is kept", file=sys.stderr)
            return ExitCode.INTERRUPTED
        traceback.print_exc()
        print("kvet: this is a fault of the harness itself; no kernel is blamed", file=sys.stderr)
        return ExitCode.ERROR
    finally:
        interrupt.finish()
    return code


def _told(error: OSError) -> str:
    """What the system refused, and for which file."""
    names = " -> ".join(str(n) for n in (error.filename, error.filename2) if n is not None)
    return f"{names}: {error.strerror or error}" if names else str(error.strerror or error)


def build_parser() -> argparse.ArgumentParser:
    """The parser of all subcommands."""
    parser = argparse.ArgumentParser(
        prog="harness.py",
        description="Vet the variants of a kernel patch series on real arm64 kernels under QEMU.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--verbose", action="store_true", help="log every command that is run")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for add in (
        add_doctor,
        add_list,
        add_run_matrix,
        add_run,
        add_reproduce,
        add_scan_log,
        add_report,
        add_cache,
        add_gc,
        add_compare,
        add_cost,
        add_export,
        add_history,
        add_site,
        add_nightly,
        add_races,
        add_bisect,
        add_lint,
        add_init,
        add_prove,
        add_worker,
        add_completion,
    ):
        add(commands)
    return parser


def add_doctor(commands: Commands) -> None:
    """doctor [--install] [--machine NAME]"""
    parser = add_command(
        commands,
        "doctor",
        "check what this machine lacks and print the command that mends it",
        "  harness.py doctor\n  sudo harness.py doctor --install\n"
        "  harness.py doctor --machine board\n",
    )
    parser.add_argument("--install", action="store_true", help="install what is missing (root)")
    parser.add_argument("--quiet", action="store_true", help="print only what is missing")
    parser.add_argument(
        "--machine",
        default="",
        metavar="NAME",
        help="look at this board alone: ssh, kexec, console",
    )
    parser.set_defaults(command=_doctor)


def add_list(commands: Commands) -> None:
    """list kernels|variants|configs|machines|workloads"""
    parser = add_command(commands, "list", "list what a matrix can be made of")
    kinds = ("kernels", "variants", "configs", "machines", "workloads")
    parser.add_argument("kind", choices=kinds)
    parser.set_defaults(command=_list)


def add_scan_log(commands: Commands) -> None:
    """scan-log FILE... [--json] [--vmlinux F] [--explain]"""
    parser = add_command(
        commands,
        "scan-log",
        "find crashes and splats in kernel console logs",
        "  harness.py scan-log console.log\n  harness.py scan-log --json logs/*.log\n"
        "  journalctl -k -o json | harness.py scan-log --explain -\n",
    )
    add_scan_options(parser)
    parser.set_defaults(command=_scan_log)


def add_lint(commands: Commands) -> None:
    """lint FILE_OR_DIR..."""
    parser = add_command(
        commands,
        "lint",
        "check YAML files and name line, column and key of every fault; exit code 2 for any",
        "  harness.py lint configs/*.yaml patches/*/variant.yaml\n"
        "  harness.py lint ./my-race                     a workload's directory\n",
    )
    parser.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE_OR_DIR",
        help="a YAML file, or the directory of a workload or a variant",
    )
    parser.set_defaults(command=_lint)


def add_init(commands: Commands) -> None:
    """init NAME --series PATH [--kernel K] [--base COMMIT] ..., or init --workload KIND DIR"""
    parser = add_command(
        commands,
        "init",
        "start a matrix for a series of your own, or a workload",
        "  harness.py init mine --kernel linux-6.12 --series v3.mbox\n"
        "  harness.py init mine --series ~/linux --base v6.12\n"
        "  harness.py init --workload sides ./my-race\n",
    )
    parser.add_argument(
        "name",
        metavar="NAME",
        help="patches/NAME/ and configs/NAME.yaml are written; with --workload alone "
        "the directory that is made",
    )
    parser.add_argument(
        "--series",
        metavar="PATH",
        help="mbox, .patch, quilt directory, GITDIR:BASE..TIP, or GITDIR with --base",
    )
    parser.add_argument(
        "--kernel", metavar="K", help="see: list kernels (default: linux-6.12, or the --base)"
    )
    parser.add_argument(
        "--base",
        metavar="COMMIT",
        help="the commit that a series in a git repository is made on; without --kernel it is "
        "judged on that commit, and kernels/NAME.yaml is written",
    )
    parser.add_argument(
        "--onto", default="", metavar="V", help="made on top of this variant's patches"
    )
    parser.add_argument(
        "--config",
        action="append",
        metavar="C",
        help="see: list configs; may be given several times (default: debug and kasan)",
    )
    parser.add_argument(
        "--workload",
        default="ptdump-race",
        metavar="W",
        help="see: list workloads; without --series the kind of workload to start: program, kunit, "
        "kselftest, module, locktorture, rcutorture, sides or race",
    )
    parser.add_argument("--machine", default="virt", metavar="M", help="see: list machines")
    parser.set_defaults(command=_init)


def add_completion(commands: Commands) -> None:
    """completion bash|zsh|fish"""
    parser = add_command(
        commands,
        "completion",
        "print the completion script for a shell",
        "  source <(./harness.py completion bash)\n"
        "  ./harness.py completion fish > ~/.config/fish/completions/harness.py.fish\n",
    )
    parser.add_argument("shell", choices=("bash", "zsh", "fish"))
    parser.set_defaults(command=_completion)


def _doctor(options: argparse.Namespace) -> int:
    from kvet.cli.doctor import doctor_main, print_checks

    if options.machine:
        from kvet.cli.doctor_board import check_board, named_board

        return print_checks(check_board(named_board(options.machine)), quiet=options.quiet)
    return doctor_main(install=options.install, quiet=options.quiet)


def _list(options: argparse.Namespace) -> int:
    from kvet.cli.listing import print_list

    print_list(options.kind)
    return 0


def _scan_log(options: argparse.Namespace) -> int:
    from kvet.cli.scan_log import ScanRequest, scan_log_main

    return scan_log_main(ScanRequest(options.files, options.json, options.vmlinux, options.explain))


def _lint(options: argparse.Namespace) -> int:
    from kvet.cli.lint import lint_files

    return lint_files(options.files)


def _init(options: argparse.Namespace) -> int:
    from kvet.cli.init import InitRequest, start_matrix
    from kvet.cli.init_workload import start_workload

    if options.series is None:
        return start_workload(options.workload, options.name)
    request = InitRequest(
        name=options.name,
        series=options.series,
        kernel=options.kernel or "",
        base=options.base or "",
        onto=options.onto,
        configs=tuple(options.config or ()),
        workload=options.workload,
        machine=options.machine,
    )
    return start_matrix(request)


def _completion(options: argparse.Namespace) -> int:
    from kvet.cli.completion import completion

    sys.stdout.write(completion(build_parser(), options.shell))
    return 0
