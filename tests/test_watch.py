# SPDX-License-Identifier: GPL-2.0-only
"""What a night judges beside its matrix: new series of mailboxes and branches, once each."""

from __future__ import annotations

import email
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvet.cli.lint import lint
from kvet.cli.watch import DRAFTS, SEEN, WatchRequest, watch
from kvet.errors import UserError
from kvet.run.requests import Effort
from kvet.source.watch import News, Watched, news
from kvet.store import read_json
from tests.conftest import git
from tests.night import Nights, nights
from tests.versions import BREACH, HARMLESS, commit, mailbox

__all__ = ["nights"]  # a fixture
WATCH = """\
title: what is watched
watch:
  - {{name: list, mbox: {mbox}}}
  - {{name: work, git: {git}, base: master, branches: ['topic/*']}}
kernel: fake
config: small
machine: tiny
workload: race
attempts: 1
"""


@pytest.fixture
def place(nights: Nights) -> Iterator[Path]:
    """The watch file of the fake project, its mailbox still empty."""
    root = nights.project.root
    (root / "list.mbox").write_bytes(b"")
    git(root / "work", "branch", "-M", "master")
    path = root / "configs/watch.yaml"
    path.write_text(WATCH.format(mbox="../list.mbox", git="../work"))
    yield path


def look(made: Nights, path: Path) -> list[int]:
    effort = Effort(made.results)
    made.results.mkdir(exist_ok=True)
    return watch(WatchRequest(path, effort, quiet=True), made.project.library)


def post(made: Nights, name: str, *options: str, breach: bool = False) -> str:
    """Post a series to the list; the message id of its first patch."""
    mbox = mailbox(made.project, name, [BREACH if breach else HARMLESS], *options, subject=name)
    with (made.project.root / "list.mbox").open("ab") as file:
        file.write(mbox.read_bytes())
    return str(email.message_from_bytes(mbox.read_bytes())["Message-ID"]).strip("<>")


def test_what_is_new_is_judged_once_with_a_draft_each(nights: Nights, place: Path) -> None:
    old = post(nights, "mm: old")
    assert look(nights, place) == []  # its past is not judged
    assert read_json(nights.results / SEEN) == {"list": [old], "work": []}
    good, bad = post(nights, "mm: good"), post(nights, "mm: bad", "-v2", breach=True)
    assert sorted(look(nights, place)) == [0, 1]
    drafts = {p.stem: email.message_from_bytes(p.read_bytes())
              for p in (nights.results / DRAFTS).glob("*.eml")}  # fmt: skip
    assert {str(m["In-Reply-To"]).strip() for m in drafts.values()} == {f"<{good}>", f"<{bad}>"}
    assert {m["Subject"] for m in drafts.values()} == {"Re: mm: good", "Re: mm: bad"}
    assert look(nights, place) == []


def test_a_branch_is_judged_again_when_it_moves(nights: Nights, place: Path) -> None:
    work = nights.project.root / "work"
    assert look(nights, place) == []
    git(work, "checkout", "-q", "-b", "topic/one")
    commit(nights.project, [HARMLESS])
    git(work, "branch", "other", "topic/one")
    assert look(nights, place) == [0]
    assert look(nights, place) == []
    commit(nights.project, [BREACH])
    assert look(nights, place) == [1]


def test_what_cannot_be_judged_stops_nobody_else(
    nights: Nights, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert look(nights, place) == []
    mbox = mailbox(nights.project, "x.mbox", [HARMLESS], subject="mm: elsewhere")
    text = mbox.read_text().replace("addr + 1", "addr + 77")
    with (nights.project.root / "list.mbox").open("a") as file:
        file.write(text)
    post(nights, "mm: good")
    assert sorted(look(nights, place)) == [0, 2]
    assert "mm: elsewhere" in capsys.readouterr().err
    assert look(nights, place) == []  # once each, whatever came of it


def test_answers_are_no_series_and_a_match_narrows(nights: Nights, tmp_path: Path) -> None:
    first = post(nights, "mm: one")
    second = post(nights, "net: two")
    box = nights.project.root / "list.mbox"
    with box.open("a") as file:
        file.write(f"From a\nMessage-ID: <r@x>\nIn-Reply-To: <{first}>\n"
                   "Subject: Re: [PATCH] mm: one\n\nno\n\n")  # fmt: skip
        file.write("From a\nMessage-ID: <q@x>\nSubject: a question\n\nwhy\n")
    found = news(Watched("list", mbox=box), (), tmp_path)
    assert [one.key for one in found] == [first, second]
    assert Path(found[0].spec).read_bytes().count(b"Message-ID: <r@x>") == 1
    narrowed = news(Watched("list", mbox=box, match="mm:"), (second,), tmp_path)
    assert [one.key for one in narrowed] == [first] and isinstance(narrowed[0], News)
    with pytest.raises(UserError, match="watch gone: .* does not exist"):
        news(Watched("gone", mbox=tmp_path / "no"), (), tmp_path)


def test_a_watch_file_is_checked(nights: Nights, place: Path) -> None:
    assert lint(place, nights.project.library) == ("watch", [])
    place.write_text(place.read_text().replace("mbox:", "mbxo:"))
    (fault, *_) = lint(place, nights.project.library)[1]
    assert (fault.line, "mbxo" in f"{fault.key} {fault.message}") == (3, True)
    place.write_text("title: t\nwatch: [{name: both, mbox: a, git: b}]\n")
    with pytest.raises(UserError, match="both needs one of mbox, maildir and git"):
        look(nights, place)
