# SPDX-License-Identifier: GPL-2.0-only
"""Bisection of a finding that shows now and then: the search alone, then the whole command."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from kvet.errors import UserError
from kvet.model import Attempt, Finding, Status
from kvet.run.bisecting import (
    ENOUGH_HITS,
    MISS,
    MOST_AT_BAD,
    Outcome,
    Rate,
    Search,
    Step,
    Wanted,
    decide,
    most_common,
)
from tests.conftest import git
from tests.more import go
from tests.night import Nights, nights
from tests.versions import HARMLESS, Edit, commit, mailbox

__all__ = ["nights"]  # a fixture
FOUND = Finding("oracle", "table freed", family="walk")
OTHER = Finding("oops", "BUG in other")
WANTED = Wanted("table freed", "walk")
CLEAN = Attempt(1, Status.PASS, detail="")
HIT = Attempt(1, Status.FAIL, findings=(FOUND,), detail=FOUND.title)
SPOILT = Attempt(1, Status.ERROR)


def simulated(culprit: int, last: int, seed: int, share: float = 1 / 3) -> tuple[Search, Rate, int]:
    """A whole bisection of kernels that show the finding in `share` of their boots."""
    luck = random.Random(seed)

    def boot(number: int) -> Attempt:
        return HIT if number >= culprit and luck.random() < share else CLEAN

    end: list[Attempt] = []
    while len(end) < MOST_AT_BAD and sum(a is HIT for a in end) < ENOUGH_HITS:
        end.append(boot(last))
    rate = Rate(sum(a is HIT for a in end), len(end))
    steps: dict[int, Step] = {}
    while (number := Search(last, steps).next()) is not None:
        boots: list[Attempt] = []
        while (outcome := decide(boots, WANTED, rate)) is None:
            boots.append(boot(number))
        steps[number] = Step(number, outcome, len(boots), sum(b is HIT for b in boots))
    return Search(last, steps), rate, 1 + len(steps)


@pytest.mark.parametrize(("last", "most"), [(8, 4), (200, 9)])
def test_the_search_is_right_in_twenty_of_twenty(last: int, most: int) -> None:
    luck = random.Random(5)
    for seed in range(20):
        culprit = luck.randint(1, last)
        search, rate, builds = simulated(culprit, last, seed)
        assert list(search.culprits) == [culprit], seed
        assert builds <= most
        assert search.confidence(rate) > 0.98


def test_a_rate_that_is_little_known_asks_for_more_boots() -> None:
    assert Rate(5, 5).wanted == 6
    assert Rate(5, 15).wanted == 25
    assert Rate(1, 3).wanted > Rate(5, 15).wanted
    assert Rate(5, 15).miss(25) <= MISS < Rate(5, 15).miss(24)


def test_what_says_nothing_does_not_decide() -> None:
    rate = Rate(5, 5)
    other = replace(HIT, findings=(OTHER,))
    assert decide([CLEAN] * 6, WANTED, rate) is Outcome.GOOD
    assert decide([CLEAN] * 5 + [SPOILT] * 9 + [other] * 9, WANTED, rate) is None
    assert decide([CLEAN] * 5 + [replace(CLEAN, unfinished="died")], WANTED, rate) is None
    assert decide([SPOILT, HIT], WANTED, rate) is Outcome.BAD
    # another face of the same defect
    face = replace(FOUND, title="use after free in walk")
    assert decide([replace(HIT, findings=(face,))], WANTED, rate) is Outcome.BAD


def test_the_finding_is_the_usual_one_or_what_is_asked_for() -> None:
    boots = [HIT, HIT, replace(HIT, findings=(OTHER,))]
    assert most_common(boots) == WANTED
    assert most_common(boots, "in OTHER") == Wanted("BUG in other", "")
    assert most_common(boots, "nothing of that") is None
    assert most_common([CLEAN]) is None


def test_a_point_that_is_skipped_is_gone_round() -> None:
    steps = {4: Step(4, Outcome.SKIP)}
    assert Search(8, steps).next() == 3
    steps |= {3: Step(3, Outcome.GOOD, 5), 5: Step(5, Outcome.BAD, 1, 1)}
    search = Search(8, steps)
    assert search.next() is None and list(search.culprits) == [4, 5]


# the whole command

PLANT: Edit = ("scenario", "pass", "sometimes")
AXES = ("--config", "small", "--machine", "tiny", "--workload", "race")


def notes(number: int) -> Edit:
    """A commit that changes nothing that is built."""
    return (f"notes-{number}", "", f"{number}\n")


def bisect(made: Nights, *words: str) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kvet.cli.bisect._library", lambda: made.project.library)
        return go("bisect", *words, "--out", str(made.results), "--quiet")


def test_the_patch_of_a_series_is_found(nights: Nights, capsys: pytest.CaptureFixture[str]) -> None:
    edits = [HARMLESS, *(notes(n) for n in range(3)), PLANT, *(notes(n) for n in range(3, 6))]
    mbox = mailbox(nights.project, "a.mbox", edits)
    assert bisect(nights, "--series", str(mbox), "--kernel", "fake", *AXES, "--jobs", "4") == 0
    said = capsys.readouterr().out
    assert said.startswith("patch 5/8 'mm: change 5' brings it in: table-freed-under-walk")
    builds = int(said.partition(" builds")[0].split()[-1])
    assert builds <= 4
    assert "confidence 9" in said and "a step was called good after" in said


def test_a_commit_that_does_not_build_is_skipped_and_the_search_goes_on_later(
    nights: Nights, capsys: pytest.CaptureFixture[str]
) -> None:
    project = nights.project
    work = project.root / "work"
    good = git(work, "rev-parse", "HEAD")
    broken: Edit = ("mm/vmalloc.c", "addr + 1;", "addr + nothing;")
    mended: Edit = ("mm/vmalloc.c", "addr + nothing;", "addr + 1;")
    breach: Edit = ("scenario", "pass", "breach")
    edits = [notes(1), broken, breach, notes(2), mended, notes(3)]
    bad = commit(project, edits)
    words = ("--tree", str(work), "--good", good, "--bad", bad, *AXES, "--seed", "3")
    assert bisect(nights, *words) == 4
    said = capsys.readouterr().out
    # changes 2 to 4 do not build
    assert said.startswith("one of these brings it in, the others could not be tried:")
    assert "'mm: change 3'" in said and "'mm: change 6'" not in said
    assert said.count("does not build") == 3
    # all is on record: going on builds and boots nothing
    (run,) = nights.results.glob("*-bisect")
    record = (run / "bisect.json").read_bytes()
    assert bisect(nights, "--resume", run.name) == 4
    assert (run / "bisect.json").read_bytes() == record
    assert capsys.readouterr().out == said


def test_what_cannot_be_bisected_is_refused(nights: Nights, tmp_path: Path) -> None:
    work = str(nights.project.root / "work")
    mbox = str(mailbox(nights.project, "a.mbox", [HARMLESS]))
    for words, says in (
        (("--tree", work, "--good", "HEAD"), "--tree needs --good and --bad"),
        (("--series", mbox, "--bad", "HEAD"), "--good and --bad are of --tree"),
        (("--tree", work, "--good", "HEAD", "--bad", "nowhere"), "has no commit 'nowhere'"),
        (("--tree", work, "--good", "HEAD", "--bad", "HEAD"), "is not above"),
        (("--series", mbox, "--kernel", "fake", *AXES, "--jobs", "4"),
         "the bad end does not show any finding in"),
    ):  # fmt: skip
        with pytest.raises(UserError) as caught:
            bisect(nights, *words)
        assert says in caught.value.message
