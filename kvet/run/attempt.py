# SPDX-License-Identifier: GPL-2.0-only
"""One attempt, stage by stage: boot, read what it left, judge, record."""

from __future__ import annotations

import hashlib
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import accumulate, islice
from pathlib import Path

from kvet import proc
from kvet.boards import BOARD
from kvet.build.patch_lines import LOG, PatchLines, Ran, what_ran
from kvet.build.symbolize import function_names, symbolize_findings
from kvet.detectors import scan_file
from kvet.detectors.explain import explanation
from kvet.errors import HostsLost, InfraError, KvetError
from kvet.explorations import Exploration, ScheduleEvent
from kvet.guest.boot import Boot, BootRequest, GuestReport, Limits
from kvet.guest.ktap import merge, read_log
from kvet.guest.machine import resolve_accel
from kvet.guest.qemu import run_boot
from kvet.guest.report_port import parse_report
from kvet.model import Attempt, Build, Cell, Ending, Finding, Frame, Provenance, Workload
from kvet.run.exposure import floor_for
from kvet.run.verdict import Evidence, judge_attempt
from kvet.store import write_json

# host seconds on an unloaded machine for a plain kernel under emulation: boot to
# init takes half a second; the rest is head room for a shared host
BOOT_S = 20.0
SPARE_S = 30.0
# a guest under KVM runs at host speed; emulation is about ten times slower
TCG_SLOWDOWN = {"tcg": 1.0, "kvm": 0.3, "hvf": 0.3, BOARD: 1.0}
# longer than soft lockup (20 s), RCU stall (21 s) and hung task (30 s) need to speak
SILENCE_S = 45.0
# the shipped workloads whose rounds the engine runs
EXPLORING = ("explore", "ptdump-explore")
# functions of a series that are points, and characters of their names: the guest's command line
# has 2048
MOST_POINTS, MOST_TEXT = 12, 500


@dataclass(frozen=True, slots=True)
class AttemptRequest:
    """Everything one attempt needs, in plain data: it may run on another host."""

    cell: Cell
    build: Build
    initrd: tuple[Path, ...]
    folder: Path
    n: int
    seed: int
    source: Path | None = None
    provenance: Provenance = Provenance()
    lines: PatchLines | None = None
    dumps: Path | None = None


def seed_for(run_seed: int, cell_id: str, n: int) -> int:
    """The seed of attempt `n`: the same run seed gives the same seeds."""
    digest = hashlib.sha256(f"{run_seed}:{cell_id}:{n}".encode()).digest()
    return int.from_bytes(digest[:4]) >> 1


def guest_args(cell: Cell, seed: int, mode: str = "run") -> tuple[str, ...]:
    """The `kvet.*` kernel arguments that tell the guest what to run."""
    workload = cell.workload
    load = workload.load
    given = ("explore" if load.race else "given") if load else workload.name
    program = workload.program or given
    floor = floor_for(cell.variant, workload)
    words = {"mode": mode, "workload": program, "seed": seed, "seconds": workload.seconds}
    for name, counts in (("floor", floor.any), ("floor_each", floor.each)):
        words |= {name: ",".join(f"{k}:{n}" for k, n in counts.items())} if counts else {}
    if resolve_accel(cell.machine.accel) == "kvm":
        words["accel"] = "kvm"  # cycles and nanoseconds mean something there
    if load and load.race:
        words["race"] = "given"
    own = load.boot_args if load else ()
    told = (f"kvet.{key}={value}" for key, value in {**words, **workload.params}.items())
    return (*own, *told)


def explores(workload: Workload) -> bool:
    """Whether the guest's engine runs its rounds, of a race in C or of page tables."""
    load = workload.load
    return bool(load.race) if load else (workload.program or workload.name) in EXPLORING


def series_points(request: AttemptRequest) -> tuple[str, ...]:
    """The word that makes the functions of the series points, too, where schedules are run.

    Those first by name that have room; a series that changes more is long beyond one race.
    """
    lines, vmlinux = request.lines, request.build.vmlinux
    if lines is None or not explores(request.cell.workload) or not vmlinux.exists():
        return ()
    names = function_names(vmlinux, (a for found in lines.addresses.values() for a in found))
    room = list(accumulate((len(name) + 1 for name in names), initial=0))[1:]
    fit = [name for name, end in zip(names, room, strict=True) if end <= MOST_TEXT]
    return (f"kvet.functions={','.join(fit[:MOST_POINTS])}",) if fit else ()


def limits_for(cell: Cell) -> Limits:
    """Deadlines of one boot, scaled by accelerator and config."""
    factor = TCG_SLOWDOWN[resolve_accel(cell.machine.accel)] * cell.config.slowdown
    run_s = cell.workload.seconds * cell.workload.slowdown
    board = cell.machine.board
    return Limits(
        boot_s=(board.boot_s if board else BOOT_S) * max(1.0, factor),
        # a guest whose race is slow to begin takes up to three times as long
        run_s=(3 * run_s + SPARE_S) * max(1.0, factor),
        silence_s=SILENCE_S,
        # the answer is known then; a guest that is not done after its time and what the
        # module waits for stuck threads has nothing to add
        after_splat_s=run_s + 14,
    )


def boot_request(request: AttemptRequest, *, mode: str = "run") -> BootRequest:
    """The boot of an attempt; a later `--boot-shell` of it differs in `mode` alone."""
    return BootRequest(
        image=request.build.image,
        initrd=request.initrd,
        machine=request.cell.machine,
        folder=request.folder,
        limits=limits_for(request.cell),
        seed=request.seed,
        release=request.build.release,
        args=(*guest_args(request.cell, request.seed, mode), *series_points(request)),
        trace=request.lines.ranges if request.lines and mode == "run" else (),
        dumps=request.dumps if mode == "run" else None,
    )


def run_attempt(
    request: AttemptRequest, boot_with: Callable[[BootRequest], Boot] | None = None
) -> Attempt:
    """Boot once and record what it shows; whatever goes wrong on the host is status ERROR.

    `boot_with` boots on another host; what it left is judged here in any case. A guest that an
    interrupt ended shows nothing: no record is left, a resumed run boots again. Raises HostsLost.
    """
    shutil.rmtree(request.folder, ignore_errors=True)
    request.folder.mkdir(parents=True)
    started = time.monotonic()
    attempt = Attempt(
        n=request.n,
        seed=request.seed,
        console=_below_run(request.folder / "console.log"),
        provenance=request.provenance,
    )
    try:
        attempt = _observe(request, attempt, (boot_with or _boot)(boot_request(request)))
    except HostsLost:
        raise
    except KvetError as error:
        attempt = replace(
            attempt,
            detail=error.message,
            ending=attempt.ending or Ending.LOST,
            seconds=round(time.monotonic() - started, 3),
        )
    if proc.all_killed():
        raise InfraError("interrupted")
    write_json(request.folder / "attempt.json", attempt)
    return attempt


def _boot(request: BootRequest) -> Boot:
    """Boot where the machine is: here under QEMU, or on a board."""
    if not request.machine.board:
        return run_boot(request)
    from kvet.guest.board import run_board  # a tenth of a second, for ssh

    return run_board(request)


def _below_run(path: Path) -> str:
    """A file of an attempt as CELL/ATTEMPT/NAME."""
    return str(Path(*path.parts[-3:]))


def _observe(request: AttemptRequest, attempt: Attempt, boot: Boot) -> Attempt:
    """What a boot shows, judged."""
    report = parse_report(boot.report) if boot.report.exists() else GuestReport()
    found = [through_door(f) for f in scan_file(boot.console)] if boot.console.exists() else []
    evidence = Evidence(
        boot=boot,
        report=report,
        console=found,
        release=request.build.release,
        floor=floor_for(request.cell.variant, request.cell.workload),
        measures=request.cell.workload.measures,
        results=_results(request.cell, boot, report),
    )
    judged = judge_attempt(attempt, evidence)
    findings = _symbolized(request, _stamped(judged.findings, boot.console))
    added = tuple(request.lines.text.values()) if request.lines else ()
    findings = tuple(replace(f, notes=explanation(f, added)) for f in findings)
    provenance = replace(judged.provenance, argv=boot.argv, banner=boot.banner, host=boot.host)
    ran = what_ran(request.lines, request.folder / LOG) if request.lines else Ran()
    memory = _below_run(boot.memory) if boot.memory else ""
    return replace(
        judged,
        findings=findings,
        provenance=provenance,
        lines_run=ran.lines,
        ways=ran.ways,
        memory=memory,
        explorations=tuple(_located(request, e) for e in report.explorations),
    )


def _results(cell: Cell, boot: Boot, report: GuestReport) -> dict[str, str]:
    """Results of the workload's tests: what its programs printed, what the kernel logged."""
    found = dict(report.results)
    load = cell.workload.load
    if load and load.reads_log and boot.console.exists():
        merge(found, read_log(boot.console.read_text(encoding="utf-8", errors="replace")))
    return found


# what the module adds to an oops at a page that is kept in quarantine
ACCESS = re.compile(r"kvet: ACCESS to table .*, door (\w+)")


def through_door(finding: Finding) -> Finding:
    """A splat with the door that the module says its walk came in by, if it says one."""
    said = next((found for line in finding.excerpt if (found := ACCESS.search(line))), None)
    return replace(finding, door=said.group(1)) if said else finding


STAMP = re.compile(rb"\[ *(\d+\.\d+)\]")


def _stamped(findings: tuple[Finding, ...], console: Path) -> tuple[Finding, ...]:
    """The findings with the guest's uptime at their first line."""
    wanted = {f.first_line for f in findings if f.first_line}
    stamps: dict[int, float] = {}
    if wanted:
        with console.open("rb") as file:
            for number, line in enumerate(islice(file, max(wanted)), start=1):
                if number in wanted and (found := STAMP.search(line)):
                    stamps[number] = float(found.group(1))
    return tuple(replace(f, uptime_s=stamps.get(f.first_line)) for f in findings)


def _located(request: AttemptRequest, exploration: Exploration) -> Exploration:
    """The exploration with file and line of what happened in its failing round."""
    frames = [_frame_of(event) for event in exploration.events]
    alone = tuple(Finding(kind="schedule", title=f.offset, frames=(f,)) for f in set(frames))
    places = {
        asked.frames[0]: next((f for f in found.frames if not _in_header(f)), found.frames[0])
        for asked, found in zip(alone, _symbolized(request, alone), strict=True)
    }
    events = (
        replace(event, location=places[frame].location, source=places[frame].source)
        for event, frame in zip(exploration.events, frames, strict=True)
    )
    return replace(exploration, events=tuple(events))


def _in_header(frame: Frame) -> bool:
    """Accessors of entries and locks are inlined from headers: their caller tells more."""
    return frame.location.startswith("include/") or "/include/" in frame.location


def _frame_of(event: ScheduleEvent) -> Frame:
    """A frame whose place is the event's: one's own is the call before its return address."""
    if not event.offset:
        return Frame(func="")
    offset, size = (int(part, 16) for part in event.offset.split("/"))
    return Frame(func=event.func, offset=f"{offset + 4:#x}/{size:#x}")


def _symbolized(request: AttemptRequest, findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """The findings with file and line in their frames, where the vmlinux is at hand."""
    if not findings or not request.build.vmlinux.exists():
        return findings
    return symbolize_findings(
        findings,
        vmlinux=request.build.vmlinux,
        modules=request.build.modules,
        sources=[request.build.patched, *([request.source] if request.source else [])],
        touched=request.lines.addresses if request.lines else (),
    )
