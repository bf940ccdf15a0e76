# SPDX-License-Identifier: GPL-2.0-only
"""What a guest boots from: the base layers, the modules of its build, the workload's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kvet.cache import cache_root
from kvet.guest import initramfs
from kvet.guest.load_layers import LoadRequest, load_layers
from kvet.model import Build, Cell


def guest_layers(
    cell: Cell, build: Build, base: Sequence[Path], source: Path | None = None, diff: str = ""
) -> tuple[Path, ...]:
    """The initramfs layers of a guest of `cell`, whose series is `diff` on the tree `source`.

    Raises UserError for what the workload wants and this kernel does not have.
    """
    own: tuple[Path, ...] = ()
    if cell.workload.load is not None:
        own = load_layers(LoadRequest(cell.workload.load, build, source, diff), cache_root())
    return (*base, initramfs.modules_layer(build), *own)
