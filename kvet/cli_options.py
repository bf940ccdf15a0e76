# SPDX-License-Identifier: GPL-2.0-only
"""What the parsers of the subcommands have in common."""

from __future__ import annotations

import argparse
import re
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


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """--quiet and --plain."""
    parser.add_argument("--quiet", action="store_true", help="no progress, only the report")
    parser.add_argument("--plain", action="store_true", help="progress as lines, not redrawn")


def add_out(parser: argparse.ArgumentParser) -> None:
    """--out, the folder that holds the runs."""
    parser.add_argument(
        "--out", type=folder, metavar="DIR", help="where runs are (default: results)"
    )


def folder(text: str) -> Path:
    """An option's value as an absolute path: guests run in folders of their own."""
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
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of days")
    return value


def positive(text: str) -> int:
    """An option's value as a whole number of at least 1."""
    value = int(text) if text.isdecimal() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return value
