# SPDX-License-Identifier: GPL-2.0-only
"""What `gc` removes, and that it never removes what a living process uses."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kvet import garbage, lease
from kvet.build.builder import Builder
from kvet.cache import cache_root
from kvet.cli import doctor
from kvet.errors import UserError
from kvet.paths import PROJECT
from kvet.run import references
from kvet.store import write_json
from tests.more import go

HOLDER = """
import sys, time
from pathlib import Path
from kvet import lease
with lease.using(Path(sys.argv[1])):
    pass
print("held", flush=True)
time.sleep(600)
"""


def entry(name: str, days_ago: float, size: int = 4096) -> Path:
    """One finished build, used last so long ago."""
    folder = cache_root() / "builds" / name
    folder.mkdir(parents=True)
    (folder / "Image").write_bytes(b"x" * size)
    aged(folder, days_ago)
    return folder


def aged(path: Path, days_ago: float) -> None:
    then = time.time() - days_ago * 86400
    os.utime(path, (then, then))


@contextmanager
def another_run() -> Iterator[int]:
    """A process that uses the cache, killed at the end."""
    argv = (sys.executable, "-c", HOLDER, str(cache_root()))
    with subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=PROJECT) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        try:
            yield child.pid
        finally:
            child.kill()


def left() -> list[str]:
    return sorted(p.name for p in (cache_root() / "builds").iterdir())


def test_what_nobody_used_for_so_long_goes(capsys: pytest.CaptureFixture[str]) -> None:
    entry("old", 40)
    entry("new", 1)
    assert go("cache") == 0
    assert "finished kernels" in capsys.readouterr().out
    assert go("gc", "--days", "30") == 0
    assert left() == ["new"]
    assert go("gc", "--all") == 0
    assert not (cache_root() / "builds").exists()


def test_down_to_a_size_the_oldest_go_first() -> None:
    for name, age in (("a", 3), ("b", 1), ("c", 2)):
        entry(name, age, size=1 << 20)
    garbage.collect(cache_root(), days=30, most=(2 << 20) + 65536)
    assert left() == ["b", "c"]
    garbage.collect(cache_root(), days=30, most=0)
    assert left() == []


def test_what_a_living_process_used_stays_whatever_its_age_and_size() -> None:
    entry("before", 0.001)
    with another_run() as pid:
        entry("since", -0.001)
        garbage.collect(cache_root(), days=0, most=0)
        assert left() == ["since"]
        with pytest.raises(UserError, match=rf"in use by process {pid} ") as caught:
            garbage.empty(cache_root())
        assert "without --all" in str(caught.value.hint)
        assert [one.pid for one in lease.holders(cache_root())] == [pid]
    assert lease.holders(cache_root()) == []
    aged(cache_root() / "builds/since", 0.001)
    garbage.collect(cache_root(), days=0)
    assert left() == []
    assert not (cache_root() / "leases" / str(pid)).exists()


def test_a_lookup_renews_what_it_finds() -> None:
    folder = entry("k", 40)
    write_json(
        folder / "build.json", {"files": {}, "release": "6.12", "seconds": 1.0, "warnings": []}
    )
    aged(folder, 40)
    assert Builder(cache_root()).find("k") is not None
    garbage.collect(cache_root(), days=30)
    assert left() == ["k"]


@pytest.mark.parametrize("record", [{}, [], {"files": {}}, {"files": 3, "release": ""}, None])
def test_a_build_that_another_version_kept_is_made_again(record: object) -> None:
    folder = entry("k", 1)
    write_json(folder / "build.json", record)
    assert Builder(cache_root()).find("k") is None
    assert left() == []


@pytest.mark.parametrize("text", ["", "{}", '{"run": "a", "attempts": [{"number": 1}]}', "[1"])
def test_references_that_another_version_kept_are_booted_again(text: str) -> None:
    path = cache_root() / "evidence/d.json"
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    assert references.load(cache_root(), "d") is None


def test_leftovers_of_killed_runs_are_found_and_cleared() -> None:
    root = cache_root()
    names = ("builds/k.partial", "lanes/6.12/foreign-77", "builds/k.damaged-9", ".lanes.doomed")
    for name in names:
        (root / name).mkdir(parents=True)
        aged(root / name, 0.001)
    (check,) = (c for c in doctor.run_checks() if c.name == "leftovers")
    assert (check.ok, check.optional) == (False, True)
    assert check.text.startswith("4 half-made files")
    garbage.collect(root, days=30)
    assert garbage.leftovers(root) == []
    assert (root / "lanes/6.12").is_dir()
    with another_run():
        (root / "builds/new.partial").mkdir()
        aged(root / "builds/new.partial", -0.001)
        garbage.collect(root, days=0)
        assert left() == ["new.partial"]


def test_of_sources_the_newest_stays_and_older_ones_go_with_age() -> None:
    sources = cache_root() / "sources"
    for name, age in (
        ("l-6.12-aaaaaaaaaaaa", 60),
        ("l-6.12-bbbbbbbbbbbb", 50),
        ("m-cccccccccccc", 90),
    ):
        (sources / name).mkdir(parents=True)
        aged(sources / name, age)
    (sources / "debs").mkdir()
    for name, age in (("l_1.deb", 60), ("l_2.deb", 50)):
        (sources / "debs" / name).write_bytes(b"x")
        aged(sources / "debs" / name, age)
    garbage.collect(cache_root(), days=30)
    names = sorted(p.name for p in sources.rglob("*"))
    assert names == ["debs", "l-6.12-bbbbbbbbbbbb", "l_2.deb", "m-cccccccccccc"]
