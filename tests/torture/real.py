# SPDX-License-Identifier: GPL-2.0-only
"""The same with this checkout's own kernels and the real QEMU: no two boots are alike there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from kvet.cache import cache_root
from kvet.paths import PROJECT
from tests.torture.bench import Bench, conclusions

MATRIX = """\
title: torture
kernels: [linux-6.12]
variants: [stock, nolock]
configs: [debug]
machines: [virt]
workloads: [ptdump-race]
attempts: 1
"""


class RealBench(Bench):
    """The baseline and the control, one real boot each, from the user's own cache."""

    @classmethod
    def made(cls, root: Path) -> RealBench:
        """A place for results; nothing is built that is in the cache."""
        root.mkdir(parents=True)
        bench = cls(root)
        bench.tmp.mkdir()
        (root / "torture.yaml").write_text(MATRIX, encoding="utf-8")
        bench.env = {**os.environ, "TMPDIR": str(bench.tmp), "NO_COLOR": "1"}
        bench.env |= {"KVET_TORTURE": str(root), "KVET_CACHE": str(cache_root())}
        return bench

    @property
    def checkout(self) -> Path:
        return PROJECT

    @property
    def kind(self) -> str:
        return "real kill"

    @property
    def same(self) -> str:
        return "the same conclusions"

    def whole(self) -> str:
        return str(self.root / "torture.yaml")

    def essence(self, run: Path) -> Any:
        return conclusions(run)

    def forget_builds(self) -> None:
        """A kernel takes minutes to build: it stays."""
