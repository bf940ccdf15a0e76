# SPDX-License-Identifier: GPL-2.0-only
"""Builds on workers: what fails there, who is lost in mid-build, what is cancelled."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clusters import LocalCluster, wait_until
from tests.test_cluster import clear, last
from tests.torture.bench import Bench, difference, essence

pytest.importorskip("distributed")
pytestmark = pytest.mark.boot
VARIANTS = ("stock", "broken", "good", "lasting", "wrong")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """The fake kernel, a variant that takes long to build, and one that does not build."""
    made = Bench.made(tmp_path_factory.mktemp("cluster") / "bench")
    made.add("lasting", edit=("Makefile", "vmlinux: $(objects)\n", SLOW))
    made.add("endless", edit=("Makefile", "vmlinux: $(objects)\n", SLOW.replace("4", "900")))
    made.add("wrong", edit=("mm/vmalloc.c", "addr + 1;", "adr + 1;"))
    return made


SLOW = "vmlinux: $(objects)\n\t@sleep 4\n"


@pytest.fixture
def cluster(bench: Bench) -> Iterator[LocalCluster]:
    """Two workers that build; the host of the run has no build of its own yet."""
    bench.forget_builds()
    made = LocalCluster(bench)
    try:
        for _ in range(2):
            made.add_worker("--boot", "1", "--build", "1")
        yield made
    finally:
        made.end()
        assert bench.leftovers() == []


@pytest.fixture(scope="module")
def alone(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What this host comes to without workers; its builds are forgotten again."""
    results = tmp_path_factory.mktemp("alone")
    clear(bench.go("run-matrix", bench.matrix(*VARIANTS), "--out", str(results)), 1)
    return results


def test_a_build_that_fails_on_a_worker_blames_the_series(
    bench: Bench, alone: Path, cluster: LocalCluster, tmp_path: Path
) -> None:
    text = clear(cluster.judge(bench.matrix(*VARIANTS), tmp_path), 1)
    assert "2 workers, 2 boots and 2 builds at a time" in text
    assert "undeclared" in text and "built on this host instead" not in text
    here, there = last(bench, alone), last(bench, tmp_path)
    assert difference(essence(here), essence(there)) == ""
    (wrong,) = [c for c in there["cells"] if c["variant"] == "wrong"]
    log = bench.runs(tmp_path)[-1] / wrong["build"]["log"]
    assert "undeclared" in log.read_text(encoding="utf-8")


def test_a_worker_that_is_lost_in_mid_build_costs_nothing(
    bench: Bench, alone: Path, cluster: LocalCluster, tmp_path: Path
) -> None:
    child = bench.start(*cluster.words(bench.matrix(*VARIANTS), tmp_path))
    wait_until(lambda: bool(slow_ones(cluster)), "a worker builds what takes long")
    number = slow_ones(cluster)[0]
    os.kill(cluster.workers[number].pid, signal.SIGKILL)
    wait_until(lambda: not cluster.builds_of(number), "its build is gone", 5)
    text = clear(bench.finish(child), 1)
    assert "built on this host instead" not in text
    assert difference(essence(last(bench, alone)), essence(last(bench, tmp_path))) == ""


def slow_ones(cluster: LocalCluster) -> list[int]:
    """Workers that build, and have built nothing for a second."""
    pids = {n: cluster.builds_of(n) for n in range(len(cluster.workers))}
    wait = [n for n, found in pids.items() if found]
    if wait:
        signal.sigtimedwait((), 1.0)
    return [n for n in wait if set(pids[n]) & set(cluster.builds_of(n))]


def test_a_cancelled_run_leaves_no_build(
    bench: Bench, cluster: LocalCluster, tmp_path: Path
) -> None:
    child = bench.start(*cluster.words(bench.matrix("stock", "broken", "endless"), tmp_path))
    wait_until(lambda: bool(slow_ones(cluster)), "a worker builds what takes long")
    child.send_signal(signal.SIGINT)
    done = bench.finish(child)
    assert done.code == 130 and not done.traceback, done.text
    wait_until(lambda: not cluster.builds() and not cluster.left(), "nothing is left", 5)
    # the workers live, and build what was begun
    clear(cluster.judge(bench.matrix(*VARIANTS), tmp_path), 1)


def test_who_has_another_compiler_builds_nothing(bench: Bench, tmp_path: Path) -> None:
    bench.forget_builds()
    other = tmp_path / "bin"
    other.mkdir()
    compiler = other / "aarch64-linux-gnu-gcc"
    real = shutil.which("aarch64-linux-gnu-gcc")
    compiler.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && echo "gcc 1.0" && exit\nexec {real} "$@"\n'
    )
    compiler.chmod(0o755)
    cluster = LocalCluster(bench)
    try:
        env = {"PATH": f"{other}:{bench.env['PATH']}"}
        cluster.add_worker("--boot", "1", "--build", "1", env=env)
        clear(cluster.judge(bench.matrix("stock", "broken", "good"), tmp_path / "out"), 0)
        assert not (cluster.cache(0) / "builds").exists()
        assert len(list((bench.cache / "builds").glob("*/build.json"))) == 3
    finally:
        cluster.end()
