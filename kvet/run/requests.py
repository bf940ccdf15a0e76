# SPDX-License-Identifier: GPL-2.0-only
"""What a user asks of a run, as values: the command line makes them, the run reads them.

Light on purpose: the command line loads this module for every `--help`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from kvet.model import Waiver


@dataclass(frozen=True, slots=True)
class Effort:
    """How a run is carried out and where it goes.

    None and '' leave the choice to the matrix, then to kvet; `jobs` 0 fits the host.
    `command` is kept in the record for readers; `waivers` hold for every variant.
    """

    results: Path
    attempts: int | None = None
    toolchain: str = ""
    seed: int | None = None
    jobs: int = 0
    executor: str = ""
    store: str = ""
    command: tuple[str, ...] = ()
    waivers: tuple[Waiver, ...] = ()


@dataclass(frozen=True, slots=True)
class MatrixRequest:
    """Run the cells of a matrix file that `only` lets through and `exclude` does not name."""

    matrix: Path
    effort: Effort
    only: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ResumeRequest:
    """Go on with `run`; whatever else is asked for must be what was planned."""

    run: str
    effort: Effort
    matrix: Path | None = None
    only: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RunRequest:
    """Judge variants and series side by side; '' for config and machine is what the workload needs.

    With `all_versions` every version that a series holds is one of its own. Without `kernel` the
    base is what each series says, looked for in the repository `tree` as well. `params`
    replace those of the workloads that have their names. With `beside` the workloads that the
    asked one names judge together with it. `proofs` are directories of litmus tests: one for
    each of `series` in their order, or a single one for all.
    """

    effort: Effort
    workload: str
    kernel: str = ""
    tree: str = ""
    variants: tuple[str, ...] = ()
    series: tuple[str, ...] = ()
    proofs: tuple[Path, ...] = ()
    all_versions: bool = False
    each_patch: str = ""
    config: str = ""
    machine: str = ""
    beside: bool = False
    params: Mapping[str, str | int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ShellRequest:
    """A shell in a guest: over ssh as well, stopped for a gdb."""

    ssh: bool = False
    gdb: bool = False


@dataclass(frozen=True, slots=True)
class ReproduceRequest:
    """One recorded attempt, as RUN/CELL[/ATTEMPT] below `results`.

    With `schedule`, an id as reports print it, that one alone is run.
    """

    target: str
    results: Path
    schedule: str = ""


@dataclass(frozen=True, slots=True)
class VisitRequest:
    """What to do in a living guest, over its ssh: run `command`, then copy the file `get`.

    '' leaves either out. `output` is the new file on this host, by default named as in the guest.
    """

    command: str = ""
    get: str = ""
    output: Path | None = None

    @property
    def local(self) -> Path:
        """Where the file goes on this host."""
        return self.output or Path(PurePosixPath(self.get).name)
