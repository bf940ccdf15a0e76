# SPDX-License-Identifier: GPL-2.0-only
"""Repeats a recorded attempt, or opens a shell in the guest it ran in."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kvet import drgnview, rootfs, source
from kvet.bootshell import boot_shell
from kvet.build import Builder, BuildFailure
from kvet.buildkey import BuildRequest
from kvet.cache import cache_root
from kvet.commands import cell_from_id, check_shell_options, find_run
from kvet.config import Library
from kvet.coverage import PatchLines, patch_lines
from kvet.errors import InfraError, UserError
from kvet.events import Event, Events
from kvet.history import read_record
from kvet.memdump import DUMP, unpacked
from kvet.model import Attempt, Build, Cell, SourceTree, Status
from kvet.pipeline import AttemptRequest, boot_request, run_attempt, seed_for
from kvet.runner import Plan
from kvet.series import apply_series
from kvet.store import plain
from kvet.toolchain import find_toolchain
from kvet.ui import make_ui

EXIT = {Status.PASS: 0, Status.DONE: 0, Status.FAIL: 1}


def repeat_attempt(options: argparse.Namespace, results: Path) -> int:
    """Boot `RUN/CELL[/ATTEMPT]` again with the same build, seed and arguments.

    Exit code 1 when it fails again, 0 when it passes, 3 when it did not run.
    """
    check_shell_options(options)
    run, cell_id, number = parse_target(options.what, results)
    record = read_record(run / "results.json")
    cell = cell_from_id(Library(), cell_id, run)
    recorded = next((c for c in record["cells"] if c["id"] == cell_id), None)
    if recorded is None:
        raise UserError(f"{run.name} has no cell {cell_id}")
    seed = _seed(recorded, number, record["plan"]["seed"], cell_id)
    request = _prepare(cell, run, seed, record["plan"]["toolchain"], options)
    _warn_other_build(recorded, request.build)
    if options.drgn:
        return _memory(request, run, recorded, number)
    if options.boot_shell or options.gdb:
        return _shell(request, options)
    attempt = run_attempt(request)
    return _tell(attempt, recorded, request.folder)


def shell_in(plan: Plan, options: argparse.Namespace) -> int:
    """Build the one cell of `plan` and open a shell in its guest."""
    cell = plan.cells[0]
    seed = seed_for(plan.seed, cell.id, 1)
    return _shell(_prepare(cell, plan.out, seed, plan.toolchain, options), options)


def parse_target(what: str, results: Path) -> tuple[Path, str, int | None]:
    """RUN/CELL[/ATTEMPT] as run folder, cell id and attempt number."""
    head, _, tail = what.rstrip("/").rpartition("/")
    number = tail.removeprefix("attempt-")
    if head and number.isdigit() and "+" in head:
        name, _, cell = head.rpartition("/")
        return find_run(name, results), cell, int(number)
    if not head or "+" not in tail:
        raise UserError(
            f"{what!r} is not RUN/CELL[/ATTEMPT]",
            hint="the report of a run ends each failure with the command that repeats it",
        )
    return find_run(head, results), tail, None


def _seed(recorded: dict[str, Any], number: int | None, run_seed: int, cell_id: str) -> int:
    """The seed of attempt `number`; without one, of the first that failed, else of the first."""
    attempts = recorded["attempts"]
    if number is not None:
        found = [a for a in attempts if a["n"] == number]
        if not found:
            raise UserError(f"{cell_id} has no attempt {number}; it has {len(attempts)}")
        return int(found[0]["seed"])
    failed = [a for a in attempts if a["status"] == "FAIL"] or attempts
    return int(failed[0]["seed"]) if failed else seed_for(run_seed, cell_id, 1)


def _prepare(
    cell: Cell, run: Path, seed: int, toolchain: str, options: argparse.Namespace
) -> AttemptRequest:
    """The attempt's request; what is not in the cache is fetched and built."""
    cache = cache_root()
    with make_ui(quiet=options.quiet, plain=options.plain) as ui:
        events = Events(ui)
        tree = source.open_source(cell.kernel, cache, events=events)
        build, lines = _build(cell, tree, toolchain, cache, events)
        layers = rootfs.base_layers(cache, events=events)
    stamp = f"{datetime.now(UTC):%Y%m%d-%H%M%S}"
    return AttemptRequest(
        cell=cell,
        build=build,
        initrd=(*layers, rootfs.modules_layer(build)),
        folder=run / cell.id / f"reproduce-{stamp}",
        n=0,
        seed=seed,
        source=tree.path,
        lines=lines,
    )


def _build(
    cell: Cell, tree: SourceTree, toolchain: str, cache: Path, events: Events
) -> tuple[Build, PatchLines | None]:
    name = f"{cell.kernel.name}+{cell.variant.name}+{cell.config.name}"
    builder = Builder(
        cache,
        on_object=lambda done, total: events.emit(
            Event("progress", "build", name, done=done, total=total)
        ),
    )
    repo = builder.repo(tree)
    series = apply_series(repo, tree.tree_id, cell.variant.patches_for(cell.kernel.name))
    request = BuildRequest(
        source=tree,
        series=series,
        config=cell.config,
        page_kib=cell.machine.page_kib,
        toolchain=find_toolchain(toolchain),
        foreign=cell.variant.foreign,
    )
    with events.step("build", name):
        built = builder.build(request)
    if isinstance(built, BuildFailure):
        raise InfraError(f"{built.finding.title}; log: {built.log}")
    return built, patch_lines(built.folder, repo, series)


def _warn_other_build(recorded: dict[str, Any], build: Build) -> None:
    key = recorded["build"]["key"]
    if key and key != build.key:
        print(
            f"kvet: this build ({build.key}) is not the recorded one ({key}): the kernel source, "
            "the config, the compiler or the workload module changed since",
            file=sys.stderr,
        )


def _shell(request: AttemptRequest, options: argparse.Namespace) -> int:
    request.folder.mkdir(parents=True, exist_ok=True)
    boot = replace(boot_request(request, mode="shell"), ssh=options.ssh, gdb=options.gdb)
    return boot_shell(boot, build=request.build, source=request.source)


def _memory(
    request: AttemptRequest, run: Path, recorded: dict[str, Any], number: int | None
) -> int:
    """Open the memory dump of a recorded attempt; without one, boot again and keep it this time."""
    kept = [a for a in recorded["attempts"] if a.get("memory") and number in (None, a["n"])]
    kept = [a for a in kept if (run / a["memory"]).exists()]
    if not kept:
        print("no memory dump is on record: booting again to make one", file=sys.stderr)
        attempt = run_attempt(replace(request, dumps=request.folder))
        if not attempt.memory:
            raise InfraError(
                f"it did not show again ({attempt.status}), so no memory was kept",
                hint=f"try once more, or look at {request.folder}",
            )
        kept = [{**plain(attempt), "memory": request.folder / DUMP}]
    asked = drgnview.questions(drgnview.pick(kept[0]["findings"]))
    with unpacked(run / kept[0]["memory"]) as core:
        prog = drgnview.open_dump(core, request.build.vmlinux, request.build.modules)
        drgnview.show(prog, asked)
        drgnview.prompt(prog)
    return 0


def _tell(attempt: Attempt, recorded: dict[str, Any], folder: Path) -> int:
    """Print what the repeated attempt showed beside what was recorded."""
    ending = attempt.ending.value if attempt.ending else "no boot"
    print(f"{attempt.status.value} {ending} in {attempt.seconds:.1f} s; console: {folder}")
    for title in _ordered(f.title for f in attempt.findings):
        known = title in recorded["new_titles"] + recorded["known_titles"]
        print(f"  {title}  ({'as recorded' if known else 'not in the record'})")
    if attempt.status is not Status.FAIL and attempt.detail:
        print(f"  {attempt.detail}")
    return EXIT.get(attempt.status, 3)


def _ordered(titles: Any) -> Sequence[str]:
    return list(dict.fromkeys(titles))
