# SPDX-License-Identifier: GPL-2.0-only
"""Finds kernel splats in console logs: titles, functions to blame, kinds.

`scan`, `scan_file` and `scan_text` read a whole log, `read_file` also says whether
it was one and why the titles are what they are; `Trigger` tells line by
line, on a living console, whether a splat begins.
"""

from __future__ import annotations

from kvet.detectors.engine import Reading, read_file, scan, scan_file, scan_text
from kvet.detectors.trigger import Trigger, Triggered

__all__ = ["Reading", "Trigger", "Triggered", "read_file", "scan", "scan_file", "scan_text"]
