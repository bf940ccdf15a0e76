# SPDX-License-Identifier: GPL-2.0-only
"""What the patches of a series are one by one: which does not build, warns, or fails alone."""

from __future__ import annotations

from collections.abc import Iterator

from kvet.model import Conclusion
from kvet.results.prefixes import PrefixRecord
from kvet.results.record import RunRecord
from kvet.text import one_line


def prefix_faults(record: RunRecord) -> Iterator[str]:
    """One sentence for each prefix with something to say against it."""
    sound = {
        (c.variant, c.kernel, c.config) for c in record.cells if c.conclusion is Conclusion.PASS
    }
    for found in record.prefixes:
        name = f"{found.variant} up to patch {found.number}/{found.total}"
        if found.fault:
            yield f"{name} does not build: {found.fault}."
        if found.warnings_added:
            count = len(found.warnings_added)
            yield f"{name} adds {count} compiler warning{'' if count == 1 else 's'}."
        if found.failures:
            passes = (found.variant, found.kernel, found.config) in sound
            although = ", although the whole passes" if passes else ""
            boots = f"{found.failures} of {found.runs} boots"
            yield f"{name} fails{although}: {found.title} in {boots}."


def prefix_rows(record: RunRecord) -> list[tuple[str, ...]]:
    """The table: prefix, subject, build, warnings, boots; with its head. Empty without prefixes."""
    if not record.prefixes:
        return []
    head = ("variant", "patches", "the last of them", "build", "warnings", "boots")
    return [head, *(_row(found) for found in record.prefixes)]


def _row(found: PrefixRecord) -> tuple[str, ...]:
    built = "FAILS" if found.fault else "not done" if found.trouble and not found.runs else "builds"
    return (
        found.variant,
        f"{found.number}/{found.total}",
        one_line(found.subject),
        built,
        str(len(found.warnings_added)) if built == "builds" else "-",
        f"{found.failures}/{found.runs} failed" if found.runs else "-",
    )
