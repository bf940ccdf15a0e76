# SPDX-License-Identifier: GPL-2.0-only
"""From what a user asks for to the plan of a run: nothing is built, booted or written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from kvet.cache import cache_root
from kvet.cell_id import CellId
from kvet.errors import UserError
from kvet.guest.machine import resolve_accel
from kvet.model import Cell, Kernel, Variant
from kvet.plan.library import Library, Matrix, load_matrix, pick_one
from kvet.plan.matrix import find_cell, plan_cells
from kvet.results.folder import find_run
from kvet.run.applies import Trial
from kvet.run.base import Choice, fitted
from kvet.run.fitting import Fit, fit
from kvet.run.judged import judged_of
from kvet.run.plan import Plan, PlanFile, read_plan, recorded_cells, spec_of, with_params
from kvet.run.requests import Effort, MatrixRequest, ResumeRequest, RunRequest
from kvet.run.workloads import workloads_of

DEFAULT_ATTEMPTS = 3


def plan_matrix(request: MatrixRequest, library: Library) -> Plan:
    """The plan of a matrix file. Raises UserError for a cell that cannot be, or none at all."""
    matrix = _matrix(request.matrix, request.exclude)
    cells = plan_cells(matrix, library, only=request.only)
    check_needs(cells)
    effort = request.effort
    attempts = effort.attempts or matrix.attempts or DEFAULT_ATTEMPTS
    fixed = effort.attempts is not None or matrix.max_attempts <= attempts
    plan = _plan(matrix.name, cells, effort)
    return replace(
        plan,
        attempts=attempts,
        most=attempts if fixed else matrix.max_attempts,
        fixed=fixed,
        toolchain=effort.toolchain or matrix.toolchain,
        matrix=str(request.matrix),
        only=request.only,
    )


def _matrix(path: Path, exclude: Sequence[str]) -> Matrix:
    matrix = load_matrix(path)
    return replace(matrix, exclude=(*matrix.exclude, *exclude))


@dataclass(frozen=True, slots=True)
class RunPlan:
    """The plan of variants and series side by side, and what tells whether each applies.

    `first` is to be said before anything else, `notes` before anything is built.
    """

    plan: Plan
    trials: tuple[Trial, ...]
    notes: tuple[str, ...] = ()
    first: tuple[str, ...] = ()

    def trial_of(self, error: UserError) -> Trial:
        """The trial whose patch `error` is about."""
        path = error.path
        for trial in self.trials:
            # patches that the run keeps are in a directory of the variant's name
            if path and (path in trial.variant.patches or path.parent.name == trial.variant.name):
                return trial
        return self.trials[0]


def plan_run(request: RunRequest, library: Library, scratch: Path) -> RunPlan:
    """The plan of variants and series beside what their workload is judged by.

    Patches of a series may be in `scratch`: `record_plan` copies them.
    """
    library, workload = library.with_workload(request.workload)
    request = replace(request, workload=workload)
    judged = judged_of(request, library, scratch)
    bases = Choice(library, cache_root(), request.kernel, request.tree).choose(judged)
    made = {base.kernel.name: base.kernel for base in bases if not base.kernel.path.exists()}
    every = replace(library, more=tuple(made.values()))
    chosen = Fit(workload)
    if request.beside:  # nobody named a workload
        pairs = [(one, base.kernel) for one, base in zip(judged, bases, strict=True)]
        chosen = fit(workload, pairs, library, cache_root())
        library, workload = library.with_workload(chosen.workload)
        request = replace(request, workload=workload)
    kinds = workloads_of(request, library)
    asked = [
        _fitted(find_cell(every, kind.named(base.kernel.name, one.variant.name), one.variant),
                library)
        for one, base in zip(judged, bases, strict=True)
        for kind in kinds.taken
    ]  # fmt: skip
    asked = _with_params(asked, request.params)
    beside, notes = _references(asked, library)
    check_needs([*beside, *asked])
    names = [one.variant.name for one in judged]
    plan = replace(
        _plan(names[0] if len(names) == 1 else "versions", [*beside, *asked], request.effort),
        given={
            one.variant.name: replace(record, unfit=chosen.unfit)
            for one, base in zip(judged, bases, strict=True)
            if (record := one.record(f"{base.kernel.name} ({base.why})"))
        },
        params=dict(request.params),
        each_patch=request.each_patch,
        # what ran with other parameters is another thing
        references=frozenset(c.id for c in beside if not request.params),
    )
    others = list(library.kernels().values())
    trials = (
        Trial(cell.variant, cell.kernel, others, cache_root(), one.given, base.why)
        for one, cell, base in zip(judged, asked[:: len(kinds.taken)], bases, strict=True)
    )
    return RunPlan(plan, tuple(trials), (*kinds.notes, *notes), chosen.lines)


def bare_cell(
    library: Library, kernel: Kernel, variant: Variant, names: tuple[str, str, str]
) -> Cell:
    """A cell of its own; of config, machine and workload `names` those left out are as needed."""
    config, machine, workload = names
    request = RunRequest(Effort(library.root), workload, config=config, machine=machine)
    every = replace(library, more=(kernel,))
    kind = workloads_of(request, library).taken[0]
    cell = find_cell(every, kind.named(kernel.name, variant.name), variant)
    check_needs([cell])
    return cell


def _fitted(cell: Cell, library: Library) -> Cell:
    """`cell` with the rendition of its variant that its kernel takes; a series is as it is."""
    variant = cell.variant
    if variant.foreign:
        return cell
    made = fitted(variant, cell.kernel, library, cache_root())
    if made is None:
        raise UserError(f"{variant.name} is not for {cell.kernel.name}", hint=_kernels_of(variant))
    return replace(cell, variant=made)


def _references(asked: Sequence[Cell], library: Library) -> tuple[list[Cell], list[str]]:
    """Baseline and control of each group of cells that are judged, unless they are judged.

    Also what is to be said of those that do not fit the kernel.
    """
    known = library.variants()
    found: dict[str, Cell] = {}
    notes: dict[str, None] = {}
    for cell in asked:
        for name in (cell.workload.baseline, cell.workload.control):
            if not name or name in {c.variant.name for c in asked}:
                continue
            made = fitted(pick_one("variant", known, name), cell.kernel, library, cache_root())
            if made is None:
                lost = " and no PASS counts" if name == cell.workload.control else ""
                notes[f"{name} does not fit {cell.kernel.name}: it is left out{lost}"] = None
            else:
                beside = replace(cell, variant=made)
                found[beside.id] = beside
    return list(found.values()), list(notes)


def _with_params(cells: Sequence[Cell], params: Mapping[str, str | int]) -> list[Cell]:
    """`cells` with `params` in those whose workloads have them; some workload must.

    Raises UserError for a parameter that none has.
    """
    known = {name for cell in cells for name in cell.workload.params}
    for name in params.keys() - known:
        with_params(cells[-1], {name: params[name]})
    return [
        with_params(c, {n: v for n, v in params.items() if n in c.workload.params}) for c in cells
    ]


def _kernels_of(variant: Variant) -> str:
    return f"it is for {', '.join(variant.kernels)} (`kernels` in its variant.yaml)"


def check_needs(cells: Sequence[Cell]) -> None:
    """Raise UserError for a workload beside a machine or config that it does no work on."""
    for cell in cells:
        workload, machine = cell.workload, cell.machine
        # hardware counts by itself, whatever the machine is called
        hardware = machine.accel == "kvm" or resolve_accel(machine.accel) == "kvm"
        if not (workload.measures and hardware):
            _check_need(workload.name, "machine", machine.name, workload.machines)
        _check_need(workload.name, "config", cell.config.name, workload.configs)


def _check_need(workload: str, kind: str, name: str, fit: Sequence[str]) -> None:
    if fit and name not in fit:
        raise UserError(
            f"workload {workload} needs the {kind} {' or '.join(fit)}, not {name}",
            hint=f"choose it, or add {name} to `{kind}` in configs/workloads/{workload}.yaml",
        )


def check_boards(cells: Sequence[Cell], executor: str) -> None:
    """Raise UserError for a board beside --executor: workers of other hosts do not reach it."""
    for cell in cells:
        if executor and cell.machine.board:
            raise UserError(
                f"--executor: machine {cell.machine.name} is a board, which this host reaches",
                hint="run it without --executor",
            )


def _plan(name: str, cells: Sequence[Cell], effort: Effort) -> Plan:
    check_boards(cells, effort.executor)
    attempts = effort.attempts or DEFAULT_ATTEMPTS
    return Plan(
        name=name,
        cells=tuple(cells),
        out=effort.results / run_id(name),
        attempts=attempts,
        most=attempts,
        # of workloads that run together each has its own number at which more show nothing new
        asked=effort.attempts is not None and len({cell.workload.name for cell in cells}) == 1,
        toolchain=effort.toolchain or "gcc",
        seed=1 if effort.seed is None else effort.seed,
        command=effort.command,
        waivers=effort.waivers,
        jobs=effort.jobs,
        executor=effort.executor,
        store=effort.store,
    )


def run_id(name: str) -> str:
    """The name of a run that begins now; also of its directory."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{name}"


def resume_plan(request: ResumeRequest, library: Library) -> Plan:
    """The plan that an interrupted run was made for.

    Raises UserError when something else is asked for, InfraError for a plan that is lost.
    """
    out = find_run(request.run, request.effort.results)
    saved = read_plan(out)
    for name in _differing(request, saved, library):
        raise UserError(
            f"--resume goes on with what was planned, and {name} differs from that",
            hint="start a new run, or leave it out",
        )
    cells = tuple(recorded_cells(library, map(CellId.parse, saved.cells), out))
    check_boards(cells, request.effort.executor)
    return Plan(
        **spec_of(saved),
        cells=cells,
        out=out,
        references=frozenset(saved.references),
        jobs=request.effort.jobs,
        executor=request.effort.executor,
        store=request.effort.store,
    )


def _differing(request: ResumeRequest, saved: PlanFile, library: Library) -> list[str]:
    """What is asked for and is not what was planned; what is left out is as planned."""
    effort = request.effort
    asked = {
        "attempts": (effort.attempts, saved.attempts if saved.fixed else None),
        "toolchain": (effort.toolchain or None, saved.toolchain),
        "seed": (effort.seed, saved.seed),
        "waive": (effort.waivers or None, saved.waivers),
    }
    differing = [name for name, (new, old) in asked.items() if new is not None and new != old]
    matrix = request.matrix or (Path(saved.matrix) if request.only and saved.matrix else None)
    if matrix is not None:
        cells = plan_cells(load_matrix(matrix), library, only=request.only or saved.only)
        if [c.id for c in cells] != list(saved.cells):
            differing.append(f"the matrix {matrix}" if request.matrix else "--only")
    elif request.only:
        differing.append("--only")
    return differing
