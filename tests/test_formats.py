# SPDX-License-Identifier: GPL-2.0-only
"""Every format stands every record; what they share; the HTML page, Markdown, mail and b4."""

from __future__ import annotations

import copy
import email
import email.policy
import json
import re
from html.parser import HTMLParser

import pytest

from kvet.report.facts import answers, cases, sightings, splat, stacks
from kvet.report.formats import FORMATS
from kvet.report.not_covered import not_covered
from kvet.report.text import exposure_text
from kvet.results.record import label
from kvet.text import clean, lore
from tests.reports import (
    EVIL,
    Cell,
    attempt,
    cell,
    draw,
    finding,
    sample_record,
    typed,
    typed_cell,
    typed_finding,
)


@pytest.fixture
def record() -> Cell:
    return sample_record()


def test_every_format_stands_every_shape_of_cell(record: Cell) -> None:
    record["cells"] += [
        cell("nothing", "candidate", "ERROR", [], series={}, build={"key": ""}, reason="no patch"),
        cell(
            "broken",
            "candidate",
            "FAIL",
            [],
            build={"key": "", "finding": finding("build fails"), "log": "build.log"},
            reason="build fails",
        ),
        cell("reused", "control", "FAIL", [attempt(1, "FAIL", [])], reused="20250101-000000-old"),
    ]
    for form in FORMATS.values():
        text = form(typed(record))
        assert text.endswith("\n") and "\x1b" not in text and "\x00" not in text
    assert draw("html", {**record, "cells": [], "host": {}}).startswith("<!DOCTYPE html>")


def test_formats_do_not_change_the_record(record: Cell) -> None:
    before = copy.deepcopy(record)
    for form in FORMATS.values():
        assert form(typed(record)) == form(typed(record))
    assert record == before


# what they share


def test_an_answer_is_one_sentence_for_each_variant(record: Cell) -> None:
    record["cells"].append(cell("good", "candidate", "PASS", [], config="kasan", upper_bound=0.776))
    told = {a.variant: a for a in answers(typed(record))}
    assert list(told) == ["mine", "good", "invalid", "nolock", "stock"]
    assert told["mine"].conclusion == "FAIL" and "1/2" in told["mine"].sentence
    assert "debug (0/2, failure rate at most 78%" in told["good"].sentence
    assert told["nolock"].sentence.startswith("nolock (control) is caught in debug")
    assert (
        "NOT caught"
        in answers(typed({**record, "cells": [cell("c", "control", "INCONCLUSIVE", [])]}))[
            0
        ].sentence
    )


def test_label_names_what_tells_cells_apart(record: Cell) -> None:
    first = record["cells"][0]
    assert label(typed(record).cells, typed_cell(first)) == "debug"
    both = [typed_cell(first), typed_cell({**first, "machine": "virt-16k"})]
    assert label(both, both[1]) == "debug/virt-16k"


def test_a_title_is_told_once_with_its_attempts(record: Cell) -> None:
    mine = record["cells"][2]
    mine["attempts"][1]["findings"] = [finding(EVIL)]
    assert [(s.title, s.standing, s.attempts) for s in sightings(typed_cell(mine))] == [
        (EVIL, "new", (1, 2)),
        ("seen later", "also", (1,)),
    ]


def test_stacks_begin_near_the_blamed_function() -> None:
    (free, frames), (walk, others) = stacks(typed_finding(finding("t")), most=5)
    assert (free, walk) == ("free", "walk")
    assert [f.func for f in frames][:3] == ["detector_7", "detector_8", "free_it"]
    assert len(frames) == 5 and [f.func for f in others] == ["walk_it"]
    lines = splat(typed_finding(finding("t")), most=15)
    assert len(lines) <= 15 and "    walk_it  mm/c.c:9" in lines
    assert "    free_it  mm/a.c:7  <- touched by the series" in lines


def test_clean_leaves_text_and_takes_the_rest() -> None:
    assert clean("a\tb\nc \x1b[1;31mred\x1b[0m\x00\x07\x9b\u202ed\ufffe") == "a\tb\nc redd"


@pytest.mark.parametrize("link", ["javascript:alert(1)", "a b@c", "http", ""])
def test_only_message_ids_and_http_become_links(link: str) -> None:
    assert lore(link) == ""
    assert lore("2025.1-a@b.org") == "https://lore.kernel.org/r/2025.1-a@b.org"
    assert lore("https://example.org/x") == "https://example.org/x"


def test_cases_agree_with_the_exit_code(record: Cell) -> None:
    stock, control, mine, good, invalid = record["cells"]
    kinds = {c["variant"]: [case.kind for case in cases(typed_cell(c))] for c in record["cells"]}
    assert kinds == {
        "stock": ["skipped"],
        "nolock": ["passed"],
        "mine": ["failure", "passed"],
        "good": ["passed", "passed"],
        "invalid": ["error"],
    }
    known = {**mine, "new_titles": [], "known_titles": [EVIL], "conclusion": "PASS"}
    assert [case.kind for case in cases(typed_cell(known))] == ["skipped", "passed"]
    assert [
        case.kind for case in cases(typed_cell({**good, "attempts": [], "conclusion": "FAIL"}))
    ] == ["failure"]


# html


class Page(HTMLParser):
    """Collects what a browser would act on."""

    VOID = frozenset({"meta", "br", "link", "img"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        self.text += data if self.open[-1:] != ["style"] else ""

    def values(self, name: str) -> list[str]:
        return [attrs[name] or "" for _, attrs in self.tags if name in attrs]


def test_html_escapes_and_fetches_nothing(record: Cell) -> None:
    record["cells"][2]["variant"] = 'x" onload="evil'
    text = draw("html", record)
    page = Page(text)
    assert not page.open
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "img", "link", "iframe", "object", "embed", "form", "b<"}
    assert not [a for _, attrs in page.tags for a in attrs if a.startswith("on")]
    assert not page.values("src") and "url(" not in text and "@import" not in text
    for target in page.values("href"):
        assert target.startswith(("#", "https://lore.kernel.org/r/"))
    assert '<script>alert("x")</script> & `rm`' in page.text
    assert "default-src 'none'" in text and "prefers-color-scheme: dark" in text


def test_html_is_accessible(record: Cell) -> None:
    page = Page(draw("html", record))
    assert ("html", {"lang": "en"}) in page.tags
    assert all("scope" in attrs for tag, attrs in page.tags if tag == "th")
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    for reference in (*page.values("aria-labelledby"), *page.values("aria-describedby")):
        assert reference in ids
    assert {h[1:] for h in page.values("href") if h.startswith("#")} <= set(ids)
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1 and all(b - a <= 1 for a, b in zip(levels, levels[1:], strict=False))


def test_html_colours_have_contrast(record: Cell) -> None:
    text = draw("html", record)
    light, dark = re.findall(r":root \{(.*?)\}", text, re.DOTALL)
    for sheet in (light, dark):
        colour = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", sheet))
        pairs = [(f"{n}-text", n) for n in ("pass", "fail", "undecided", "error", "mark")]
        pairs += [(a, b) for a in ("text", "soft", "link") for b in ("page", "card", "code")]
        for front, back in pairs:
            assert _contrast(colour[front], colour[back]) >= 4.5, (front, back)


def _contrast(one: str, other: str) -> float:
    """Contrast ratio of WCAG 2.1."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_html_says_what_the_record_says(record: Cell) -> None:
    record["cells"][2]["coverage"] = {
        "patches": [{"name": "mm: x", "run": 2, "code": 3}],
        "run": ["mm/a.c:1", "mm/a.c:2"],
        "not_run": [{"place": "mm/a.c:3", "text": "return <0>;"}],
    }
    text = " ".join(Page(draw("html", record)).text.split())
    for part in (
        "PASS 0/2 failed, bound 78%",
        "FAIL 1/2 failed",
        "caught 1/1 failed as it must be",
        "overlap 45 floor 20, reached",
        "Side that walks walk_it mm/c.c:9",
        "free_it mm/a.c:7 touched by the series if (a < b && c)",
        "in 1 of 2 attempts",
        "mm/a.c:1: warning: <unused>",
        "Lines of the series that ran: 2 of 3",
        "mm/a.c:3 return <0>;",
        "QEMU is gone",
        "ab" * 32,
        "key-mine",
        "./harness.py run-matrix --only 'a b'",
        "./harness.py reproduce 20260102-030405-test/linux+mine+debug+virt+race/1",
        not_covered(typed(record))[0],
    ):
        assert part in text, part


# markdown, mail, b4


def test_markdown_shows_text_as_it_is(record: Cell) -> None:
    text = draw("markdown", record)
    outside = re.sub(r"^(```+)text\n.*?^\1$", "", text, flags=re.DOTALL | re.MULTILINE)
    assert "<script" not in outside and "&lt;script" in outside
    assert r"\`rm\` \| \*b\*" in outside
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + len(record["cells"]) + 1
    assert rows[5].startswith("| *judged by* |") and "| stock (baseline) |" in rows[6]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {7}
    assert "| mine | debug | **FAIL** | 1/2 | - | overlap 45, walks 5 |" in rows


def test_markdown_fences_hold_back_ticks(record: Cell) -> None:
    record["cells"][2]["build"]["warnings_added"] = ["```", "still code"]
    assert "\n````text\n```\nstill code\n````\n" in draw("markdown", record)


def _mail(record: Cell) -> tuple[email.message.EmailMessage, str]:
    raw = draw("mail", record).encode()
    message = email.message_from_bytes(raw, policy=email.policy.default)
    assert isinstance(message, email.message.EmailMessage) and not message.defects
    body = message.get_content()
    assert isinstance(body, str)
    return message, body


def test_mail_is_plain_text_and_gives_no_tag(record: Cell) -> None:
    record["cells"][2]["title"] = "naïve – Ünïcode"
    message, body = _mail(record)
    assert message.get_content_type() == "text/plain"
    assert "naïve – Ünïcode" in body
    assert message["In-Reply-To"] is None and message["To"] is None
    assert "ested-by" not in message.as_string()
    assert not_covered(typed(record))[0][:20] in body and "./harness.py reproduce" in body
    prose = [x for x in body.splitlines() if x.startswith(("- ", "Not covered", "Judged"))]
    assert prose and all(len(line) <= 72 for line in prose)
    start = body.splitlines().index("mine (debug):") + 2
    splat_lines = body.splitlines()[start : start + 16]
    assert "" in splat_lines, "the splat is longer than 15 lines"
    assert "    free_it  mm/a.c:7  <- touched by the series" in splat_lines


def test_mail_replies_to_the_one_series(record: Cell) -> None:
    record["cells"] = record["cells"][:3]
    assert _mail(record)[0]["In-Reply-To"] == "<2025.1-a@b.org>"
    patch = record["cells"][2]["series"]["patches"][0]
    patch["message_id"], patch["subject"] = "2026.2-c@d.org", "mm: x\nBcc: everybody@example.org"
    message, _ = _mail(record)
    assert message["In-Reply-To"] == message["References"] == "<2026.2-c@d.org>"
    assert message["Subject"].startswith("Re: mm: x") and message["Bcc"] is None
    record["cells"].append(cell("other", "candidate", "PASS", [], links=["9@z.org"]))
    assert _mail(record)[0]["In-Reply-To"] is None


def test_b4_reads_one_check_for_each_candidate(record: Cell) -> None:
    checks = json.loads(draw("b4", record))
    assert [(c["tool"], c["status"]) for c in checks] == [
        ("kvet mine debug", "fail"),
        ("kvet good debug", "pass"),
        ("kvet invalid debug", "warn"),
    ]
    assert all(set(c) == {"tool", "status", "summary", "details"} for c in checks)
    assert all("\n" not in c["summary"] for c in checks)
    assert "reproduce" in checks[0]["details"]
    record["cells"][2]["conclusion"] = "INCONCLUSIVE"
    record["cells"] = record["cells"][:3]
    only = json.loads(draw("b4", record))
    assert [(c["tool"], c["status"]) for c in only] == [("kvet debug", "warn")]


def test_the_registry_names_functions_of_a_record() -> None:
    assert set(FORMATS) == {
        "text",
        "json",
        "html",
        "junit",
        "ktap",
        "kcidb",
        "markdown",
        "mail",
        "b4",
    }


def test_a_measurement_is_told_as_such_and_not_as_a_pass() -> None:
    record = sample_record()
    record["cells"] = [{**c, "measures": True, "expected": "FAIL"} for c in record["cells"][-2:-1]]
    answer = answers(typed(record))[0]
    assert answer.conclusion == "DONE"
    assert "was measured in debug (2 boots, not judged)" in answer.sentence
    for name in ("html", "mail", "markdown"):
        text = draw(name, record)
        assert "DONE" in text and "confidence" not in text, name
    assert "expected FAIL" not in draw("html", record)


@pytest.mark.parametrize("form", ["text", "mail", "markdown", "b4", "junit", "ktap"])
def test_a_command_to_copy_is_never_wrapped(record: Cell, form: str) -> None:
    record["run"] = "20260102-030405-" + "a-matrix-with-a-long-name-" * 6
    failed = next(
        c for c in record["cells"] if (c["role"], c["conclusion"]) == ("candidate", "FAIL")
    )
    command = f"harness.py reproduce {record['run']}/{failed['id']}"
    assert len(command) > 200
    drawn = draw(form, record)
    assert command in drawn
    if form == "text":  # all else is cut to fit
        rest = [line for line in drawn.splitlines() if record["run"] not in line]
        assert max(map(len, rest)) <= 100


def test_a_long_name_of_a_version_is_told_to_its_end(record: Cell) -> None:
    names = ("series-static-key-toggle", "series-static-key-unsynced")
    record["cells"] = [cell(n, "candidate", "PASS", [attempt(1, "PASS", [])]) for n in names]
    table = draw("text", record).partition("\nvariant ")[2]
    parts = [line.partition(" ")[0] for line in table.splitlines()[1:5]]
    assert "".join(parts) == "".join(names)


def test_where_each_counter_counts_the_first_two_are_shown() -> None:
    data = sample_record()["cells"][0]
    names = ("meet_pmd", "meet_pud", "meet_wx")
    data.update(floor=dict.fromkeys(names, 2), floor_each=list(names))
    for each in data["attempts"]:
        each["exposure"] = {"meet_pmd": 18, "meet_pud": 3, "meet_wx": 900, "overlaps": 50}
    assert exposure_text(typed_cell(data)) == "met PMD 18, met PUD 3"
