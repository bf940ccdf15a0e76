# SPDX-License-Identifier: GPL-2.0-only
"""The command line: one small function of options for each subcommand, errors to exit codes.

Heavy imports stay inside the commands, so that `scan-log` and `--help` start at once.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from kvet.cli_more import MORE
from kvet.cli_options import (
    Commands,
    Spelling,
    add_command,
    add_out,
    add_output_options,
    days,
    folder,
    positive,
)
from kvet.errors import KvetError
from kvet.toolchain import TOOLCHAIN

EPILOG = """\
exit codes: 0 all candidates PASS and all controls caught; 1 a candidate FAILs; 2 bad usage
or configuration; 3 host, build or harness ERROR; 4 INCONCLUSIVE. The worst wins: 2 3 1 4 0.

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
    if not options.verbose:  # that a QEMU has gone is told in our words
        logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL)
    # who ends us politely wants what had ended kept, as with Ctrl-C
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        code: int = options.command(options)
        sys.stdout.flush()
    except KvetError as error:
        print(f"kvet: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"  mend it: {error.hint}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("\nkvet: interrupted; what had ended is kept", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # the interpreter flushes on its way out, into a pipe that nobody reads
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        print(f"kvet: {_told(error)}", file=sys.stderr)
        return KvetError.exit_code
    except Exception:  # python would exit with 1, which says that a candidate FAILs
        traceback.print_exc()
        print("kvet: this is a fault of the harness itself; no kernel is blamed", file=sys.stderr)
        return KvetError.exit_code
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
        *MORE,
    ):
        add(commands)
    return parser


def add_doctor(commands: Commands) -> None:
    """doctor [--install]"""
    parser = add_command(
        commands,
        "doctor",
        "check what this machine lacks and print the command that mends it",
        "  harness.py doctor\n  sudo harness.py doctor --install\n",
    )
    parser.add_argument("--install", action="store_true", help="install what is missing (root)")
    parser.add_argument("--quiet", action="store_true", help="print only what is missing")
    parser.set_defaults(command=_doctor)


def add_list(commands: Commands) -> None:
    """list kernels|variants|configs|machines|workloads"""
    parser = add_command(commands, "list", "list what a matrix can be made of")
    kinds = ("kernels", "variants", "configs", "machines", "workloads")
    parser.add_argument("kind", choices=kinds)
    parser.set_defaults(command=_list)


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--attempts", type=positive, metavar="N", help="fresh boots for each cell")
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
    parser.add_argument("--dry-run", action="store_true", help="show the plan and stop")
    add_output_options(parser)


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
    parser.add_argument(
        "--executor", default="", metavar="URL", help="a dask.distributed scheduler (tcp://...)"
    )
    _add_run_options(parser)
    parser.set_defaults(command=_run_matrix)


def add_run(commands: Commands) -> None:
    """run --kernel K --variant V|--series PATH ..."""
    parser = add_command(
        commands,
        "run",
        "judge one variant or series against its baseline and control",
        "  harness.py run --variant trylock\n"
        "  harness.py run --series v3.mbox --kernel linux-6.12 --attempts 5\n"
        "  harness.py run --series ~/linux:v6.12..my-topic --config kasan\n"
        "  harness.py run --variant nolock --boot-shell\n",
    )
    parser.add_argument("--kernel", default="linux-6.12", metavar="K", help="see: list kernels")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--variant", metavar="V", help="see: list variants")
    what.add_argument(
        "--series", metavar="PATH", help="mbox, .patch, quilt directory or GITDIR:BASE..TIP"
    )
    parser.add_argument("--config", default="debug", metavar="C", help="see: list configs")
    parser.add_argument("--workload", default="ptdump-race", metavar="W", help="list workloads")
    parser.add_argument("--machine", default="virt", metavar="M", help="see: list machines")
    _add_run_options(parser)
    _add_shell_options(parser)
    parser.set_defaults(command=_run)


def _add_shell_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--boot-shell",
        action="store_true",
        help="boot the same kernel, command line and initramfs to a shell instead",
    )
    parser.add_argument("--ssh", action="store_true", help="with --boot-shell: come in over ssh")
    parser.add_argument(
        "--gdb", action="store_true", help="start the guest stopped, with a gdb stub"
    )


def add_reproduce(commands: Commands) -> None:
    """reproduce RUN/CELL[/ATTEMPT] ..."""
    parser = add_command(
        commands,
        "reproduce",
        "repeat one recorded attempt: same build, seed and arguments",
        "  harness.py reproduce latest/linux-6.12+nolock+debug+virt+ptdump-race/1\n"
        "  harness.py reproduce latest/linux-6.12+nolock+debug+virt+ptdump-race --drgn\n",
    )
    parser.add_argument("what", metavar="RUN/CELL[/ATTEMPT]")
    add_out(parser)
    add_output_options(parser)
    _add_shell_options(parser)
    parser.add_argument(
        "--drgn",
        action="store_true",
        help="open the guest's memory as it was at the finding: the tasks and locks it names, "
        "the page-table path of its address; then drgn's prompt",
    )
    parser.set_defaults(command=_reproduce)


def add_scan_log(commands: Commands) -> None:
    """scan-log FILE... [--json] [--vmlinux F]"""
    parser = add_command(
        commands,
        "scan-log",
        "find crashes and splats in kernel console logs",
        "  harness.py scan-log console.log\n  harness.py scan-log --json logs/*.log\n",
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--json", action="store_true", help="one line of JSON for each file")
    parser.add_argument("--vmlinux", type=Path, metavar="F", help="symbolise frames with it")
    parser.set_defaults(command=_scan_log)


def add_report(commands: Commands) -> None:
    """report RUN [--format F] [-o FILE]"""
    parser = add_command(
        commands,
        "report",
        "draw the report of a run again",
        "  harness.py report latest\n  harness.py report latest --format html -o run.html\n",
    )
    parser.add_argument("run", metavar="RUN", help="a folder of results/, or 'latest'")
    parser.add_argument(
        "--format",
        default="text",
        metavar="F",
        help="text (default), json, html, junit, ktap, kcidb, markdown, mail or b4",
    )
    parser.add_argument(
        "--cost", default="", metavar="RUN", help="say in html and mail what that run measured"
    )
    parser.add_argument("-o", "--output", type=Path, metavar="FILE")
    add_out(parser)
    parser.set_defaults(command=_report)


def add_cache(commands: Commands) -> None:
    """cache"""
    parser = add_command(commands, "cache", "show what the cache holds and how large it is")
    parser.set_defaults(command=_cache)


def add_gc(commands: Commands) -> None:
    """gc"""
    parser = add_command(commands, "gc", "remove builds that were not used for a while")
    parser.add_argument("--days", type=days, default=30, metavar="D", help="unused for D days")
    parser.add_argument("--all", action="store_true", help="empty the cache")
    parser.set_defaults(command=_gc)


def _doctor(options: argparse.Namespace) -> int:
    from kvet.doctor import doctor_main

    return doctor_main(install=options.install, quiet=options.quiet)


def _list(options: argparse.Namespace) -> int:
    from kvet.commands import list_command

    return list_command(options.kind)


def _run_matrix(options: argparse.Namespace) -> int:
    from kvet.commands import run_matrix_command

    return run_matrix_command(options)


def _run(options: argparse.Namespace) -> int:
    from kvet.commands import run_command

    return run_command(options)


def _reproduce(options: argparse.Namespace) -> int:
    from kvet.commands import reproduce_command

    return reproduce_command(options)


def _scan_log(options: argparse.Namespace) -> int:
    from kvet.scanlog import scan_log_main

    return scan_log_main(options.files, json_output=options.json, vmlinux=options.vmlinux)


def _report(options: argparse.Namespace) -> int:
    from kvet.commands import report_command

    return report_command(options)


def _cache(options: argparse.Namespace) -> int:
    from kvet.cache import show_cache

    return show_cache()


def _gc(options: argparse.Namespace) -> int:
    from kvet.cache import collect_garbage

    return collect_garbage(days=options.days, everything=options.all)
