# SPDX-License-Identifier: GPL-2.0-only
"""Reads what the guest said on its report port: KTAP results and `# kvet` lines.

The line forms are described in docs/guest-protocol.md. A guest may die in the
middle of a line, so a line that is cut short is passed over.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from kvet.guest.boot import GuestReport
from kvet.guest.program_lines import ProgramLines
from kvet.guest.schedules import ScheduleLines
from kvet.model import Finding, Frame, Metric

RESULT = re.compile(r"^(ok|not ok) \d+ (?:- )?(\S+)(?: # (\w+))?")
FRAME = re.compile(r"^(\S+?)\+(0x[0-9a-f]+/0x[0-9a-f]+)(?: \[(\w+)\])?$")
MOST_FINDINGS = 100


def parse_report(path: Path) -> GuestReport:
    """Parse a `report.ktap`; an absent or broken one gives what can be read."""
    if not path.exists():
        return GuestReport()
    text = path.read_bytes().decode(errors="replace")
    return parse_lines(text.split("\n")[:-1])


def parse_lines(lines: Iterable[str]) -> GuestReport:
    """The report in `lines`; of a value said twice the last one holds."""
    reader = _Reader()
    for line in lines:
        reader.take(line.rstrip("\r"))
    return reader.report()


def stages(text: str) -> dict[str, float]:
    """Stage names in a (growing) report with the guest uptime at which each began."""
    found = re.findall(r"^# kvet stage (\S+) (\d+(?:\.\d*)?)\s*$", text, re.MULTILINE)
    return {name: float(uptime) for name, uptime in found}


@dataclass(slots=True)
class _Reader:
    complete: bool = False
    tests: dict[str, bool | None] = field(default_factory=dict)
    exposure: dict[str, int] = field(default_factory=dict)
    metrics: dict[str, Metric] = field(default_factory=dict)
    state: dict[str, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    schedules: ScheduleLines = field(default_factory=ScheduleLines)
    programs: ProgramLines = field(default_factory=ProgramLines)

    def take(self, line: str) -> None:
        """Take one line; one that does not parse says nothing."""
        if found := RESULT.match(line):
            verdict, name, directive = found.groups()
            self.tests[name] = None if directive == "SKIP" else verdict == "ok"
        elif line.startswith("# kvet "):
            word, _, rest = line.removeprefix("# kvet ").partition(" ")
            handler = self._handlers().get(word)
            if handler is not None:
                try:
                    handler(rest)
                except ValueError:
                    return

    def _handlers(self) -> dict[str, Callable[[str], None]]:
        return {
            "exposure": self._exposure,
            "metric": self._metric,
            "state": self._state,
            "finding": self._finding,
            "suspicion": self._suspicion,
            "door": self._door,
            "stack": self._stack,
            "stage": self._stage,
            "end": self._end,
            **self.schedules.words(),
            **self.programs.words(),
        }

    def _exposure(self, rest: str) -> None:
        name, value = rest.split()
        self.exposure[name] = int(value)

    def _metric(self, rest: str) -> None:
        name, value, unit = rest.split()
        self.metrics[name] = Metric(float(value), unit)

    def _state(self, rest: str) -> None:
        name, _, value = rest.partition(" ")
        self.state[name] = value.strip()

    def _stage(self, rest: str) -> None:
        name, uptime = rest.split()
        self.state[f"stage_{name}"] = str(float(uptime))

    def _finding(self, rest: str) -> None:
        kind, func, title = rest.split(" ", 2)
        if len(self.findings) < MOST_FINDINGS:
            self.findings.append(
                Finding(kind=kind, title=title, func=func, family=kind, origin="module")
            )

    def _suspicion(self, rest: str) -> None:
        told = len(self.findings)
        self._finding(rest)
        if len(self.findings) > told:
            self.findings[-1] = replace(self.findings[-1], suspicion=True)

    def _door(self, rest: str) -> None:
        if self.findings:
            self.findings[-1] = replace(self.findings[-1], door=rest.strip())

    def _stack(self, rest: str) -> None:
        side, text = rest.split(" ", 1)
        found = FRAME.match(text.strip())
        if found and self.findings:
            func, offset, module = found.groups()
            last = self.findings[-1]
            frame = Frame(func=func, offset=offset, module=module or "", side=side)
            self.findings[-1] = replace(last, frames=(*last.frames, frame))

    def _end(self, rest: str) -> None:
        self.complete = True

    def report(self) -> GuestReport:
        """What was read."""
        return GuestReport(
            complete=self.complete,
            tests=self.tests,
            exposure=self.exposure,
            metrics=self.metrics,
            state=self.state,
            findings=(*self.findings, *self.programs.findings),
            results=self.programs.results(),
            explorations=tuple(self.schedules.done),
        )
