# SPDX-License-Identifier: GPL-2.0-only
"""A series either applies patch by patch or says which patch, file and hunk is at fault."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kvet.errors import UserError
from kvet.model import SourceTree
from kvet.source.git import Repo
from kvet.source.given import series_variant
from kvet.source.series import apply_series
from tests.conftest import git, make_patch

SYMLINK = """\
diff --git a/mm/link b/mm/link
new file mode 120000
index 0000000..1234567
--- /dev/null
+++ b/mm/link
@@ -0,0 +1 @@
+/etc/passwd
\\ No newline at end of file
"""


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


def test_applies_in_order_and_names_what_changed(
    tree: SourceTree, repo: Repo, tmp_path: Path
) -> None:
    one = write(tmp_path, "1.patch", make_patch(tree, "mm/a.c", "line_3;", "three;", "mm: one"))
    two = write(tmp_path, "2.patch", make_patch(tree, "mm/b.c", "line_5;", "five;", "mm: two"))
    applied = apply_series(repo, tree.tree_id, [one, two])
    assert applied.changed == {"mm/a.c": "M", "mm/b.c": "M"}
    assert [p.subject for p in applied.patches] == ["mm: one", "mm: two"]
    assert applied.patches[0].tree_id != applied.patches[1].tree_id == applied.tree_id
    assert repo.blob(applied.tree_id, "mm/a.c")[0].count(b"three") == 1
    assert git(tree.path, "status", "--porcelain") == ""


def test_what_was_applied_once_is_not_applied_again(
    tree: SourceTree, repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = make_patch(tree, "mm/a.c", "line_3;", "three;", "mm: one")
    first = apply_series(repo, tree.tree_id, [write(tmp_path, "1.patch", text)])
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    moved = write(elsewhere, "0001-one.patch", text)
    monkeypatch.setattr(Repo, "run", lambda *args, **options: pytest.fail("git was asked again"))
    again = apply_series(repo, tree.tree_id, [moved])
    assert again == replace(first, patches=(replace(first.patches[0], path=moved),))
    changed = write(tmp_path, "2.patch", text.replace("three;", "drei;"))
    with pytest.raises(pytest.fail.Exception):
        apply_series(repo, tree.tree_id, [changed])


def test_a_base_is_read_once_and_again_when_what_was_kept_is_damaged(
    tree: SourceTree, repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    run = Repo.run

    def noted(self: Repo, *args: str, **more: Any) -> Any:
        asked.append(args[0])
        return run(self, *args, **more)

    monkeypatch.setattr(Repo, "run", noted)

    def applied(text: str) -> str:
        asked.clear()
        patch = make_patch(tree, "mm/a.c", "line_3;", text, "mm: one")
        return apply_series(repo, tree.tree_id, [write(tmp_path, "1.patch", patch)]).tree_id

    one = applied("three;")
    assert "read-tree" in asked
    two = applied("drei;")
    assert "read-tree" not in asked and two != one
    assert repo.blob(two, "mm/b.c") == repo.blob(tree.tree_id, "mm/b.c")
    (kept,) = repo.objects.glob("index-*")
    data = bytearray(kept.read_bytes())
    data[len(data) // 2] ^= 1
    kept.write_bytes(data)
    three = applied("tres;")
    assert "read-tree" in asked
    assert repo.changed(two, three) == {"mm/a.c": "M"}


def test_empty_series_is_the_base(tree: SourceTree, repo: Repo) -> None:
    applied = apply_series(repo, tree.tree_id, [])
    assert applied.tree_id == tree.tree_id
    assert applied.changed == {}


def test_three_way_takes_a_patch_whose_context_moved(
    tree: SourceTree, repo: Repo, tmp_path: Path
) -> None:
    near = make_patch(tree, "mm/a.c", "line_4;", "four;")
    far = make_patch(tree, "mm/a.c", "line_8;", "eight;")
    paths = [write(tmp_path, "1.patch", near), write(tmp_path, "2.patch", far)]
    applied = apply_series(repo, tree.tree_id, paths)
    content = repo.blob(applied.tree_id, "mm/a.c")[0]
    assert b"four" in content
    assert b"eight" in content


def test_rejected_hunk_is_named_and_shown(tree: SourceTree, repo: Repo, tmp_path: Path) -> None:
    text = make_patch(tree, "mm/a.c", "line_20;", "twenty;").replace("int line_19", "int other_19")
    text = "\n".join(x for x in text.splitlines() if not x.startswith("index ")) + "\n"
    with pytest.raises(UserError) as caught:
        apply_series(repo, tree.tree_id, [write(tmp_path, "bad.patch", text)])
    message = caught.value.message
    assert "bad.patch" in message
    assert "mm/a.c, hunk 1" in message
    assert "-int line_20;" in message
    assert git(tree.path, "status", "--porcelain") == ""


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda text: "Subject: nothing\n\njust words\n", "holds no patch"),
        (lambda text: "", "holds no patch"),
        (lambda text: text.replace("\n", "\r\n"), "CRLF"),
        (lambda text: text.replace("b/mm/a.c", "b/../../etc/passwd"), "outside the source tree"),
        (lambda text: text.replace("b/mm/a.c", "b/.git/config"), "outside the source tree"),
        (lambda text: text + "GIT binary patch\nliteral 3\nabc\n", "binary"),
        (lambda text: text.replace("mm/a.c", "mm/gone.c"), "mm/gone.c"),
        (lambda text: text.replace("a/mm", "mm").replace("b/mm", "mm"), "fit with -p0 alone"),
        (lambda text: text[: text.index("+int three")], "corrupt patch at line .* of its diff"),
        (lambda text: text + SYMLINK, "line .*: touches a symbolic link"),
        (lambda text: text + SYMLINK.replace("120000", "160000"), "touches a submodule"),
        (
            lambda text: "diff --git a/x.png b/x.png\nBinary files a/x.png and b/x.png differ\n",
            "bin",
        ),
        (lambda text: text + "copy from ../../x\ncopy to mm/c.c\n", "outside the source tree"),
        (
            lambda text: "diff --git a/../x b/../x\nnew file mode 100644\n",
            "outside the source tree",
        ),
    ],
)
def test_bad_patches_say_what_is_wrong(
    tree: SourceTree, repo: Repo, tmp_path: Path, change: object, says: str
) -> None:
    text = make_patch(tree, "mm/a.c", "line_3;", "three;")
    path = write(tmp_path, "bad.patch", change(text))  # type: ignore[operator]
    with pytest.raises(UserError, match=says) as caught:
        apply_series(repo, tree.tree_id, [path])
    assert "bad.patch" in caught.value.message


def test_already_applied_says_so(tree: SourceTree, repo: Repo, tmp_path: Path) -> None:
    path = write(tmp_path, "1.patch", make_patch(tree, "mm/a.c", "line_3;", "three;"))
    with pytest.raises(UserError, match="already applied"):
        apply_series(repo, tree.tree_id, [path, path])


def test_mailbox_is_split_ordered_and_freed_of_its_cover(
    tree: SourceTree, repo: Repo, tmp_path: Path
) -> None:
    (tree.path / "mm/a.c").write_text("a\n", encoding="utf-8")
    git(tree.path, "commit", "-qam", "first")
    (tree.path / "mm/a.c").write_text("b\n", encoding="utf-8")
    git(tree.path, "commit", "-qam", "second")
    base = f"{tree.base_commit}..HEAD"
    mails = git(tree.path, "format-patch", "--stdout", "--cover-letter", base)
    parts = ["From " + part for part in ("\n" + mails).split("\nFrom ")[1:]]
    shuffled = "\n".join([parts[2].rstrip(), *[p.rstrip() for p in parts[:2]]]) + "\n"
    variant = series_variant(str(write(tmp_path, "v3.mbox", shuffled)), tmp_path / "split")
    assert variant.name == "v3"
    assert variant.foreign
    applied = apply_series(repo, tree.tree_id, variant.patches)
    assert [p.subject for p in applied.patches] == ["first", "second"]


def test_git_range_and_quilt_directory(tree: SourceTree, repo: Repo, tmp_path: Path) -> None:
    quilt = tmp_path / "quilt"
    quilt.mkdir()
    write(quilt, "z.patch", make_patch(tree, "mm/a.c", "line_3;", "three;", "first in series"))
    write(quilt, "a.patch", make_patch(tree, "mm/b.c", "line_3;", "three;", "second in series"))
    write(quilt, "series", "# comment\nz.patch -p1\n\na.patch # why\n")
    variant = series_variant(str(quilt), tmp_path / "copy")
    subjects = [p.subject for p in apply_series(repo, tree.tree_id, variant.patches).patches]
    assert subjects == ["first in series", "second in series"]

    (tree.path / "mm/a.c").write_text("a\n", encoding="utf-8")
    git(tree.path, "commit", "-qam", "topic")
    spec = f"{tree.path}:{tree.base_commit}..HEAD"
    ranged = series_variant(spec, tmp_path / "range")
    assert len(ranged.patches) == 1


@pytest.mark.parametrize("spec", ["/nonexistent", "gone.mbox", "/nonexistent:a..b"])
def test_series_that_is_not_there(spec: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--series"):
        series_variant(spec, tmp_path / "out")


def test_quilt_series_cannot_leave_its_folder(tmp_path: Path) -> None:
    quilt = tmp_path / "quilt"
    quilt.mkdir()
    write(tmp_path, "outside.patch", "x")
    write(quilt, "series", "../outside.patch\n")
    with pytest.raises(UserError, match="leaves the directory"):
        series_variant(str(quilt), tmp_path / "out")


def test_what_a_hunk_holds_is_no_path(tree: SourceTree, repo: Repo, tmp_path: Path) -> None:
    """A line `++ /abs` that is added reads `+++ /abs`, as a header does."""
    text = make_patch(tree, "mm/a.c", "int line_3;", "++ /abs\nGIT binary patch")
    applied = apply_series(repo, tree.tree_id, [write(tmp_path, "1.patch", text)])
    assert b"\n++ /abs\nGIT binary patch\n" in repo.blob(applied.tree_id, "mm/a.c")[0]


def test_new_empty_file_is_a_patch(tree: SourceTree, repo: Repo, tmp_path: Path) -> None:
    text = "diff --git a/mm/n.c b/mm/n.c\nnew file mode 100644\nindex 0000000..e69de29\n"
    applied = apply_series(repo, tree.tree_id, [write(tmp_path, "1.patch", text)])
    assert applied.changed == {"mm/n.c": "A"}


def test_later_patch_is_judged_on_the_patches_before_it(
    tree: SourceTree, repo: Repo, tmp_path: Path
) -> None:
    """The second would apply to the base; it is the first that took its line away."""
    one = write(tmp_path, "1.patch", make_patch(tree, "mm/a.c", "line_3;", "three;"))
    two = write(tmp_path, "2.patch", make_patch(tree, "mm/a.c", "line_3;", "drei;"))
    with pytest.raises(UserError, match="2.patch: does not apply: mm/a.c, hunk 1 at line 1"):
        apply_series(repo, tree.tree_id, [one, two])


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"a.patch -x\n", "series: line 1: a.patch -x: quilt's options are"),
        (b"\xff\xfe\n", "series: cannot be read"),
    ],
)
def test_quilt_series_that_cannot_be_honoured(tmp_path: Path, line: bytes, says: str) -> None:
    (tmp_path / "q").mkdir()
    (tmp_path / "q" / "series").write_bytes(line)
    with pytest.raises(UserError, match=says):
        series_variant(str(tmp_path / "q"), tmp_path / "out")


def test_folder_of_format_patch_is_taken_without_its_cover(
    tree: SourceTree, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    write(folder, "0001-one.patch", make_patch(tree, "mm/a.c", "line_3;", "three;"))
    write(folder, "0000-cover-letter.patch", "Subject: [PATCH 0/1] why\n\nblurb\n")
    variant = series_variant(str(folder), tmp_path / "copy")
    assert [p.name for p in variant.patches] == ["0001-one.patch"]


def test_range_that_is_none_says_why(tree: SourceTree, tmp_path: Path) -> None:
    base = tree.base_commit
    for name in ("left", "right"):
        git(tree.path, "checkout", "-q", "-b", name, base)
        write(tree.path, f"{name}.c", "int x;\n")
        git(tree.path, "add", "-A")
        git(tree.path, "commit", "-qm", name)
    git(tree.path, "merge", "-q", "--no-edit", "left")
    for commits, says in (
        (f"{base}..gone", "has no commit 'gone'"),
        (f"{base}...left", "the range is BASE..TIP"),
        ("--output=x..left", "is no commit"),
        (f"{base}..right", "holds 1 merge commit"),
        ("left..left", "holds no patches"),
    ):
        with pytest.raises(UserError, match=says):
            series_variant(f"{tree.path}:{commits}", tmp_path / "copy")


def test_range_is_plain_whatever_the_users_git_is_set_to(
    tree: SourceTree, repo: Repo, tmp_path: Path
) -> None:
    moved = tmp_path / "a:b"
    tree.path.rename(moved)
    for setting in ("diff.noprefix", "format.coverLetter", "format.attach"):
        git(moved, "config", setting, "true")
    write(moved, "mm/a.c", "int other;\n")
    git(moved, "commit", "-qam", "topic")
    variant = series_variant(f"{moved}:{tree.base_commit}..HEAD", tmp_path / "copy")
    applied = apply_series(Repo(moved, repo.objects), tree.tree_id, variant.patches)
    assert applied.changed == {"mm/a.c": "M"}
