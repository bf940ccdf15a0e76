# SPDX-License-Identifier: GPL-2.0-only
"""Ctrl-C and SIGTERM: the first ends the work and keeps what is done, the second ends at once."""

from __future__ import annotations

import os
import signal
from types import FrameType

from kvet import proc
from kvet.errors import ExitCode

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_asked = False


def install() -> None:
    """From now on the first signal raises KeyboardInterrupt in the main thread."""
    global _asked
    _asked = False
    for number in SIGNALS:
        signal.signal(number, _first)


def finish() -> None:
    """Everything is written: a signal that comes now has nothing left to interrupt."""
    for number in SIGNALS:
        signal.signal(number, _nothing)  # not SIG_IGN, which a child would inherit


def asked() -> bool:
    """Whether a first signal came: what was raised after it may be the interrupt in disguise."""
    return _asked


def _first(number: int, frame: FrameType | None) -> None:
    global _asked
    _asked = True
    for each in SIGNALS:
        signal.signal(each, _second)
    raise KeyboardInterrupt


def _nothing(number: int, frame: FrameType | None) -> None:
    return


def _second(number: int, frame: FrameType | None) -> None:
    proc.kill_all()
    os._exit(ExitCode.INTERRUPTED)
