# SPDX-License-Identifier: GPL-2.0-only
"""Turns a matrix into its cells: the cross product less what does not fit together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from itertools import product

from kvet.cell_id import SEPARATOR, CellId
from kvet.errors import UserError
from kvet.model import Cell, Config, Machine, Variant, Workload
from kvet.plan.library import Library, Matrix, own_variants, pick, pick_one


def plan_cells(
    matrix: Matrix,
    library: Library,
    *,
    only: Sequence[str] = (),
    extra: Sequence[Variant] = (),
) -> tuple[Cell, ...]:
    """All cells of `matrix` in a stable order, filtered by `only` globs over cell ids.

    A glob without a `+` matches any of the five names; globs that match the
    same kind of name widen each other, those of different kinds narrow. `extra`
    adds variants that are no directory of the library (a `--series`). A variant
    that is not for a kernel is left out there. Raises UserError when nothing
    is left, or a glob matches nothing.
    """
    workloads = pick("workload", library.workloads(), matrix.workloads, path=matrix.path)
    own = {name: v for w in workloads for name, v in own_variants(w).items()}
    known = {**library.variants(), **own, **{v.name: v for v in extra}}
    kernels = pick("kernel", library.kernels(), matrix.kernels, path=matrix.path)
    variants = [*pick("variant", known, matrix.variants, path=matrix.path), *matrix.more]
    configs = pick("config", library.configs(), matrix.configs, path=matrix.path)
    machines = pick("machine", library.machines(), matrix.machines, path=matrix.path)
    crossed = (
        Cell(kernel=k, variant=v, config=config_for(c, w), machine=machine_for(m, c), workload=w)
        for k, c, v, m, w in product(kernels, configs, variants, machines, workloads)
        if not v.kernels or k.name in v.kernels
    )
    cells = tuple(c for c in crossed if not any(matches(c, g) for g in matrix.exclude))
    for glob in only:
        if not any(matches(c, glob) for c in cells):
            raise UserError(f"no cell matches {glob}", path=matrix.path, hint=_examples(cells))
    chosen = _with_references(cells, _filtered(cells, only))
    if not chosen:
        filters = " ".join(only) or "(no --only)"
        raise UserError(f"no cell matches {filters}", path=matrix.path, hint=_examples(cells))
    return chosen


def find_cell(library: Library, wanted: CellId, variant: Variant | None = None) -> Cell:
    """The cell called `wanted`; `variant` stands in for the library's.

    Raises UserError for a name that nothing has.
    """
    workload = pick_one("workload", library.workloads(), wanted.workload)
    config = pick_one("config", library.configs(), wanted.config)
    return Cell(
        kernel=pick_one("kernel", library.kernels(), wanted.kernel),
        variant=variant or pick_one("variant", library.variants(), wanted.variant),
        config=config_for(config, workload),
        machine=machine_for(pick_one("machine", library.machines(), wanted.machine), config),
        workload=workload,
    )


def machine_for(machine: Machine, config: Config) -> Machine:
    """`machine` with the memory that guests of `config` need; a board has what it has."""
    if machine.board is not None or machine.mem_mib >= config.mem_mib:
        return machine
    most = max(machine.maxmem_mib, config.mem_mib) if machine.maxmem_mib else 0
    return replace(machine, mem_mib=config.mem_mib, maxmem_mib=most)


def config_for(config: Config, workload: Workload) -> Config:
    """`config` with the options, the race and the selftests that a workload needs besides."""
    load = workload.load
    if load is None:
        return config
    races = (load.folder / load.race,) if load.race else ()
    selftests = (load.selftests,) if load.selftests else ()
    options = (*config.options, *load.options)
    return replace(config, options=options, races=races, selftests=selftests)


def _filtered(cells: Sequence[Cell], only: Sequence[str]) -> list[Cell]:
    """The cells that at least one glob of each kind of name matches."""
    kinds: dict[int, list[str]] = {}
    for glob in only:
        kinds.setdefault(min(_matching_kind(c, glob) for c in cells), []).append(glob)
    return [c for c in cells if all(any(matches(c, g) for g in k) for k in kinds.values())]


def _matching_kind(cell: Cell, glob: str) -> int:
    """Which of the five names `glob` matches (0..4), 5 for none or for a glob over whole ids."""
    names = cell.cell_id.names
    return next((i for i, name in enumerate(names) if fnmatchcase(name, glob)), len(names))


def _with_references(cells: Sequence[Cell], chosen: Sequence[Cell]) -> tuple[Cell, ...]:
    """`chosen` plus the baseline and control of their groups, without which nothing is judged."""
    groups = {_group(c) for c in chosen}
    names = {c.cell_id for c in chosen}  # filters look at names alone
    return tuple(
        c
        for c in cells
        if c.cell_id in names
        or (_group(c) in groups and c.variant.name in (c.workload.baseline, c.workload.control))
    )


def _group(cell: Cell) -> tuple[str, ...]:
    return (cell.kernel.name, cell.config.name, cell.machine.name, cell.workload.name)


def matches(cell: Cell, glob: str) -> bool:
    """Whether `glob` names this cell: by its whole id or by one of its five names."""
    cell_id = cell.cell_id
    if SEPARATOR not in glob and any(fnmatchcase(name, glob) for name in cell_id.names):
        return True
    return fnmatchcase(str(cell_id), glob)


def _examples(cells: Sequence[Cell]) -> str:
    return "cells there are: " + ", ".join(c.id for c in cells[:4]) if cells else ""
