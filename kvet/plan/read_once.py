# SPDX-License-Identifier: GPL-2.0-only
"""The data directories for a command that looks at them again and again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from kvet.model import Config, Kernel, Machine, Variant, Workload
from kvet.plan.library import Library

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ReadOnce(Library):
    """A library for one command that looks at it for many cells: no file is read twice."""

    _read: dict[str, dict[str, Any]] = field(default_factory=dict, init=False, compare=False)

    def kernels(self) -> dict[str, Kernel]:
        return self._once("kernels", Library.kernels)

    def variants(self) -> dict[str, Variant]:
        return self._once("variants", Library.variants)

    def configs(self) -> dict[str, Config]:
        return self._once("configs", Library.configs)

    def machines(self) -> dict[str, Machine]:
        return self._once("machines", Library.machines)

    def workloads(self) -> dict[str, Workload]:
        return self._once("workloads", Library.workloads)

    def _once(self, kind: str, read: Callable[[Library], dict[str, T]]) -> dict[str, T]:
        if kind not in self._read:
            self._read[kind] = read(self)
        return self._read[kind]
