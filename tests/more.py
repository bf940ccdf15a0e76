# SPDX-License-Identifier: GPL-2.0-only
"""The whole command line, for tests of the subcommands."""

from __future__ import annotations

from kvet.cli.main import build_parser


def go(*words: str) -> int:
    """Run a command as a user types it; what it raises is the test's to look at."""
    options = build_parser().parse_args(words)
    code: int = options.command(options)
    return code
