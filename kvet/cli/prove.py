# SPDX-License-Identifier: GPL-2.0-only
"""The subcommand prove: litmus tests of designs, under a memory model and bound to a build."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from kvet.cli.options import Commands, add_command, add_series_options
from kvet.errors import UserError

if TYPE_CHECKING:
    from kvet.cli.prove_work import Work


def add_prove(commands: Commands) -> None:
    """prove [--kernel K] [--variant V ...] [--config C] [--extract FUNCTION...] [--klitmus DIR]"""
    parser = add_command(
        commands,
        "prove",
        "run the litmus tests of designs under the kernel's memory model, bound to the build",
        "  harness.py prove                              one line a design\n"
        "  harness.py prove --variant rcu-free           with what stands behind it\n"
        "  harness.py prove --variant rcu-free --mutants could its tests have failed?\n"
        "  harness.py prove --series v3.mbox --proof DIR  a series, by its author's tests\n"
        "  harness.py prove --variant nolock --extract pmd_free_pte_page\n"
        "  harness.py prove --variant trylock --klitmus out\n",
    )
    parser.add_argument("--kernel", default="linux-6.12", metavar="K", help="see: list kernels")
    parser.add_argument(
        "--variant",
        action="append",
        default=[],
        metavar="V",
        help="see: list variants; or a directory with a variant.yaml (default: all)",
    )
    add_series_options(parser)
    parser.add_argument("--config", default="debug", metavar="C", help="see: list configs")
    parser.add_argument(
        "--extract",
        nargs="+",
        default=[],
        metavar="FUNCTION",
        help="write a thread's column from the built function, with holes to fill in",
    )
    parser.add_argument(
        "--klitmus", type=Path, metavar="DIR", help="write kernel modules for real hardware"
    )
    parser.add_argument(
        "--mutants",
        action="store_true",
        help="mutate tests and built functions; what stays undetected needs a reason",
    )
    parser.add_argument("--model", action="store_true", help="run the tree's own litmus tests")
    parser.add_argument(
        "--posted",
        action="store_true",
        help="the test of the merged commit as posted, and two faults that it cannot see",
    )
    parser.add_argument("--install", action="store_true", help="fetch herd7 where there is none")
    parser.add_argument("--json", action="store_true", help="statements as JSON")
    parser.set_defaults(command=prove_command)


def prove_command(options: argparse.Namespace) -> int:
    """What was asked for, else a statement for each design."""
    from kvet.cache import cache_root
    from kvet.cli.prove_work import Wanted, Work

    if options.install:
        from kvet.prove.herd import need_tool

        tool = need_tool(cache_root())
        print(f"herd7 {tool.version}")
        return 0
    if options.proof and not options.series:
        raise UserError("--proof is about --series, and there is none")
    wanted = Wanted(
        kernel=options.kernel,
        config=options.config,
        variants=tuple(options.variant),
        series=tuple(options.series),
        proofs=tuple(options.proof),
    )
    with tempfile.TemporaryDirectory(prefix="kvet-series-") as scratch:
        return _work(Work(wanted, Path(scratch)), options)


def _work(work: Work, options: argparse.Namespace) -> int:
    """What the options ask of the designs."""
    if options.model:
        return work.model()
    if options.posted:
        return work.posted()
    if options.extract:
        return work.extract(options.extract)
    if options.klitmus:
        return work.klitmus(options.klitmus)
    if options.mutants:
        return work.mutants()
    return work.statements(json_output=options.json)
