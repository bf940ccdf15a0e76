# SPDX-License-Identifier: GPL-2.0-only
"""The history is a digest of the run directories; trends and the site are drawn from it."""

from __future__ import annotations

import re
import shutil
import sqlite3
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

from kvet.errors import UserError
from kvet.results.history import SCHEMA, open_history
from tests.more import go
from tests.night import put_run
from tests.reports import EVIL

FIRST, SECOND, THIRD = "20260101-010000-m", "20260102-010000-m", "20260103-010000-smoke"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Three runs; in the second `good` fails, and the third is another matrix's."""
    put_run(tmp_path / "results", FIRST)
    put_run(tmp_path / "results", SECOND, good="FAIL")
    put_run(tmp_path / "results", THIRD, matrix="smoke")
    (tmp_path / "results" / "latest").symlink_to(THIRD)
    return tmp_path / "results"


def names(results: Path, name: str = "") -> list[str]:
    with open_history(results) as history:
        history.sync(results)
        return [run.run for run in history.runs(name=name)]


def test_every_run_is_taken_in_once_and_in_order(results: Path) -> None:
    assert names(results) == [FIRST, SECOND, THIRD]
    assert names(results, name="smoke") == [THIRD]
    with open_history(results) as history:
        assert history.runs(last=1)[0].when == "2026-01-03 01:00"
        entries = history.entries([FIRST, SECOND])["linux+good+debug+virt+race"]
        assert [(e.conclusion, e.count) for e in entries] == [("PASS", "0/2"), ("FAIL", "1/2")]
        assert [(t.title, t.first, t.runs) for t in history.titles("good")] == [
            ("BUG: new", SECOND, 1)
        ]


def test_a_run_whose_folder_is_gone_stays_until_it_is_rebuilt(results: Path) -> None:
    names(results)
    shutil.rmtree(results / FIRST)
    assert names(results) == [FIRST, SECOND, THIRD]
    with open_history(results) as history:
        history.sync(results, rebuild=True)
        assert [run.run for run in history.runs()] == [SECOND, THIRD]


def test_a_changed_run_is_read_again(results: Path) -> None:
    names(results)
    shutil.rmtree(results / FIRST)
    put_run(results, FIRST, good="FAIL")
    with open_history(results) as history:
        history.sync(results)
        assert history.entries([FIRST])["linux+good+debug+virt+race"][0].conclusion == "FAIL"


@pytest.mark.parametrize("damage", ["garbage", "old schema", "no tables"])
def test_a_file_of_another_schema_or_none_at_all_is_made_anew(results: Path, damage: str) -> None:
    names(results)
    path = results / "history.db"
    if damage == "garbage":
        path.write_bytes(b"not a database at all" * 100)
    elif damage == "old schema":
        with sqlite3.connect(path) as sql:
            sql.execute(f"PRAGMA user_version = {SCHEMA + 1}")
        sql.close()
    else:
        path.unlink()
        with sqlite3.connect(path) as sql:
            sql.execute("CREATE TABLE other (x)")
        sql.close()
    assert names(results) == [FIRST, SECOND, THIRD]


def test_a_record_that_cannot_be_read_is_named_and_the_others_are_there(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text in (("20260104-010000-x", "{"), ("20260105-010000-x", '{"cells": []}')):
        (results / name).mkdir()
        (results / name / "results.json").write_text(text, encoding="utf-8")
    assert go("history", "--out", str(results)) == 0
    told = capsys.readouterr()
    assert "20260104-010000-x" in told.err and "20260105-010000-x" in told.err
    assert THIRD in told.out


def test_trends_fit_100_columns_and_tell_what_changed(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for day in range(10, 18):
        put_run(results, f"202601{day}-010000-m", good="FAIL" if day == 17 else "PASS")
    assert go("history", "--name", "m", "--last", "7", "--out", str(results)) == 0
    out = capsys.readouterr().out
    assert max(len(line) for line in out.splitlines()) <= 100
    assert "\x1b" not in out
    rows = [line for line in out.splitlines() if line.startswith("good debug")]
    assert len(rows) == 2  # seven runs make two blocks
    assert rows[0].count("PASS 0/2") == 5
    assert rows[1].split() == ["good", "debug", "PASS", "0/2", "FAIL", "1/2", "2/20"]
    assert "good debug: PASS 0/2 -> FAIL 1/2" in out
    assert "BUG: new" in out
    assert "nolock debug:" not in out


def test_without_runs_there_is_no_history(tmp_path: Path) -> None:
    for words in (("history",), ("site", "-o", str(tmp_path / "site"))):
        with pytest.raises(UserError, match="no run"):
            go(*words, "--out", str(tmp_path / "none"))


class _Links(HTMLParser):
    """Addresses, ids and tags of a page; unbalanced tags are an error."""

    VOID = ("meta", "link", "br", "hr", "img", "input")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.tags: set[str] = set()
        self.open: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        found = dict(attrs)
        self.links += [found["href"] or ""] if "href" in found else []
        self.ids |= {found["id"] or ""} if "id" in found else set()
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_every_link_of_the_site_leads_somewhere(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "site"
    assert go("site", "-o", str(out), "--out", str(results)) == 0
    assert "3 runs" in capsys.readouterr().out
    pages = {p: _Links(p.read_text(encoding="utf-8")) for p in out.rglob("*.html")}
    names = {p.relative_to(out).as_posix() for p in pages}
    assert {"index.html", "variants/good.html", f"runs/{FIRST}.html"} <= names
    followed = 0
    for path, page in pages.items():
        assert "script" not in page.tags
        for link in page.links:
            if link.startswith(("http://", "https://")):
                continue
            address, anchor = urldefrag(link)
            target = (path.parent / unquote(address)).resolve() if address else path
            assert target in pages, f"{path}: {link}"
            assert not anchor or anchor in pages[target].ids, f"{path}: {link}"
            followed += 1
    assert followed > 50


def test_the_site_shows_the_night_that_went_wrong(results: Path, tmp_path: Path) -> None:
    go("site", "-o", str(tmp_path / "site"), "--out", str(results))
    page = (tmp_path / "site/variants/good.html").read_text(encoding="utf-8")
    assert page.index(THIRD) < page.index(SECOND) < page.index(FIRST)
    assert re.search(rf'class="fail"><a href="\.\./runs/{SECOND}.html#cell-4"', page)
    assert "BUG: new" in page
    mine = (tmp_path / "site/variants/mine.html").read_text(encoding="utf-8")
    assert "<script>" not in mine and EVIL[:8] not in mine
    assert "&lt;script&gt;" in mine


def test_a_run_that_is_no_longer_kept_has_no_link(results: Path, tmp_path: Path) -> None:
    names(results)
    shutil.rmtree(results / FIRST)
    go("site", "-o", str(tmp_path / "site"), "--out", str(results))
    index = (tmp_path / "site/index.html").read_text(encoding="utf-8")
    assert f"{FIRST} (no longer kept)" in index
    assert not (tmp_path / f"site/runs/{FIRST}.html").exists()
