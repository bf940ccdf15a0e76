# SPDX-License-Identifier: GPL-2.0-only
"""Options of the subcommands round a run: what is made of runs, every night, files of your own.

Heavy imports stay inside the commands, as in kvet/cli.py.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from kvet.cli_options import Commands, add_command, add_out, add_output_options, positive


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
    parser.set_defaults(command=_compare)


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
    parser.set_defaults(command=_cost)


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
    parser.set_defaults(command=_export)


def add_history(commands: Commands) -> None:
    """history [--rebuild] [--last N] [--name MATRIX]"""
    parser = add_command(
        commands,
        "history",
        "show what each cell came to in the last runs",
        "  harness.py history\n  harness.py history --name nightly --last 10\n",
    )
    parser.add_argument(
        "--rebuild", action="store_true", help="make results/history.db anew from the run folders"
    )
    parser.add_argument(
        "--last", type=positive, default=5, metavar="N", help="runs to show (default: 5)"
    )
    parser.add_argument(
        "--name", default="", metavar="MATRIX", help="only runs of that matrix (nightly, smoke)"
    )
    add_out(parser)
    parser.set_defaults(command=_history)


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
    parser.set_defaults(command=_site)


def add_nightly(commands: Commands) -> None:
    """nightly [configs/nightly.yaml] [--keep N] ..."""
    parser = add_command(
        commands,
        "nightly",
        "newest sources, the nightly matrix, what changed since the last good night",
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
        "--against", metavar="RUN", help="compare with this run, not the last good night"
    )
    parser.add_argument("--site", type=Path, metavar="DIR", help="write the static site as well")
    parser.add_argument("--jobs", type=positive, metavar="N", help="boots at a time")
    add_out(parser)
    add_output_options(parser)
    parser.set_defaults(command=_nightly)


def add_lint(commands: Commands) -> None:
    """lint FILE..."""
    parser = add_command(
        commands,
        "lint",
        "check YAML files and name line, column and key of every fault; exit code 2 for any",
        "  harness.py lint configs/*.yaml patches/*/variant.yaml\n",
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.yaml")
    parser.set_defaults(command=_lint)


def add_init(commands: Commands) -> None:
    """init NAME --series PATH [--kernel K] [--base COMMIT] ..."""
    parser = add_command(
        commands,
        "init",
        "start a matrix for a series of your own",
        "  harness.py init mine --kernel linux-6.12 --series v3.mbox\n"
        "  harness.py init mine --series ~/linux --base v6.12\n",
    )
    parser.add_argument("name", metavar="NAME", help="of patches/NAME/ and configs/NAME.yaml")
    parser.add_argument(
        "--series",
        required=True,
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
    parser.add_argument("--workload", default="ptdump-race", metavar="W", help="list workloads")
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


def _compare(options: argparse.Namespace) -> int:
    from kvet.compare import compare_command

    return compare_command(options)


def _cost(options: argparse.Namespace) -> int:
    from kvet.costtables import cost_command

    return cost_command(options)


def _export(options: argparse.Namespace) -> int:
    from kvet.export import export_command

    return export_command(options)


def _history(options: argparse.Namespace) -> int:
    from kvet.trends import history_command

    return history_command(options)


def _site(options: argparse.Namespace) -> int:
    from kvet.site import site_command

    return site_command(options)


def _nightly(options: argparse.Namespace) -> int:
    from kvet.nightly import nightly_command

    return nightly_command(options)


def _lint(options: argparse.Namespace) -> int:
    from kvet.lint import lint_command

    return lint_command(options)


def _init(options: argparse.Namespace) -> int:
    from kvet.init import init_command

    return init_command(options)


def _completion(options: argparse.Namespace) -> int:
    from kvet.completion import completion_command

    return completion_command(options)


MORE = (
    add_compare,
    add_cost,
    add_export,
    add_history,
    add_site,
    add_nightly,
    add_lint,
    add_init,
    add_completion,
)
