# SPDX-License-Identifier: GPL-2.0-only
"""Which functions of the kernel each shipped workload ran, as recorded once by bench/reach.py.

`configs/workloads/reach.txt`: the names of the workloads, then each source file with its
functions and, for each, a number in hex whose bit N stands for workload N.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kvet.errors import InfraError
from kvet.paths import CONFIGS

FILE = CONFIGS / "workloads" / "reach.txt"
HEAD = "workloads:"
KERNEL = "kernel:"


@dataclass(frozen=True, slots=True)
class Reach:
    """What was recorded: `functions` maps source file and function to a bit for each workload.

    `workloads` are names, or directories of the project.
    """

    kernel: str = ""
    workloads: tuple[str, ...] = ()
    functions: Mapping[tuple[str, str], int] = field(default_factory=dict)

    def reaching(self, file: str, function: str) -> tuple[str, ...]:
        """The workloads that ran `function` of `file`."""
        bits = self.functions.get((file, function), 0)
        return tuple(name for n, name in enumerate(self.workloads) if bits >> n & 1)


def read_reach(path: Path = FILE) -> Reach:
    """The record at `path`; an empty one where there is none. InfraError for a damaged one."""
    if not path.exists():
        return Reach()
    kernel = ""
    workloads: tuple[str, ...] = ()
    functions: dict[tuple[str, str], int] = {}
    file = ""
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("#"):
                continue
            if line.startswith("\t"):
                name, bits = line.split()
                functions[file, name] = int(bits, 16)
            elif line.startswith(HEAD):
                workloads = tuple(line.removeprefix(HEAD).split())
            elif line.startswith(KERNEL):
                kernel = line.removeprefix(KERNEL).strip()
            else:
                file = line
    except (OSError, ValueError) as error:
        raise InfraError(f"{path}: cannot be read: {error}") from error
    return Reach(kernel, workloads, functions)


def write_reach(path: Path, reach: Reach) -> None:
    """Write `reach` to `path`, functions by file and name."""
    rows = [
        "# SPDX-License-Identifier: GPL-2.0-only",
        "# Written by bench/reach.py: which functions of the kernel each workload ran.",
        f"{KERNEL} {reach.kernel}",
        f"{HEAD} {' '.join(reach.workloads)}",
    ]
    last = ""
    for (file, function), bits in sorted(reach.functions.items()):
        if file != last:
            rows.append(file)
        rows.append(f"\t{function} {bits:x}")
        last = file
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
