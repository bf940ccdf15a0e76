# SPDX-License-Identifier: GPL-2.0-only
"""`harness.py list`: what a matrix can be made of."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from kvet.model import Variant
from kvet.plan.library import Library
from kvet.terminal import make_console


def print_list(kind: str) -> None:
    """Print the names of one kind (`kernels`, `variants`, ...) with their titles."""
    items: dict[str, Any] = getattr(Library(), kind)()
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column(kind[:-1], no_wrap=True)
    table.add_column("title")
    for name, item in items.items():
        role = f"[{item.role.value}] " if isinstance(item, Variant) else ""
        title = getattr(item, "title", "") or getattr(item, "spec", {}).get("title", "")
        table.add_row(name, f"\\{role}{title}" if role else title)
    make_console().print(table)
