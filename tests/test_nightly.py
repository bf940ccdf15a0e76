# SPDX-License-Identifier: GPL-2.0-only
"""A night on the fake project: what is run, what it is compared with, what is written and kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kvet.cli.nightly import FILES, last_good, prune
from kvet.errors import JUDGED, WORST_FIRST, ExitCode, InfraError, UserError, worst
from kvet.paths import PROJECT
from kvet.plan.library import load_matrix
from kvet.report.formats import FORMATS
from kvet.source import fetch
from kvet.store import read_json
from tests.more import go
from tests.night import Nights, nights, put_run

__all__ = ["nights"]  # a fixture


def night(made: Nights, *words: str) -> int:
    """One night of the fake matrix."""
    matrix = made.project.root / "configs/m.yaml"
    return go("nightly", str(matrix), "--quiet", "--out", str(made.results), *words)


def folders(made: Nights) -> list[Path]:
    """The directories of all nights; two that begin in one second have names in order too."""
    found = [p.parent for p in made.results.glob("*/nightly.json") if not p.parent.is_symlink()]
    return sorted(found, key=lambda p: (p / "nightly.json").stat().st_mtime_ns)


def spoil(made: Nights) -> None:
    """Make the candidate of the fake project a broken one."""
    folder = made.project.root / "patches/good"
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    made.project.variant("good", "candidate", "breach anew")


@pytest.fixture(autouse=True)
def _each_second_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of runs carry seconds; nights of a test follow faster."""
    count = iter(range(100))
    monkeypatch.setattr(
        "kvet.run.planning.run_id", lambda name: f"20260101-0100{next(count):02d}-m"
    )


def test_a_first_night_is_good_and_writes_every_format(
    nights: Nights, capsys: pytest.CaptureFixture[str]
) -> None:
    assert night(nights) == 0
    (run,) = folders(nights)
    written = {p.name for p in run.iterdir()}
    assert set(FILES.values()) | {"results.json"} <= written
    concluded = read_json(run / "nightly.json")
    assert concluded["good"] is True and concluded["reference"] == ""
    assert (nights.results / "history.db").exists()
    assert "Conclusion: PASS" in capsys.readouterr().out


def test_every_format_has_a_file_of_its_own() -> None:
    assert set(FILES) == set(FORMATS)
    assert len(set(FILES.values())) == len(FILES)


def test_a_regression_is_told_every_night_until_it_is_gone(
    nights: Nights, capsys: pytest.CaptureFixture[str]
) -> None:
    assert night(nights) == 0
    spoil(nights)
    for _ in range(2):
        assert night(nights) == 1
        assert "REGRESSION: fails now" in capsys.readouterr().out
    first, *bad = folders(nights)
    for run in bad:
        concluded = read_json(run / "nightly.json")
        assert concluded["good"] is False and concluded["reference"] == first.name
        assert concluded["regressions"] == ["good small: fails now"]
        assert "REGRESSION" in (run / "compare.txt").read_text(encoding="utf-8")
    assert last_good(nights.results, name="m") == first
    # what is accepted is what is compared with
    assert night(nights, "--against", bad[-1].name) == 1
    assert last_good(nights.results, name="m") == folders(nights)[-1]


def test_the_site_is_written_on_demand(nights: Nights, tmp_path: Path) -> None:
    assert night(nights, "--site", str(tmp_path / "site")) == 0
    assert (tmp_path / "site/variants/good.html").exists()


def test_a_series_that_no_longer_applies_stops_nobody_else(
    nights: Nights, capsys: pytest.CaptureFixture[str]
) -> None:
    patch = next((nights.project.root / "patches/good").glob("*.patch"))
    lines = patch.read_text(encoding="utf-8").replace("addr + 1", "addr + 7").splitlines()
    patch.write_text("\n".join(x for x in lines if not x.startswith("index ")) + "\n")
    assert night(nights) == 2
    err = capsys.readouterr().err
    assert "left out: fake+good+*" in err and "mm/vmalloc.c, hunk 1" in err
    record = read_json(folders(nights)[0] / "results.json")
    assert [c["variant"] for c in record["cells"]] == ["stock", "broken"]
    assert read_json(folders(nights)[0] / "nightly.json")["good"] is False


def test_a_kernel_that_cannot_be_fetched_is_an_error(
    nights: Nights, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*args: object, **more: object) -> None:
        raise InfraError("the mirror is away")

    monkeypatch.setattr(fetch, "open_source", fail)
    assert night(nights) == 3
    assert "left out: fake+*: the mirror is away" in capsys.readouterr().err
    assert folders(nights) == []


def test_a_new_source_is_picked_up(nights: Nights) -> None:
    assert night(nights) == 0
    makefile = nights.project.root / "tree/Makefile"
    text = makefile.read_text(encoding="utf-8")
    makefile.write_text(text + "\n# another version\n", encoding="utf-8")
    assert night(nights) == 0
    trees = [read_json(f / "results.json")["host"]["kernels"]["fake"] for f in folders(nights)]
    assert trees[0]["tree"] != trees[1]["tree"]
    assert "another tree" in (folders(nights)[1] / "compare.txt").read_text(encoding="utf-8")


def test_package_lists_are_fetched_again(nights: Nights, tmp_path: Path) -> None:
    stamp = tmp_path / "cache/apt/amd64/updated"
    stamp.parent.mkdir(parents=True)
    stamp.touch()
    night(nights)
    assert not stamp.exists()


def test_a_night_that_breaks_off_is_told_of_and_not_good(
    nights: Nights, capsys: pytest.CaptureFixture[str]
) -> None:
    fragment = nights.project.root / "configs/kconfig/small.config"
    fragment.write_text(fragment.read_text(encoding="utf-8") + "CONFIG_PTDUMP_DEBUGFS=y\n")
    assert night(nights) == 2
    assert "CONFIG_PTDUMP_DEBUGFS" in capsys.readouterr().err
    assert last_good(nights.results, name="m") is None


def put_night(results: Path, name: str, *, good: bool = True, matrix: str = "m") -> Path:
    put_run(results, name, matrix)
    folder = results / name
    (folder / "nightly.json").write_text(json.dumps({"good": good}), encoding="utf-8")
    (folder / "report.html").touch()
    for sub in ("linux+good+debug+virt+race/attempt-1", "patches/linux/good"):
        (folder / sub).mkdir(parents=True)
        (folder / sub / "file").touch()
    return folder


def test_old_nights_are_thinned_and_the_last_good_one_is_kept_whole(tmp_path: Path) -> None:
    made = [put_night(tmp_path, f"2026010{i}-010000-m", good=i == 2) for i in range(1, 7)]
    other = put_night(tmp_path, "20260101-020000-other", matrix="other")
    manual = tmp_path / "20260101-030000-m"
    put_run(tmp_path, manual.name)
    (manual / "console.log").touch()
    assert prune(tmp_path, name="m", keep=3) == [made[0], made[2]]
    assert prune(tmp_path, name="m", keep=3) == []
    for folder in (made[1], *made[3:], other):
        assert (folder / "report.html").exists()
    kept = {p.name for p in made[0].iterdir()}
    assert kept == {"run.json", "results.json", "nightly.json", "patches"}
    # a repeat of a thinned night must find the series as it was
    assert (made[0] / "patches/linux/good/file").exists()
    assert (manual / "console.log").exists()
    assert prune(tmp_path, name="m", keep=100) == []


def test_the_worst_exit_code_wins() -> None:
    assert WORST_FIRST == (2, 3, 1, 4, 0)
    assert worst([0, 4, 1], default=ExitCode.ERROR) == 1
    assert worst([1, 3], default=ExitCode.ERROR) == 3
    assert worst([3, 2, 0], default=ExitCode.ERROR) == 2
    assert worst([4, 0], default=ExitCode.ERROR) == 4
    assert worst([0], default=ExitCode.ERROR) == 0
    assert worst([99], default=ExitCode.ERROR) == 3


def test_an_unknown_night_to_compare_with_ends_it_before_it_begins(nights: Nights) -> None:
    with pytest.raises(UserError, match="no run is called"):
        night(nights, "--against", "nothing")
    assert folders(nights) == []


def test_the_nightly_matrix_is_every_design_on_three_kernels() -> None:
    matrix = load_matrix(PROJECT / "configs/nightly.yaml")
    assert matrix.kernels == ("linux-6.12", "linux-6.1", "linux-7.3")
    assert matrix.configs == ("debug", "kasan")
    assert len(matrix.variants) == 10
    assert (matrix.attempts, matrix.max_attempts) == (3, 6)
    assert JUDGED == (0, 1, 4)
