# SPDX-License-Identifier: GPL-2.0-only
"""Reports: pure functions from the record of a run (`results.json`) to text."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from kvet.ui import STYLES, WIDTH

Record = Mapping[str, Any]
# what is worth a place in the table, most telling first
COUNTERS = ("overlaps", "contended", "backoffs", "table_frees", "walks", "huge_maps")
LABELS = {
    "overlaps": "overlap",
    "contended": "contended",
    "backoffs": "back-off",
    "table_frees": "freed",
    "walks": "walks",
    "huge_maps": "huge",
}
NOT_COVERED = (
    "real hardware: weak memory ordering of arm64 is hidden by an x86 host under emulation",
    "16K and 64K pages unless a machine of that page size is in the matrix",
)


def text_report(record: Record, *, color: bool = False, width: int = WIDTH) -> str:
    """The table of cells, each failure with its splat and the command that repeats it."""
    out = io.StringIO()
    console = Console(
        file=out,
        width=width,
        highlight=False,
        force_terminal=color,
        no_color=not color,
        color_system="standard" if color else None,
    )
    console.print(render(record))
    return out.getvalue()


def json_report(record: Record) -> str:
    """The record itself."""
    return json.dumps(record, indent=1, ensure_ascii=False) + "\n"


FORMATS: dict[str, Callable[[Record], str]] = {"text": text_report, "json": json_report}


def render(record: Record) -> RenderableType:
    """The text report as rich renderables."""
    parts: list[RenderableType] = [_header(record), _table(record), ""]
    for cell in record["cells"]:
        parts.extend(_failure(record, cell))
    parts.extend(_answers(record))
    parts.append(Text("Not covered: " + "; ".join(NOT_COVERED) + "."))
    style = STYLES.get(record["conclusion"], "")
    parts.append(Text(f"Conclusion: {record['conclusion']} (exit {record['exit_code']})", style))
    return Group(*parts)


def _header(record: Record) -> Text:
    host = record["host"]
    kernels = host.get("kernels", {})
    versions = ", ".join(f"{name} = {k['version']}" for name, k in kernels.items())
    return Text(
        f"Run {record['run']}: {versions or 'no kernel'}; accel {host.get('accel', '?')}; "
        f"QEMU {host.get('qemu', '?')}; {host.get('compiler', '')}; {host.get('cpus')} host CPUs\n"
    )


def _table(record: Record) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    several = len({c["kernel"] for c in record["cells"]}) > 1
    table.add_column("variant", no_wrap=True)
    table.add_column("config", no_wrap=True)
    table.add_column("conclusion", no_wrap=True)
    table.add_column("k/n", justify="right", no_wrap=True)
    table.add_column("bound", justify="right", no_wrap=True)
    table.add_column("exposure (median)", no_wrap=True, overflow="ellipsis", max_width=25)
    table.add_column("boot", justify="right", no_wrap=True)
    table.add_column("run s", justify="right", no_wrap=True)
    table.add_column("first finding or reason", overflow="ellipsis", no_wrap=True, ratio=1)
    for cell in record["cells"]:
        table.add_row(*_row(cell, several=several))
    return table


def _row(cell: Record, *, several: bool) -> list[RenderableType]:
    name = (
        f"{cell['kernel'].removeprefix('linux-')} {cell['variant']}"
        if several
        else (cell["variant"])
    )
    mark = {"control": " (c)", "baseline": " (b)"}.get(cell["role"], "")
    bound = cell["upper_bound"]
    conclusion = cell["conclusion"]
    shown = "FAIL: caught" if cell["role"] == "control" and conclusion == "FAIL" else conclusion
    return [
        escape(name + mark),
        cell["config"],
        Text(shown, STYLES.get(conclusion, "")),
        f"{cell['failures']}/{cell['runs']}",
        f"{100 * bound:.0f}%" if bound is not None else "-",
        exposure_text(cell),
        _seconds(median([a["boot_seconds"] for a in cell["attempts"]])),
        _seconds(median([a["seconds"] for a in cell["attempts"]])),
        Text(cell["reason"] or "-"),
    ]


def exposure_text(cell: Record) -> str:
    """The two most telling exposure counters of a cell, as medians over its attempts."""
    shown = []
    for name in (*cell["floor"], *COUNTERS):
        value = median([a["exposure"].get(name) for a in cell["attempts"]])
        label = f"{LABELS.get(name, name)} {value or 0:.0f}"
        if value and label not in shown:
            shown.append(label)
    return ", ".join(shown[:2]) or "none"


def median(values: Sequence[float | None]) -> float | None:
    """Median of those that are not None; None without any."""
    known = sorted(v for v in values if v is not None)
    if not known:
        return None
    half = len(known) // 2
    return known[half] if len(known) % 2 else (known[half - 1] + known[half]) / 2


def _seconds(value: float | None) -> str:
    return f"{value:.1f}" if value is not None else "-"


def _failure(record: Record, cell: Record) -> Iterator[RenderableType]:
    """What a failed or spoilt cell showed, and how to see it again."""
    if cell["conclusion"] not in ("FAIL", "ERROR"):
        return
    yield Text(f"{cell['id']}: {cell['conclusion']} {cell['failures']}/{cell['runs']}", "bold")
    if cell["build"]["finding"]:
        yield from (Text(f"    {line}") for line in cell["build"]["finding"]["excerpt"])
        yield Text(f"  log:    {cell['build']['log']}")
    found = first_finding(cell)
    if found:
        attempt, finding = found
        yield from (Text(f"    {line}") for line in splat_top(finding))
        yield Text(f"  repeat: harness.py reproduce {record['run']}/{cell['id']}/{attempt}")
    elif not cell["build"]["finding"]:
        yield Text(f"    {cell['reason']}")
        yield Text(f"  repeat: harness.py reproduce {record['run']}/{cell['id']}")
    yield ""


def first_finding(cell: Record) -> tuple[int, Record] | None:
    """Attempt number and finding of the first new title of a cell."""
    wanted = set(cell["new_titles"])
    for attempt in cell["attempts"]:
        for finding in attempt["findings"]:
            if finding["title"] in wanted or not wanted:
                return attempt["n"], finding
    return None


def splat_top(finding: Record, *, most: int = 8) -> list[str]:
    """Title and top frames of a finding, with file:line where they are known."""
    lines = [finding["title"]]
    for frame in finding["frames"][:most]:
        place = f"  {frame['location']}" if frame["location"] else ""
        mark = "  <- touched by the series" if frame["touched"] else ""
        lines.append(f"  {frame['func']}{place}{mark}")
    return lines


def _answers(record: Record) -> Iterator[RenderableType]:
    """One sentence for each candidate and for controls that were not caught."""
    for cell in record["cells"]:
        added = cell["build"]["warnings_added"]
        if added:
            yield Text(f"{cell['variant']} ({cell['config']}) adds {len(added)} compiler warnings:")
            yield from (Text(f"    {warning}") for warning in added[:5])
        if cell["role"] == "control" and cell["conclusion"] != "FAIL":
            yield Text(
                f"Control {cell['variant']} ({cell['config']}) was NOT caught: "
                "no PASS of this config can be trusted.",
                "bold red",
            )
