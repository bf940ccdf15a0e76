# SPDX-License-Identifier: GPL-2.0-only
"""The exceptions of kvet and the exit code each one means.

A verdict about a kernel is a value, never an exception; what is raised here
blames the user's input (exit 2) or the host and the harness (exit 3).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path


class ExitCode(IntEnum):
    """What the exit code of a command says. This is the one place that knows."""

    OK = 0
    FAIL = 1  # of a comparison: a regression
    USAGE = 2
    ERROR = 3
    INCONCLUSIVE = 4
    INTERRUPTED = 130  # 128 + SIGINT, as a shell has it
    BROKEN_PIPE = 141  # 128 + SIGPIPE


MEANINGS = {
    ExitCode.OK: "all candidates PASS and all controls caught",
    ExitCode.FAIL: "a candidate FAILs",
    ExitCode.USAGE: "bad usage or configuration",
    ExitCode.ERROR: "host, build or harness ERROR",
    ExitCode.INCONCLUSIVE: "INCONCLUSIVE",
}
# which of several wins
WORST_FIRST = (
    ExitCode.USAGE,
    ExitCode.ERROR,
    ExitCode.FAIL,
    ExitCode.INCONCLUSIVE,
    ExitCode.OK,
)
# those of a run that judged every cell it could
JUDGED = (ExitCode.OK, ExitCode.FAIL, ExitCode.INCONCLUSIVE)


def worst(codes: Iterable[int], *, default: ExitCode) -> ExitCode:
    """The exit code that wins of several; `default` when there is none."""
    found = set(codes)
    return next((code for code in WORST_FIRST if code in found), default)


class KvetError(Exception):
    """Base of everything kvet raises on purpose.

    `hint` is the command or step that mends it, printed on a line of its own.
    """

    exit_code = ExitCode.ERROR

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Place:
    """A place inside a file: 1-based line and column, path of a key; 0 and '' for unknown."""

    line: int = 0
    column: int = 0
    key: str = ""

    def __str__(self) -> str:
        parts = (("line", self.line), ("column", self.column), ("key", self.key))
        return ", ".join(f"{name} {value}" for name, value in parts if value)


class UserError(KvetError):
    """Bad usage or configuration: `reason` is what is wrong, without file, key and line."""

    exit_code = ExitCode.USAGE

    def __init__(
        self, reason: str, *, path: Path | None = None, where: Place | str = "", hint: str = ""
    ) -> None:
        prefix = ": ".join(str(p) for p in (path, where) if p)
        super().__init__(f"{prefix}: {reason}" if prefix else reason, hint=hint)
        self.reason = reason
        self.path = path
        self.where = where


class InfraError(KvetError):
    """The host, the network, the disk or the harness failed; no kernel is blamed."""


class HostsLost(InfraError):
    """The scheduler or every worker is gone: nothing more of this run can be carried out now."""


class MissingTool(InfraError):
    """A program the host lacks; `hint` holds the command that installs it."""

    def __init__(self, tool: str, *, hint: str) -> None:
        super().__init__(f"{tool} is not installed", hint=hint)
        self.tool = tool
