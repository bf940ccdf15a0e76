# SPDX-License-Identifier: GPL-2.0-only
"""What a user types and gets: exit codes, messages that name file, line and key, no traceback."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from kvet.cache import cache_root
from kvet.cli.main import build_parser, main
from kvet.paths import PROJECT
from kvet.plan.library import Library

MATRIX = """\
title: t
kernels: [linux-6.12]
variants: [stock, nolock]
configs: [debug]
machines: [virt]
workloads: [ptdump-race]
"""


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Run a command that must be refused with exit code 2; what it said."""
    assert main(words) == 2
    err = capsys.readouterr().err
    assert err.startswith("kvet: ")
    assert "Traceback" not in err
    return err


def main_exits(*words: str) -> object:
    """The code that argparse ends with."""
    with pytest.raises(SystemExit) as caught:
        main(words)
    return caught.value.code


def matrix(tmp_path: Path, text: str) -> str:
    path = tmp_path / "m.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (MATRIX.replace("kernels", "kernel"), ["m.yaml", "kernel"]),
        (MATRIX.replace("[debug]", "[debgu]"), ["m.yaml", "debgu", "did you mean debug?"]),
        (MATRIX.replace("[debug]", "[debug"), ["m.yaml", "line"]),
        (MATRIX.replace("[debug]", "debug"), ["m.yaml", "configs"]),
        (MATRIX + "attempts: none\n", ["m.yaml", "attempts"]),
        (MATRIX + "title: again\n", ["m.yaml", "title"]),
        ("", ["m.yaml"]),
        ("- a\n- b\n", ["m.yaml"]),
    ],
)
def test_a_broken_matrix_names_file_and_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, says: list[str]
) -> None:
    err = refused(capsys, "run-matrix", matrix(tmp_path, text), "--dry-run")
    for word in says:
        assert word in err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("run-matrix", "no/such.yaml"), "no/such.yaml"),
        (("run-matrix", "--only", "nothing-like-it", "--dry-run"), "nothing-like-it"),
        (("run-matrix", "--resume", "no-run"), "no-run"),
        (("run", "--variant", "nolok", "--dry-run"), "did you mean nolock?"),
        (("run", "--series", "/no/such.mbox", "--dry-run"), "/no/such.mbox"),
        (("report", "no-run"), "no-run"),
        (("reproduce", "nonsense"), "RUN/CELL"),
        (("scan-log", "/no/such.log"), "/no/such.log"),
    ],
)
def test_what_does_not_exist_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], says: str
) -> None:
    where = ("--out", str(tmp_path)) if words[0] in ("run", "report", "reproduce") else ()
    assert says in refused(capsys, *words, *where)


def test_our_own_trouble_is_never_a_verdict(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Python ends with 1 when nobody catches, and 1 says that a candidate FAILs."""

    def fail(error: Exception) -> int:
        raise error

    full = OSError(errno.ENOSPC, "No space left on device", "/x/y.json")
    monkeypatch.setattr("kvet.garbage.sizes", lambda root: fail(full))
    assert main(["cache"]) == 3
    assert capsys.readouterr().err == "kvet: /x/y.json: No space left on device\n"
    monkeypatch.setattr("kvet.garbage.sizes", lambda root: fail(KeyError("cells")))
    assert main(["cache"]) == 3
    err = capsys.readouterr().err
    assert "KeyError: 'cells'" in err
    assert "fault of the harness itself" in err


def test_a_pipe_that_closes_early_is_no_trouble() -> None:
    words = (sys.executable, str(PROJECT / "harness.py"), "list", "variants")
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.close()
        assert child.stderr.read() == b""
    assert child.returncode == 141


def test_closed_output_leaves_the_exit_code(tmp_path: Path) -> None:
    line = f"{sys.executable} {PROJECT / 'harness.py'} cache >&-"
    done = subprocess.run(["sh", "-c", line], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_folders_are_absolute_because_guests_run_in_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for words in (["run-matrix"], ["report", "x"], ["nightly"]):
        assert build_parser().parse_args([*words, "--out", "r"]).out == Path.cwd() / "r"
    monkeypatch.setenv("KVET_CACHE", "c")
    assert cache_root() == Path.cwd() / "c"


@pytest.fixture
def broken_run(tmp_path: Path) -> Path:
    """A run directory with a plan and a record that is none yet."""
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "run.json").write_text("{}", encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("record", "says"),
    [
        (None, "cannot be read"),
        ("null", "not a record"),
        ('{"schema": 99, "cells": []}', "schema 99; this kvet reads 1 to 2"),
        ('{"schema": 1, "run": "r", "cells": [{"id": "a"}]}', "not a record"),
        ('{"schema": 1, "ru', "not valid JSON"),
    ],
)
@pytest.mark.parametrize("words", [("report", "r"), ("compare", "r", "r"), ("export", "r/a+b")])
def test_a_record_that_is_none_says_how_it_is_made_again(
    broken_run: Path,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    record: str | None,
    says: str,
) -> None:
    if record is not None:
        (broken_run / "r" / "results.json").write_text(record, encoding="utf-8")
    assert main([*words, "--out", str(broken_run)]) in (2, 3)
    err = capsys.readouterr().err
    assert "Traceback" not in err
    assert f"{broken_run / 'r' / 'results.json'}: " in err
    assert says in err
    assert "fix: harness.py run-matrix --resume r " in err


def test_a_plan_that_is_none_is_told_with_the_path_inside_it(
    broken_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("run-matrix", "--resume", "r", "--out", str(broken_run))
    assert main(words) == 3
    err = capsys.readouterr().err
    assert "run.json: not a plan that this kvet reads" in err and "`run`" in err
    plan = '{"run": "r", "name": "m", "cells": ["a"], "seed": "one"}'
    (broken_run / "r" / "run.json").write_text(plan, encoding="utf-8")
    assert main(words) == 3
    assert "$.seed" in capsys.readouterr().err
    (broken_run / "r" / "run.json").write_text(plan.replace('"one"', "1"), encoding="utf-8")
    assert "'a' is not a valid cell id" in refused(capsys, *words)


def test_ssh_without_its_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--boot-shell" in refused(capsys, "run", "--variant", "nolock", "--ssh")
    assert "--boot-shell" in refused(capsys, "reproduce", "r/a+b/1", "--ssh")


def test_bad_usage_is_exit_code_2() -> None:
    assert main_exits("gc", "--days", "-1") == main_exits("gc", "--days", "nan") == 2
    for words in (["run-matrix", "--attempts", "0"], ["frobnicate"], ["list", "cats"]):
        with pytest.raises(SystemExit) as caught:
            main(words)
        assert caught.value.code == 2


def test_a_dry_run_shows_cells_and_patches(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run-matrix", str(PROJECT / "configs/smoke.yaml"), "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "linux-6.12+nolock+debug+virt+ptdump-race  [control]" in out
    assert "0001-mm-vmalloc" in out


def test_a_series_does_not_take_the_name_of_a_variant(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    patch = next((PROJECT / "patches/trylock").glob("*.patch"))
    (tmp_path / "nolock.patch").write_bytes(patch.read_bytes())
    assert main(["run", "--series", str(tmp_path / "nolock.patch"), "--dry-run"]) == 0
    out = capsys.readouterr().out
    for name, role in (
        ("stock", "baseline"),
        ("nolock", "control"),
        ("series-nolock", "candidate"),
    ):
        assert f"+{name}+debug+virt+ptdump-race  [{role}]" in out


def test_only_keeps_what_a_candidate_is_judged_by(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run-matrix", "--only", "trylock", "--only", "debug", "--dry-run"]) == 0
    cells = [x for x in capsys.readouterr().out.splitlines() if "  [" in x]
    variants = {x.split("+")[1] for x in cells}
    assert {"stock", "nolock", "trylock"} <= variants
    assert "read-lock" not in variants
    assert not [x for x in cells if "+kasan+" in x]


@pytest.mark.parametrize("kind", ["kernels", "variants", "configs", "machines", "workloads"])
def test_list_prints_every_name_within_100_columns(
    kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["list", kind]) == 0
    out = capsys.readouterr().out
    for name in getattr(Library(), kind)():
        assert name in out
    assert max(len(x.rstrip()) for x in out.splitlines()) <= 100


def test_every_command_teaches_itself(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    out = capsys.readouterr().out
    assert "exit codes:" in out
    assert "examples:" in out
    assert build_parser().prog == "harness.py"


def test_a_path_in_yaml_never_leaves_its_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "configs/kconfig"
    folder.mkdir(parents=True)
    (folder / "bad.yaml").write_text("title: t\nfragments: [../../../etc/passwd]\n")
    monkeypatch.setattr("kvet.cli.listing.Library", lambda: Library(tmp_path))
    assert "leaves the directory" in refused(capsys, "list", "configs")
