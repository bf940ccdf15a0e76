# SPDX-License-Identifier: GPL-2.0-only
"""The whole command line, for tests of the subcommands in kvet/cli_more.py."""

from __future__ import annotations

import argparse

from kvet.cli import build_parser
from kvet.cli_more import MORE
from kvet.completion import commands_of


def parser() -> argparse.ArgumentParser:
    """The parser with every subcommand, whoever adds them."""
    made = build_parser()
    known = {command.name for command in commands_of(made)}
    for action in made._actions:
        if isinstance(action, argparse._SubParsersAction):
            for add in MORE:
                if add.__name__.removeprefix("add_") not in known:
                    add(action)
    return made


def go(*words: str) -> int:
    """Run a command as a user types it; what it raises is the test's to look at."""
    options = parser().parse_args(words)
    code: int = options.command(options)
    return code
