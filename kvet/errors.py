# SPDX-License-Identifier: GPL-2.0-only
"""The exceptions of kvet and the exit code each one means.

A verdict about a kernel is a value, never an exception; what is raised here
blames the user's input (exit 2) or the host and the harness (exit 3).
"""

from __future__ import annotations

from pathlib import Path


class KvetError(Exception):
    """Base of everything kvet raises on purpose.

    `hint` is the command or step that mends it, printed on a line of its own.
    """

    exit_code = 3

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UserError(KvetError):
    """Bad usage or configuration: names the file, key or line at fault."""

    exit_code = 2

    def __init__(
        self, message: str, *, path: Path | None = None, where: str = "", hint: str = ""
    ) -> None:
        prefix = ": ".join(str(p) for p in (path, where) if p)
        super().__init__(f"{prefix}: {message}" if prefix else message, hint=hint)
        self.path = path
        self.where = where


class InfraError(KvetError):
    """The host, the network, the disk or the harness failed; no kernel is blamed."""


class MissingTool(InfraError):
    """A program the host lacks; `hint` holds the command that installs it."""

    def __init__(self, tool: str, *, hint: str) -> None:
        super().__init__(f"{tool} is not installed", hint=hint)
        self.tool = tool
