# SPDX-License-Identifier: GPL-2.0-only
"""Where a guest ran, as every attempt records it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BootHost:
    """Where a guest ran: the host's name and architecture, its QEMU, accelerator and kvet."""

    name: str = ""
    arch: str = ""
    qemu: str = ""
    accel: str = ""
    kvet: str = ""
