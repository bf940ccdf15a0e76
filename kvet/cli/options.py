# SPDX-License-Identifier: GPL-2.0-only
"""What the parsers of the subcommands have in common, and how all of them warn."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_command(
    commands: Commands, name: str, text: str, examples: str = ""
) -> argparse.ArgumentParser:
    """A subcommand whose `text` serves list and help, with its examples below the options."""
    return commands.add_parser(
        name,
        help=text,
        description=text[0].upper() + text[1:] + ".",
        epilog=f"examples:\n{examples}" if examples else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def warn(text: str) -> None:
    """Tell the user `text` beside the output that was asked for."""
    print(f"kvet: {text}", file=sys.stderr)


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """--quiet and --plain."""
    parser.add_argument("--quiet", action="store_true", help="no progress, only the report")
    parser.add_argument("--plain", action="store_true", help="progress as lines, not redrawn")


def add_out(parser: argparse.ArgumentParser) -> None:
    """--out, the directory that holds the runs."""
    parser.add_argument(
        "--out", type=folder, metavar="DIR", help="where runs are (default: results)"
    )


def add_executor_options(parser: argparse.ArgumentParser) -> None:
    """--executor and --store."""
    parser.add_argument(
        "--executor",
        type=Spelling(r"|(tcp|tls)://\S+:\d+", ("tcp://HOST:8786",)),
        default="",
        metavar="URL",
        help="boot on the workers of this dask.distributed scheduler, tcp://HOST:8786 "
        "(docs/scale.md)",
    )
    parser.add_argument(
        "--store",
        type=_place,
        metavar="URL",
        help="where workers fetch Images and leave what guests said: a directory or a URL of "
        "fsspec that all hosts can reach (default: a directory of the cache)",
    )


def _place(text: str) -> str:
    """A URL as it is, a path as an absolute one."""
    return text if "://" in text else str(folder(text))


def add_series_options(parser: argparse.ArgumentParser) -> None:
    """--series and --proof."""
    parser.add_argument(
        "--series",
        action="append",
        default=[],
        metavar="PATH",
        help="mailbox, maildir, .patch, directory, quilt directory, message id or "
        "GITDIR:BASE..TIP; may be given several times",
    )
    parser.add_argument(
        "--proof",
        action="append",
        default=[],
        type=folder,
        metavar="DIR",
        help="litmus tests of the series, a bind.yaml and *.litmus (docs/prove.md); once for all, "
        "or once for each --series in their order (default: those in a directory of patches)",
    )


def folder(text: str) -> Path:
    """An option's value as an absolute path: guests run in directories of their own."""
    return Path(text).expanduser().absolute()


class Spelling:
    """An option's value that matches `pattern` whole; the shells offer `choices`."""

    def __init__(self, pattern: str, choices: tuple[str, ...]) -> None:
        self.pattern, self.choices = pattern, choices

    def __call__(self, text: str) -> str:
        if re.fullmatch(self.pattern, text) is None:
            raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(self.choices)}")
        return text


def days(text: str) -> float:
    """An option's value as a number of days that are past."""
    return _at_least_0(text, "days")


def gibibytes(text: str) -> int:
    """An option's value, a number of GiB, in bytes."""
    return int(_at_least_0(text, "GiB") * (1 << 30))


def _at_least_0(text: str, unit: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of {unit}")
    return value


def whole(text: str) -> int:
    """An option's value as a whole number of at least 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


def positive(text: str) -> int:
    """An option's value as a whole number of at least 1."""
    value = int(text) if text.isdecimal() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return value


def add_scan_options(parser: argparse.ArgumentParser) -> None:
    """What `scan-log` takes."""
    parser.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="a log, also packed; - is standard input",
    )
    parser.add_argument("--json", action="store_true", help="one line of JSON for each file")
    parser.add_argument("--vmlinux", type=Path, metavar="F", help="symbolise frames with it")
    parser.add_argument("--explain", action="store_true", help="say why each finding has its title")


def add_schedule_options(parser: argparse.ArgumentParser) -> None:
    """What a workload of controlled schedules takes."""
    parser.add_argument(
        "--preemptions",
        type=int,
        choices=range(5),
        metavar="{0-4}",
        help="of a workload that controls schedules: most preemptions of one",
    )
    parser.add_argument(
        "--points",
        choices=("conflicts", "all"),
        help="of such a workload: where a side may be preempted, at what concerns the others "
        "or at every access",
    )
