# SPDX-License-Identifier: GPL-2.0-only
"""`harness.py completion`: shtab makes the script of a shell from the parser itself."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator

import shtab

SHELLS = ("bash", "zsh", "fish")
# what the option or argument takes is a path when it is called one of these
PATHS = re.compile(r"FILE|DIR|PATH|configs/NAME\.yaml")


def completion(parser: argparse.ArgumentParser, shell: str) -> str:
    """The script that makes `shell` complete the commands of `parser`."""
    for action in _actions(parser):
        _teach(action)
    return shtab.complete(parser, shell=shell, root_prefix="kvet")


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Every option and argument of a parser and its subcommands."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for sub in action.choices.values():
                yield from _actions(sub)
        else:
            yield action


def _teach(action: argparse.Action) -> None:
    """Tell shtab what an action takes where argparse alone does not say it."""
    offered = getattr(action.type, "choices", None)
    if offered and not action.choices:
        action.choices = offered
    metavar = action.metavar if isinstance(action.metavar, str) else ""
    if PATHS.match(metavar):
        action.complete = shtab.FILE  # type: ignore[attr-defined]
