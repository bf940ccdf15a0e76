# SPDX-License-Identifier: GPL-2.0-only
"""What a variant is judged by: a workload, where it runs, and the workloads beside it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kvet.cell_id import CellId
from kvet.model import Cell, Conclusion, Machine, Role, Workload
from kvet.plan.library import Library, pick, pick_one
from kvet.plan.loads import VARIANTS
from kvet.run.requests import RunRequest

DEFAULT_CONFIG = "debug"
DEFAULT_MACHINE = "virt"


@dataclass(frozen=True, slots=True)
class Judge:
    """The names of a workload and of what it runs on."""

    workload: str
    machine: str
    config: str

    def named(self, kernel: str, variant: str) -> CellId:
        """The cell of that variant on that kernel."""
        return CellId(kernel, variant, self.config, self.machine, self.workload)


@dataclass(frozen=True, slots=True)
class Judges:
    """Those that are taken, and a word on each that cannot be."""

    taken: tuple[Judge, ...]
    notes: tuple[str, ...] = ()


def workloads_of(request: RunRequest, library: Library) -> Judges:
    """The workload that is asked for, behind those that judge beside it.

    Those beside take machine and config of the one that is asked for where they can; else a
    machine of their own with its page size. Where neither will do they are left out.
    """
    known, machines = library.workloads(), library.machines()
    asked = pick_one("workload", known, request.workload)
    config = request.config or next(iter(asked.configs), DEFAULT_CONFIG)
    machine = request.machine or next(iter(asked.machines), DEFAULT_MACHINE)
    taken, notes = [], []
    for other in pick("workload", known, asked.beside, path=None) if request.beside else ():
        place = _machine_for(other, pick_one("machine", machines, machine), machines.values())
        if place and (not other.configs or config in other.configs):
            taken.append(Judge(other.name, place, config))
        else:
            notes.append(f"{other.name} does not run on {machine} with {config}: it is left out")
    return Judges((*taken, Judge(asked.name, machine, config)), tuple(notes))


def speaks_of(cell: Cell) -> bool:
    """Whether what is known of the variant beforehand is about the workload of `cell`.

    The file of a shipped variant, and the litmus tests beside it, are about page tables; those
    of a variant in the directory of a workload are about that workload.
    """
    load, variant = cell.workload.load, cell.variant
    if load is None or variant.foreign:
        return True
    return (load.folder / VARIANTS / variant.name / "variant.yaml").is_file()


def expected_of(cell: Cell) -> str:
    """The conclusion that is expected of `cell`, '' where nobody knows.

    A race that somebody made for another part of the kernel is run on the tree as it is, too,
    and that tree is expected to hold.
    """
    if speaks_of(cell):
        return cell.variant.expected_on.get(cell.kernel.name, cell.variant.expected)
    return Conclusion.PASS.value if cell.variant.role is Role.BASELINE else ""


def _machine_for(workload: Workload, asked: Machine, machines: Iterable[Machine]) -> str:
    """The machine for a workload beside one on `asked`; '' when it has none."""
    if not workload.machines or asked.name in workload.machines:
        return asked.name
    fit = {m.name for m in machines if m.page_kib == asked.page_kib}
    return next((name for name in workload.machines if name in fit), "")
