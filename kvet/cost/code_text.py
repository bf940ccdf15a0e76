# SPDX-License-Identifier: GPL-2.0-only
"""The code of measured builds as text: sizes against the baseline, and functions side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kvet.errors import UserError
from kvet.results.code_record import CodeRecord, FunctionChange
from kvet.results.record import RunRecord

WIDTH = 100
MARGIN = 2
MOST_NAMES = 12
HOW = (
    "Bytes; text, data and bss as size(1) counts, which rounds to pages; functions and objects as\n"
    "bloat-o-meter does. Stack: what a function itself takes, by its changes of sp.\n"
)


def code_report(record: RunRecord, variant: str = "") -> str:
    """Sizes of all measured builds, or of one variant with the functions that changed."""
    entries = [e for e in record.code if variant in ("", e.variant)]
    if not entries:
        have = ", ".join(dict.fromkeys(e.variant for e in record.code))
        raise UserError(
            f"run {record.run} compared no code" + (f" of {variant}" if variant else ""),
            hint=f"there are: {have}" if have else "harness.py run-matrix configs/cost.yaml",
        )
    lines = [
        f"Code of run {record.run}, builds against their baseline's.",
        *HOW.splitlines(),
        "",
    ]
    for title, group in code_groups(entries).items():
        lines += [title, *_summary(group), ""]
    if variant:
        lines += [line for entry in entries for line in _detail(entry)]
    else:
        lines.append(f"One of them: harness.py cost {record.run} --code {entries[-1].variant}")
    return "\n".join(lines).rstrip() + "\n"


def code_groups(entries: Sequence[CodeRecord]) -> dict[str, list[CodeRecord]]:
    """The compared builds by kernel, config and what they are compared with."""
    groups: dict[str, list[CodeRecord]] = {}
    for entry in entries:
        title = f"{entry.kernel}, {entry.config}, against {entry.baseline}"
        groups.setdefault(title, []).append(entry)
    return groups


def _summary(entries: Sequence[CodeRecord]) -> Iterator[str]:
    heads = ("text", "data", "bss", "functions", "objects", "changed")
    yield f"{'variant':<22}" + "".join(f"{head:>10}" for head in heads) + "  of the series"
    for entry in entries:
        numbers = "".join(f"{text:>10}" for text in summary_cells(entry))
        names = ", ".join(f.name for f in entry.functions if f.touched)
        room = WIDTH - 22 - 60 - 2
        yield f"{entry.variant:<22}{numbers}  {_fitted(names or '-', room)}"


def summary_cells(entry: CodeRecord) -> list[str]:
    """Growth of text, data, bss, functions and objects in bytes; how many functions changed."""
    pairs = [entry.totals[name] for name in ("text", "data", "bss")]
    pairs += [entry.functions_bytes, entry.objects_bytes]
    return [growth(pair) for pair in pairs] + [str(entry.functions_changed)]


def growth(pair: Sequence[int | None]) -> str:
    """Variant less baseline, with its sign; `=` for none, what is missing counts as nothing."""
    size = (pair[1] or 0) - (pair[0] or 0)
    return f"{size:+d}" if size else "="


def _fitted(text: str, room: int) -> str:
    return text if len(text) <= room else text[: room - 3] + "..."


def _detail(entry: CodeRecord) -> Iterator[str]:
    """Symbols that changed and the functions side by side."""
    yield f"{entry.variant} ({entry.config}): what changed in size"
    yield f"  {'kind':<10}{entry.baseline:>10}{'variant':>10}{'':>8}  name"
    for symbol in entry.symbols:
        old, new = (size or "-" for size in symbol.bytes)
        change = growth(symbol.bytes)
        yield f"  {symbol.kind:<10}{old:>10}{new:>10}{change:>8}  {_fitted(symbol.name, 60)}"
    if entry.symbols_left_out:
        yield f"  and {entry.symbols_left_out} more"
    yield ""
    for function in entry.functions:
        yield function_title(function)
        half = (WIDTH - MARGIN - 3) // 2
        yield f"  {entry.baseline:<{half}} | {entry.variant}"
        yield from (f"  {line}".rstrip() for _, line in side_lines(function, half))
        yield ""
    left = entry.functions_changed - len(entry.functions)
    if left > 0:
        yield f"{left} more functions changed."


def function_title(function: FunctionChange) -> str:
    """Name, bytes and stack of a function that changed."""
    sizes = " -> ".join("-" if x is None else str(x) for x in function.bytes)
    stacks = " -> ".join("-" if x is None else str(x) for x in function.stack)
    mark = ", touched by the series" if function.touched else ""
    return f"{function.name}: {sizes} bytes, stack {stacks}{mark}"


def side_lines(function: FunctionChange, half: int = 0) -> list[tuple[str, str]]:
    """(mark, line) for each row of a function, columns `half` wide or as wide as they need."""
    rows = function.side_by_side()
    told = [row for row in rows if row.mark != "~"]
    first = half or max((len(row.left) for row in told), default=0)
    second = half or max((len(row.right) for row in told), default=0)
    lines = []
    for row in rows:
        if row.mark == "~":
            lines.append((row.mark, f"... {row.left} alike"))
        else:
            left = f"{_fitted(row.left, first):<{first}}"
            lines.append((row.mark, f"{left} {row.mark} {_fitted(row.right, second)}"))
    if function.rows_left_out:
        lines.append(("~", f"... {function.rows_left_out} more rows"))
    return lines
