# SPDX-License-Identifier: GPL-2.0-only
"""One boot as data: what is asked of it, its deadlines, what it left behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kvet.boot_host import BootHost
from kvet.explorations import Exploration
from kvet.model import Ending, Finding, Machine, Metric


@dataclass(frozen=True, slots=True)
class Limits:
    """Deadlines of one boot in host seconds, already scaled to accelerator and config.

    `boot_s` until the banner and init, `run_s` for the whole workload after
    that, `silence_s` without any sign of life before a guest counts as hung;
    `splat_s` after a panic, `after_splat_s` after the first splat.
    """

    boot_s: float
    run_s: float
    silence_s: float
    splat_s: float = 5.0
    after_splat_s: float = 60.0


@dataclass(frozen=True, slots=True)
class BootRequest:
    """Everything one boot needs; `folder` belongs to this attempt alone.

    `trace` are (start, length) of guest code whose first translation is logged;
    `dumps` is the run's directory, in which memory dumps are counted, None for no dump.
    """

    image: Path
    initrd: tuple[Path, ...]
    machine: Machine
    folder: Path
    limits: Limits
    seed: int
    release: str = ""
    args: tuple[str, ...] = ()
    ssh: bool = False
    gdb: bool = False
    trace: tuple[tuple[int, int], ...] = ()
    dumps: Path | None = None


@dataclass(frozen=True, slots=True)
class Boot:
    """What one boot left behind.

    `boot_s` is QEMU start to init, `ready_s` QEMU start to workload start,
    `seconds` QEMU start to its end; None when that point was not reached.
    """

    ending: Ending
    console: Path
    report: Path
    seconds: float
    boot_s: float | None
    ready_s: float | None
    banner: str
    argv: tuple[str, ...]
    detail: str = ""
    memory: Path | None = None
    host: BootHost = BootHost()


@dataclass(frozen=True, slots=True)
class GuestReport:
    """What the guest said on its report port, parsed; `complete` when it reached its end.

    `tests` are the harness's own; `results` those of the programs that the workload ran.
    """

    complete: bool = False
    tests: Mapping[str, bool | None] = field(default_factory=dict)
    exposure: Mapping[str, int] = field(default_factory=dict)
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    state: Mapping[str, str] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    results: Mapping[str, str] = field(default_factory=dict)
    explorations: tuple[Exploration, ...] = ()
