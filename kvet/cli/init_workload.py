# SPDX-License-Identifier: GPL-2.0-only
"""Starts a workload of one's own: a copy of a working example of its kind."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from kvet.errors import InfraError, UserError
from kvet.paths import CONFIGS, PROJECT
from kvet.plan.schemas import NAME

EXAMPLES = PROJECT / "examples" / "workloads"
# what `init --workload KIND` copies
KINDS: Mapping[str, Path] = {
    "program": EXAMPLES / "program",
    **{
        name: EXAMPLES / name
        for name in ("kunit", "kselftest", "module", "locktorture", "rcutorture")
    },
    "race": EXAMPLES / "race",
    "sides": CONFIGS / "workloads" / "pipe-resize",
}


def start_workload(kind: str, target: str) -> int:
    """Write the example of `kind` to the new directory `target`, and say what to do next.

    Raises UserError for a kind that is none, and for a directory that is there.
    """
    if kind not in KINDS:
        raise UserError(
            f"--workload {kind}: there is no example of that kind",
            hint=f"kinds: {', '.join(KINDS)}; for a matrix of a series give --series PATH",
        )
    folder = Path(target).expanduser()
    if not re.fullmatch(NAME["pattern"], folder.resolve().name):
        raise UserError(f"{folder.resolve().name!r} is no name for a workload")
    if folder.exists() or folder.is_symlink():
        raise UserError(f"{folder} is there already, and nothing is overwritten")
    try:
        shutil.copytree(KINDS[kind], folder)
    except OSError as error:
        raise InfraError(f"cannot write {folder}: {error.strerror}") from error
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        print(path)
    print("\nwhat it does stands in workload.yaml (docs/workloads.md); then:")
    print(f"  ./harness.py lint {folder}")
    print(f"  ./harness.py run --workload {folder}/ --variant stock --attempts 1")
    return 0
