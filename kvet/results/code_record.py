# SPDX-License-Identifier: GPL-2.0-only
"""What the builds of a run have in code, each beside its baseline's: a part of the record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

# a number of the baseline's build and of the variant's; None where the thing is not there
Sizes = tuple[int | None, int | None]


@dataclass(frozen=True, slots=True)
class SymbolChange:
    """A function or object whose size differs between two builds."""

    name: str
    kind: str
    bytes: Sizes


@dataclass(frozen=True, slots=True)
class CodeRow:
    """A row of two functions side by side.

    `mark` is blank for alike, `|` changed, `<` gone, `>` new, `~` so many alike rows left out.
    """

    mark: str
    left: str
    right: str


@dataclass(frozen=True, slots=True)
class FunctionChange:
    """A function whose code differs: bytes, stack, and its rows as `packed_row` writes them."""

    name: str
    touched: bool
    bytes: Sizes
    stack: Sizes
    rows: tuple[str, ...] = ()
    rows_left_out: int = 0

    def side_by_side(self) -> list[CodeRow]:
        """The rows with their two sides."""
        return [_unpacked_row(row) for row in self.rows]


def packed_row(row: CodeRow) -> str:
    """Mark and left, then a tab and right; what is the same on both sides stands once."""
    both = row.mark in "|>" or (row.mark == " " and row.left != row.right)
    return f"{row.mark}{row.left}\t{row.right}" if both else f"{row.mark}{row.left}"


def _unpacked_row(text: str) -> CodeRow:
    left, tab, right = text[1:].partition("\t")
    return CodeRow(text[0], left, right if tab else left if text[0] == " " else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeRecord:
    """What a measured build has that its baseline's has not, in bytes and code.

    `builds` are the keys, the baseline's first. Whoever compares two files alone leaves
    the names of the cell empty.
    """

    kernel: str = ""
    config: str = ""
    variant: str = ""
    baseline: str = ""
    builds: tuple[str, ...] = ()
    totals: Mapping[str, tuple[int, int]]
    functions_bytes: tuple[int, int]
    objects_bytes: tuple[int, int]
    functions_changed: int
    symbols: tuple[SymbolChange, ...] = ()
    symbols_left_out: int = 0
    functions: tuple[FunctionChange, ...] = ()
