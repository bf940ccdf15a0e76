# SPDX-License-Identifier: GPL-2.0-only
"""What a workload of one's own consists of: programs, modules, probes and kconfig options.

Data alone, made from `workload.yaml` by kvet/plan/loads.py. Where an item came from in that
file is kept, so that a fault found late still names file, key and line.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Option:
    """One requested kconfig line: `value` is y, m, n, a number or a quoted string."""

    name: str
    value: str
    path: Path
    line: int

    def __str__(self) -> str:
        return f"# {self.name} is not set" if self.value == "n" else f"{self.name}={self.value}"


@dataclass(frozen=True, slots=True)
class Command:
    """One thing a side does: a program, or a module that is loaded and removed again.

    `expect` is the exit code of the program, or the error number that loading must return.
    A module stays for `stay_s` seconds, negative for as long as the workload runs.
    """

    name: str
    argv: tuple[str, ...]
    expect: int = 0
    is_module: bool = False
    stay_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Side:
    """What runs beside the other sides: its commands in turn, once or until the time is up."""

    name: str
    commands: tuple[Command, ...]
    loop: bool = True


@dataclass(frozen=True, slots=True)
class Probe:
    """What one exposure counter counts, and the key and line that ask for it.

    `func` is entered; with `during` only while another task is inside that function. With
    `contended` it is waits for locks, in `during` where that is named. With `text` it is the
    first line of the source file `file` that holds the text. `home` is the source file of
    `func`, needed where several functions of the kernel have that name.
    """

    name: str
    key: str
    line: int
    func: str = ""
    home: str = ""
    during: str = ""
    contended: bool = False
    file: str = ""
    text: str = ""

    @property
    def functions(self) -> tuple[str, ...]:
        """The functions that the kernel must have for it."""
        return tuple(name for name in (self.func, self.during) if name)


@dataclass(frozen=True, slots=True)
class Load:
    """A workload's directory, read: what goes into the guest and what is built for it.

    `digest` is that of all its files; with `reads_log` the kernel's log holds results of tests.
    `race` is the C file of a race that the engine runs, in place of sides, `selftests` the
    directory of the kernel's own below tools/testing/selftests that are run. `does` is the key
    that says what it does (run, sides, kunit, ...), `not_covered` what it leaves out, in words.
    """

    file: Path
    digest: str
    does: str = ""
    not_covered: tuple[str, ...] = ()
    sides: tuple[Side, ...] = ()
    probes: tuple[Probe, ...] = ()
    options: tuple[Option, ...] = ()
    packages: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    boot_args: tuple[str, ...] = ()
    reads_log: bool = False
    race: str = ""
    selftests: str = ""

    @property
    def folder(self) -> Path:
        return self.file.parent
