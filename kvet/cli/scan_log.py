# SPDX-License-Identifier: GPL-2.0-only
"""`harness.py scan-log`: prints the findings of console logs, as text or one JSON line a file."""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

from kvet.archives import MOST_BYTES, MOST_MEMBERS, Damaged, TooMany
from kvet.cli.options import add_scan_options
from kvet.detectors import Reading, read_file
from kvet.detectors.engine import read_member
from kvet.detectors.explain import explanation
from kvet.detectors.parcels import members
from kvet.detectors.why import Why, explained
from kvet.errors import ExitCode, UserError, worst
from kvet.model import Finding, Frame

MOST_FRAMES = 8
# fewer are read before a second process has started
MANY_FILES = 100
BATCH = 25
_TOO_LONG = f"is longer than {MOST_BYTES >> 20} MiB"
_TOO_MANY = f"holds more than {MOST_MEMBERS} files"


@dataclass(frozen=True, slots=True)
class ScanRequest:
    """What to scan and how to print it.

    With `vmlinux` frames get file, line and, where the source is at hand, its
    text; with `explain` each finding says why it has its title.
    """

    files: Sequence[Path]
    json_output: bool = False
    vmlinux: Path | None = None
    explain: bool = False


@dataclass(frozen=True, slots=True)
class Scanned:
    """What is to be printed of some files, and the exit code of each."""

    out: str
    err: str
    codes: Sequence[ExitCode]


def scan_log_main(
    request: ScanRequest, out: TextIO | None = None, err: TextIO | None = None
) -> int:
    """Scan files and print what they hold.

    0 when no splat was found, else 1 (0 as JSON: the reader looks at the lines);
    2 when a file could not be read, or only in part, after all others were scanned.
    """
    out, err = out or sys.stdout, err or sys.stderr
    if request.vmlinux is not None and not request.vmlinux.is_file():
        raise UserError("is no file", path=request.vmlinux)
    codes: list[ExitCode] = []
    for batch in _batches(request):
        out.write(batch.out)
        err.write(batch.err)
        codes += batch.codes
    rest = request.files[len(codes) :]
    codes += [_scan_one(Path(path), request, out, err) for path in rest]
    return worst(codes, default=ExitCode.OK)


def _batches(request: ScanRequest) -> Iterator[Scanned]:
    """Many files are scanned by a process for each processor; what is printed stays in order.

    Ends early where a process died: the rest is left to the caller.
    """
    processors = len(os.sched_getaffinity(0))
    many = len(request.files) >= MANY_FILES and processors > 1
    # a pipe can be read by one process alone
    if not many or not all(map(os.path.isfile, request.files)):
        return
    # 20 ms to import: only who has many files pays
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool
    from multiprocessing import get_context

    batches = [
        replace(request, files=request.files[at : at + BATCH])
        for at in range(0, len(request.files), BATCH)
    ]
    with ProcessPoolExecutor(processors, get_context("fork")) as pool:
        try:
            yield from pool.map(_scan_batch, batches)
        except BrokenProcessPool:
            return


def _scan_batch(request: ScanRequest) -> Scanned:
    out, err = io.StringIO(), io.StringIO()
    codes = [_scan_one(Path(path), request, out, err) for path in request.files]
    return Scanned(out.getvalue(), err.getvalue(), codes)


def _scan_one(path: Path, request: ScanRequest, out: TextIO, err: TextIO) -> ExitCode:
    try:
        readings = list(_readings(path, request))
    except (UserError, OSError) as error:
        message = _unreadable(path, error)
        err.write(f"kvet: {message}\n")
        if request.json_output:
            line = {"file": str(path), "findings": [], "recognised": False, "error": message}
            out.write(json.dumps(line) + "\n")
        return ExitCode.USAGE
    for name, reading in readings:
        if reading.damage:
            err.write(f"kvet: {_place(path, name)}: {_damage(reading)}; fix: {reading.fix}\n")
    if request.json_output:
        lines = [_as_line(path, name, reading, request) for name, reading in readings]
        out.write(json.dumps(_joined(lines)) + "\n")
    else:
        for name, reading in readings:
            if reading.lines or not reading.damage:
                _print_text(_place(path, name), reading, out)
    if any(reading.damage for _, reading in readings):
        return ExitCode.USAGE
    found = any(reading.findings for _, reading in readings)
    return ExitCode.FAIL if found and not request.json_output else ExitCode.OK


def _readings(path: Path, request: ScanRequest) -> Iterator[tuple[str, Reading]]:
    """What each log at `path` holds, by its name in the archive; "" for an ordinary log."""
    inside = members(path)
    if inside is None:
        yield "", _located(read_file(path, reasons=request.explain), request)
        return
    count = 0
    try:
        for member in inside:
            try:
                reading = read_member(member.content, path / member.name, reasons=request.explain)
            except UserError:
                continue  # a kernel or a picture beside the logs
            count += 1
            if not member.whole:
                reading = replace(reading, damage=_TOO_LONG, fix="unpack it and scan it alone")
            yield member.name, _located(reading, request)
    except Damaged as error:
        damage = f"is damaged: {error}"
        if not count:
            raise UserError(damage, path=path, hint="copy it again") from error
        yield "", Reading([], 0, recognised=False, damage=damage)
    except TooMany:
        yield (
            "",
            Reading(
                [], 0, recognised=False, damage=_TOO_MANY, fix="unpack it and scan the logs in it"
            ),
        )
    if not count:
        raise UserError("holds no log", path=path, hint="give the log as text")


def _place(path: Path, name: str) -> str:
    return f"{path}:{name}" if name else str(path)


def _damage(reading: Reading) -> str:
    return f"{reading.damage}; only the part before was read"


def _joined(lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One line of JSON for a file; for an archive, the findings of all its logs."""
    line = next((one for one in lines if one["findings"]), lines[0])
    if len(lines) == 1:
        return line
    whole = {key: value for key, value in line.items() if key not in ("note", "line_shapes")}
    whole["findings"] = [finding for one in lines for finding in one["findings"]]
    whole["recognised"] = any(one["recognised"] for one in lines)
    errors = [one["error"] for one in lines if "error" in one]
    return whole | ({"error": errors[0]} if errors else {})


def _unreadable(path: Path, error: UserError | OSError) -> str:
    """One line that says which file could not be read, why, and what to do."""
    if isinstance(error, UserError):
        return f"{error.message}; fix: {error.hint}" if error.hint else error.message
    return f"{path}: cannot be read: {error.strerror or error}"


def _as_line(path: Path, name: str, reading: Reading, request: ScanRequest) -> dict[str, Any]:
    """The line of JSON of one log; findings in an archive tell the `member` they are in."""
    told = [as_json(finding) for finding in reading.findings]
    if request.vmlinux is not None:
        for one, finding in zip(told, reading.findings, strict=True):
            one["frames"] = [_frame(frame) for frame in finding.frames]
    for one, reason in zip(told, reading.reasons, strict=False):
        one["why"] = list(explained(reason)) if reason else []
    for one in told if name else ():
        one["member"] = name
    line: dict[str, Any] = {
        "file": str(path),
        "findings": told,
        "recognised": reading.recognised,
    }
    if reading.damage:
        line["error"] = _damage(reading)
    if not reading.recognised:
        line["note"] = _note(reading)
        line["line_shapes"] = [shape._asdict() for shape in reading.shapes]
    return line


def _note(reading: Reading) -> str:
    """What is said of a log in which nothing was recognised."""
    if not reading.lines:
        return "the file is empty"
    return f"none of {reading.lines} lines could be recognised as the kernel's"


def _located(reading: Reading, request: ScanRequest) -> Reading:
    """The findings with file and line of each frame that `vmlinux` or a module beside it knows."""
    if request.vmlinux is None:
        return reading
    # the detectors alone start fast; ELF and DWARF readers are for those who ask
    from kvet.build.symbolize import symbolize_findings

    vmlinux = request.vmlinux
    beside = vmlinux.parent
    modules = beside / "modules" if (beside / "modules").is_dir() else beside
    sources = [beside / "patched", beside, Path("/")]
    found = symbolize_findings(reading.findings, vmlinux=vmlinux, modules=modules, sources=sources)
    return replace(reading, findings=list(found))


def _frame(frame: Frame) -> dict[str, str]:
    """The public form of a frame."""
    return {"func": frame.func, "location": frame.location, "source": frame.source}


def as_json(finding: Finding) -> dict[str, Any]:
    """The public form of a finding in `scan-log --json`."""
    return {
        "kind": finding.kind,
        "title": finding.title,
        "first_line": finding.first_line,
        "last_line": finding.last_line,
        "func": finding.func,
        "alt_titles": list(finding.alt_titles),
        "family": finding.family,
        "corrupted": finding.corrupted,
        "suppressed": finding.suppressed,
    }


def _telling(finding: Finding) -> Sequence[Frame]:
    """Decoded frames from just above the blamed function on; none without file and line."""
    frames = finding.frames
    if not any(frame.location for frame in frames):
        return ()
    blamed = next((i for i, frame in enumerate(frames) if frame.func == finding.func), 0)
    start = max(0, blamed - 2)
    return frames[start : start + MOST_FRAMES]


def _print_text(path: str, reading: Reading, out: TextIO) -> None:
    findings = reading.findings
    out.write(f"{path}: {len(findings) or 'no'} finding{'s' * (len(findings) != 1)}\n")
    if not reading.recognised:
        out.write(f"  note: {_note(reading)}\n")
        for shape, count, example in reading.shapes:
            out.write(f"    {count} lines look like `{shape}`, for example: {example}\n")
    reasons = reading.reasons or (None,) * len(findings)
    for finding, reason in zip(findings, reasons, strict=True):
        _print_finding(finding, reason, out)


def _print_finding(finding: Finding, reason: Why | None, out: TextIO) -> None:
    marks = [m for m in ("corrupted", "suppressed") if getattr(finding, m)]
    note = f"  ({', '.join(marks)})" if marks else ""
    out.write(f"  line {finding.first_line}: {finding.title} [{finding.kind}]{note}\n")
    for frame in _telling(finding):
        out.write(f"      {frame.func} {frame.location}".rstrip() + "\n")
        if frame.source:
            out.write(f"          {frame.source}\n")
    for line in (*explanation(finding), *(explained(reason) if reason else ())):
        out.write(f"      {line}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m kvet.cli.scan_log FILE... [--json] [--vmlinux F] [--explain]`."""
    parser = argparse.ArgumentParser(prog="scan-log", description=__doc__)
    add_scan_options(parser)
    args = parser.parse_args(argv)
    return scan_log_main(ScanRequest(args.files, args.json, args.vmlinux, args.explain))


if __name__ == "__main__":
    sys.exit(main())
