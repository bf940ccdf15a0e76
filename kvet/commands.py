# SPDX-License-Identifier: GPL-2.0-only
"""What the subcommands that need a kernel do: plan, run, repeat, report."""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.table import Table

from kvet.cache import cache_root
from kvet.config import PROJECT, Library, Matrix, load_matrix
from kvet.errors import InfraError, UserError
from kvet.events import Events, JsonLines
from kvet.matrix import plan_cells
from kvet.model import Cell, Role, Variant
from kvet.report import FORMATS, surprises, text_report
from kvet.runner import Plan, Runner
from kvet.series import series_variant
from kvet.store import read_json, write_json, write_text
from kvet.ui import WIDTH, make_console, make_ui, wants_color

DEFAULT_ATTEMPTS = 3


def list_command(kind: str) -> int:
    """Print the names of one kind with their titles."""
    items: dict[str, Any] = getattr(Library(), kind)()
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column(kind[:-1], no_wrap=True)
    table.add_column("title")
    for name, item in items.items():
        role = f"[{item.role.value}] " if isinstance(item, Variant) else ""
        title = getattr(item, "title", "") or getattr(item, "spec", {}).get("title", "")
        table.add_row(name, f"\\{role}{title}" if role else title)
    make_console().print(table)
    return 0


def run_matrix_command(options: argparse.Namespace) -> int:
    """Run a matrix file, or go on with an interrupted run."""
    results = options.out or PROJECT / "results"
    if options.resume:
        return _resume(options, results)
    matrix = load_matrix(options.matrix or PROJECT / "configs" / "matrix.yaml")
    cells = plan_cells(matrix, Library(), only=options.only)
    plan = _plan(options, matrix, cells, results / _run_id(matrix.name))
    if options.dry_run:
        return _show_plan(plan)
    plan = _record_plan(plan, matrix=matrix.path, only=options.only)
    return _carry_out(plan, options)


def _plan(options: argparse.Namespace, matrix: Matrix, cells: Sequence[Cell], out: Path) -> Plan:
    attempts = options.attempts or matrix.attempts or DEFAULT_ATTEMPTS
    fixed = options.attempts is not None or matrix.max_attempts <= attempts
    return Plan(
        name=matrix.name,
        cells=tuple(cells),
        out=out,
        attempts=attempts,
        most=max(attempts, 0 if fixed else matrix.max_attempts),
        fixed=fixed,
        jobs=options.jobs or 0,
        toolchain=options.toolchain or matrix.toolchain,
        seed=options.seed if options.seed is not None else 1,
        executor=getattr(options, "executor", ""),
        command=tuple(sys.argv[1:]),
    )


def _record_plan(plan: Plan, *, scratch: Path | None = None, **source: object) -> Plan:
    """Make the run's folder and write what was planned, before anything runs.

    Returns the plan with its folder; patches that were in `scratch` are
    replaced by the copies that the run keeps.
    """
    plan = replace(plan, out=_own_folder(plan.out))
    cells = tuple(replace(c, variant=_kept(c, plan.out, scratch)) for c in plan.cells)
    write_json(
        plan.out / "run.json",
        {
            "run": plan.run_id,
            "name": plan.name,
            "attempts": plan.attempts,
            "most": plan.most,
            "fixed": plan.fixed,
            "toolchain": plan.toolchain,
            "seed": plan.seed,
            "command": plan.command,
            "cells": [c.id for c in plan.cells],
            **source,
        },
    )
    return replace(plan, cells=cells)


def _own_folder(wanted: Path) -> Path:
    """Make the folder `wanted`, or one with a number behind it when another run took the name."""
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
    return replace(cell.variant, patches=tuple(kept), by_kernel={})


def _carry_out(plan: Plan, options: argparse.Namespace) -> int:
    """Run `plan` with progress, print its report, return its exit code."""
    ui = make_ui(quiet=options.quiet, plain=options.plain)
    events = Events(ui, JsonLines(plan.out / "events.jsonl"))
    runner = Runner(plan, cache=cache_root(), events=events)
    try:
        with ui:
            record = runner.run()
    except KeyboardInterrupt:
        print(f"\ngo on with: harness.py run-matrix --resume {plan.run_id}", file=sys.stderr)
        raise
    _point_latest(plan.out)
    _print_report(record)
    if getattr(options, "as_expected", False):
        return 1 if surprises(record) else 0
    return int(record["exit_code"])


def _print_report(record: dict[str, Any]) -> None:
    console = make_console()
    width = max(WIDTH, console.width) if console.is_terminal else WIDTH
    sys.stdout.write(text_report(record, color=wants_color(), width=min(width, 140)))
    sys.stdout.flush()


def _point_latest(out: Path) -> None:
    latest = out.parent / "latest"
    latest.unlink(missing_ok=True)
    latest.symlink_to(out.name)


def _show_plan(plan: Plan) -> int:
    """The cells of a plan and their patches, nothing run."""
    for cell in plan.cells:
        patches = cell.variant.patches_for(cell.kernel.name)
        print(f"{cell.id}  [{cell.variant.role.value}]  attempts {plan.attempts}")
        for patch in patches:
            print(f"    {patch}")
    return 0


def _resume(options: argparse.Namespace, results: Path) -> int:
    """Go on with what was planned; only how it is carried out may be asked for anew."""
    planned = ("matrix", "only", "attempts", "toolchain", "seed")
    asked = [name for name in planned if getattr(options, name, None) not in (None, [])]
    if asked:
        raise UserError(
            f"--resume goes on with what was planned, and {asked[0]} is part of that",
            hint="start a new run, or leave it out",
        )
    out = find_run(options.resume, results)
    saved = read_json(out / "run.json")
    library = Library()
    try:
        cells = [cell_from_id(library, cell_id, out) for cell_id in saved["cells"]]
        plan = Plan(
            name=saved["name"],
            cells=tuple(cells),
            out=out,
            attempts=saved["attempts"],
            most=saved["most"],
            fixed=saved["fixed"],
            toolchain=saved["toolchain"],
            seed=saved["seed"],
            jobs=options.jobs or 0,
            command=tuple(saved["command"]),
            executor=options.executor,
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise InfraError(
            f"{out / 'run.json'}: not a plan that this kvet reads: {error}",
            hint="start the run again: its plan is lost",
        ) from error
    return _show_plan(plan) if options.dry_run else _carry_out(plan, options)


def cell_from_id(library: Library, cell_id: str, run: Path) -> Cell:
    """The cell called `cell_id`; its variant is made of the patches kept in the run folder."""
    parts = cell_id.split("+")
    if len(parts) != 5:
        raise UserError(f"{cell_id!r} is no cell id (KERNEL+VARIANT+CONFIG+MACHINE+WORKLOAD)")
    kernel, variant, config, machine, workload = parts
    kept = tuple(sorted((run / "patches" / kernel / variant).glob("*")))
    known = library.variants().get(variant)
    plan = read_json(run / "run.json")
    made = known or Variant(name=variant, title=plan.get("series", variant), role=Role.CANDIDATE)
    made = replace(made, patches=kept, by_kernel={}, foreign=known is None)
    matrix = Matrix(
        name="one",
        title="one cell",
        kernels=(kernel,),
        variants=(variant,),
        configs=(config,),
        machines=(machine,),
        workloads=(workload,),
        attempts=1,
        max_attempts=1,
        toolchain="gcc",
        exclude=(),
    )
    return plan_cells(matrix, library, extra=(made,))[0]


def find_run(name: str, results: Path) -> Path:
    """The folder of the run called `name` (a name below `results`, `latest`, or a path)."""
    for path in (results / name, Path(name)):
        if (path / "run.json").exists():
            return path.resolve()
    runs = (p.parent for p in results.glob("*/run.json"))
    have = sorted(p.name for p in runs if not p.is_symlink())[-5:]
    raise UserError(
        f"no run is called {name!r} in {results}",
        hint=f"there are: {', '.join(have)}" if have else "harness.py run-matrix makes one",
    )


def run_command(options: argparse.Namespace) -> int:
    """Judge one variant or series, with the baseline and control that its workload names."""
    check_shell_options(options)
    results = options.out or PROJECT / "results"
    library = Library()
    with tempfile.TemporaryDirectory(prefix="kvet-series-") as scratch:
        extra: tuple[Variant, ...] = ()
        if options.series:
            made = series_variant(options.series, Path(scratch))
            # a file called nolock.patch is not the control of that name
            taken = made.name in library.variants()
            extra = (replace(made, name=f"series-{made.name}") if taken else made,)
        name = extra[0].name if extra else options.variant
        cells = _with_references(options, library, name, extra)
        matrix = _matrix_of(options, [c.variant.name for c in cells])
        plan = _plan(options, matrix, cells, results / _run_id(name))
        plan = replace(plan, references=frozenset(c.id for c in cells if c.variant.name != name))
        if options.dry_run:
            return _show_plan(plan)
        plan = _record_plan(
            plan, scratch=Path(scratch), series=options.series or "", kernel=options.kernel
        )
    if options.boot_shell or options.gdb:
        from kvet.reproduce import shell_in

        only = replace(plan, cells=tuple(c for c in cells if c.variant.name == name))
        return shell_in(only, options)
    return _carry_out(plan, options)


def check_shell_options(options: argparse.Namespace) -> None:
    """Raise UserError for --ssh without the shell that it leads to."""
    if options.ssh and not options.boot_shell:
        raise UserError("--ssh goes with --boot-shell", hint="add --boot-shell")


def _matrix_of(options: argparse.Namespace, variants: Sequence[str]) -> Matrix:
    return Matrix(
        name="run",
        title="one variant",
        kernels=(options.kernel,),
        variants=tuple(variants),
        configs=(options.config,),
        machines=(options.machine,),
        workloads=(options.workload,),
        attempts=DEFAULT_ATTEMPTS,
        max_attempts=DEFAULT_ATTEMPTS,
        toolchain="gcc",
        exclude=(),
    )


def _with_references(
    options: argparse.Namespace, library: Library, name: str, extra: tuple[Variant, ...]
) -> tuple[Cell, ...]:
    """The cell asked for, after the baseline and the control that let it be judged."""
    asked = plan_cells(_matrix_of(options, [name]), library, extra=extra)
    workload = asked[0].workload
    wanted = [v for v in (workload.baseline, workload.control) if v and v != name]
    return plan_cells(_matrix_of(options, [*wanted, name]), library, extra=extra)


def report_command(options: argparse.Namespace) -> int:
    """Draw one report of a run from its results.json."""
    # templates are loaded by those alone who draw a report
    from kvet import formats
    from kvet.history import read_record

    known = {**FORMATS, **formats.FORMATS}
    if options.format not in known:
        raise UserError(f"--format {options.format}: there are: {', '.join(known)}")
    run = find_run(options.run, options.out or PROJECT / "results")
    record = read_record(run / "results.json")
    if options.cost:
        measured = find_run(options.cost, options.out or PROJECT / "results")
        record = {**record, "cost_of": read_record(measured / "results.json")}
    if options.output is None and options.format == "text":
        _print_report(dict(record))
        return 0
    text = known[options.format](record)
    if options.output is None:
        sys.stdout.write(text)
    else:
        write_text(options.output, text)
    return 0


def reproduce_command(options: argparse.Namespace) -> int:
    """Repeat one recorded attempt, or look around in its guest."""
    from kvet.reproduce import repeat_attempt

    return repeat_attempt(options, options.out or PROJECT / "results")


def _run_id(name: str) -> str:
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{name}"
