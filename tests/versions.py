# SPDX-License-Identifier: GPL-2.0-only
"""Versions of a series for the fake project, as mailboxes and as branches of its repository."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kvet.results.folder import find_run
from kvet.results.record import RunRecord, read_record
from tests.conftest import git
from tests.fakes import FakeProject
from tests.more import go
from tests.night import Nights

AXES = ("--config", "small", "--machine", "tiny", "--workload", "race", "--kernel", "fake")
# file, old text, new text
Edit = tuple[str, str, str]
HARMLESS: Edit = ("mm/vmalloc.c", "addr + 1", "addr + 3")
BREACH: Edit = ("scenario", "pass", "breach")


def commit(project: FakeProject, edits: Sequence[Edit], subject: str = "mm: change {n}") -> str:
    """One commit for each edit on the repository's HEAD; the id of the last."""
    work = project.root / "work"
    for number, (file, old, new) in enumerate(edits, start=1):
        path = work / file
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        assert old in text
        path.write_text(text.replace(old, new) if old else new, encoding="utf-8")
        git(work, "add", "-A", "-f")
        git(work, "commit", "-q", "-m", subject.format(n=number))
    return git(work, "rev-parse", "HEAD")


def mailbox(
    project: FakeProject, name: str, edits: Sequence[Edit], *options: str, subject: str = ""
) -> Path:
    """A series of one patch for each edit as a mailbox; the repository is left as it was."""
    work = project.root / "work"
    base = git(work, "rev-parse", "HEAD")
    commit(project, edits, subject or "mm: change {n}")
    path = project.root / name
    text = git(work, "format-patch", "--stdout", "--thread", *options, f"{base}..HEAD")
    path.write_text(f"{text}\n", encoding="utf-8")
    git(work, "reset", "-q", "--hard", base)
    return path


def judge(made: Nights, *words: str, attempts: int = 1) -> tuple[int, RunRecord]:
    """`run` on the fake project: exit code and record."""
    where = ("--out", str(made.results), "--quiet", "--attempts", str(attempts))
    code = go("run", *AXES, *where, *words)
    return code, read_record(find_run("latest", made.results) / "results.json")
