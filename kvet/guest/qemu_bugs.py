# SPDX-License-Identifier: GPL-2.0-only
"""What emulators are known to get wrong (`qemu_bugs.yaml`), and which findings lean on it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from kvet.guest.machine import Qemu, find_qemu, resolve_accel
from kvet.model import Machine
from kvet.yamlfile import read_yaml

DATA = Path(__file__).with_name("qemu_bugs.yaml")
TEXT = {"type": "string"}
FAULT = {
    "type": "object",
    "additionalProperties": False,
    "required": ["before", "accel", "thread", "needs", "symptom", "source"],
    "properties": dict.fromkeys(("before", "accel", "thread", "needs", "symptom", "source"), TEXT),
}
SCHEMA = {
    "type": "object",
    "required": ["faults"],
    "additionalProperties": False,
    "properties": {"faults": {"type": "object", "additionalProperties": FAULT}},
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One known fault: QEMU older than `before`, under `accel` with `thread`."""

    name: str
    before: tuple[int, ...]
    accel: str
    thread: str
    needs: str
    symptom: str
    source: str


@cache
def known_faults() -> tuple[Fault, ...]:
    """All entries of the data file."""
    found = read_yaml(DATA, SCHEMA)["faults"]
    return tuple(
        Fault(name=name, **{**entry, "before": tuple(map(int, entry["before"].split(".")))})
        for name, entry in found.items()
    )


def faults_on(machine: Machine, patches: Iterable[Path]) -> tuple[Fault, ...]:
    """The known faults that a finding on this series on `machine` may lean on; a board has none."""
    if machine.board:
        return ()
    return faults_of(find_qemu(machine.qemu), resolve_accel(machine.accel), machine.thread, patches)


def faults_of(qemu: Qemu, accel: str, thread: str, patches: Iterable[Path]) -> tuple[Fault, ...]:
    """The known faults that a finding on this series under this emulator may lean on."""
    candidates = [
        f
        for f in known_faults()
        if qemu.number < f.before and f.accel == accel and f.thread == thread
    ]
    if not candidates:
        return ()
    added = "\n".join(
        line[1:]
        for path in patches
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines()
        if line.startswith("+") and not line.startswith("+++")
    )
    return tuple(f for f in candidates if re.search(f.needs, added))
