# SPDX-License-Identifier: GPL-2.0-only
"""Before anything is built it is said whether a series applies, and where else it does."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest

from kvet.cli.main import main
from kvet.errors import UserError
from kvet.events import Events
from kvet.model import Kernel, SourceTree
from kvet.plan.library import load_kernel
from kvet.run.applies import Trial, advised, series_lines, try_series
from kvet.source.diff import backwards, with_level_one
from kvet.source.fetch import cached_source, open_source
from kvet.source.git import Repo
from kvet.source.given import open_series
from kvet.source.quilt import read_quilt
from kvet.source.rejected import AlreadyMerged, DoesNotApply
from kvet.source.series import apply_series
from tests.conftest import git, make_patch, make_tree
from tests.mails import Box

BODY = "".join(f"int line_{i};\n" for i in range(30))
MAKEFILE = "VERSION = 6\nPATCHLEVEL = 12\nSUBLEVEL = 1\n"


def commits(tree: SourceTree, *changes: tuple[str, str, str]) -> tuple[list[str], str]:
    """Patches of one commit for each change, and the tree id after them; the tree is put back."""
    for number, (file, old, new) in enumerate(changes, start=1):
        path = tree.path / file
        path.write_text(path.read_text().replace(old, new))
        git(tree.path, "commit", "-q", "-a", "-m", f"mm: change {number}")
    count = f"-{len(changes)}"
    out = tempfile.mkdtemp(dir=tree.path.parent)
    names = git(tree.path, "format-patch", count, "-o", out).splitlines()
    after = git(tree.path, "rev-parse", "HEAD^{tree}")
    git(tree.path, "reset", "-q", "--hard", tree.base_commit)
    return names, after


def reason(repo: Repo, tree_id: str, names: list[str]) -> UserError:
    with pytest.raises(UserError) as caught:
        apply_series(repo, tree_id, [Path(name) for name in names])
    return caught.value


CHANGES = (
    ("mm/a.c", "line_3;", "three;"),
    ("mm/a.c", "int three;", "int three;\nint more;"),
    ("mm/b.c", "line_9;", "nine;"),
)


def test_a_series_that_is_in_the_tree_is_merged(tree: SourceTree, repo: Repo) -> None:
    """The second patch changed what the first one added, so they must come out backwards."""
    names, after = commits(tree, *CHANGES)
    error = reason(repo, after, names)
    assert isinstance(error, AlreadyMerged)
    assert "the series is merged already: this tree holds all 3 patches: 1 ('mm: change 1')" in (
        error.message
    )
    assert apply_series(repo, tree.tree_id, [Path(n) for n in names]).tree_id == after


def test_patches_that_are_in_the_tree_are_named(tree: SourceTree, repo: Repo) -> None:
    names, _ = commits(tree, *CHANGES)
    _, partly = commits(tree, *CHANGES[:2])
    error = reason(repo, partly, names)
    assert isinstance(error, AlreadyMerged)
    assert "of 3 patches this tree holds 1 ('mm: change 1'), 2 ('mm: change 2')" in error.message
    assert error.message.endswith("and does not hold 3")
    assert "`series` file" in error.hint


def test_one_patch_that_is_in_the_tree(tree: SourceTree, repo: Repo) -> None:
    names, after = commits(tree, CHANGES[0])
    assert "is merged already" in reason(repo, after, names).message


def test_merged_though_the_tree_went_on_round_it(tree: SourceTree, repo: Repo) -> None:
    names, _ = commits(tree, CHANGES[0])
    _, later = commits(tree, CHANGES[0], ("mm/a.c", "line_5;", "other;"))
    text = Path(names[0]).read_text()
    bare = "\n".join(x for x in text.splitlines() if not x.startswith("index ")) + "\n"
    Path(names[0]).write_text(bare)  # so that git cannot look the old file up
    assert "is merged already" in reason(repo, later, names).message


def test_what_is_not_in_the_tree_is_not_merged(tree: SourceTree, repo: Repo) -> None:
    names, _ = commits(tree, CHANGES[0])
    _, other = commits(tree, ("mm/a.c", "line_3;", "somewhat_else;"))
    assert isinstance(reason(repo, other, names), DoesNotApply)


def test_signature_of_a_mail_is_no_part_of_the_hunk(tree: SourceTree, repo: Repo) -> None:
    names, _ = commits(tree, ("mm/a.c", "line_28;", "x;"))
    _, other = commits(tree, ("mm/a.c", "line_28;", "y;"))
    text = Path(names[0]).read_text()
    assert "\n-- \n2." in text
    message = reason(repo, other, names).message
    assert message.endswith("     int line_27;\n    -int line_28;\n    +int x;\n     int line_29;")


@pytest.mark.parametrize(
    "text",
    [
        "--- a/mm/link/evil.c\n+++ b/mm/link/evil.c\n@@ -0,0 +1 @@\n+x\n",
        'diff --git "a/\\056\\056/e.c" "b/\\056\\056/e.c"\nnew file mode 100644\n'
        '--- /dev/null\n+++ "b/\\056\\056/e.c"\n@@ -0,0 +1 @@\n+x\n',
        "--- /dev/null\n+++ b//etc/evil\n@@ -0,0 +1 @@\n+x\n",
        "--- /dev/null\n+++ b/mm/../../evil\n@@ -0,0 +1 @@\n+x\n",
        "diff --git a/mm/a.c b/../a.c\nrename from mm/a.c\nrename to ../a.c\n",
        "diff --git a/mm/a.c b/mm/a.c\nold mode 100644\nnew mode 120000\n",
        "--- /dev/null\n+++ b/.git/hooks/post-checkout\n@@ -0,0 +1 @@\n+x\n",
    ],
)
def test_no_patch_leaves_the_tree(tmp_path: Path, text: str) -> None:
    tree = make_tree(tmp_path / "tree", {"mm/a.c": BODY})
    (tmp_path / "outside").mkdir()
    (tree.path / "mm" / "link").symlink_to(tmp_path / "outside")
    git(tree.path, "add", "-A")
    git(tree.path, "commit", "-qm", "link")
    patch = tmp_path / "x.patch"
    patch.write_text(text)
    with pytest.raises(UserError, match="x.patch"):
        apply_series(
            Repo(tree.path, tmp_path / "objects"),
            git(tree.path, "rev-parse", "HEAD^{tree}"),
            [patch],
        )
    assert list((tmp_path / "outside").iterdir()) == []


def quilt(folder: Path, series: str, **patches: str) -> Path:
    folder.mkdir()
    (folder / "series").write_text(series)
    for name, text in patches.items():
        (folder / f"{name}.patch").write_text(text)
    return folder


def test_quilt_options_and_guards(tree: SourceTree, repo: Repo, tmp_path: Path) -> None:
    plain = make_patch(tree, "mm/a.c", "line_3;", "three;", "mm: one")
    flat = plain.replace("a/mm/a.c", "mm/a.c").replace("b/mm/a.c", "mm/a.c")
    deep = make_patch(tree, "mm/b.c", "line_5;", "five;", "mm: two")
    deep = deep.replace("a/mm", "x/y/mm").replace("b/mm", "x/z/mm")
    _, taken = commits(tree, ("include/a.h", "x\n", "y\n"))
    back = make_patch(tree, "include/a.h", "x\n", "y\n", "mm: three")
    series = (
        "# all of it\nflat.patch -p0   # why\n+arm32 other.patch\ndeep.patch -p 2\n"
        "gone.patch #+staging\n-arm32 back.patch -R\n"
    )
    folder = quilt(tmp_path / "q", series, flat=flat, deep=deep, back=back)
    given = open_series(str(folder), tmp_path / "o")
    assert given.notes == (
        "left out: other.patch, by its guard +arm32",
        "left out: gone.patch, by its guard +staging",
    )
    _, wanted = commits(tree, ("mm/a.c", "line_3;", "three;"), ("mm/b.c", "line_5;", "five;"))
    _, start = commits(tree, ("include/a.h", "x\n", "y\n"))
    applied = apply_series(repo, start, given.variant.patches)
    assert applied.tree_id == wanted
    assert [p.subject for p in applied.patches] == ["mm: one", "mm: two", "mm: three"]
    assert taken == start


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("a.patch --fuzz", "series: line 2: a.patch --fuzz: quilt's options are -pN, -pab and -R"),
        ("../a.patch", "leaves the directory"),
        ("gone.patch", "gone.patch does not exist"),
    ],
)
def test_quilt_lines_that_cannot_be_honoured(tmp_path: Path, line: str, says: str) -> None:
    folder = quilt(tmp_path / "q", f"#\n{line}\n", a="x")
    with pytest.raises(UserError, match=says):
        list(read_quilt(folder))


def test_backwards_twice_is_the_same_tree(tree: SourceTree, repo: Repo, tmp_path: Path) -> None:
    """Renames, new and deleted files, modes, and a file without a newline at its end."""
    (tree.path / "mm/n.c").write_text("no newline")
    git(tree.path, "mv", "mm/b.c", "mm/moved.c")
    (tree.path / "include/a.h").unlink()
    (tree.path / "mm/a.c").chmod(0o755)
    (tree.path / "mm/a.c").write_text(BODY.replace("line_29;\n", "-- x;"))
    git(tree.path, "add", "-A")
    git(tree.path, "commit", "-qm", "all kinds")
    text = git(tree.path, "format-patch", "-1", "--stdout", "-M", "--no-signature") + "\n"
    after = git(tree.path, "rev-parse", "HEAD^{tree}")
    git(tree.path, "reset", "-q", "--hard", tree.base_commit)
    head, _, diff = text.partition("diff --git")
    path = tmp_path / "r.patch"
    path.write_bytes(head.encode() + backwards(b"diff --git" + diff.encode()))
    assert apply_series(repo, after, [path]).tree_id == tree.tree_id
    assert backwards(backwards(diff.encode())) == diff.encode()
    assert with_level_one(diff.encode(), 1) == diff.encode()


def kernel(tmp_path: Path, name: str, body: str) -> Kernel:
    """A kernel whose source is in the cache, `mm/a.c` being `body`."""
    folder = tmp_path / name
    (folder / "mm").mkdir(parents=True)
    (folder / "mm/a.c").write_text(body)
    (folder / "Makefile").write_text(MAKEFILE)
    file = tmp_path / f"{name}.yaml"
    file.write_text(f"title: x\nkind: directory\npath: {folder}\n")
    found = load_kernel(file)
    open_source(found, tmp_path / "cache", events=Events())
    return found


def trial(tmp_path: Path, kernels: list[Kernel], box: Box) -> Trial:
    (tmp_path / "v2.mbox").write_bytes(box.mbox())
    given = open_series(str(tmp_path / "v2.mbox"), tmp_path / "o")
    return Trial(given.variant, kernels[0], kernels, tmp_path / "cache", given)


def series_on(tmp_path: Path, body: str, cover: str = "Why.\n") -> Box:
    """A series of one patch made on `body`."""
    tree = make_tree(tmp_path / "made", {"mm/a.c": body})
    text = make_patch(tree, "mm/a.c", "line_3;", "three;", "mm: one")
    box = Box()
    top = box.add("[PATCH v2 0/1] why", cover)
    box.add("[PATCH v2 1/1] mm: one", "x\n---\n" + text[text.index("diff --git") :], to=top)
    return box


def test_the_kernel_that_takes_it_is_named(tmp_path: Path) -> None:
    other = BODY.replace("line_4", "other_4")
    kernels = [kernel(tmp_path, "old", BODY), kernel(tmp_path, "new", other)]
    cover = "This is based on v6.13-rc1.\n\nbase-commit: 0123456789ab\n"
    tried = trial(tmp_path, kernels, series_on(tmp_path, other, cover))
    with pytest.raises(DoesNotApply) as caught:
        try_series(tried)
    assert caught.value.message.startswith(
        f"{tmp_path}/v2.mbox: 0001-mm-one.patch: does not apply: mm/a.c, hunk 1 at line 1"
    )
    assert caught.value.hint == "new (6.12.1) takes it: --kernel new"
    assert caught.value.message.endswith(
        "\n  tried on old; it says of its base: base-commit 0123456789ab, "
        '"This is based on v6.13-rc1."'
    )


def test_no_kernel_takes_it(tmp_path: Path) -> None:
    kernels = [kernel(tmp_path, "old", BODY), kernel(tmp_path, "new", BODY)]
    made_on = BODY.replace("line_4", "other_4")
    with pytest.raises(DoesNotApply) as caught:
        try_series(trial(tmp_path, kernels, series_on(tmp_path, made_on)))
    assert "none of the kernels in the cache takes it: old, new" in caught.value.message
    assert "choose its base with --kernel" in caught.value.hint


def test_what_is_merged_here_may_apply_to_an_older_kernel(tmp_path: Path) -> None:
    merged = BODY.replace("line_3;", "three;")
    kernels = [kernel(tmp_path, "new", merged), kernel(tmp_path, "old", BODY)]
    with pytest.raises(AlreadyMerged, match="this tree holds every line of 'mm: one'") as caught:
        try_series(trial(tmp_path, kernels, series_on(tmp_path, BODY)))
    assert caught.value.hint == "old (6.12.1) takes it: --kernel old"


def test_a_series_that_applies_and_one_that_cannot_be_tried(tmp_path: Path) -> None:
    kernels = [kernel(tmp_path, "old", BODY)]
    tried = trial(tmp_path, kernels, series_on(tmp_path, BODY))
    assert try_series(tried) == "1 patch applied to old (6.12.1)"
    assert list(series_lines(tried.given or pytest.fail("none"))) == [
        "v2: 'why' by Ann Author <ann@example.org>, 1 patch"
    ]
    absent = Kernel("gone", "directory", {"path": "/x"}, tmp_path / "gone.yaml")
    tried = Trial(tried.variant, absent, [], tmp_path / "cache", tried.given)
    assert try_series(tried) == "not tried: the source of gone is not in the cache yet"
    assert advised(UserError("something else"), tried).message == "something else"


def test_dry_run_says_what_is_taken_and_that_it_applies(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setenv("KVET_CACHE", str(cache))
    tree = make_tree(cache / "sources" / "linux-source-6.12-0123456789ab", {"mm/a.c": BODY})
    note = {"base_commit": tree.base_commit, "tree": tree.tree_id, "version": "6.12.117"}
    (cache / "sources" / "linux-source-6.12-0123456789ab.json").write_text(json.dumps(note))
    path = tmp_path / "v2.mbox"
    path.write_bytes(series_on(tmp_path, BODY).mbox())
    assert main(["run", "--series", str(path), "--dry-run"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("no workload fits: ptdump-race is not about mm/a.c")
    told = [line for line in out[1:] if not line.startswith(" ")]
    assert told[:3] == [
        "v2: 'why' by Ann Author <ann@example.org>, 1 patch",
        "base: linux-6.12, 6.12.117, the newest kernel in the cache that takes it; "
        "the series names no base-commit",
        "1 patch applied to linux-6.12 (6.12.117)",
    ]
    path.write_bytes(series_on(tmp_path / "x", BODY.replace("line_4", "other")).mbox())
    assert main(["run", "--series", str(path), "--dry-run"]) == 2
    assert "mm/a.c, hunk 1 at line 1 is rejected" in capsys.readouterr().err


def test_cached_source_of_git_is_the_newest_checkout(tree: SourceTree, tmp_path: Path) -> None:
    (tree.path / "Makefile").write_text(MAKEFILE)
    git(tree.path, "add", "-A")
    git(tree.path, "commit", "-qm", "makefile")
    git(tree.path, "tag", "v1")
    file = tmp_path / "k.yaml"
    file.write_text(f"title: x\nkind: git\nurl: {tree.path}\nref: v1\n")
    found = load_kernel(file)
    assert cached_source(found, tmp_path / "c") is None
    opened = open_source(found, tmp_path / "c", events=Events())
    cached = cached_source(found, tmp_path / "c")
    assert cached is not None
    assert (cached.tree_id, cached.base_commit) == (opened.tree_id, opened.base_commit)
