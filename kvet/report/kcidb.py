# SPDX-License-Identifier: GPL-2.0-only
"""KCIDB v5.3 JSON: checkouts, builds and tests (kcidb-io, schema/v05_03.py).

Here a status is a fact about a kernel: a control that is caught is FAIL, its
role is in `misc`. Nothing is submitted; that needs an account and a human.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from kvet.model import Attempt
from kvet.report.facts import sightings
from kvet.results.booted import boards_of
from kvet.results.record import CellRecord, KernelRecord, RunRecord
from kvet.store import plain
from kvet.text import MESSAGE_ID, clean, one_line

ORIGIN = "kvet"
MOST_EXCERPT = 16_384
RUN_TIME = re.compile(r"^(\d{4})(\d\d)(\d\d)-(\d\d)(\d\d)(\d\d)-")
COMMIT = re.compile(r"^(?:[0-9a-f]{40}|[0-9a-f]{64})$")


def kcidb_report(record: RunRecord) -> str:
    """The whole run as one JSON document."""
    document = {
        "version": {"major": 5, "minor": 3},
        "checkouts": _unique(_checkout(record, cell) for cell in record.cells),
        "builds": _unique(_build(record, cell) for cell in record.cells),
        "tests": [test for cell in record.cells for test in _tests(record, cell)],
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _unique(objects: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first object of each id, without members that are empty."""
    found: dict[str, dict[str, Any]] = {}
    for item in objects:
        found.setdefault(item["id"], _filled(item))
    return list(found.values())


def _filled(item: dict[str, Any]) -> dict[str, Any]:
    """`item` without None, which is not allowed, and without strings that say nothing.

    An empty patchset_hash says that there are no patches.
    """
    kept = {k: v for k, v in item.items() if v is not None}
    return {k: v for k, v in kept.items() if v != "" or k == "patchset_hash"}


def _checkout_id(record: RunRecord, cell: CellRecord) -> str:
    series = cell.series
    if not series.applied:
        return f"{ORIGIN}:{record.run}/{cell.id}"
    return f"{ORIGIN}:{series.base_tree}-{series.id}"


def _checkout(record: RunRecord, cell: CellRecord) -> dict[str, Any]:
    """A kernel with one variant's series on top; `valid` false when it did not get there.

    A kernel that came as a package or tarball has no public commit to name.
    """
    series = cell.series
    kernel = record.host.kernels.get(cell.kernel, KernelRecord())
    patches = series.patches
    ids = [p.message_id for p in patches if MESSAGE_ID.match(p.message_id)]
    commit = kernel.base_commit
    public = not kernel.sha256 and COMMIT.match(commit)
    return {
        "id": _checkout_id(record, cell),
        "origin": ORIGIN,
        "git_commit_hash": commit if public else None,
        "patchset_hash": (series.id if patches else "") if series.applied else None,
        "message_id": ids[0] if ids else None,
        "comment": one_line(f"{cell.kernel} {kernel.version}, {cell.variant}"),
        "start_time": _start(record.run),
        "log_excerpt": "" if series.applied else _excerpt([cell.reason]),
        "valid": series.applied,
        "misc": {
            "kernel": plain(kernel),
            "variant": cell.variant,
            "title": cell.title,
            "links": list(cell.links),
            "tree": series.tree,
            "patches": [{"subject": p.subject, "sha256": p.sha256} for p in patches],
        },
    }


def _start(run: str) -> str | None:
    """The time in a run's name, which is UTC."""
    found = RUN_TIME.match(run)
    if not found:
        return None
    year, month, day, hour, minute, second = found.groups()
    return f"{year}-{month}-{day}T{hour}:{minute}:{second}+00:00"


def _build_id(record: RunRecord, cell: CellRecord) -> str:
    return f"{ORIGIN}:{cell.build.key or record.run + '/' + cell.id + '/build'}"


def _build(record: RunRecord, cell: CellRecord) -> dict[str, Any]:
    """The build of a cell: FAIL blames the series, MISS says that none was made."""
    build = cell.build
    finding = build.finding
    status = "PASS" if build.key else "MISS"
    return {
        "id": _build_id(record, cell),
        "origin": ORIGIN,
        "checkout_id": _checkout_id(record, cell),
        "architecture": "arm64",
        "compiler": clean(record.host.compiler),
        "config_name": cell.config,
        "duration": None if build.cached else build.seconds,
        "log_excerpt": _excerpt(finding.excerpt) if finding else None,
        "status": "FAIL" if finding else status,
        "misc": {"release": build.release, "warnings_added": list(build.warnings_added)},
    }


def _tests(record: RunRecord, cell: CellRecord) -> Iterator[dict[str, Any]]:
    """One test for each attempt, and one DONE for each number it measured."""
    run = cell.reused or record.run
    path = f"kvet.{_path(cell.workload)}"
    for attempt in cell.attempts:
        own = {
            "id": f"{ORIGIN}:{run}/{cell.id}/{attempt.n}",
            "origin": ORIGIN,
            "build_id": _build_id(record, cell),
            "environment": _environment(record, cell),
        }
        yield _filled(
            {
                **own,
                "path": path,
                "status": attempt.status,
                "duration": attempt.seconds,
                "comment": one_line(attempt.detail),
                "log_excerpt": _attempt_excerpt(attempt),
                "misc": _misc(cell, attempt),
            }
        )
        for name, metric in attempt.metrics.items():
            number = {"value": metric.value, "unit": metric.unit}
            known = {"path": f"{path}.{_path(name)}", "status": "DONE", "number": number}
            yield {**own, "id": f"{own['id']}/{name}", **known}


def _environment(record: RunRecord, cell: CellRecord) -> dict[str, Any]:
    boards = boards_of(record)
    if cell.machine in boards:
        said = boards[cell.machine] or "it does not say what it is"
        return {"comment": f"real hardware or a remote machine, {cell.machine}: {said}"}
    host = record.host
    return {
        "comment": f"QEMU {host.qemu}, {host.accel}, {cell.machine}",
        "compatible": ["linux,dummy-virt"],
    }


def _misc(cell: CellRecord, attempt: Attempt) -> dict[str, Any]:
    """What KCIDB has no property for."""
    return {
        "variant": cell.variant,
        "role": cell.role,
        "conclusion": cell.conclusion,
        "ending": attempt.ending,
        "seed": attempt.seed,
        "exposed": attempt.exposed,
        "exposure": dict(attempt.exposure),
        "titles": [s.title for s in sightings(cell) if attempt.n in s.attempts],
    }


def _attempt_excerpt(attempt: Attempt) -> str | None:
    """The raw lines of the first finding that has some."""
    found = (f.excerpt for f in attempt.findings if f.excerpt)
    lines = next(found, None)
    return _excerpt(lines) if lines else None


def _excerpt(lines: Sequence[str]) -> str:
    return clean("\n".join(lines))[:MOST_EXCERPT]


def _path(name: str) -> str:
    """`name` as one step of a KCIDB test path."""
    return re.sub(r"[^a-zA-Z0-9_-]", "_", name) or "_"
