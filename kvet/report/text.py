# SPDX-License-Identifier: GPL-2.0-only
"""Reports: pure functions from the record of a run (`results.json`) to text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import groupby, islice, zip_longest
from typing import Any

import msgspec
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from kvet.model import Attempt, Conclusion, Finding, Role
from kvet.report import schedules
from kvet.report.answer import answer
from kvet.report.decisions import decisions_text, touches_text, unconfirmed_text
from kvet.report.facts import found_after, judged_first, median, mood, outcome, worst_of
from kvet.report.not_covered import not_covered
from kvet.report.prefixes import prefix_rows
from kvet.report.proofs import model_word, proof_lines
from kvet.report.titles import titles_table
from kvet.report.versions import version_lines
from kvet.results.booted import booted_on
from kvet.results.record import DONE, UNKNOWN, CellRecord, Coverage, RunRecord
from kvet.store import plain
from kvet.terminal import STYLES, WIDTH, drawn, to_copy
from kvet.text import clean

# what is worth a place in the table, most telling first
COUNTERS = ("overlaps", "contended", "backoffs", "table_frees", "given_back", "walks", "huge_maps")
LABELS = {
    "overlaps": "overlap",
    "contended": "contended",
    "backoffs": "back-off",
    "table_frees": "freed",
    "given_back": "freed",
    "walks": "walks",
    "huge_maps": "huge",
    "meet_pmd": "met PMD",
    "meet_pud": "met PUD",
    "meet_short": "met short",
    "meet_dump": "met dump",
    "meet_wx": "met W+X",
}


def text_report(
    record: RunRecord,
    *,
    color: bool = False,
    width: int = WIDTH,
    measured: RunRecord | None = None,
) -> str:
    """The answer, the table, each failure with its splat and the command that repeats it."""
    told = answer(record, measured=measured)
    return drawn(render(_cleaned(record), told), color=color, width=width)


def _cleaned(record: RunRecord) -> RunRecord:
    """`record` without control characters: a console or a patch may hold a terminal's own."""

    def walk(value: Any) -> Any:
        if isinstance(value, str):
            return clean(value)
        if isinstance(value, dict):
            return {key: walk(each) for key, each in value.items()}
        return [walk(each) for each in value] if isinstance(value, (list, tuple)) else value

    return msgspec.convert(walk(plain(record)), RunRecord)


def json_report(record: RunRecord) -> str:
    """The record itself."""
    return json.dumps(plain(record), indent=1, ensure_ascii=False) + "\n"


def render(record: RunRecord, told: str) -> RenderableType:
    """The text report as rich renderables; it begins with what is `told` in one paragraph."""
    parts: list[RenderableType] = [Text(told, "bold"), "", _header(record)]
    for title, cells in groups(record).items():
        parts += [Text(title, "bold underline"), _table(cells), *_reasons(cells), ""]
    parts.extend(Text(line) for line in version_lines(record))
    parts.extend(_prefixes(record))
    shown: set[tuple[str, str]] = set()
    for cell in judged_first(record.cells):
        parts.extend(_failure(record, cell, shown))
    parts.extend(_schedules(record))
    parts.extend(titles_table(record))
    parts.extend(_warnings(record))
    parts.extend(_coverage(record))
    parts.extend(Text(line) for line in proof_lines(record))
    parts.extend(decisions_text(record))
    parts.extend(touches_text(record))
    parts.extend(unconfirmed_text(record))
    parts.extend(_tests(record))
    parts.extend(_expectations(record))
    parts.append(Text("Not covered: " + "; ".join(not_covered(record)) + "."))
    style = STYLES.get(record.conclusion, "")
    parts.append(Text(f"Conclusion: {record.conclusion} (exit {record.exit_code})", style))
    return Group(*parts)


def _header(record: RunRecord) -> Text:
    host = record.host
    kernels = host.kernels
    versions = ", ".join(f"{name} = {k.version}" for name, k in kernels.items())
    tools = (host.compiler, booted_on(record))
    return Text(
        f"Run {record.run}: {versions or 'no kernel'}\n"
        f"{', '.join(tools)} on {host.cpus or UNKNOWN} host CPUs\n"
    )


COLUMNS = {
    "variant": 19,
    "role": 9,
    "conclusion": 12,
    "model": 7,
    "k/n": 5,
    "bound": 5,
    "exposure (median)": 24,
    "found": 5,
    "load": 5,
}
NUMBERS = ("k/n", "bound", "found", "load")


def groups(record: RunRecord) -> dict[str, list[CellRecord]]:
    """The cells by what they have in common, which is what may be compared."""
    found: dict[str, list[CellRecord]] = {}
    for cell in record.cells:
        load = cell.workload + (" (amplified)" if cell.amplified else "")
        title = f"{cell.kernel}, {cell.config}, {cell.machine}, {load}"
        found.setdefault(title, []).append(cell)
    return found


def _table(cells: Sequence[CellRecord]) -> Table:
    """One row for each cell of a group; baseline and controls are below the line."""
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    for name, width in COLUMNS.items():
        whole = name == "variant"  # names of versions may differ in their ends alone
        table.add_column(
            name,
            width=width,
            no_wrap=not whole,
            overflow="fold" if whole else "ellipsis",
            justify="right" if name in NUMBERS else "left",
        )
    ordered = judged_first(cells)
    for cell, after in zip_longest(ordered, ordered[1:]):
        last = after and cell.role is Role.CANDIDATE and after.role is not Role.CANDIDATE
        table.add_row(*_row(cell))
        if last:
            table.add_row(*(Text("-" * width, "dim") for width in COLUMNS.values()))
    return table


def _row(cell: CellRecord) -> list[RenderableType]:
    bound = cell.upper_bound
    return [
        escape(cell.variant),
        cell.role,
        Text(outcome(cell), STYLES.get(mood(cell), "")),
        model_word(cell),
        cell.count,
        f"{100 * bound:.0f}%" if bound is not None and cell.outcome != DONE else "-",
        exposure_text(cell),
        _seconds(median([found_after(a, cell) for a in cell.attempts])),
        _seconds(median([load_seconds(a) for a in cell.attempts])),
    ]


def load_seconds(attempt: Attempt) -> float | None:
    """Wall seconds from the start of the workload to the end of QEMU."""
    ready = attempt.ready_seconds
    return None if ready is None else attempt.seconds - ready


def _reasons(cells: Sequence[CellRecord]) -> Iterator[RenderableType]:
    """The first finding or the reason of every cell that did not pass."""
    for cell in judged_first(cells):
        if cell.reason:
            more = len(cell.new_titles) - 1
            tail = f" (and {more} more)" if more > 0 else ""
            again = f" (attempts of {cell.reused})" if cell.reused else ""
            again += f" (boots of {cell.same_code_as}: same code)" if cell.same_code_as else ""
            yield Text.assemble((f"{cell.variant}: ", "bold"), cell.reason + tail + again)


def exposure_text(cell: CellRecord) -> str:
    """The two most telling exposure counters of a cell, as medians over its attempts."""
    shown: list[str] = []
    medians = {
        name: median([a.exposure.get(name) for a in cell.attempts]) or 0
        for name in (*cell.floor, *COUNTERS)
    }
    # where one counter is enough, what is furthest above its floor proves most; where each must
    # be reached, the file names the most telling first
    furthest = max(
        cell.floor, key=lambda name: medians[name] / max(1, cell.floor[name]), default=""
    )
    proof = cell.floor_each[:2] or (furthest,)
    for name in (*proof, *(name for name in COUNTERS if name not in cell.floor), *COUNTERS):
        value = medians.get(name)
        label = f"{LABELS.get(name, name)} {value or 0:.0f}"
        if value and label not in shown:
            shown.append(label)
    return ", ".join(shown[:2]) or "none"


def _seconds(value: float | None) -> str:
    return f"{value:.1f}" if value is not None else "-"


def _failure(
    record: RunRecord, cell: CellRecord, shown: set[tuple[str, str]]
) -> Iterator[RenderableType]:
    """What a failed or invalid cell showed, and how to see it again; the same splat only once."""
    if cell.conclusion not in (Conclusion.FAIL, Conclusion.ERROR):
        return
    yield Text(f"{cell.id}: {outcome(cell)} {cell.count}", "bold")
    if cell.build.finding:
        yield from (Text(f"    {line}") for line in cell.build.finding.excerpt)
        yield to_copy(f"  log:    {cell.build.log}")
    found = first_finding(cell)
    if found:
        attempt, finding = found
        known = (cell.variant, finding.title)
        lines = [finding.title + "  (as above)"] if known in shown else splat_top(finding)
        yield from (Text(f"    {line}") for line in lines)
        shown.add(known)
        again = f"harness.py reproduce {record.run}/{cell.id}"
        yield to_copy(f"  repeat: {again}/{attempt}")
        kept = [a.n for a in cell.attempts if a.memory]
        if kept:
            which = "the same" if attempt in kept else f"attempt {kept[0]}"
            yield Text(f"  memory: {which} with --drgn")
    elif not cell.build.finding:
        yield Text(f"    {cell.reason}")
        yield to_copy(f"  repeat: harness.py reproduce {record.run}/{cell.id}")
    yield ""


def first_finding(cell: CellRecord) -> tuple[int, Finding] | None:
    """Attempt number and finding of the first new title of a cell."""
    wanted = set(cell.new_titles)
    for attempt in cell.attempts:
        for finding in attempt.findings:
            if finding.title in wanted or not wanted:
                return attempt.n, finding
    return None


def splat_top(finding: Finding, *, most: int = 7) -> list[str]:
    """Title and top frames of a finding, with file:line where they are known."""
    lines = [finding.title]
    for side, frames in groupby(finding.frames, key=lambda frame: frame.side):
        if side:
            lines.append(f"  {side}:")
        for frame in islice(frames, most):
            place = f"  {frame.location}" if frame.location else ""
            mark = "  <- touched by the series" if frame.touched else ""
            lines.append(f"    {frame.func}{place}{mark}")
            if frame.touched and frame.source:
                lines.append(f"        {frame.source}")
    return [*lines, *(f"  {note}" for note in finding.notes)]


def _coverage(record: RunRecord) -> Iterator[RenderableType]:
    """For each series how many of its lines ran in any cell, and those that never did."""
    by_variant: dict[tuple[str, str], list[Coverage]] = {}
    for cell in record.cells:
        if cell.coverage:
            by_variant.setdefault((cell.kernel, cell.variant), []).append(cell.coverage)
    if by_variant:
        yield Text("Lines of the series that ran, of those that generate code:", "bold")
    for (_, variant), found in by_variant.items():
        missed = [{m.place: m.text for m in one.not_run} for one in found]
        never = set.intersection(*(set(m) for m in missed))
        code = {place for one in found for place in one.run} | never
        yield Text(f"  {variant}: {len(code - never)}/{len(code)}")
        texts = {place: text for one in missed for place, text in one.items()}
        for place in sorted(never):
            yield Text(f"    never run: {place}  {texts[place]}", overflow="ellipsis", no_wrap=True)


def _schedules(record: RunRecord) -> Iterator[RenderableType]:
    """For each cell whose schedules were controlled how many ran, and the one that failed."""
    for cell in record.cells:
        found = schedules.explorations(cell)
        if found:
            yield Text(f"Schedules of {cell.variant}:", "bold")
        for attempt, one in found:
            yield Text(f"  {schedules.statement(one)}")
            lines = schedules.failing_lines(one)
            yield from (Text(f"  {line}", overflow="ellipsis", no_wrap=True) for line in lines)
            if lines:
                again = f"harness.py reproduce {record.run}/{cell.id}/{attempt}"
                yield Text(f"  replay: {again} --schedule {schedules.schedule_id(one)}")


def _tests(record: RunRecord) -> Iterator[RenderableType]:
    """Each candidate against the control its workload is judged by, where both have runs."""
    lines = []
    passed = [c for c in record.cells if c.conclusion is Conclusion.PASS]
    for cell in passed:
        for test in cell.tests:
            if test.against == cell.control:
                lines.append(
                    f"  {cell.variant} ({cell.config}, {cell.workload}) "
                    f"{cell.count} against {test.against} "
                    f"{test.k}/{test.n}: p = {test.p:.2g}, corrected {test.p_holm:.2g}"
                )
    if lines:
        yield Text("Fisher's exact test, Holm-corrected over all tests of the run:", "bold")
        yield from (Text(line) for line in lines)


def surprises(record: RunRecord) -> list[CellRecord]:
    """The cells of variants that came out otherwise than they expect.

    Cells of one build judge together: what one of them proves stands for all.
    """
    builds: dict[tuple[str, str, str, int], list[CellRecord]] = {}
    for cell in _expecting(record):
        builds.setdefault((cell.kernel, cell.variant, cell.config, cell.page_kib), []).append(cell)
    return [
        cell
        for cells in builds.values()
        if worst_of(cells) != cells[0].expected
        for cell in cells
        if cell.conclusion != cell.expected
    ]


def _expecting(record: RunRecord) -> list[CellRecord]:
    """The judged cells whose variant says beforehand how they end; a measurement judges nothing."""
    return [c for c in record.cells if c.expected in STYLES and not c.measures]


def _expectations(record: RunRecord) -> Iterator[RenderableType]:
    """How many cells came out as their variant says beforehand, and the others by name."""
    judged = _expecting(record)
    if not judged:
        return
    other = surprises(record)
    yield Text(f"As expected: {len(judged) - len(other)} of {len(judged)} cells.")
    for cell in other:
        name = f"{cell.variant} ({cell.config}, {cell.workload})"
        yield Text(f"  {name}: expected {cell.expected}, found {cell.conclusion}")


def _prefixes(record: RunRecord) -> Iterator[RenderableType]:
    """The series up to each of their patches."""
    rows = prefix_rows(record)
    if not rows:
        return
    yield Text("Each series up to each of its patches:", "bold")
    table = Table(*rows[0], box=None, padding=(0, 1, 0, 2), header_style="bold")
    for row in rows[1:]:
        table.add_row(*map(escape, row))
    yield from (table, "")


def _warnings(record: RunRecord) -> Iterator[RenderableType]:
    """The compiler warnings that each variant adds."""
    for cell in record.cells:
        added = cell.build.warnings_added
        if added:
            yield Text(f"{cell.variant} ({cell.config}) adds {len(added)} compiler warnings:")
            yield from (Text(f"    {warning}") for warning in added[:5])
