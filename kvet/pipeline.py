# SPDX-License-Identifier: GPL-2.0-only
"""One attempt, stage by stage: boot, read what it left, judge, record."""

from __future__ import annotations

import hashlib
import re
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from kvet.coverage import LOG, PatchLines, lines_run
from kvet.detectors import scan_file
from kvet.detectors.explain import explanation
from kvet.errors import KvetError
from kvet.ktap import parse_report
from kvet.machine import resolve_accel
from kvet.model import Attempt, BootRequest, Build, Cell, Ending, Finding, GuestReport, Limits
from kvet.qemu import run_boot
from kvet.store import write_json
from kvet.symbolize import symbolize_findings
from kvet.verdict import floor_for, judge_attempt

# host seconds on an unloaded machine for a plain kernel under emulation: boot to
# init takes half a second; the rest is head room for a shared host
BOOT_S = 20.0
SPARE_S = 30.0
# a guest under KVM runs at host speed; emulation is about ten times slower
TCG_SLOWDOWN = {"tcg": 1.0, "kvm": 0.3, "hvf": 0.3}
# longer than soft lockup (20 s), RCU stall (21 s) and hung task (30 s) need to speak
SILENCE_S = 45.0


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
    provenance: Mapping[str, Any] = field(default_factory=dict)
    lines: PatchLines | None = None
    dumps: Path | None = None


def seed_for(run_seed: int, cell_id: str, n: int) -> int:
    """The seed of attempt `n`: the same run seed gives the same seeds."""
    digest = hashlib.sha256(f"{run_seed}:{cell_id}:{n}".encode()).digest()
    return int.from_bytes(digest[:4]) >> 1


def guest_args(cell: Cell, seed: int, mode: str = "run") -> tuple[str, ...]:
    """The `kvet.*` kernel arguments that tell the guest what to run."""
    workload = cell.workload
    program = workload.program or workload.name
    floor = ",".join(f"{k}:{n}" for k, n in floor_for(cell.variant, workload).items())
    words = {"mode": mode, "workload": program, "seed": seed, "seconds": workload.seconds}
    words |= {"floor": floor} if floor else {}
    if resolve_accel(cell.machine.accel) == "kvm":
        words["accel"] = "kvm"  # cycles and nanoseconds mean something there
    return tuple(f"kvet.{key}={value}" for key, value in {**words, **workload.params}.items())


def limits_for(cell: Cell) -> Limits:
    """Deadlines of one boot, scaled by accelerator and config."""
    factor = TCG_SLOWDOWN[resolve_accel(cell.machine.accel)] * cell.config.slowdown
    run_s = cell.workload.seconds * cell.workload.slowdown
    return Limits(
        boot_s=BOOT_S * max(1.0, factor),
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
        args=guest_args(request.cell, request.seed, mode),
        trace=request.lines.ranges if request.lines and mode == "run" else (),
        dumps=request.dumps if mode == "run" else None,
    )


def run_attempt(request: AttemptRequest) -> Attempt:
    """Boot once and record what it shows; whatever goes wrong on the host is status ERROR."""
    shutil.rmtree(request.folder, ignore_errors=True)
    request.folder.mkdir(parents=True)
    started = time.monotonic()
    attempt = Attempt(
        n=request.n,
        seed=request.seed,
        console=_below_run(request.folder / "console.log"),
        provenance=dict(request.provenance),
    )
    try:
        attempt = _observe(request, attempt)
    except KvetError as error:
        attempt = replace(
            attempt,
            detail=error.message,
            ending=attempt.ending or Ending.LOST,
            seconds=round(time.monotonic() - started, 3),
        )
    write_json(request.folder / "attempt.json", attempt)
    return attempt


def _below_run(path: Path) -> str:
    """A file of an attempt as CELL/ATTEMPT/NAME."""
    return str(Path(*path.parts[-3:]))


def _observe(request: AttemptRequest, attempt: Attempt) -> Attempt:
    boot = run_boot(boot_request(request))
    report = parse_report(boot.report) if boot.report.exists() else GuestReport()
    found = scan_file(boot.console) if boot.console.exists() else ()
    judged = judge_attempt(
        attempt,
        boot=boot,
        report=report,
        console=found,
        release=request.build.release,
        floor=floor_for(request.cell.variant, request.cell.workload),
        measures=request.cell.workload.measures,
    )
    findings = _symbolized(request, _stamped(judged.findings, boot.console))
    added = tuple(request.lines.text.values()) if request.lines else ()
    findings = tuple(replace(f, notes=explanation(f, added)) for f in findings)
    provenance = {**judged.provenance, "argv": list(boot.argv), "banner": boot.banner}
    run = lines_run(request.lines, request.folder / LOG) if request.lines else ()
    memory = _below_run(boot.memory) if boot.memory else ""
    return replace(judged, findings=findings, provenance=provenance, lines_run=run, memory=memory)


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
