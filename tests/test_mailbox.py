# SPDX-License-Identifier: GPL-2.0-only
"""From a thread as the list keeps it, the newest version is taken, whole and alone."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from kvet.errors import UserError
from kvet.mailbox import is_mailbox, split_mailbox

DIFF = "---\n--- a/x.c\n+++ b/x.c\n@@ -1 +1 @@\n-a\n+b\n"


def mail(subject: str, body: str = DIFF, *, encoded: bool = False) -> str:
    head = f"From x@y Thu Jan  1 00:00:00 2026\nSubject: {subject}\nMessage-ID: <{subject}@x>\n"
    if encoded:
        head += "Content-Transfer-Encoding: base64\nContent-Type: text/plain; charset=utf-8\n"
        body = base64.encodebytes(body.encode()).decode()
    return f"{head}\n{body}\n"


def taken(folder: Path, *mails: str) -> list[str]:
    path = folder / "t.mbox"
    path.write_text("".join(mails), encoding="utf-8")
    (folder / "split").mkdir()
    return [p.name for p in split_mailbox(path, folder / "split")]


ONE, TWO = mail("[PATCH v1 1/2] mm: one"), mail("[PATCH v1 2/2] mm: two")


@pytest.mark.parametrize(
    ("mails", "names"),
    [
        ((TWO, mail("Re: [PATCH v1 1/2] mm: one"), ONE), ["one", "two"]),
        ((ONE, TWO, ONE), ["one", "two"]),
        ((mail("[PATCH v2 1/1] mm: new"), ONE, TWO), ["new"]),
        ((ONE, mail("[PATCHv3 1/1] mm: third"), mail("[PATCH v2] mm: second")), ["third"]),
        (
            (
                mail("[PATCH 0/1] why", encoded=True),
                mail("[PATCH 1/1] mm: one", encoded=True),
                mail("Re: thanks", "Acked-by: x\n", encoded=True),
            ),
            ["one"],
        ),
        ((mail("=?utf-8?q?=5BPATCH_2/2=5D_mm=3A_two?="), mail("[PATCH 1/2] mm: one")), None),
    ],
)
def test_newest_version_in_order(
    tmp_path: Path, mails: tuple[str, ...], names: list[str] | None
) -> None:
    wanted = [f"{i:04d}-mm-{n}.patch" for i, n in enumerate(names or ["one", "two"], start=1)]
    assert taken(tmp_path, mail("[PATCH 0/2] cover", "blurb\n"), *mails) == wanted


@pytest.mark.parametrize(
    ("mails", "says"),
    [
        ((TWO, mail("hello", "no patch\n")), "lacks patch 1/2 of v1"),
        ((ONE, TWO, mail("[PATCH v2 2/2] mm: two")), "lacks patch 1/2 of v2"),
        ((ONE, TWO, mail("[PATCH v1 2/2] net: other")), "two patches 2/2 of v1: 'mm: two' and"),
    ],
)
def test_gaps_and_doubles_are_named(tmp_path: Path, mails: tuple[str, ...], says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        taken(tmp_path, *mails)
    assert "t.mbox" in caught.value.message
    assert "quilt" in caught.value.hint


def test_prose_that_begins_with_from_is_no_mailbox(tmp_path: Path) -> None:
    path = tmp_path / "p.patch"
    path.write_text("Subject: [PATCH] x\n\nFrom now on it locks.\n" + DIFF, encoding="utf-8")
    assert not is_mailbox(path)
