# SPDX-License-Identifier: GPL-2.0-only
"""Commands in the documentation are commands: they parse, and those that can be run are."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from pathlib import Path

import pytest

from kvet import proc
from kvet.cli.main import build_parser
from kvet.paths import PROJECT
from kvet.plan.library import Library
from kvet.report.formats import FORMATS
from tests.more import go
from tests.night import put_run
from tests.test_completion import subcommands

TUTORIAL = (PROJECT / "docs/tutorial.md").read_text(encoding="utf-8")
TOLD = re.findall(r"^    (.+)$", TUTORIAL, re.MULTILINE)
OURS = [line.removeprefix("./harness.py ") for line in TOLD if line.startswith("./harness.py ")]
# programs that are not ours
OTHERS = ("curl ", "cat ", "less ", "make ", "source <(./harness.py ")


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the data directories with the runs that the tutorial talks of; the current one."""
    folder = tmp_path / "checkout"
    for name in ("configs", "kernels", "patches"):
        shutil.copytree(PROJECT / name, folder / name)
    monkeypatch.setattr("kvet.cli.run.library", lambda: Library(folder))
    for module in ("kvet.cli.init", "kvet.cli.lint"):
        monkeypatch.setattr(f"{module}.Library", lambda: Library(folder))
    put_run(folder / "results", "20260102-030405-v3")
    put_run(folder / "results", "20260103-030405-nightly", matrix="nightly")
    (folder / "results/latest").symlink_to("20260103-030405-nightly")
    monkeypatch.chdir(folder)
    (cat,) = [line for line in TOLD if line.startswith("cat ")]
    assert proc.run(("sh", "-c", cat), cwd=folder).returncode == 0
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/b4").write_text(
        f'#!/bin/sh\n[ "$1" = --version ] || cp {folder}/v3.mbox "$3/$5"\n'
    )
    (tmp_path / "bin/b4").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return folder


@pytest.mark.parametrize("line", OURS)
def test_every_command_of_the_tutorial_parses(line: str) -> None:
    options = build_parser().parse_args(shlex.split(line))
    assert callable(options.command)
    assert getattr(options, "format", "text") in {"text", "json", *FORMATS}


def test_nothing_in_the_tutorial_is_of_an_unknown_kind() -> None:
    for line in TOLD:
        assert line.startswith(("./harness.py ", *OTHERS)), line
    targets = re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE)
    for line in TOLD:
        if line.startswith("make ") and line != "make nightly":
            assert line.split()[1] in targets


def test_every_subcommand_is_in_the_tutorial_or_the_readme() -> None:
    text = TUTORIAL + (PROJECT / "README.md").read_text(encoding="utf-8")
    for name in subcommands(build_parser()):
        if name != "scan-log":
            assert re.search(rf"harness\.py {name}\b", text), name


@pytest.mark.parametrize(
    "name", ["report", "compare", "history", "site", "init mine", "lint", "run-matrix", "run"]
)
def test_what_needs_no_boot_is_run(
    checkout: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ("--out", str(checkout / "results"))
    lines = [line for line in OURS if line.startswith(f"{name} ")]
    assert lines
    for line in lines:
        words = shlex.split(line.replace("v4.mbox", "v3.mbox"))
        if name in ("lint", "run-matrix") and not (checkout / "configs/mine.yaml").exists():
            go("init", "mine", "--kernel", "linux-6.12", "--series", "v3.mbox")
        if words[0] in ("run", "run-matrix"):
            words += [word for word in ("--dry-run",) if word not in words]
        if words[0] in ("report", "compare", "history", "site"):
            words += out
        assert go(*words) == 0, line
    assert capsys.readouterr().out
    if name == "report":
        reply = (checkout / "reply.eml").read_text(encoding="utf-8")
        assert reply.startswith("Subject: ")
        assert "Tested-by" not in reply
    if name == "init mine":
        assert (checkout / "patches/mine/variant.yaml").exists()
