# SPDX-License-Identifier: GPL-2.0-only
"""Tests as kernel modules for real hardware, written by klitmus7.

What a board then shows is one machine: an outcome that was seen is possible,
one that was not seen proves nothing.
"""

from __future__ import annotations

from pathlib import Path

from kvet import proc
from kvet.errors import InfraError, UserError
from kvet.prove.bindfile import FILE, read_bind
from kvet.prove.herd import Tool


def export_modules(tool: Tool, variant: Path, folder: Path) -> list[Path]:
    """Write the sources of one module a test to `folder/VARIANT`; the files written."""
    if not (variant / FILE).exists():
        raise UserError("names no tests to export", path=variant / FILE)
    tests = [str(test.path) for test in read_bind(variant / FILE)]
    out = folder / variant.name
    out.mkdir(parents=True, exist_ok=True)
    done = proc.run((*tool.argv("klitmus7"), "-o", str(out), *tests), timeout_s=120)
    written = sorted(p for p in out.iterdir() if p.is_file())
    if done.returncode or not any(p.suffix == ".c" for p in written):
        words = done.stderr.decode(errors="replace").strip().splitlines()
        raise InfraError(f"klitmus7 failed: {words[0] if words else 'it wrote nothing'}")
    return written
