# SPDX-License-Identifier: GPL-2.0-only
"""Repeats a recorded attempt, or opens a shell in the guest it ran in."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from kvet.build.builder import Builder, BuildFailure
from kvet.build.patch_lines import PatchLines, patch_lines
from kvet.build.request import BuildRequest
from kvet.build.toolchain import find_toolchain
from kvet.cache import cache_root
from kvet.cell_id import CellId
from kvet.errors import InfraError, UserError
from kvet.events import Event, Events
from kvet.guest import drgn_view, initramfs
from kvet.guest.boot import BootRequest
from kvet.guest.boot_shell import boot_shell
from kvet.guest.memdump import DUMP, unpacked
from kvet.guest.visit import fetch_file, living_guest
from kvet.model import Attempt, Build, Cell, SourceTree, Status
from kvet.plan.library import Library
from kvet.results.folder import parse_target
from kvet.results.record import CellRecord, read_record
from kvet.run.attempt import AttemptRequest, boot_request, explores, run_attempt, seed_for
from kvet.run.guest_layers import guest_layers
from kvet.run.plan import Plan, recorded_cell
from kvet.run.requests import ReproduceRequest, ShellRequest, VisitRequest
from kvet.source import fetch
from kvet.source.series import apply_series
from kvet.text import Say

# pmd:dump,block:W:W@walk_pgd_range+0x454/1/F as docs/guest-protocol.md describes it
POINT = r"[A-Z]@[\w.$]+\+0x[0-9a-f]+/\d/[A-Z]"
DRAWN = r"S\d+/\d+/\d"
SCHEDULE = re.compile(rf"[a-z][a-z0-9_-]*:[a-z0-9_,-]+:(?:{DRAWN}|[A-Z](?::{POINT}(?:,{POINT})*)?)")


@dataclass(frozen=True, slots=True)
class Recorded:
    """A recorded cell, ready to boot again: `number` is None when no attempt was named."""

    run: Path
    cell: CellRecord
    number: int | None
    request: AttemptRequest


def open_recorded(request: ReproduceRequest, library: Library, events: Events) -> Recorded:
    """Make `RUN/CELL[/ATTEMPT]` ready: the same build, seed and arguments.

    What is not in the cache is fetched and built. Raises UserError for a target that is
    not on record.
    """
    run, cell_id, number = parse_target(request.target, request.results)
    record = read_record(run / "results.json")
    found = record.cell(cell_id)
    cell = recorded_cell(library, CellId.parse(cell_id), run)
    cell = _one_schedule(cell, request.schedule) if request.schedule else cell
    seed = _seed(found, number, record.plan.seed, cell.id)
    ready = _prepare(cell, run, record.plan.toolchain, events)
    return Recorded(run, found, number, replace(ready, seed=seed))


def _one_schedule(cell: Cell, schedule: str) -> Cell:
    """The cell with a workload that runs the schedule called FORM:SIDES:NAME alone."""
    workload = cell.workload
    if not explores(workload):
        raise UserError(
            f"--schedule: {workload.name} does not control schedules",
            hint="name a cell of the workload ptdump-explore",
        )
    if not SCHEDULE.fullmatch(schedule):
        raise UserError(
            f"--schedule {schedule!r} is not FORM:SIDES:NAME",
            hint="copy it from the report, behind `replay:'",
        )
    level, sides, name = schedule.split(":", 2)
    params = {**workload.params, "sides": f"{level}:{sides}", "schedule": name}
    return replace(cell, workload=replace(workload, params=params))


def open_planned(plan: Plan, cell: Cell, events: Events) -> AttemptRequest:
    """The first attempt of a cell of `plan`, ready to boot."""
    ready = _prepare(cell, plan.out, plan.toolchain, events)
    return replace(ready, seed=seed_for(plan.seed, cell.id, 1))


def other_build(recorded: Recorded) -> str:
    """What differs when this build is not the recorded one; '' when it is."""
    key, now = recorded.cell.build.key, recorded.request.build.key
    if not key or key == now:
        return ""
    return (
        f"this build ({now}) is not the recorded one ({key}): the kernel source, "
        "the config, the compiler or the workload module changed since"
    )


def _seed(recorded: CellRecord, number: int | None, run_seed: int, cell_id: str) -> int:
    """The seed of attempt `number`; without one, of the first that failed, else of the first."""
    attempts = recorded.attempts
    if number is not None:
        found = [a for a in attempts if a.n == number]
        if not found:
            raise UserError(f"{cell_id} has no attempt {number}; it has {len(attempts)}")
        return found[0].seed
    failed = [a for a in attempts if a.status is Status.FAIL] or attempts
    return failed[0].seed if failed else seed_for(run_seed, cell_id, 1)


def _prepare(cell: Cell, run: Path, toolchain: str, events: Events) -> AttemptRequest:
    """A boot of `cell` in a directory of its own below `run`; its seed is not set yet."""
    cache = cache_root()
    tree = fetch.open_source(cell.kernel, cache, events=events)
    build, lines = _build(cell, tree, toolchain, events)
    layers = initramfs.base_layers(cache, events=events)
    stamp = f"{datetime.now(UTC):%Y%m%d-%H%M%S}"
    return AttemptRequest(
        cell=cell,
        build=build,
        initrd=guest_layers(cell, build, layers, tree.path),
        folder=run / cell.id / f"reproduce-{stamp}",
        n=0,
        seed=0,
        source=tree.path,
        lines=lines,
    )


def _build(
    cell: Cell, tree: SourceTree, toolchain: str, events: Events
) -> tuple[Build, PatchLines | None]:
    name = cell.cell_id.build
    builder = Builder(
        cache_root(),
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


def shell_request(request: AttemptRequest, shell: ShellRequest) -> BootRequest:
    """The boot of an attempt to a shell; it has its directory."""
    _refuse_board(request.cell)
    request.folder.mkdir(parents=True, exist_ok=True)
    return replace(boot_request(request, mode="shell"), ssh=shell.ssh, gdb=shell.gdb)


def _refuse_board(cell: Cell) -> None:
    """Raise UserError for what only a guest of this host can do."""
    if cell.machine.board:
        raise UserError(
            f"machine {cell.machine.name} is a board: it gives no shell, stub or memory",
            hint=f"the same cell on a guest: --machine virt instead of {cell.machine.name}",
        )


def open_shell(request: AttemptRequest, shell: ShellRequest, say: Say) -> int:
    """Hand the terminal to the guest of an attempt; what to type goes to `say` before."""
    boot = shell_request(request, shell)
    return boot_shell(boot, build=request.build, source=request.source, say=say)


def visit(request: AttemptRequest, wanted: VisitRequest, *, out: BinaryIO, err: BinaryIO) -> int:
    """Boot the attempt's kernel, do what is wanted over ssh, power off.

    The command writes to `out` and `err`. Returns its exit code; 0 without one.
    """
    boot = shell_request(request, ShellRequest(ssh=True))
    code = 0
    with living_guest(boot) as guest:
        if wanted.command:
            code = guest.run(wanted.command, out, err)
        if wanted.get:
            fetch_file(guest, wanted.get, wanted.local)
    return code


def kept_memory(recorded: Recorded) -> Attempt | None:
    """The recorded attempt whose memory dump the run still has; None without one."""
    attempts = recorded.cell.attempts
    wanted = [a for a in attempts if recorded.number in (None, a.n) and a.memory]
    return next((a for a in wanted if (recorded.run / a.memory).exists()), None)


def boot_for_memory(recorded: Recorded) -> Attempt:
    """Boot again and keep the memory this time.

    Raises InfraError when nothing showed.
    """
    request = recorded.request
    _refuse_board(request.cell)
    attempt = run_attempt(replace(request, dumps=request.folder))
    if not attempt.memory:
        raise InfraError(
            f"it did not show again ({attempt.status}), so no memory was kept",
            hint=f"try once more, or look at {request.folder}",
        )
    return replace(attempt, memory=str(request.folder / DUMP))


def look_into(recorded: Recorded, attempt: Attempt, say: Say) -> None:
    """Tell what the findings of `attempt` name in its memory dump, then drgn's prompt."""
    build = recorded.request.build
    asked = drgn_view.questions(drgn_view.pick(attempt.findings))
    with unpacked(recorded.run / attempt.memory) as core:
        prog = drgn_view.open_dump(core, build.vmlinux, build.modules)
        for line in drgn_view.show(prog, asked):
            say(line)
        drgn_view.prompt(prog)
