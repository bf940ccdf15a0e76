# SPDX-License-Identifier: GPL-2.0-only
"""Where the project is on this host."""

from __future__ import annotations

from pathlib import Path

# the checkout: configs/, patches/, kernels/, rootfs/ and results/ stand in it
PROJECT = Path(__file__).resolve().parent.parent
ROOTFS = PROJECT / "rootfs"
CONFIGS = PROJECT / "configs"
RESULTS = PROJECT / "results"
