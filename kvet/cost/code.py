# SPDX-License-Identifier: GPL-2.0-only
"""From patch to page: what a variant's build has that its baseline's has not, in bytes and code.

The comparison of two builds is made once and kept beside the variant's.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from elftools.common.exceptions import ELFError

from kvet.cost.disassembly import Insn, disassemble, side_by_side, stack_bytes
from kvet.cost.vmlinux import Binary, Pair, Resized, Symbol, changed_functions, read_binary, resized
from kvet.errors import KvetError
from kvet.model import Build
from kvet.results.code_record import CodeRecord, FunctionChange, SymbolChange, packed_row
from kvet.store import read_as, write_json

FORM = "3"  # raise it when what is kept here changes
MOST_SYMBOLS = 60
MOST_FUNCTIONS = 16
MOST_ROWS = 240
# an option or a header may change thousands of functions: these are counted, not read
MOST_READ = 600


@dataclass(frozen=True, slots=True)
class BuildPair:
    """A measured build beside its baseline's, and the names that a report gives them.

    `touched` are the addresses of the code that the series' lines compile to.
    """

    kernel: str
    config: str
    variant: str
    baseline: str
    build: Build
    base_build: Build
    touched: frozenset[int]


def code_record(pairs: Sequence[BuildPair]) -> tuple[CodeRecord, ...]:
    """What each measured build has that its baseline's has not, each two builds once."""
    found: dict[tuple[str, str], CodeRecord] = {}
    for pair in pairs:
        keys = (pair.base_build.key, pair.build.key)
        if keys in found:
            continue
        told = compared(pair.build, pair.base_build, pair.touched)
        if told is not None:
            found[keys] = replace(
                told,
                kernel=pair.kernel,
                config=pair.config,
                variant=pair.variant,
                baseline=pair.baseline,
                builds=keys,
            )
    return tuple(found.values())


def compared(build: Build, baseline: Build, touched: Collection[int] = ()) -> CodeRecord | None:
    """What `build` has that `baseline` has not (`compare_builds`); worked out once for the two.

    None when the tools do not say: it costs the comparison, never the run.
    """
    kept = build.folder / f"code-{baseline.key}-{FORM}.json"
    if not kept.exists():
        try:
            found = compare_builds(baseline.vmlinux, build.vmlinux, touched)
        except (KvetError, OSError, ELFError):
            return None
        write_json(kept, found)
    record: CodeRecord = read_as(kept, CodeRecord)
    return record


def compare_builds(old: Path, new: Path, touched: Collection[int] = ()) -> CodeRecord:
    """Totals, sizes that changed and the functions whose code did, of two vmlinux files.

    `touched` are addresses, in `new`, of lines that the series wrote: their
    functions come first. A pair of numbers is baseline and variant.
    """
    before, after = read_binary(old), read_binary(new)
    changes = resized(before, after)
    pairs = [(p, _is_touched(p, touched)) for p in changed_functions(before, after)]
    pairs.sort(key=lambda found: (not found[1], -_growth(found[0])))
    functions = _functions(before, after, pairs[:MOST_READ])
    return CodeRecord(
        totals={name: (before.totals[name], after.totals[name]) for name in before.totals},
        functions_bytes=(_bytes(before, functions=True), _bytes(after, functions=True)),
        objects_bytes=(_bytes(before, functions=False), _bytes(after, functions=False)),
        functions_changed=len(functions) + max(0, len(pairs) - MOST_READ),
        symbols=tuple(_symbol(change) for change in changes[:MOST_SYMBOLS]),
        symbols_left_out=max(0, len(changes) - MOST_SYMBOLS),
        functions=tuple(functions[:MOST_FUNCTIONS]),
    )


def _is_touched(pair: Pair, addresses: Collection[int]) -> bool:
    symbol = pair.new
    return symbol is not None and any(0 <= a - symbol.address < symbol.size for a in addresses)


def _growth(pair: Pair) -> int:
    return abs((pair.new.size if pair.new else 0) - (pair.old.size if pair.old else 0))


def _bytes(binary: Binary, *, functions: bool) -> int:
    return sum(s.size for s in binary.symbols if s.is_function == functions)


def _symbol(change: Resized) -> SymbolChange:
    kind = "function" if change.is_function else "object"
    return SymbolChange(change.name, kind, (change.old, change.new))


def _functions(
    before: Binary, after: Binary, pairs: Sequence[tuple[Pair, bool]]
) -> list[FunctionChange]:
    """Bytes, stack and code of the functions that differ by more than names of addresses."""
    wanted = [(side, s) for p, _ in pairs for side, s in ((before, p.old), (after, p.new)) if s]
    code = iter(disassemble(wanted))
    found = []
    for pair, touched in pairs:
        old = next(code) if pair.old else []
        new = next(code) if pair.new else []
        rows = side_by_side(old, new)
        # padding comes and goes with the layout; a key of the series is in its own lines
        if touched or any(r.mark not in " ~" and {r.left, r.right} != {"nop", ""} for r in rows):
            found.append(
                FunctionChange(
                    name=pair.name,
                    touched=touched,
                    bytes=(_size(pair.old), _size(pair.new)),
                    stack=(_stack(pair.old, old), _stack(pair.new, new)),
                    rows=tuple(packed_row(row) for row in rows[:MOST_ROWS]),
                    rows_left_out=max(0, len(rows) - MOST_ROWS),
                )
            )
    return found


def _size(symbol: Symbol | None) -> int | None:
    return symbol.size if symbol else None


def _stack(symbol: Symbol | None, insns: Sequence[Insn]) -> int | None:
    return stack_bytes(insns) if symbol else None
