# SPDX-License-Identifier: GPL-2.0-only
"""Statements as text: a line for each design, and what stands behind it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence

from kvet.prove.statement import Judged, Statement, Word

WIDTH = 100
DRAWN = 96
"""Columns of a drawing: a report sets it in a little."""


def line(statement: Statement) -> str:
    """`NAME WORD reason`, one line a design."""
    return f"{statement.variant:<20} {statement.word.value:<15} {statement.reason}"


def details(statement: Statement) -> Iterator[str]:
    """Below the lines: the tests of a design, why each is what it is, what is assumed."""
    yield f"{statement.variant}, build {statement.build}, {statement.kernel}, {statement.config}"
    for test in statement.tests:
        yield from _test(test)
    assumed = dict.fromkeys(text for test in statement.tests for text in test.assumes)
    if assumed:
        yield "  assumed, not shown:"
        yield from (_wrapped(text, "    - ") for text in assumed)


def _test(test: Judged) -> Iterator[str]:
    yield f"  {test.name}: {test.word.value}: {test.reason}"
    yield f"    says: {test.says}"
    if test.answer is not None:
        seconds = f"{test.answer.seconds:.1f} s"
        yield f"    {test.model}: {test.answer.observation} {test.answer.counts}, {seconds}"
        yield from (f"    flag: {flag}" for flag in test.answer.flags)
    for binding in test.bindings:
        waived = f", {len(binding.waived)} operations waived" if binding.waived else ""
        yield f"    {binding.thread} = {binding.root}(): {len(binding.steps)} steps bound{waived}"
        yield from (_wrapped(text, "      unbound: ") for text in binding.problems)
    yield from columns(test)


def columns(test: Judged) -> Iterator[str]:
    """The execution, or the deadlock, with a column for each thread and the source lines."""
    places = {
        (b.thread, s.label): f"{s.place.rpartition('/')[2]}: {s.source}"
        for b in reversed(test.bindings)
        for s in b.steps
    }
    if test.deadlock is not None:
        every = (*test.deadlock.moves, *test.deadlock.waits)
        # who began to wait in a move of its own still waits in the end
        rows = list(dict.fromkeys((move.thread, move.label, move.text) for move in every))
    elif test.execution is not None:
        rows = [(r.thread, r.label, r.text) for r in test.execution.rows]
        if not test.execution.interleaved:
            yield "    weak ordering leads here, no interleaving: each column is in its own order"
    else:
        return
    yield from _table(rows, places)


def drawn(test: Judged) -> Iterator[str]:
    """The columns with all that it takes to read them alone: what is not so, and who P0 is."""
    if test.deadlock is None:  # which speaks for itself
        yield f"    not so: {test.says}"
    roots = {b.thread: b.root for b in reversed(test.bindings)}
    yield from (f"    {name} = {root}()" for name, root in sorted(roots.items()))
    yield from columns(test)


def _table(
    rows: Sequence[tuple[int, str, str]], places: Mapping[tuple[str, str], str]
) -> Iterator[str]:
    """A column for each thread."""
    count = max((thread for thread, _, _ in rows), default=0) + 1
    width = max(len(text) for _, _, text in rows) + 2
    yield "    " + "".join(f"{f'P{n}':<{width}}" for n in range(count)).rstrip()
    for thread, label, text in rows:
        cells = "".join(f"{text if n == thread else '':<{width}}" for n in range(count))
        row = f"    {cells}{places.get((f'P{thread}', label), '')}".rstrip()
        yield row if len(row) <= DRAWN else f"{row[: DRAWN - 3]}..."


def _wrapped(text: str, head: str) -> str:
    return textwrap.fill(
        text, WIDTH, initial_indent=head, subsequent_indent=" " * len(head), break_on_hyphens=False
    )


def exit_code(statements: Sequence[Statement]) -> int:
    """1 where something is refuted, 4 where something is open, 0 where all is proved.

    A baseline that cannot race is vacuous for that reason alone.
    """
    words = {statement.word for statement in statements}
    if Word.REFUTED in words:
        return 1
    return 0 if words <= {Word.PROVED} else 4
