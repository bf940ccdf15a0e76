# SPDX-License-Identifier: GPL-2.0-only
"""What a run booted on, as words: an emulator of this host, boards, or both."""

from __future__ import annotations

import re

from kvet.boards import BOARD
from kvet.results.record import RunRecord

# what guests of QEMU call themselves; a board that says so is one
VIRTUAL = re.compile(r"dummy-virt|QEMU|KVM|Virtual Machine", re.IGNORECASE)


def boards_of(record: RunRecord) -> dict[str, str]:
    """Machines of the run that are boards, with what each calls itself ('' if it does not)."""
    found: dict[str, str] = {}
    for cell in record.cells:
        for attempt in cell.attempts:
            if attempt.provenance.host.accel == BOARD:
                name = attempt.state.get("board", "")
                found[cell.machine] = found.get(cell.machine, "") or name
    return found


def is_hardware(record: RunRecord) -> bool:
    """Whether some kernel of the run ran on an arm64 processor, as far as can be told."""
    accels = record.host.accel.split(", ")
    real = any(name and not VIRTUAL.search(name) for name in boards_of(record).values())
    return "kvm" in accels or real


def booted_on(record: RunRecord) -> str:
    """`QEMU 10.0.2, tcg`; of a board that it is another machine, and what it calls itself."""
    host = record.host
    accels = [accel for accel in host.accel.split(", ") if accel != BOARD]
    parts = [f"QEMU {host.qemu}, {', '.join(accels)}"] if accels else []
    if BOARD in host.accel.split(", "):
        known = [f"{name}: {said}" for name, said in sorted(boards_of(record).items()) if said]
        parts.append(
            f"real hardware or a remote machine ({'; '.join(known) or 'which does not say what'})"
        )
    return " and ".join(parts)
