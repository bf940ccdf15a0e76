# SPDX-License-Identifier: GPL-2.0-only
"""What the subject of a mail says of its patch, and whose mails are no senders'."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvet.source.subject import parse_subject
from tests.mails import Box, given, subjects


@pytest.mark.parametrize(
    ("subject", "version", "number", "total", "bare"),
    [
        ("[PATCH] mm: x", (), None, 0, "mm: x"),
        ("[PATCH v2 1/3] mm: x", (2,), 1, 3, "mm: x"),
        ("[PATCHv2 01/12] mm: x", (2,), 1, 12, "mm: x"),
        ("[RFC PATCH v3 0/2] mm: x", (3,), 0, 2, "mm: x"),
        ("[PATCH RFC mm-unstable v2 2/2] x", (2,), 2, 2, "x"),
        ("[PATCH 3/3 v2] mm: x", (2,), 3, 3, "mm: x"),
        ("[net-next,v4,2/5] net: x", (4,), 2, 5, "net: x"),
        ("[PATCH 1 of 3] mm: x", (), 1, 3, "mm: x"),
        ("[ PATCH v5, 1 / 2 ] mm: x", (5,), 1, 2, "mm: x"),
        ("[Patch 2/2]: mm: x", (), 2, 2, "mm: x"),
        ("[PATCH v2.1 2/4] mm: x", (2, 1), 2, 4, "mm: x"),
        ("[PATCH v6.1 2/4] mm: x", (), 2, 4, "mm: x"),
        ("[PATCH 6.12 v2 2/4] mm: x", (2,), 2, 4, "mm: x"),
        ("[PATCH 6.12 012/345] mm: x", (), 12, 345, "mm: x"),
        ("[linux-mm] [PATCH RESEND 1/2] mm: x", (), 1, 2, "mm: x"),
        ("[PATCH [v2] 1/2] mm: x", (2,), 1, 2, "mm: x"),
        ("mm: count 1/2 of it", (), None, 0, "mm: count 1/2 of it"),
    ],
)
def test_what_a_subject_says(
    subject: str, version: tuple[int, ...], number: int | None, total: int, bare: str
) -> None:
    tags, text = parse_subject(subject)
    assert (tags.version, tags.number, tags.total, text) == (version, number, total, bare)
    assert not tags.reply
    assert not tags.bot


@pytest.mark.parametrize(
    "subject", ["Re: [PATCH 1/2] x", "AW: [PATCH] x", "[External] Re: [PATCH] x", "Re: Fwd: x"]
)
def test_a_reply_in_any_dress(subject: str) -> None:
    assert parse_subject(subject)[0].reply


@pytest.mark.parametrize(
    "subject",
    [
        "[tip: x86/mm] x86/mm: do it",
        'Patch "mm: do it" has been added to the 6.12-stable tree',
        "+ mm-do-it.patch added to mm-unstable branch",
        "[merged mm-stable] mm-do-it.patch removed from -mm tree",
        'FAILED: patch "[PATCH] mm: do it" failed to apply to 6.1-stable tree',
        "[GIT PULL] mm: for the next one",
    ],
)
def test_bots_are_no_senders(tmp_path: Path, subject: str) -> None:
    """The diff of a bot is left out of the series it tells of, threaded or not, and said."""
    assert parse_subject(subject)[0].bot
    for to in (True, False):
        box = Box()
        ids = box.series("PATCH v2", "mm: one", "mm: two")
        box.add(subject, to=ids[1] if to else None, author="bot <bot@example.org>")
        series = given(tmp_path, box)
        assert subjects(series, tmp_path) == ["mm: one", "mm: two"]
        assert [x for x in series.notes if "left out" in x and "tells of a patch" in x]
