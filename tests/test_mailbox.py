# SPDX-License-Identifier: GPL-2.0-only
"""From mails as people, bots and archives keep them, the series is taken, whole and alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from kvet.errors import UserError
from kvet.model import SourceTree
from kvet.source.git import Repo
from kvet.source.given import all_versions, open_series
from kvet.source.series import apply_series
from tests.conftest import git
from tests.mails import AUTHOR, Box, diff, given, read, subjects


def test_series_of_git_send_email(tmp_path: Path) -> None:
    box = Box()
    box.series("PATCH v3", "mm: one", "mm: two", "mm: three")
    box.add("Re: [PATCH v3 2/3] mm: two", "> +b\nLooks good.\n", to="2@example.org")
    box.mails = [box.mails[i] for i in (4, 3, 1, 0, 2)]
    series = given(tmp_path, box)
    assert [p.name for p in series.variant.patches] == [
        "0001-mm-one.patch",
        "0002-mm-two.patch",
        "0003-mm-three.patch",
    ]
    patches = read(series, tmp_path)
    assert [p.subject for p in patches] == ["mm: one", "mm: two", "mm: three"]
    assert {p.author for p in patches} == {AUTHOR}
    assert [p.message_id for p in patches] == ["1@example.org", "2@example.org", "3@example.org"]
    assert (series.label, series.subject, series.author) == ("v3", "why", AUTHOR)
    assert (series.message_id, series.cover) == ("0@example.org", "The story.")


def test_newest_version_is_taken_and_said(tmp_path: Path) -> None:
    box = Box()
    box.series("PATCH", "mm: one", "mm: two")
    box.series("PATCH v2", "mm: first", "mm: second", to="0@example.org")
    series = given(tmp_path, box)
    assert subjects(series, tmp_path) == ["mm: first", "mm: second"]
    assert series.label == "v2"
    assert series.notes == ("v1 ('why') is left out: it is not the newest",)


def fixup_in_a_reply(box: Box, ids: list[str]) -> None:
    box.add("[PATCH] mm: one: fix the build", to=ids[1], author="Rob Robot <rob@example.org>")


def fixup_under_re(box: Box, ids: list[str]) -> None:
    box.add("Re: [PATCH 1/2] mm: one", "Try this:\n\n" + diff(), to=ids[1])


def talk_between(box: Box, ids: list[str]) -> None:
    above = box.add("Re: [PATCH 1/2] mm: one", "It breaks.\n", to=ids[1])
    box.add("[PATCH] mm: one: mend it", to=above)


@pytest.mark.parametrize("fixup", [fixup_in_a_reply, fixup_under_re, talk_between])
@pytest.mark.parametrize("numbered", [True, False])
def test_fixups_are_no_patches_of_the_series(
    tmp_path: Path, fixup: Callable[[Box, list[str]], None], numbered: bool
) -> None:
    box = Box()
    if numbered:
        ids, wanted = box.series("PATCH", "mm: one", "mm: two"), ["mm: one", "mm: two"]
    else:
        ids, wanted = [box.add("[PATCH] mm: one")] * 2, ["mm: one"]
    fixup(box, ids)
    series = given(tmp_path, box)
    assert subjects(series, tmp_path) == wanted
    assert len([x for x in series.notes if x.startswith("left out: ")]) == 1


def test_partial_reroll_is_filled_up_from_the_version_before(tmp_path: Path) -> None:
    """As b4 does it: each patch of the new version answers the one of its number."""
    box = Box()
    ids = box.series("PATCH v2", "mm: one", "mm: two", "mm: three")
    box.add("[PATCH v3 2/3] mm: two", diff(new="better"), to=ids[2], key="new")
    series = given(tmp_path, box)
    patches = read(series, tmp_path)
    assert [p.message_id for p in patches] == ["1@example.org", "new@example.org", "3@example.org"]
    assert (series.label, series.cover) == ("v3", "The story.")
    assert "v3 holds 2/3 alone: the others are taken from v2" in series.notes


def test_partial_reroll_without_a_number(tmp_path: Path) -> None:
    box = Box()
    ids = box.series("PATCH", "mm: one", "mm: two")
    box.add("[PATCH v2] mm: two", to=ids[2], key="new")
    patches = read(given(tmp_path, box), tmp_path)
    assert [p.message_id for p in patches] == ["1@example.org", "new@example.org"]


def test_reroll_upon_reroll(tmp_path: Path) -> None:
    box = Box()
    ids = box.series("PATCH", "mm: one", "mm: two")
    newer = box.add("[PATCH v2 1/2] mm: one", to=ids[1], key="n1")
    box.add("[PATCH v2.1 1/2] mm: one", to=newer, key="n2")
    series = given(tmp_path, box)
    assert [p.message_id for p in read(series, tmp_path)] == ["n2@example.org", "2@example.org"]
    assert series.label == "v2.1"


def test_new_version_of_a_single_patch_in_answer_to_the_old(tmp_path: Path) -> None:
    box = Box()
    box.add("[PATCH v2] mm: new", to=box.add("[PATCH] mm: old"))
    assert subjects(given(tmp_path, box), tmp_path) == ["mm: new"]


def test_version_of_the_cover_letter_counts_for_its_patches(tmp_path: Path) -> None:
    box = Box()
    box.series("PATCH", "mm: one")
    cover = box.add("[PATCH net v4 0/1] why", "x\n")
    box.add("[PATCH 1/1] mm: four", to=cover)
    series = given(tmp_path, box)
    assert (series.label, subjects(series, tmp_path)) == ("v4", ["mm: four"])


def test_sent_again_without_a_new_version(tmp_path: Path) -> None:
    """The younger one is meant, and that is said."""
    box = Box()
    box.series("PATCH", "mm: one", "mm: two", cover=False)
    box.series("PATCH RESEND", "mm: one", "mm: two", cover=False)
    series = given(tmp_path, box)
    assert [p.message_id for p in read(series, tmp_path)] == ["2@example.org", "3@example.org"]
    assert series.notes == ("v1 was sent more than once: the last of each patch is taken",)


def test_a_series_of_fixes_in_answer_to_a_patch(tmp_path: Path) -> None:
    box = Box()
    ids = box.series("PATCH", "mm: one", "mm: two", "mm: three")
    box.series("PATCH", "mm: fix one", "mm: fix two", to=ids[3])
    series = given(tmp_path, box)
    assert subjects(series, tmp_path) == ["mm: one", "mm: two", "mm: three"]
    assert series.notes == ("left out: 2 of 2 patches of another series, 'why'",)


def test_a_part_of_a_series_from_elsewhere(tmp_path: Path) -> None:
    """A mail of the stable review that went to the same people."""
    box = Box()
    box.series("PATCH", "mm: one", "mm: two")
    box.add("[PATCH 6.12 017/412] mm: one", author="Stable <stable@example.org>")
    series = given(tmp_path, box)
    assert subjects(series, tmp_path) == ["mm: one", "mm: two"]
    assert series.notes == ("left out: 1 of 412 patches of another series, 'mm: one'",)


def test_mails_that_came_twice_are_one(tmp_path: Path) -> None:
    box = Box()
    box.series("PATCH", "mm: one", "mm: two")
    box.mails += box.mails[1:]
    series = given(tmp_path, box)
    assert (subjects(series, tmp_path), series.notes) == (["mm: one", "mm: two"], ())


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--attach",),
        ("--inline",),
        ("--cover-letter",),
        ("-N",),
        ("-k",),
        ("--rfc", "-v3"),
        ("--subject-prefix=PATCH mm/next", "--reroll-count=2"),
        ("--thread=deep", "--cover-letter"),
        ("--from=Relay <relay@example.org>",),
        ("--full-index", "--no-stat", "--signature=bye"),
        ("--base=HEAD~2",),
        ("-M", "-p", "-U1"),
    ],
)
def test_whatever_format_patch_writes(
    tree: SourceTree, repo: Repo, tmp_path: Path, options: tuple[str, ...]
) -> None:
    long = "mm: eins und zwei, and a subject that is so long that it must be folded in a header"
    for number, subject in enumerate((long, "mm: für zwei [sic]"), start=1):
        (tree.path / "mm/a.c").write_text(f"ä {number}\n")
        who = "--author=Jörg Müller <jm@example.org>"
        git(tree.path, "commit", "-qa", who, "-m", f"{subject}\n\nFrom here on.\n")
    mails = git(tree.path, "format-patch", "--stdout", *options, f"{tree.base_commit}..HEAD")
    (tmp_path / "t.mbox").write_text(mails + "\n")
    series = open_series(str(tmp_path / "t.mbox"), tmp_path / "o")
    applied = apply_series(repo, tree.tree_id, series.variant.patches)
    assert applied.tree_id == git(tree.path, "rev-parse", "HEAD^{tree}")
    assert [p.subject.removesuffix(" [sic]") for p in applied.patches] == [long, "mm: für zwei"]
    assert {p.author for p in applied.patches} == {"Jörg Müller <jm@example.org>"}
    assert series.notes == ()


def test_mercurial_and_patchwork_number_as_well(tmp_path: Path) -> None:
    box = Box()
    box.add("[PATCH 2 of 2] mm: two")
    box.add("[PATCH 1 of 2] mm: one")
    assert subjects(given(tmp_path, box), tmp_path) == ["mm: one", "mm: two"]
    box = Box()
    box.add("[mm,v2,2/2] mm: zwei", X_Patchwork_Id="22")
    box.add("[mm,v2,1/2] mm: eins", X_Patchwork_Id="21")
    series = given(tmp_path, box, "pw.mbox")
    assert (series.label, subjects(series, tmp_path)) == ("v2", ["mm: eins", "mm: zwei"])


def test_patches_without_numbers_come_in_their_order(tmp_path: Path) -> None:
    """As `cat *.patch` makes a mailbox of commits that were mailed with format-patch -N."""
    box = Box()
    for subject in ("[PATCH] mm: b", "[PATCH] mm: a", "[PATCH] mm: c"):
        box.add(subject)
        del box.mails[-1]["Message-ID"]
    assert subjects(given(tmp_path, box), tmp_path) == ["mm: b", "mm: a", "mm: c"]


def test_one_patch_more_than_announced(tmp_path: Path) -> None:
    box = Box()
    box.add("[PATCH 3/2] mm: three", to=box.series("PATCH", "mm: one", "mm: two")[0])
    series = given(tmp_path, box)
    assert subjects(series, tmp_path) == ["mm: one", "mm: two", "mm: three"]
    assert series.notes == ("patch 3/2 is taken, too",)


def test_one_patch_of_a_series_given_alone(tmp_path: Path) -> None:
    box = Box()
    box.add("[PATCH v2 3/5] mm: three")
    series = given(tmp_path, box)
    assert subjects(series, tmp_path) == ["mm: three"]
    assert series.notes == ("patch 3/5 is taken alone",)


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (
            lambda b: b.add("[PATCH 2/2] x", to=b.add("[PATCH 0/2] y", "z\n")),
            "lacks patch 1/2 of v1",
        ),
        (
            # not in answer to the patch of the same number, so b4 would not fill it up either
            lambda b: b.add("[PATCH v2 2/2] mm: b", to=b.series("PATCH", "mm: a", "mm: b")[1]),
            "lacks patch 1/2 of v2",
        ),
        (
            lambda b: (b.series("PATCH", "mm: a", "mm: b"), b.series("PATCH", "net: a", "net: b")),
            "two patches 1/2 of v1: 'mm: a' and 'net: a'",
        ),
        (
            lambda b: (b.series("PATCH", "mm: a"), b.series("PATCH", "net: a", "net: b")),
            "two series that are v1",
        ),
        (lambda b: b.add("hello", "no patch\n"), "holds no patches"),
    ],
)
def test_gaps_and_doubles_are_named(
    tmp_path: Path, build: Callable[[Box], object], says: str
) -> None:
    box = Box()
    build(box)
    with pytest.raises(UserError, match=says) as caught:
        given(tmp_path, box)
    assert "t.mbox" in caught.value.message


@pytest.mark.parametrize(
    ("body", "commit", "words"),
    [
        ("Why.\n\nbase-commit: abcdef0123456789\n", "abcdef0123456789", ""),
        ("This series is\nbased on v6.17-rc1. Thanks.\n", "", "This series is based on v6.17-rc1."),
        ("Applies on top of mm-unstable.\n", "", "Applies on top of mm-unstable."),
        ("It is based on an idea of Bob.\n", "", ""),
    ],
)
def test_the_base_that_the_cover_letter_names(
    tmp_path: Path, body: str, commit: str, words: str
) -> None:
    box = Box()
    cover = box.add("[PATCH 0/1] why", body)
    box.add("[PATCH 1/1] mm: one", to=cover)
    base = given(tmp_path, box).base
    assert (base.commit, base.words) == (commit, words)


def test_the_base_below_a_patch_without_a_cover_letter(tmp_path: Path) -> None:
    box = Box()
    patch_id = "1" * 40
    tail = f"-- \n2.39.5\n\nbase-commit: {'a' * 40}\nprerequisite-patch-id: {patch_id}\n"
    box.add("[PATCH] mm: one", f"Why.\n{diff()}{tail}")
    base = given(tmp_path, box).base
    assert (base.commit, base.prerequisites) == ("a" * 40, (patch_id,))


def test_every_version_of_a_thread(tmp_path: Path) -> None:
    box = Box()
    first = box.series("PATCH", "mm: one", "mm: two")
    box.add("Re: [PATCH 1/2] mm: one", "No.\n", to=first[1])
    second = box.series("PATCH v2", "mm: eins", "mm: zwei", to=first[0])
    box.add("[PATCH v3 2/2] mm: zwei", to=second[2], key="n")
    (tmp_path / "t.mbox").write_bytes(box.mbox())
    versions = all_versions(str(tmp_path / "t.mbox"), tmp_path / "o")
    assert [v.label for v in versions] == ["v1", "v2", "v3"]
    assert [subjects(v, tmp_path) for v in versions] == [
        ["mm: one", "mm: two"],
        ["mm: eins", "mm: zwei"],
        ["mm: eins", "mm: zwei"],
    ]
    assert [v.message_id for v in versions] == ["0@example.org", "4@example.org", "4@example.org"]
    assert {v.author for v in versions} == {AUTHOR}
    assert {v.cover for v in versions} == {"The story."}
    assert len({p for v in versions for p in v.variant.patches}) == 6


def test_every_version_but_one_that_is_not_whole(tmp_path: Path) -> None:
    box = Box()
    box.add("[PATCH 1/2] mm: one")
    box.series("PATCH v2", "mm: eins", "mm: zwei")
    (tmp_path / "t.mbox").write_bytes(box.mbox())
    versions = all_versions(str(tmp_path / "t.mbox"), tmp_path / "o")
    assert [v.label for v in versions] == ["v2"]
    assert versions[0].notes == ("v1 is left out: it lacks patch 2/2",)
