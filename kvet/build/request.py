# SPDX-License-Identifier: GPL-2.0-only
"""What is asked of a build, and the key under which its artifacts are kept.

The key is a digest of the patched tree's git id (base and series in one), the
requested options, the toolchain, the workload module and the recipe. What has
a key is never built twice.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from kvet.build.kconfig import merge
from kvet.build.toolchain import Toolchain
from kvet.loads import Option
from kvet.model import Config, SourceTree
from kvet.paths import ROOTFS
from kvet.source.series import AppliedSeries

RECIPE = "1"  # raise it when a change of builder.py or make.py makes old artifacts wrong
# directories of guest modules, built against every variant
MODULES = tuple(ROOTFS / name for name in ("engine", "ptdump", "cost", "provoke", "counter"))


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """One kernel to build: a series on its source, a config, page size and toolchain."""

    source: SourceTree
    series: AppliedSeries
    config: Config
    page_kib: int
    toolchain: Toolchain
    foreign: bool = False

    def options(self) -> tuple[Option, ...]:
        """All requested options, those of the workload and the page size included."""
        page = Option(f"CONFIG_ARM64_{self.page_kib}K_PAGES", "y", self.config.fragments[0], 0)
        wanted = {option.name: option for option in merge(self.config.fragments)}
        wanted |= {option.name: option for option in (*self.config.options, page)}
        return tuple(wanted.values())

    @property
    def key(self) -> str:
        """The build key, 16 hex digits."""
        parts = [RECIPE, self.series.tree_id, self.config.base, self.toolchain.id, module_digest()]
        parts += sorted(str(o) for o in self.options())
        parts += [hashlib.sha256(path.read_bytes()).hexdigest() for path in self.config.races]
        parts += [f"selftests {name}" for name in self.config.selftests]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def module_digest() -> str:
    """Digest of the guest modules' sources: they are built against each variant."""
    digest = hashlib.sha256()
    for folder in MODULES:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            if path.suffix in (".c", ".h", ".S") or path.name in ("Kbuild", "Makefile"):
                name = str(path.relative_to(folder.parent))
                digest.update(name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]
