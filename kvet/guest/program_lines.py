# SPDX-License-Identifier: GPL-2.0-only
"""What the guest says of the programs of a workload: what they print, and how they end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from kvet.guest.ktap import merge, read_results
from kvet.model import Finding

TEST = "test"  # kind of a finding that a test of the workload makes


def finding_of(name: str, title: str) -> Finding:
    """A finding that a program or test of the workload makes; its baseline may show it as well."""
    return Finding(kind=TEST, title=title, func=name, family=TEST, origin="harness")


@dataclass(slots=True)
class ProgramLines:
    """Takes `out`, `exit` and `ended` lines of a report."""

    output: dict[str, list[str]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def words(self) -> Mapping[str, Callable[[str], None]]:
        """The first words of the lines that it takes."""
        return {"out": self._out, "exit": self._exit, "ended": self._ended}

    def _out(self, rest: str) -> None:
        name, _, text = rest.partition(" ")
        self.output.setdefault(name, []).append(text)

    def _exit(self, rest: str) -> None:
        name, code, expected, _ = rest.split()
        title = f"{name}: {_ended_with(int(code))}, not {expected}"
        if int(code) != 126:  # what could not be started says nothing of the kernel
            self.findings.append(finding_of(name, title))

    def _ended(self, rest: str) -> None:
        name, code = rest.split()
        if code == "late":
            self.findings.append(finding_of(name, f"{name}: did not end within its time"))

    def results(self) -> dict[str, str]:
        """Results of tests that the programs printed, each behind its program's name and a dot."""
        found: dict[str, str] = {}
        for name, lines in self.output.items():
            merge(found, {f"{name}.{k}": v for k, v in read_results(lines).items()})
        return found


def _ended_with(code: int) -> str:
    return f"ended by signal {code - 128}" if code > 128 else f"exit code {code}"
