# SPDX-License-Identifier: GPL-2.0-only
"""Versions of a series side by side: names, one run, one table."""

from __future__ import annotations

import email
import email.message
import email.policy
import re
from pathlib import Path

import pytest

from kvet.errors import UserError
from kvet.model import Conclusion, Role, Variant
from kvet.report.answer import answer
from kvet.report.formats import FORMATS
from kvet.report.text import text_report
from kvet.results.record import RunRecord
from kvet.run.judged import series_names
from kvet.source.given import GivenSeries
from tests.more import go
from tests.night import Nights, nights
from tests.versions import AXES, BREACH, HARMLESS, Edit, commit, judge, mailbox

__all__ = ["nights"]  # a fixture


def given(spec: str, label: str, name: str = "") -> GivenSeries:
    return GivenSeries(spec, Variant(name or spec, "", Role.CANDIDATE), label)


@pytest.mark.parametrize(
    ("series", "names"),
    [
        ([given("a", "v2")], ["a"]),
        ([given("a", "v1"), given("b", "v2")], ["v1", "v2"]),
        ([given("a", "v1"), given("b", "v1")], ["a", "b"]),
        ([given("a.mbox", "v2", "a"), given("a.gz", "v2", "a"), given("c", "c")],
         ["a-v2", "a-v2-2", "c"]),
        ([given("~/l:v6..one", "l", "l"), given("~/l:v6..my/two", "l", "l")],
         ["l-one", "l-my-two"]),
        ([given("stock", "stock"), given("b", "v2")], ["series-stock", "v2"]),
    ],
)  # fmt: skip
def test_each_series_has_a_name_of_its_own(series: list[GivenSeries], names: list[str]) -> None:
    assert series_names(series, {"stock"}) == names


def test_versions_and_a_variant_are_one_run(nights: Nights) -> None:
    project = nights.project
    one = mailbox(project, "a.mbox", [BREACH])
    two = mailbox(project, "b.mbox", [HARMLESS], "-v2", "--subject-prefix=PATCH mm")
    tip = commit(project, [("mm/ptdump.c", "addr + 2", "addr + 4")])
    commits = f"{project.root / 'work'}:{tip}~1..{tip}"
    words = ("--series", str(one), "--series", str(two), "--series", commits)
    code, record = judge(nights, *words, "--variant", "good")
    assert [(c.variant, c.conclusion) for c in record.cells] == [
        ("stock", Conclusion.INCONCLUSIVE),
        ("broken", Conclusion.FAIL),
        ("a", Conclusion.FAIL),
        ("v2", Conclusion.PASS),
        ("work", Conclusion.PASS),
        ("good", Conclusion.PASS),
    ]
    assert code == 1
    v2 = record.cells[3]
    assert v2.given is not None
    assert (v2.given.spec, v2.given.label, v2.title) == (str(two), "v2", "mm: change 1")
    assert record.cells[0].given is None
    # the references of both are on record now, and boot no more
    _, again = judge(nights, "--series", str(two))
    assert [c.reused for c in again.cells][:2] == [record.run, record.run]


def test_a_thread_is_split_into_its_versions(nights: Nights) -> None:
    project = nights.project
    both = project.root / "thread.mbox"
    parts = [
        mailbox(project, "1.mbox", [BREACH]),
        mailbox(project, "2.mbox", [HARMLESS], "-v2", subject="mm: the same, better"),
    ]
    both.write_bytes(b"".join(part.read_bytes() for part in parts))
    _, newest = judge(nights, "--series", str(both))
    assert [c.variant for c in newest.cells if c.role is Role.CANDIDATE] == ["thread"]
    code, record = judge(nights, "--series", str(both), "--all-versions")
    judged = [(c.variant, c.conclusion) for c in record.cells if c.role is Role.CANDIDATE]
    assert judged == [("v1", Conclusion.FAIL), ("v2", Conclusion.PASS)]
    assert code == 1


def test_what_cannot_be_judged_together_is_refused(
    nights: Nights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    mbox = str(mailbox(nights.project, "a.mbox", [HARMLESS]))
    for words, says in (
        ((), "needs --series or --variant"),
        (("--variant", "good", "--all-versions"), "--all-versions is about --series"),
        (("--series", mbox, "--series", mbox), "is given twice"),
        (("--series", mbox, "--variant", "goood"), "did you mean good?"),
        (("--series", mbox, "--variant", "good", "--boot-shell"), "in one guest"),
    ):
        with pytest.raises(UserError) as caught:
            go("run", *AXES, "--out", str(tmp_path), *words)
        assert says in caught.value.message


# what changed from one version to the next

COMMENT: Edit = ("mm/vmalloc.c", "\treturn addr + 3", "\t/* why */\n\treturn addr + 3")
BARRIER: Edit = ("mm/vmalloc.c", "\treturn addr + 3", '\tasm("dmb ish");\n\treturn addr + 3')


def test_versions_that_differ_in_comments_are_the_same_code(nights: Nights) -> None:
    one = mailbox(nights.project, "1.mbox", [HARMLESS], "-v1")
    two = mailbox(nights.project, "2.mbox", [HARMLESS, COMMENT], "-v2")
    code, record = judge(nights, "--series", str(one), "--series", str(two), attempts=2)
    v1, v2 = record.cells[2:]
    assert code == 0 and v1.build.key != v2.build.key
    assert (v1.same_code_as, v2.same_code_as) == ("", "v1")
    assert v1.attempts == v2.attempts and len(v2.attempts) == 2
    # nothing was booted for the second
    assert not (nights.results / record.run / v2.id).exists()
    (change,) = record.changes
    assert (change.old, change.new, change.same) == ("v1", "v2", True)
    assert "v2 builds the same code as v1: the same boots stand for both." in answer(record)
    text = text_report(record)
    assert "v1 (PASS 0/2) -> v2 (PASS 0/2), small" in text
    assert re.search(r"^ +-: +-+ > 2: +\w+ mm: change 2$", text, re.MULTILINE)


def test_versions_that_differ_in_a_barrier_name_the_function(nights: Nights) -> None:
    one = mailbox(nights.project, "1.mbox", [HARMLESS], "-v1")
    two = mailbox(nights.project, "2.mbox", [HARMLESS, BARRIER], "-v2")
    three = mailbox(nights.project, "3.mbox", [HARMLESS, BARRIER, BREACH], "-v3")
    words = [word for path in (one, two, three) for word in ("--series", str(path))]
    _, record = judge(nights, *words)
    assert [c.same_code_as for c in record.cells] == [""] * 5
    told = answer(record)
    assert "v2 builds the same code as v1 but for vmap_page_range." in told
    for name in ("html", "markdown", "mail"):
        page = " ".join(draw_record(name, record).split())
        assert "v2 builds the same code as v1 but for vmap" in page.replace("\\", ""), name
        assert "mm: change 2" in page, name


def test_the_same_patches_are_booted_once(nights: Nights) -> None:
    one = mailbox(nights.project, "1.mbox", [HARMLESS], "-v1")
    two = mailbox(nights.project, "2.mbox", [HARMLESS], "-v2", subject="mm: other words")
    _, record = judge(nights, "--series", str(one), "--series", str(two))
    assert record.cells[2].build.key == record.cells[3].build.key
    assert record.cells[3].same_code_as == "v1"
    assert record.cells[3].conclusion is Conclusion.PASS


def test_each_patch_is_built_and_booted_where_it_stands(nights: Nights) -> None:
    broken: Edit = ("mm/vmalloc.c", "addr + 3;", "addr + nothing;")
    fixed: Edit = ("mm/vmalloc.c", "addr + nothing;", "addr + 4;")
    warns: Edit = ("mm/ptdump.c", "int ptdump_walk", "static int idle;\nint ptdump_walk")
    sound: Edit = ("scenario", "breach", "pass")
    edits = [HARMLESS, broken, fixed, warns, BREACH, sound]
    mbox = str(mailbox(nights.project, "a.mbox", edits))
    code, record = judge(nights, "--series", mbox, "--each-patch=boot")
    assert record.cells[2].conclusion is Conclusion.PASS
    assert code == 1 and record.exit_code == 1
    said = [(p.number, bool(p.fault), len(p.warnings_added), p.failures, p.runs)
            for p in record.prefixes]  # fmt: skip
    assert said == [(1, False, 0, 0, 1), (2, True, 0, 0, 0), (3, False, 0, 0, 1),
                    (4, False, 1, 0, 1), (5, False, 0, 1, 1)]  # fmt: skip
    told = answer(record)
    assert "a up to patch 2/6 does not build: " in told and "nothing" in told
    assert "a up to patch 4/6 adds 1 compiler warning." in told
    assert "a up to patch 5/6 fails, although the whole passes: table-freed-under-walk" in told
    rows = [line.split() for line in text_report(record).splitlines()]
    assert ["a", "2/6", "mm:", "change", "2", "FAILS", "-", "-"] in rows
    assert ["a", "5/6", "mm:", "change", "5", "builds", "0", "1/1", "failed"] in rows
    # without boots nothing but builds, which are there by now
    code, record = judge(nights, "--series", mbox, "--each-patch")
    assert [(p.cached, p.runs) for p in record.prefixes if not p.fault] == [(True, 0)] * 4


def draw_record(name: str, record: RunRecord) -> str:
    return FORMATS[name](record)


def test_the_mail_answers_the_version_that_was_judged(nights: Nights) -> None:
    """It threads below the cover letter, names tree and commit, and fits 72 columns."""
    project = nights.project
    options = ("--cover-letter", "--cover-from-description=subject", "-v2")
    mbox = mailbox(project, "thread.mbox", [HARMLESS, COMMENT], *options)
    text = mbox.read_text().replace("*** SUBJECT HERE ***", "mm: the whole story")
    mbox.write_text(text)
    cover = re.findall(r"^Message-I[dD]: <(.*)>$", text, re.MULTILINE)[0]
    _, record = judge(nights, "--series", str(mbox))
    message = email.message_from_string(draw_record("mail", record), policy=email.policy.default)
    assert isinstance(message, email.message.EmailMessage)
    assert message["In-Reply-To"] == message["References"] == f"<{cover}>"
    assert message["Subject"] == "Re: mm: the whole story"
    body = message.get_content()
    flat = " ".join(body.split())
    kernel = record.host.kernels["fake"]
    assert f"git tree {kernel.tree}" in flat and kernel.base_commit not in flat
    assert f"with it git tree {record.cells[2].series.tree}" in flat
    assert f"https://lore.kernel.org/r/{cover}" in body
    assert not re.search(r"^\w+(-\w+)*-by:", body, re.MULTILINE)
    prose = body.partition("Repeat it:")[0].splitlines()
    alone = re.compile(r"\s*\S+|\s+(?:https?:|\d+:|-:).*")  # one word, a link, a range-diff
    for line in prose:
        table = re.search(r"\S {2,}\S|^-{3}", line)
        assert len(line) <= 72 or alone.fullmatch(line) or table, line
