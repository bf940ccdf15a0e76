# SPDX-License-Identifier: GPL-2.0-only
"""Reports: pure functions from the record of a run (`results.json`) to text."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from kvet.gaps import not_covered
from kvet.records import DONE, outcome
from kvet.titles import titles_table
from kvet.ui import STYLES, WIDTH, drawn

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


def text_report(record: Record, *, color: bool = False, width: int = WIDTH) -> str:
    """The table of cells, each failure with its splat and the command that repeats it."""
    return drawn(render(record), color=color, width=width)


def json_report(record: Record) -> str:
    """The record itself."""
    return json.dumps(record, indent=1, ensure_ascii=False) + "\n"


FORMATS: dict[str, Callable[[Record], str]] = {"text": text_report, "json": json_report}


def render(record: Record) -> RenderableType:
    """The text report as rich renderables."""
    parts: list[RenderableType] = [_header(record)]
    for title, cells in groups(record).items():
        parts += [Text(title, "bold underline"), _table(cells), *_reasons(cells), ""]
    shown: set[tuple[str, str]] = set()
    for cell in record["cells"]:
        parts.extend(_failure(record, cell, shown))
    parts.extend(titles_table(record))
    parts.extend(_answers(record))
    parts.extend(_coverage(record))
    parts.extend(_tests(record))
    parts.extend(_expectations(record))
    parts.append(Text("Not covered: " + "; ".join(not_covered(record)) + "."))
    style = STYLES.get(record["conclusion"], "")
    parts.append(Text(f"Conclusion: {record['conclusion']} (exit {record['exit_code']})", style))
    return Group(*parts)


def _header(record: Record) -> Text:
    host = record["host"]
    kernels = host.get("kernels", {})
    versions = ", ".join(f"{name} = {k['version']}" for name, k in kernels.items())
    tools = (host.get("compiler", ""), f"QEMU {host.get('qemu', '?')}", host.get("accel", "?"))
    return Text(
        f"Run {record['run']}: {versions or 'no kernel'}\n"
        f"{', '.join(tools)} on {host.get('cpus')} host CPUs\n"
    )


COLUMNS = {
    "variant": 19,
    "role": 9,
    "conclusion": 12,
    "k/n": 5,
    "bound": 5,
    "exposure (median)": 25,
    "found": 6,
    "boot": 5,
    "load": 5,
}
NUMBERS = ("k/n", "bound", "found", "boot", "load")


def groups(record: Record) -> dict[str, list[Record]]:
    """The cells by what they have in common, which is what may be compared."""
    found: dict[str, list[Record]] = {}
    for cell in record["cells"]:
        load = cell["workload"] + (" (amplified)" if cell["amplified"] else "")
        title = f"{cell['kernel']}, {cell['config']}, {cell['machine']}, {load}"
        found.setdefault(title, []).append(cell)
    return found


def _table(cells: Sequence[Record]) -> Table:
    """One row for each cell of a group."""
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    for name, width in COLUMNS.items():
        table.add_column(
            name,
            width=width,
            no_wrap=True,
            overflow="ellipsis",
            justify="right" if name in NUMBERS else "left",
        )
    for cell in cells:
        table.add_row(*_row(cell))
    return table


def _row(cell: Record) -> list[RenderableType]:
    bound = cell["upper_bound"]
    return [
        escape(cell["variant"]),
        cell["role"],
        Text(outcome(cell), STYLES.get(outcome(cell), "")),
        f"{cell['failures']}/{cell['runs']}",
        f"{100 * bound:.0f}%" if bound is not None and outcome(cell) != DONE else "-",
        exposure_text(cell),
        _seconds(median([found_after(a, cell) for a in cell["attempts"]])),
        _seconds(median([a["boot_seconds"] for a in cell["attempts"]])),
        _seconds(median([load_seconds(a) for a in cell["attempts"]])),
    ]


def load_seconds(attempt: Record) -> float | None:
    """Wall seconds from the start of the workload to the end of QEMU."""
    ready = attempt["ready_seconds"]
    return None if ready is None else attempt["seconds"] - ready


def found_after(attempt: Record, cell: Record) -> float | None:
    """Guest uptime in seconds at the first finding that blames the variant."""
    blamed = [f for f in attempt["findings"] if f["title"] in cell["new_titles"]]
    stamps = [f["uptime_s"] for f in blamed if f.get("uptime_s") is not None]
    return min(stamps, default=None)


def _reasons(cells: Sequence[Record]) -> Iterator[RenderableType]:
    """The first finding or the reason of every cell that did not pass."""
    for cell in cells:
        if cell["reason"]:
            more = len(cell["new_titles"]) - 1
            tail = f" (and {more} more)" if more > 0 else ""
            again = f" (attempts of {cell['reused']})" if cell["reused"] else ""
            yield Text.assemble((f"{cell['variant']}: ", "bold"), cell["reason"] + tail + again)


def exposure_text(cell: Record) -> str:
    """The two most telling exposure counters of a cell, as medians over its attempts."""
    shown: list[str] = []
    medians = {
        name: median([a["exposure"].get(name) for a in cell["attempts"]]) or 0
        for name in (*cell["floor"], *COUNTERS)
    }
    # what is furthest above its floor proves most; the others of the floor prove nothing more
    proof = max(cell["floor"], key=lambda name: medians[name] / cell["floor"][name], default="")
    for name in (proof, *(name for name in COUNTERS if name not in cell["floor"]), *COUNTERS):
        value = medians.get(name)
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


def _failure(record: Record, cell: Record, shown: set[tuple[str, str]]) -> Iterator[RenderableType]:
    """What a failed or spoilt cell showed, and how to see it again; the same splat only once."""
    if cell["conclusion"] not in ("FAIL", "ERROR"):
        return
    yield Text(f"{cell['id']}: {cell['conclusion']} {cell['failures']}/{cell['runs']}", "bold")
    if cell["build"]["finding"]:
        yield from (Text(f"    {line}") for line in cell["build"]["finding"]["excerpt"])
        yield Text(f"  log:    {cell['build']['log']}")
    found = first_finding(cell)
    if found:
        attempt, finding = found
        known = (cell["variant"], finding["title"])
        lines = [finding["title"] + "  (as above)"] if known in shown else splat_top(finding)
        yield from (Text(f"    {line}") for line in lines)
        shown.add(known)
        again = f"harness.py reproduce {record['run']}/{cell['id']}"
        yield Text(f"  repeat: {again}/{attempt}")
        kept = [a["n"] for a in cell["attempts"] if a.get("memory")]
        if kept:
            which = "the same" if attempt in kept else f"attempt {kept[0]}"
            yield Text(f"  memory: {which} with --drgn")
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


def splat_top(finding: Record, *, most: int = 7) -> list[str]:
    """Title and top frames of a finding, with file:line where they are known."""
    lines = [finding["title"]]
    for side, frames in groupby(finding["frames"], key=lambda frame: frame["side"]):
        if side:
            lines.append(f"  {side}:")
        for frame in islice(frames, most):
            place = f"  {frame['location']}" if frame["location"] else ""
            mark = "  <- touched by the series" if frame["touched"] else ""
            lines.append(f"    {frame['func']}{place}{mark}")
            if frame["touched"] and frame["source"]:
                lines.append(f"        {frame['source']}")
    return [*lines, *(f"  {note}" for note in finding.get("notes", ()))]


def _coverage(record: Record) -> Iterator[RenderableType]:
    """For each series how many of its lines ran in any cell, and those that never did."""
    by_variant: dict[tuple[str, str], list[Record]] = {}
    for cell in record["cells"]:
        if cell.get("coverage"):
            by_variant.setdefault((cell["kernel"], cell["variant"]), []).append(cell["coverage"])
    if by_variant:
        yield Text("Lines of the series that ran, of those that generate code:", "bold")
    for (_, variant), found in by_variant.items():
        missed = [{m["place"]: m["text"] for m in one["not_run"]} for one in found]
        never = set.intersection(*(set(m) for m in missed))
        code = {place for one in found for place in one["run"]} | never
        yield Text(f"  {variant}: {len(code - never)}/{len(code)}")
        texts = {place: text for one in missed for place, text in one.items()}
        for place in sorted(never):
            yield Text(f"    never run: {place}  {texts[place]}", overflow="ellipsis", no_wrap=True)


def _tests(record: Record) -> Iterator[RenderableType]:
    """Each candidate against the control its workload is judged by, where both have runs."""
    lines = []
    passed = [c for c in record["cells"] if c["conclusion"] == "PASS"]
    for cell in passed:
        for test in cell.get("tests", ()):
            if test["against"] == cell["control"]:
                lines.append(
                    f"  {cell['variant']} ({cell['config']}, {cell['workload']}) "
                    f"{cell['failures']}/{cell['runs']} against {test['against']} "
                    f"{test['k']}/{test['n']}: p = {test['p']:.2g}, corrected {test['p_holm']:.2g}"
                )
    if lines:
        yield Text("Fisher's exact test, Holm-corrected over all tests of the run:", "bold")
        yield from (Text(line) for line in lines)


def surprises(record: Record) -> list[Record]:
    """The cells that came out otherwise than their variant expects."""
    return [c for c in _expecting(record) if c["conclusion"] != c["expected"]]


def _expecting(record: Record) -> list[Record]:
    """The judged cells whose variant says beforehand how they end; a measurement judges nothing."""
    return [c for c in record["cells"] if c["expected"] in STYLES and not c.get("measures")]


def _expectations(record: Record) -> Iterator[RenderableType]:
    """How many cells came out as their variant says beforehand, and the others by name."""
    judged = _expecting(record)
    if not judged:
        return
    other = surprises(record)
    yield Text(f"As expected: {len(judged) - len(other)} of {len(judged)} cells.")
    for cell in other:
        name = f"{cell['variant']} ({cell['config']}, {cell['workload']})"
        yield Text(f"  {name}: expected {cell['expected']}, found {cell['conclusion']}")


def _answers(record: Record) -> Iterator[RenderableType]:
    """One sentence for each candidate and for controls that were not caught."""
    for cell in record["cells"]:
        added = cell["build"]["warnings_added"]
        if added:
            yield Text(f"{cell['variant']} ({cell['config']}) adds {len(added)} compiler warnings:")
            yield from (Text(f"    {warning}") for warning in added[:5])
        uncaught = cell["role"] == "control" and cell["conclusion"] != "FAIL"
        if uncaught and not cell.get("measures"):
            yield Text(
                f"Control {cell['variant']} ({cell['config']}) was NOT caught: "
                "no PASS of this config can be trusted.",
                "bold red",
            )
