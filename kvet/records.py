# SPDX-License-Identifier: GPL-2.0-only
"""Attempts and findings to and from the JSON that `results/` holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kvet.model import Attempt, Ending, Finding, Frame, Metric, Status

DONE = Status.DONE.value


def finding_from(record: Mapping[str, Any]) -> Finding:
    """A finding as written by `store.plain`."""
    fields = dict(record)
    fields["frames"] = tuple(Frame(**frame) for frame in fields.get("frames", ()))
    fields["alt_titles"] = tuple(fields.get("alt_titles", ()))
    fields["notes"] = tuple(fields.get("notes", ()))
    fields["excerpt"] = tuple(fields.get("excerpt", ()))
    return Finding(**fields)


def attempt_from(record: Mapping[str, Any]) -> Attempt:
    """An attempt as written by `store.plain`."""
    fields = dict(record)
    fields["status"] = Status(fields["status"])
    fields["ending"] = Ending(fields["ending"]) if fields.get("ending") else None
    fields["lines_run"] = tuple(fields.get("lines_run", ()))
    fields["findings"] = tuple(finding_from(f) for f in fields.get("findings", ()))
    fields["metrics"] = {k: Metric(**m) for k, m in fields.get("metrics", {}).items()}
    return Attempt(**fields)


def outcome(cell: Mapping[str, Any]) -> str:
    """The conclusion on a recorded cell as people are told it: a measurement judges nothing."""
    passed = cell["conclusion"] == "PASS"
    return DONE if passed and cell.get("measures") else str(cell["conclusion"])
