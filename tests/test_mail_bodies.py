# SPDX-License-Identifier: GPL-2.0-only
"""The patch in a mail is found whatever it is wrapped in, and is taken as it was written."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given as given_
from hypothesis import settings
from hypothesis import strategies as st

from kvet.errors import UserError
from kvet.source.given import open_series
from kvet.source.mails import read_place
from tests.mails import AUTHOR, Box, address, diff, given, read, subjects


def test_a_reply_with_the_patch_attached(tmp_path: Path) -> None:
    """Nothing else in the thread is a patch, so the attached one is what is meant."""
    box = Box()
    report = box.add("mm: my machine hangs", "Since yesterday.\n", author="Bea <bea@example.org>")
    box.add("Re: mm: my machine hangs", "Does the attached help?\n", to=report)
    patch = f"From: Cy <cy@example.org>\nSubject: [PATCH] mm: do not hang\n\nWhy.\n{diff()}"
    box.attach(patch, "0001-mm-do-not-hang.patch")
    series = given(tmp_path, box)
    patches = read(series, tmp_path)
    assert [(p.subject, p.author) for p in patches] == [("mm: do not hang", "Cy <cy@example.org>")]
    assert "a reply with a patch attached: nothing else" in series.notes[0]


def test_a_bare_diff_attached_is_named_by_its_mail(tmp_path: Path) -> None:
    box = Box()
    box.add("[PATCH] mm: one", "Why.\n")
    box.attach(diff(), "my.diff", "x-diff")
    patches = read(given(tmp_path, box), tmp_path)
    assert [(p.subject, p.author) for p in patches] == [("mm: one", AUTHOR)]
    assert b"+b" in patches[0].diff


@pytest.mark.parametrize("headed", [True, False])
def test_a_patch_that_is_attached_as_well_is_taken_once(tmp_path: Path, headed: bool) -> None:
    """The attached one: mail programs spoil what is in the text."""
    box = Box()
    box.add("[PATCH v2 1/1] mm: one", f"Why.\n{diff(new='spoilt')}")
    head = f"From: {AUTHOR}\nSubject: [PATCH] mm: one\n\nWhy.\n" if headed else ""
    box.attach(head + diff(), "one.patch")
    series = given(tmp_path, box)
    (patch,) = read(series, tmp_path)
    assert (patch.subject, series.label) == ("mm: one", "v2")
    assert b"+b\n" in patch.diff
    assert b"spoilt" not in patch.diff


def test_patches_forwarded_as_mails(tmp_path: Path) -> None:
    inner, outer = Box(), Box()
    inner.series("PATCH v2", "mm: one", "mm: two", cover=False)
    outer.add("Fwd: please look at these", "They are good.\n", author="Gus <gus@example.org>")
    for mail in reversed(inner.mails):
        outer.mails[-1].add_attachment(mail)
    series = given(tmp_path, outer)
    assert subjects(series, tmp_path) == ["mm: one", "mm: two"]
    assert (series.label, series.author) == ("v2", AUTHOR)


def test_a_series_attached_to_its_cover_letter(tmp_path: Path) -> None:
    box = Box()
    box.add("my two patches", "Attached.\n")
    for number in (2, 1):
        head = f"From: {AUTHOR}\nSubject: [PATCH {number}/2] mm: p{number}\n\nx\n"
        box.attach(head + diff(), f"000{number}-p.patch")
    assert subjects(given(tmp_path, box), tmp_path) == ["mm: p1", "mm: p2"]


def test_html_signatures_and_pictures_hold_no_patch(tmp_path: Path) -> None:
    box = Box()
    box.add("[PATCH] mm: one")
    box.mails[-1].add_alternative(f"<pre>{diff(new='html')}</pre>", subtype="html")
    box.mails[-1].add_attachment(b"x", "application", "pgp-signature", filename="s.asc")
    patch = read(given(tmp_path, box), tmp_path)[0]
    assert b"+b\n" in patch.diff
    assert b"html" not in patch.diff


def test_scissors_cut_off_the_talk(tmp_path: Path) -> None:
    box = Box()
    box.add(
        "Re: mm: it hangs",
        "I think so, too.\n\n-- >8 --\nFrom: Dee <dee@example.org>\n"
        f"Subject: [PATCH] mm: wake it\n\nWhy.\n{diff()}",
    )
    patches = read(given(tmp_path, box), tmp_path)
    assert [(p.subject, p.author) for p in patches] == [("mm: wake it", "Dee <dee@example.org>")]


def test_scissors_round_a_log_cut_nothing(tmp_path: Path) -> None:
    box = Box()
    log = "-----8<-----\n[ 1.0] Oops\n-----8<-----\n"
    box.add("[PATCH] mm: one", f"From: Dee <dee@example.org>\n\nThe log:\n{log}Why.\n{diff()}")
    series = given(tmp_path, box)
    assert series.author == "Dee <dee@example.org>"
    assert b"The log:" in series.variant.patches[0].read_bytes()


def test_the_author_in_the_body_is_the_author(tmp_path: Path) -> None:
    box = Box()
    relay = "Ed via Relay <devnull@example.org>"
    box.add("[PATCH] mm: one", f"From: Ed <ed@example.org>\n\nWhy.\n{diff()}", author=relay)
    series = given(tmp_path, box)
    assert (series.author, read(series, tmp_path)[0].author) == ("Ed <ed@example.org>",) * 2


def test_names_outside_ascii_survive(tmp_path: Path) -> None:
    box = Box()
    box.add("[PATCH] mm: für Straßen", author=address("Jörg Müller"))
    series = given(tmp_path, box)
    assert series.author == "Jörg Müller <someone@example.org>"
    assert subjects(series, tmp_path) == ["mm: für Straßen"]


def test_utf8_headers_that_nobody_encoded(tmp_path: Path) -> None:
    text = f"From: Jörg <j@example.org>\nSubject: [PATCH] mm: für\nDate: x\n\nWhy.\n{diff()}"
    path = tmp_path / "raw.eml"
    path.write_bytes(text.encode())
    series = open_series(str(path), tmp_path / "out")
    assert (series.author, series.subject) == ("Jörg <j@example.org>", "mm: für")


@pytest.mark.parametrize("cte", ["7bit", "quoted-printable", "base64"])
@pytest.mark.parametrize("outer", ["\n", "\r\n"])
@pytest.mark.parametrize("inner", ["\n", "\r\n"])
def test_line_ends_of_the_transport_are_not_the_patchs(
    tmp_path: Path, cte: str, outer: str, inner: str
) -> None:
    body = f"Why.\n{diff()}".replace("\n", inner).encode()
    coders: dict[str, Callable[[bytes], bytes]] = {
        "base64": base64.encodebytes,
        "quoted-printable": lambda x: x.replace(b"\r", b"=0D"),
    }
    coded = coders[cte](body) if cte in coders else body.replace(b"\r", b"")
    head = f"From: {AUTHOR}\nSubject: [PATCH] mm: one\nContent-Transfer-Encoding: {cte}\n\n"
    raw = (head.encode() + coded).replace(b"\n", outer.encode())
    (tmp_path / "m.eml").write_bytes(raw)
    patch = read(open_series(str(tmp_path / "m.eml"), tmp_path / "out"), tmp_path)[0]
    assert b"\r" not in patch.diff
    assert b"\n-a\n+b\n" in patch.diff
    assert (patch.subject, patch.author) == ("mm: one", AUTHOR)


def test_a_file_that_has_crlf_itself_keeps_it(tmp_path: Path) -> None:
    (tmp_path / "m.patch").write_text(diff(old="a\r", new="b\r"), newline="")
    series = open_series(str(tmp_path / "m.patch"), tmp_path / "out")
    assert b"-a\r\n+b\r\n" in series.variant.patches[0].read_bytes()


def test_prose_that_begins_with_from_is_no_mailbox(tmp_path: Path) -> None:
    path = tmp_path / "p.patch"
    path.write_text("Subject: [PATCH] x\n\nFrom now on it locks.\n" + diff(), encoding="utf-8")
    assert len(read_place(path)) == 1


def test_a_web_page_is_no_mailbox(tmp_path: Path) -> None:
    path = tmp_path / "t.mbox"
    path.write_text("<!DOCTYPE html>\n<html><pre>" + diff())
    with pytest.raises(UserError, match="is a web page"):
        open_series(str(path), tmp_path / "o")


def test_patch_of_mercurial_and_of_debian(tmp_path: Path) -> None:
    for text in (
        f"# HG changeset patch\n# User Flo <flo@example.org>\nmm: one\n\nWhy.\n{diff()}",
        f"Description: mm: one\nAuthor: Flo <flo@example.org>\n{diff()}",
    ):
        path = tmp_path / "x.diff"
        path.write_text(text)
        series = open_series(str(path), tmp_path / "o")
        assert (series.subject, series.author) == ("mm: one", "Flo <flo@example.org>")


DAMAGE = (b"=?utf-8?q?=?=", b"\xff\xfe", b"\0", b"\n\n", b"From ", b"\n--==", b"\x1f\x8b")


@settings(max_examples=40, deadline=None)
@given_(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 300), st.sampled_from(DAMAGE))))
def test_damaged_mails_end_in_one_clear_line(
    tmp_path_factory: pytest.TempPathFactory, damage: list[tuple[float, int, bytes]]
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    box = Box()
    box.series("PATCH v2", "mm: one", "mm: two")
    box.add("Re: mm: für x", "talk\n", to="1@example.org")
    box.attach(f"From: {AUTHOR}\nSubject: [PATCH] mm: x\n\n{diff()}", "x.patch")
    data = box.mbox()
    for where, cut, new in damage:
        at = int(where * len(data))
        data = data[:at] + new + data[at + cut :]
    (folder / "t.mbox").write_bytes(data)
    try:
        series = open_series(str(folder / "t.mbox"), folder / "out")
    except UserError as error:
        assert "t.mbox" in error.message
    else:
        assert all(path.is_relative_to(folder / "out") for path in series.variant.patches)
