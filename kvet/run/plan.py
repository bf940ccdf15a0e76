# SPDX-License-Identifier: GPL-2.0-only
"""What is to be run, and its copy in the directory of the run."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import msgspec

from kvet.cell_id import CellId
from kvet.errors import InfraError, UserError
from kvet.loads import Load
from kvet.model import Cell, Kernel, Role, Variant
from kvet.plan.library import Library
from kvet.plan.loads import VARIANTS, files_of
from kvet.plan.matrix import find_cell
from kvet.plan.read_once import ReadOnce
from kvet.prove.tests import keep_tests
from kvet.results.record import GivenRecord, PlanRecord
from kvet.store import write_json

FILE = "run.json"
WORKLOADS = "workloads"  # directories of workloads, as they were when the run began


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan(PlanRecord):
    """What to run and where its results go.

    Attempts of `references` (cell ids) may come from earlier runs; `matrix`, `only` and
    `given` (by variant) say what it was made from.
    """

    cells: tuple[Cell, ...]
    out: Path
    jobs: int = 0
    executor: str = ""
    store: str = ""
    references: frozenset[str] = frozenset()
    matrix: str = ""
    only: tuple[str, ...] = ()
    given: Mapping[str, GivenRecord] = field(default_factory=dict)

    @property
    def run_id(self) -> str:
        return self.out.name


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanFile(PlanRecord):
    """run.json: a plan with ids for cells. What a run of an older kvet lacks has defaults."""

    run: str
    cells: tuple[str, ...]
    references: tuple[str, ...] = ()
    matrix: str | None = None
    only: tuple[str, ...] = ()
    given: Mapping[str, GivenRecord] = field(default_factory=dict)
    kernels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # those without a file
    series: str = ""  # of a kvet that took one series


def jobs_of(plan: Plan) -> int:
    """How many boots run at a time: those asked for, else as the host's cores allow."""
    return boots_at_once(plan.jobs, max(cell.machine.cores for cell in plan.cells))


def boots_at_once(jobs: int, cores: int) -> int:
    """How many boots, each of which keeps `cores` of the host busy; `jobs` if they were given."""
    return jobs or max(1, (os.cpu_count() or 1) // cores)


def spec_of(plan: PlanRecord) -> dict[str, Any]:
    """The fields that every copy of a plan has."""
    return {f.name: getattr(plan, f.name) for f in fields(PlanRecord)}


def record_plan(plan: Plan, *, scratch: Path | None = None) -> Plan:
    """Make the run's directory and write what was planned, before anything runs.

    Returns the plan with its directory; patches that were in `scratch` are
    replaced by the copies that the run keeps.
    """
    plan = replace(plan, out=own_folder(plan.out))
    cells = tuple(replace(c, variant=_kept(c, plan.out, scratch)) for c in plan.cells)
    loads = {c.workload.load.file: c.workload.load for c in cells if c.workload.load}
    for load in loads.values():
        _keep_load(load, plan.out / WORKLOADS / load.folder.name)
    file = PlanFile(
        **spec_of(plan),
        run=plan.run_id,
        cells=tuple(c.id for c in plan.cells),
        references=tuple(sorted(plan.references)),
        matrix=plan.matrix or None,
        only=plan.only,
        given=plan.given,
        kernels={k.name: k.spec for k in _without_file(plan.cells)},
    )
    write_json(plan.out / FILE, file)
    return replace(plan, cells=cells)


def _without_file(cells: Iterable[Cell]) -> list[Kernel]:
    return [cell.kernel for cell in cells if not cell.kernel.path.exists()]


def with_kernels(library: Library, plan: PlanFile) -> Library:
    """The library with the kernels that were made for a run, from commits of a repository."""
    folder = library.root / "kernels"
    made = (Kernel(n, "git", spec, folder / f"{n}.yaml") for n, spec in plan.kernels.items())
    return replace(library, more=tuple(made))


def read_plan(run: Path) -> PlanFile:
    """The plan of the run in the directory `run`.

    Raises UserError when there is none, InfraError when it cannot be understood.
    """
    path = run / FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=PlanFile)
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", path=path) from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InfraError(
            f"{path}: not a plan that this kvet reads: {error}",
            hint="start the run again: its plan is lost",
        ) from error


def own_folder(wanted: Path) -> Path:
    """Make the directory `wanted`, with a number behind it when another run took the name."""
    for number in range(1, 1000):
        path = wanted if number == 1 else wanted.with_name(f"{wanted.name}-{number}")
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise InfraError(f"cannot make {path}: {error.strerror}") from error
        return path
    raise InfraError(f"{wanted} and a thousand more names are taken")


def _kept(cell: Cell, run: Path, scratch: Path | None) -> Variant:
    """Copy the patches of a cell into the run; its variant, with copies for those in `scratch`."""
    folder = run / "patches" / cell.kernel.name / cell.variant.name
    folder.mkdir(parents=True, exist_ok=True)
    kept = []
    for number, patch in enumerate(cell.variant.patches_for(cell.kernel.name), start=1):
        stem = re.sub(r"^\d+-", "", patch.name.removesuffix(".patch"))
        copy = folder / f"{number:04d}-{stem}.patch"
        try:
            copy.write_bytes(patch.read_bytes())
        except OSError as error:
            raise InfraError(f"cannot copy {patch} to {copy}: {error.strerror}") from error
        temporary = scratch is not None and patch.is_relative_to(scratch)
        kept.append(copy if temporary else patch)
    variant = replace(cell.variant, patches=tuple(kept), by_kernel={})
    if variant.proof is None:
        return variant
    return replace(variant, proof=keep_tests(variant.proof, _tests(run, variant.name)))


def _tests(run: Path, variant: str) -> Path:
    """Where a run keeps the litmus tests that came with a series."""
    return run / "tests" / variant


def _keep_load(load: Load, folder: Path) -> None:
    """Copy a workload's directory: a run is repeated from its own copy."""
    own = sorted((load.folder / VARIANTS).glob("*/variant.yaml"))
    for path in (*files_of(load.folder), *own):
        copy = folder / path.relative_to(load.folder)
        try:
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copy)
        except OSError as error:
            raise InfraError(f"cannot copy {path} to {copy}: {error.strerror}") from error


def recorded_cells(library: Library, wanted: Iterable[CellId], run: Path) -> Iterator[Cell]:
    """The cells called `wanted`; their variants are made of the patches that the run keeps."""
    plan = read_plan(run)
    every = with_kernels(ReadOnce(library.root, given=library.given), plan)
    by_workload: dict[str, Library] = {}
    for each in wanted:
        name = each.workload
        if name not in by_workload:
            kept = run / WORKLOADS / name
            by_workload[name] = every.with_workload(f"{kept}/")[0] if kept.is_dir() else every
        yield _recorded(by_workload[name], each, run, plan)


def recorded_cell(library: Library, wanted: CellId, run: Path) -> Cell:
    """One of `recorded_cells`."""
    return next(recorded_cells(library, [wanted], run))


def _recorded(library: Library, wanted: CellId, run: Path, plan: PlanFile) -> Cell:
    kept = tuple(sorted((run / "patches" / wanted.kernel / wanted.variant).glob("*")))
    known = library.variants().get(wanted.variant)
    made = known or _unknown(wanted.variant, plan)
    tests = _tests(run, wanted.variant)
    proof = tests if tests.is_dir() else None
    made = replace(made, patches=kept, by_kernel={}, foreign=known is None, proof=proof)
    return with_params(find_cell(library, wanted, made), plan.params)


def with_params(cell: Cell, params: Mapping[str, str | int]) -> Cell:
    """The cell with other values for parameters of its workload.

    Raises UserError for a parameter that the workload does not have.
    """
    workload = cell.workload
    for name in params:
        if name not in workload.params:
            raise UserError(
                f"workload {workload.name} has no parameter {name}",
                hint=f"it has {', '.join(workload.params) or 'none'}",
            )
    return replace(cell, workload=replace(workload, params={**workload.params, **params}))


def _unknown(name: str, plan: PlanFile) -> Variant:
    """A variant that is no directory of the library: a series, or one of a matrix's own."""
    title = title_of(plan.given[name]) if name in plan.given else plan.series or name
    return Variant(name=name, title=title, role=Role.CANDIDATE)


def title_of(given: GivenRecord) -> str:
    """A series in the words of its mails, where it has any."""
    return given.subject or f"series {given.spec}"
