# SPDX-License-Identifier: GPL-2.0-only
"""The id of a cell: its five names, joined for people, directories and globs."""

from __future__ import annotations

from dataclasses import dataclass

from kvet.errors import UserError

SEPARATOR = "+"
FORM = "KERNEL+VARIANT+CONFIG+MACHINE+WORKLOAD"


@dataclass(frozen=True, slots=True)
class CellId:
    """The five names of a cell; `str()` gives what `parse` takes."""

    kernel: str
    variant: str
    config: str
    machine: str
    workload: str

    @classmethod
    def parse(cls, text: str) -> CellId:
        """The id that `text` spells. Raises UserError when it is none."""
        names = text.split(SEPARATOR)
        if len(names) != 5 or not all(names):
            raise UserError(f"{text!r} is not a valid cell id ({FORM})")
        return cls(*names)

    @property
    def names(self) -> tuple[str, ...]:
        """Kernel, variant, config, machine and workload, in this order."""
        return (self.kernel, self.variant, self.config, self.machine, self.workload)

    @property
    def build(self) -> str:
        """What its build is called: cells that differ in machine and workload alone share it."""
        return SEPARATOR.join(self.names[:3])

    def __str__(self) -> str:
        return SEPARATOR.join(self.names)
