# SPDX-License-Identifier: GPL-2.0-only
"""The series as a diff that says of each line whether it ran, and which stacks pass through it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from unidiff.errors import UnidiffParseError
from unidiff.patch import Line, PatchSet

from kvet.report.facts import sightings
from kvet.results.record import CellRecord, RunRecord

MOST_LINES = 1500
SIGNS = {"+": "added", "-": "removed", " ": "kept"}


def series_views(record: RunRecord) -> list[dict[str, Any]]:
    """One for each kernel and variant with patches: its files, hunks and lines for the page.

    `run` of `code` counts the lines that ran in any cell, of those that generate code.
    """
    groups: dict[tuple[str, str], list[CellRecord]] = {}
    for cell in record.cells:
        if cell.series.diff:
            groups.setdefault((cell.kernel, cell.variant), []).append(cell)
    views = []
    for number, ((kernel, variant), cells) in enumerate(groups.items(), 1):
        ran, code = _coverage(cells)
        view = _View(f"diff-{number}", ran, code, _visitors(cells))
        views.append(
            {
                "anchor": view.anchor,
                "kernel": kernel,
                "variant": variant,
                "patches": cells[0].series.patches,
                "files": list(view.files(cells[0].series.diff)),
                "cut": view.left < 0,
                "run": len(ran),
                "code": len(code),
            }
        )
    return views


def line_anchors(views: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str, str], str]:
    """(kernel, variant, `file:line`) to the address of that line in the page."""
    return {
        (view["kernel"], view["variant"], line["place"]): line["anchor"]
        for view in views
        for file in view["files"]
        for hunk in file["hunks"]
        for line in hunk["lines"]
        if line["anchor"]
    }


def _coverage(cells: Sequence[CellRecord]) -> tuple[set[str], set[str]]:
    """Places of the series that ran in any of `cells`, and those with code."""
    known = [cell.coverage for cell in cells if cell.coverage]
    ran = {place for one in known for place in one.run}
    missed = {line.place for one in known for line in one.not_run}
    return ran, ran | missed


def _visitors(cells: Sequence[CellRecord]) -> dict[str, list[str]]:
    """`file:line` to what the stacks of new findings say of it."""
    found: dict[str, list[str]] = {}
    for cell in cells:
        for sighting in sightings(cell):
            if sighting.standing != "new":
                continue
            for frame in (f for f in sighting.finding.frames if f.location):
                side = f", side that {frame.side}s" if frame.side else ""
                text = f"{sighting.title}{side}"
                told = found.setdefault(frame.location, [])
                if text not in told:
                    told.append(text)
    return found


class _View:
    """Draws the diff of one series; `left` lines may still be shown."""

    def __init__(
        self, anchor: str, ran: set[str], code: set[str], visitors: Mapping[str, list[str]]
    ) -> None:
        self.anchor = anchor
        self.ran = ran
        self.code = code
        self.visitors = visitors
        self.left = MOST_LINES
        self.lines = 0

    def files(self, text: str) -> Iterator[dict[str, Any]]:
        """The files of a unified diff; one that cannot be read gives none."""
        try:
            patch = PatchSet(text)
        except UnidiffParseError:
            return
        for file in patch:
            hunks = [
                {"header": hunk.section_header, "lines": list(self._hunk(file.path, hunk))}
                for hunk in file
            ]
            yield {"path": file.path, "hunks": [h for h in hunks if h["lines"]]}

    def _hunk(self, path: str, hunk: Sequence[Line]) -> Iterator[dict[str, Any]]:
        for line in hunk:
            self.left -= 1
            if self.left < 0 or line.line_type not in SIGNS:
                continue
            place = f"{path}:{line.target_line_no}" if line.target_line_no else ""
            visitors = self.visitors.get(place, [])
            self.lines += 1
            yield {
                "sign": line.line_type,
                "kind": SIGNS[line.line_type],
                "number": line.target_line_no or "",
                "text": line.value.rstrip("\n"),
                "place": place,
                "ran": self._ran(line, place),
                "visitors": visitors,
                "anchor": f"{self.anchor}-{self.lines}" if visitors else "",
            }

    def _ran(self, line: Line, place: str) -> str:
        """Whether an added line ran: `ran`, `never`, or nothing where it generates no code."""
        if not line.is_added or place not in self.code:
            return ""
        return "ran" if place in self.ran else "never"
