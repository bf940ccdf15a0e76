# SPDX-License-Identifier: GPL-2.0-only
"""What a series is put on: named, found in a repository, or the newest kernel that takes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvet.cache import cache_root
from kvet.cell_id import CellId
from kvet.errors import UserError
from kvet.events import Events
from kvet.model import Conclusion
from kvet.report.formats import FORMATS
from kvet.results.folder import find_run
from kvet.results.record import read_record
from kvet.run.base import Choice, Chosen
from kvet.run.judged import Judged
from kvet.run.plan import read_plan, recorded_cell
from kvet.source.fetch import open_source
from kvet.source.given import open_series
from tests.conftest import git
from tests.more import go
from tests.night import Nights, nights
from tests.versions import AXES, HARMLESS, Edit, commit, mailbox

__all__ = ["nights"]  # a fixture
BEFORE: Edit = ("mm/ptdump.c", "addr + 2", "addr + 4")
BETWEEN: Edit = ("mm/ptdump.c", "addr + 4", "addr + 6")


def chosen(made: Nights, *specs: Path | str, kernel: str = "", tree: str = "") -> list[Chosen]:
    folder = made.project.root / "opened"
    given = [open_series(str(spec), folder / str(n)) for n, spec in enumerate(specs)]
    choice = Choice(made.project.library, cache_root(), kernel, tree)
    return choice.choose([Judged(one.variant, one) for one in given])


def cached(made: Nights, *names: str) -> None:
    """Bring the sources of these kernels into the cache."""
    for name in names:
        open_source(made.project.library.kernels()[name], cache_root(), events=Events())


def test_the_kernel_that_is_named_is_taken(nights: Nights) -> None:
    mbox = mailbox(nights.project, "a.mbox", [HARMLESS])
    assert [(c.kernel.name, c.why) for c in chosen(nights, mbox, kernel="fake")] == [
        ("fake", "--kernel")
    ]
    work = nights.project.root / "work"
    (found,) = chosen(nights, mbox, kernel="HEAD", tree=str(work))
    assert found.kernel.name == f"work-{git(work, 'rev-parse', 'HEAD')[:12]}"
    with pytest.raises(UserError, match="no kernel is called so, and .*work has no such commit"):
        chosen(nights, mbox, kernel="v9.9", tree=str(work))
    with pytest.raises(UserError, match="is no git repository"):
        chosen(nights, mbox, tree=str(nights.project.root / "tree"))


def test_the_base_commit_is_found_in_a_repository(nights: Nights) -> None:
    project = nights.project
    work = project.root / "work"
    base = commit(project, [BEFORE])
    mbox = mailbox(project, "a.mbox", [HARMLESS], f"--base={base}")
    git(work, "reset", "-q", "--hard", "HEAD~1")
    (found,) = chosen(nights, mbox, tree=str(work))
    assert found.kernel.spec["ref"] == base
    assert found.why == f"base-commit of the series, found in {work}"
    # a repository that kernels/ names will do as well
    (project.root / "kernels/mine.yaml").write_text("kind: git\nurl: ../work\nref: HEAD\n")
    (found,) = chosen(nights, mbox)
    assert found.kernel.spec["ref"] == base


def test_prerequisite_patches_are_found_above_the_base_commit(nights: Nights) -> None:
    project = nights.project
    work = project.root / "work"
    base = git(work, "rev-parse", "HEAD")
    above = commit(project, [BEFORE, BETWEEN])
    git(work, "branch", "prerequisites", above)
    mbox = mailbox(project, "a.mbox", [HARMLESS], f"--base={base}")
    assert mbox.read_text().count("prerequisite-patch-id:") == 2
    git(work, "reset", "-q", "--hard", base)
    (found,) = chosen(nights, mbox, tree=str(work))
    assert found.kernel.spec["ref"] == above
    assert "prerequisite patches of the series" in found.why
    git(work, "branch", "-D", "prerequisites")
    (found,) = chosen(nights, mbox, tree=str(work))
    assert (
        found.kernel.spec["ref"] == base and "its prerequisite patches are not there" in found.why
    )


def test_without_a_base_the_newest_kernel_that_takes_it_is_taken(nights: Nights) -> None:
    project = nights.project
    mbox = mailbox(project, "a.mbox", [HARMLESS])
    (found,) = chosen(nights, mbox)
    assert found.why == (
        "the default; no source is in the cache yet; the series names no base-commit"
    )
    for name, patchlevel, text in (("newer", "13", "addr + 1"), ("newest", "14", "addr + 8")):
        tree = project.root / name
        git(project.root, "clone", "-q", "work", name)
        for file, old, new in (("Makefile", "PATCHLEVEL = 12", f"PATCHLEVEL = {patchlevel}"),
                               ("mm/vmalloc.c", "addr + 1", text)):  # fmt: skip
            path = tree / file
            path.write_text(path.read_text().replace(old, new))
        (project.root / f"kernels/{name}.yaml").write_text(f"kind: directory\npath: ../{name}\n")
    cached(nights, "fake", "newer", "newest")
    (found,) = chosen(nights, mbox)
    assert found.kernel.name == "newer" and found.why.startswith("6.13.99, the newest kernel")
    # what two share is what both apply to
    other = mailbox(project, "b.mbox", [("Makefile", "PATCHLEVEL = 12", "PATCHLEVEL = 20")])
    assert [c.kernel.name for c in chosen(nights, mbox, other)] == ["fake", "fake"]


def test_commits_are_judged_on_what_they_are_made_on(
    nights: Nights, capsys: pytest.CaptureFixture[str]
) -> None:
    """Any commit is a base without a file of its own, and the controls are fitted to it."""
    work = nights.project.root / "work"
    base = commit(nights.project, [BEFORE])
    tip = commit(nights.project, [HARMLESS])
    axes = AXES[: AXES.index("--kernel")]
    where = ("--out", str(nights.results), "--attempts", "1", "--plain")
    assert go("run", *axes, *where, "--series", f"{work}:{base}..{tip}") == 0
    name = f"work-{base[:12]}"
    said = capsys.readouterr().err
    assert f"base: {name}, {base} of {work}, which the commits are on" in said
    run = find_run("latest", nights.results)
    record = read_record(run / "results.json")
    assert [(c.kernel, c.variant, c.conclusion) for c in record.cells] == [
        (name, "stock", Conclusion.INCONCLUSIVE),
        (name, "broken", Conclusion.FAIL),
        (name, "work", Conclusion.PASS),
    ]
    assert record.host.kernels[name].base_commit == base
    given = record.cells[2].given
    assert given is not None and given.base.startswith(name)
    told = " ".join(FORMATS["mail"](record).split())
    assert f"commit {base}, git tree {record.host.kernels[name].tree}" in told
    # the run can be repeated, though no file defines its kernel
    assert set(read_plan(run).kernels) == {name}
    assert not (nights.project.root / "kernels/lock.yaml").exists()
    wanted = CellId.parse(record.cells[2].id)
    cell = recorded_cell(nights.project.library, wanted, run)
    assert cell.kernel.spec["ref"] == base


def test_a_control_that_does_not_fit_is_left_out_aloud(
    nights: Nights, capsys: pytest.CaptureFixture[str]
) -> None:
    work = nights.project.root / "work"
    base = commit(nights.project, [("scenario", "pass", "unexposed")])
    tip = commit(nights.project, [HARMLESS])
    axes = AXES[: AXES.index("--kernel")]
    spec = f"{work}:{base}..{tip}"
    assert go("run", *axes, "--series", spec, "--dry-run") == 0
    said = capsys.readouterr().out
    assert f"broken does not fit work-{base[:12]}: it is left out and no PASS counts" in said
    assert "+broken+" not in said
