# SPDX-License-Identifier: GPL-2.0-only
"""`harness.py scan-log`: prints the findings of console logs, as text or one JSON line a file."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from kvet.detectors import scan_file
from kvet.detectors.explain import explanation
from kvet.errors import UserError
from kvet.model import Finding, Frame

MOST_FRAMES = 8


def scan_log_main(
    files: Sequence[Path],
    json_output: bool,
    vmlinux: Path | None = None,
    out: TextIO | None = None,
) -> int:
    """Scan `files` and print what they hold; 0 when no splat was found, else 1.

    With `json_output` the exit code is 0: the reader looks at the lines. With
    `vmlinux` frames get file, line and, where the source is at hand, its text.
    Raises UserError for a file that cannot be read.
    """
    out = out or sys.stdout
    any_found = False
    if vmlinux is not None and not vmlinux.is_file():
        raise UserError("is no file", path=vmlinux)
    for path in files:
        try:
            findings = scan_file(path)
        except OSError as error:
            reason = error.strerror or str(error)
            raise UserError(f"cannot be read: {reason}", path=Path(path)) from error
        any_found = any_found or bool(findings)
        if vmlinux is not None:
            findings = _located(findings, vmlinux)
        if json_output:
            told = [as_json(finding) for finding in findings]
            if vmlinux is not None:
                for one, finding in zip(told, findings, strict=True):
                    one["frames"] = [_frame(frame) for frame in finding.frames]
            out.write(json.dumps({"file": str(path), "findings": told}) + "\n")
        else:
            _print_text(Path(path), findings, out)
    return int(any_found and not json_output)


def _located(findings: Sequence[Finding], vmlinux: Path) -> list[Finding]:
    """The findings with file and line of each frame that `vmlinux` or a module beside it knows."""
    # the detectors alone start fast; ELF and DWARF readers are for those who ask
    from kvet.symbolize import symbolize_findings

    beside = vmlinux.parent
    modules = beside / "modules" if (beside / "modules").is_dir() else beside
    sources = [beside / "patched", beside, Path("/")]
    return list(symbolize_findings(findings, vmlinux=vmlinux, modules=modules, sources=sources))


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


def _print_text(path: Path, findings: Sequence[Finding], out: TextIO) -> None:
    out.write(f"{path}: {len(findings) or 'no'} finding{'s' * (len(findings) != 1)}\n")
    for finding in findings:
        marks = [m for m in ("corrupted", "suppressed") if getattr(finding, m)]
        note = f"  ({', '.join(marks)})" if marks else ""
        out.write(f"  line {finding.first_line}: {finding.title} [{finding.kind}]{note}\n")
        for frame in _telling(finding):
            out.write(f"      {frame.func} {frame.location}".rstrip() + "\n")
            if frame.source:
                out.write(f"          {frame.source}\n")
        for note in explanation(finding):
            out.write(f"      {note}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m kvet.scanlog FILE... [--json] [--vmlinux F]`."""
    parser = argparse.ArgumentParser(prog="scan-log", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--json", action="store_true", dest="json_output")
    parser.add_argument("--vmlinux", type=Path)
    args = parser.parse_args(argv)
    return scan_log_main(args.files, args.json_output, args.vmlinux)


if __name__ == "__main__":
    sys.exit(main())
