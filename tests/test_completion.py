# SPDX-License-Identifier: GPL-2.0-only
"""Completion scripts offer what the parser knows; the examples for CI are what they claim."""

from __future__ import annotations

import argparse
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from kvet import proc
from kvet.cli.completion import SHELLS, completion
from kvet.cli.main import build_parser
from kvet.paths import PROJECT

EXAMPLES = PROJECT / "examples"
UNITS = ("kvet-nightly.service", "kvet-nightly.timer")


def subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parsers of all subcommands, by name."""
    found = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    return dict(found[0].choices)


@pytest.mark.parametrize("shell", SHELLS)
def test_every_command_and_option_is_in_every_script(shell: str) -> None:
    made = build_parser()
    text = completion(build_parser(), shell)
    for name, parser in subcommands(made).items():
        assert re.search(rf"\b{name}\b", text)
        for option in (word for a in parser._actions for word in a.option_strings):
            assert option in text or (shell == "fish" and f" {option.lstrip('-')}" in text)


@pytest.mark.parametrize("shell", SHELLS)
def test_the_shell_itself_accepts_its_script(shell: str, tmp_path: Path) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    path = tmp_path / "script"
    path.write_text(completion(build_parser(), shell), encoding="utf-8")
    done = proc.run((program, "-n", str(path)))
    assert done.returncode == 0, done.stderr.decode()


def offered(tmp_path: Path, *words: str) -> list[str]:
    """What bash offers after `words`, the last of which is being typed."""
    script = tmp_path / "script"
    script.write_text(completion(build_parser(), "bash"), encoding="utf-8")
    code = (
        f'source {script}; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _shtab_kvet; '
        "printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    done = proc.run(("bash", "-c", code, "bash", "harness.py", *words), cwd=PROJECT)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode().split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("rep",), {"reproduce", "report"}),
        (("list", ""), {"kernels", "variants", "machines"}),
        (("run", "--tool"), {"--toolchain"}),
        (("run", "--toolchain", ""), {"gcc", "clang"}),
        (("run-matrix", "configs/smo"), {"configs/smoke.yaml"}),
        (("--verbose", "nightly", "--ke"), {"--keep"}),
        (("completion", "f"), {"fish"}),
    ],
)
def test_bash_offers_what_fits(tmp_path: Path, words: tuple[str, ...], expected: set[str]) -> None:
    assert expected <= set(offered(tmp_path, *words))


def _job(name: str) -> dict[str, Any]:
    """The nightly job of a CI example."""
    text = yaml.safe_load((EXAMPLES / name).read_text(encoding="utf-8"))
    job: dict[str, Any] = (
        text["jobs"]["nightly"] if name.startswith("github") else text["kvet-nightly"]
    )
    return job


def test_the_github_workflow_runs_the_night_and_keeps_results() -> None:
    text = yaml.safe_load((EXAMPLES / "github-actions.yml").read_text(encoding="utf-8"))
    assert set(text[True]) == {"schedule", "workflow_dispatch"}  # YAML 1.1 reads `on` so
    steps = _job("github-actions.yml")["steps"]
    assert any("make nightly" in step.get("run", "") for step in steps)
    upload = next(s for s in steps if s.get("uses", "").startswith("actions/upload-artifact@"))
    assert "results/" in upload["with"]["path"].split()
    assert upload["if"] == "always()"
    assert all(("run" in step) != ("uses" in step) for step in steps)


def test_the_gitlab_job_runs_the_night_and_keeps_results() -> None:
    job = _job("gitlab-ci.yml")
    assert any(line.startswith("make nightly") for line in job["script"])
    assert "results/" in job["artifacts"]["paths"]
    assert job["artifacts"]["when"] == "always"
    assert job["cache"]["when"] == "always"


def test_shell_lines_of_the_examples_are_shell() -> None:
    gitlab = _job("gitlab-ci.yml")
    lines = [step["run"] for step in _job("github-actions.yml")["steps"] if "run" in step]
    lines += [*gitlab["before_script"], *gitlab["script"], *gitlab["after_script"]]
    for line in lines:
        assert proc.run(("sh", "-n", "-c", line)).returncode == 0, line


def test_the_units_are_units(tmp_path: Path) -> None:
    service, timer = ((EXAMPLES / name).read_text(encoding="utf-8") for name in UNITS)
    assert "ExecStart=make nightly" in service and "Type=oneshot" in service
    assert "OnCalendar=" in timer and "WantedBy=timers.target" in timer
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("systemd-analyze is not installed")
    env = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    paths = tuple(str(EXAMPLES / name) for name in UNITS)
    done = proc.run((tool, "verify", "--user", *paths), env=env)
    assert done.returncode == 0, done.stderr.decode()


def test_no_example_names_a_machine() -> None:
    for path in (p for p in EXAMPLES.rglob("*") if p.is_file()):
        text = path.read_text(encoding="utf-8")
        # the first line of a script says who runs it; a patch is under its file's licence
        head = "\n".join(text.splitlines()[:2])
        assert path.suffix == ".patch" or "SPDX-License-Identifier: GPL-2.0" in head
        place = re.search(r"/(?:root|home|work)/|(?<!tcp)(?<!sftp)(?<!s3)://|localhost", text)
        assert not place, path.name
