# SPDX-License-Identifier: GPL-2.0-only
"""A run on workers with caches of their own, that share nothing but the store."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.clusters import LocalCluster, wait_until
from tests.torture.bench import (
    VARIANTS,
    Bench,
    Done,
    difference,
    essence,
    record_of,
    stopped_clock,
)
from tests.torture.workers import cancels
from tests.versions import AXES, BREACH, HARMLESS, mailbox

pytest.importorskip("distributed")
CANCELS = 5  # `make torture` has ten times as many


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    made = Bench.made(tmp_path_factory.mktemp("cluster") / "bench")
    made.add("slow", "slow")
    return made


@pytest.fixture
def cluster(bench: Bench) -> Iterator[LocalCluster]:
    made = LocalCluster(bench)
    try:
        yield made
    finally:
        made.end()
        assert bench.leftovers() == []


def last(bench: Bench, results: Path) -> dict[str, Any]:
    return record_of(bench.runs(results)[-1])


def hosts(record: dict[str, Any]) -> list[dict[str, str]]:
    """Where each attempt was booted."""
    attempts = [a for cell in record["cells"] for a in cell["attempts"]]
    return [a["provenance"]["host"] for a in attempts]


def clear(done: Done, code: int) -> str:
    """What a command said that ended with `code`, for a user to read."""
    assert done.code == code, done.text
    assert not done.traceback, done.text
    return done.text


def stored(cluster: LocalCluster, part: str) -> list[Path]:
    return [p for p in (cluster.store / part).rglob("*") if p.is_file()]


def test_two_workers_come_to_what_one_host_does(
    bench: Bench, cluster: LocalCluster, tmp_path: Path
) -> None:
    matrix = bench.matrix(*VARIANTS)
    here, there = tmp_path / "here", tmp_path / "there"
    clear(bench.go("run-matrix", matrix, "--out", str(here)), 0)
    shutil.rmtree(bench.cache / "builds")
    for _ in range(2):
        cluster.add_worker("--boot", "1", "--build", "1")
    text = clear(cluster.judge(matrix, there), 0)
    assert "2 workers, 2 boots and 2 builds at a time" in text
    alone, shared = last(bench, here), last(bench, there)
    assert difference(essence(alone), essence(shared)) == ""
    assert hosts(shared) == hosts(alone)  # the same host, QEMU, accelerator and kvet
    assert {h["qemu"] for h in hosts(shared)} == {"10.0.2"}
    # booted there, from the store: an image for each variant, and nothing left of the attempts
    for number in range(2):
        fetched = list(cluster.cache(number).glob("artifacts/*"))
        assert [p for p in fetched if p.suffix != ".lock"], "this worker had nothing to do"
    # built there, each once, and the files taken in by the host of the run
    built = [p.parent.name for p in cluster.root.glob("worker-*/builds/*/build.json")]
    assert sorted(built) == sorted({c["build"]["key"] for c in shared["cells"]})
    assert "built on this host instead" not in text
    assert cluster.left() == []
    files = {p.name for p in bench.runs(there)[-1].glob("*/attempt-1/*")}
    assert {"attempt.json", "console.log", "report.ktap", "argv.json"} <= files


@pytest.mark.boot
def test_a_single_variant_is_judged_on_workers_as_well(
    bench: Bench, cluster: LocalCluster, tmp_path: Path
) -> None:
    cluster.add_worker()
    what = ("--variant", "good", "--kernel", "fake", "--config", "small", "--machine", "tiny")
    _, _, _, out, *where = cluster.words("", tmp_path)
    text = clear(bench.go("run", *what, "--workload", "race", "--out", out, *where), 0)
    assert "1 workers, 1 boots at a time" in text
    assert list(cluster.cache(0).glob("artifacts/*"))


def test_a_night_runs_on_workers(bench: Bench, cluster: LocalCluster, tmp_path: Path) -> None:
    cluster.add_worker()
    matrix = bench.matrix("stock", "broken")
    _, _, _, out, *where = cluster.words("", tmp_path)
    text = clear(bench.go("nightly", matrix, "--out", out, *where), 0)
    assert "1 workers, 1 boots at a time" in text
    assert list(cluster.cache(0).glob("artifacts/*"))
    assert list(tmp_path.glob("*/nightly.json"))


def test_a_bisection_boots_on_workers(bench: Bench, cluster: LocalCluster, tmp_path: Path) -> None:
    cluster.add_worker("--boot", "2")
    mbox = mailbox(bench.project, "a.mbox", [HARMLESS, BREACH, ("notes", "", "1\n")])
    _, _, _, out, *where = cluster.words("", tmp_path)
    text = clear(bench.go("bisect", "--series", str(mbox), *AXES, "--out", out, *where), 0)
    assert "1 workers, 2 boots at a time" in text
    assert "patch 2/3 'mm: change 2' brings it in" in text
    assert list(cluster.cache(0).glob("artifacts/*"))


def test_an_attempt_is_repeated_on_a_worker(
    bench: Bench, cluster: LocalCluster, tmp_path: Path
) -> None:
    matrix = bench.matrix("broken")
    _, _, _, out, *where = cluster.words("", tmp_path)
    bench.go("run-matrix", matrix, "--out", out)
    cell = next(c for c in last(bench, tmp_path)["cells"] if c["variant"] == "broken")
    cluster.add_worker()
    what = f"latest/{cell['id']}/1"
    text = clear(bench.go("reproduce", what, "--out", out, *where), 1)
    assert "1 workers, 1 boots at a time" in text
    assert f"{cell['attempts'][0]['findings'][0]['title']}  (as recorded)" in text
    assert list(cluster.cache(0).glob("artifacts/*"))
    assert stored(cluster, "attempts") == []
    (again,) = bench.runs(tmp_path)[-1].glob(f"{cell['id']}/reproduce-*")
    assert (again / "console.log").stat().st_size
    refused = bench.go("reproduce", what, "--out", out, *where, "--run", "id")
    assert "--executor boots elsewhere" in clear(refused, 2)


@pytest.mark.boot
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_worker_that_is_ended_in_mid_boot_costs_nothing(
    bench: Bench, cluster: LocalCluster, tmp_path: Path, number: signal.Signals
) -> None:
    matrix = bench.matrix("stock", "broken", "slow")
    here, there = tmp_path / "here", tmp_path / "there"
    bench.go("run-matrix", matrix, "--out", str(here))
    for _ in range(2):
        cluster.add_worker("--boot", "2")
    child = bench.start(*cluster.words(matrix, there))
    one = cluster.wait_for_a_boot()
    lost = cluster.guests_of(one)
    os.kill(cluster.workers[one].pid, number)
    wait_until(lambda: not set(lost) & set(cluster.guests()), "its guests are gone", 5)
    clear(bench.finish(child), 0)
    assert difference(essence(last(bench, here)), essence(last(bench, there))) == ""
    assert cluster.guests() == []
    assert stored(cluster, "attempts") == []
    if number == signal.SIGTERM:
        wait_until(lambda: cluster.workers[one].poll() == 0, "it ends as it was asked to")
        assert list(cluster.cache(one).glob("boots/*")) == []


@pytest.mark.boot
def test_a_worker_that_is_cut_off_is_given_up(bench: Bench, tmp_path: Path) -> None:
    """It neither hears nor answers, as behind a broken network, and comes back later."""
    matrix = bench.matrix("stock", "broken", "slow")
    here, there = tmp_path / "here", tmp_path / "there"
    bench.go("run-matrix", matrix, "--out", str(here))
    ttl = {"DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "3s"}
    cluster = LocalCluster(replace(bench, env={**bench.env, **ttl}))
    try:
        for _ in range(2):
            cluster.add_worker()
        child = bench.start(*cluster.words(matrix, there))
        one = cluster.wait_for_a_boot()
        with stopped_clock([cluster.workers[one].pid]):
            clear(bench.finish(child), 0)
        wait_until(lambda: cluster.workers[one].poll() is not None, "it finds that it was given up")
        assert "has given this worker up" in cluster.log(one)
        assert difference(essence(last(bench, here)), essence(last(bench, there))) == ""
        assert cluster.guests() == []
        assert stored(cluster, "attempts") == []
    finally:
        cluster.end()


@pytest.mark.boot
def test_an_attempt_that_costs_too_many_workers_is_an_error(bench: Bench, tmp_path: Path) -> None:
    """The scheduler allows three losses; here none, so that one worker is enough."""
    none = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"}
    cluster = LocalCluster(replace(bench, env={**bench.env, **none}))
    try:
        for _ in range(2):
            cluster.add_worker()
        child = bench.start(*cluster.words(bench.matrix("stock", "broken", "slow"), tmp_path))
        os.kill(cluster.workers[cluster.wait_for_a_boot()].pid, signal.SIGKILL)
        clear(bench.finish(child), 0)  # such an attempt is made up for
        attempts = [a for cell in last(bench, tmp_path)["cells"] for a in cell["attempts"]]
        lost = [a for a in attempts if a["status"] == "ERROR"]
        # the scheduler may have given it the next one, too
        assert len(lost) in (1, 2)
        assert {a["detail"] for a in lost} == {"1 workers were lost while they ran it"}
        assert len(attempts) == 6 + len(lost)
    finally:
        cluster.end()


@pytest.mark.boot
def test_workers_of_another_kvet_or_qemu_get_nothing(
    bench: Bench, cluster: LocalCluster, tmp_path: Path
) -> None:
    old = tmp_path / "old"
    old.mkdir()
    text = (bench.bin / "qemu-system-aarch64").read_text(encoding="utf-8")
    (old / "qemu-system-aarch64").write_text(text.replace("10.0.2", "9.2.0"), encoding="utf-8")
    (old / "qemu-system-aarch64").chmod(0o755)
    cluster.add_worker(env={"PATH": f"{old}:{bench.env['PATH']}"})
    cluster.add_worker()
    matrix = bench.matrix(*VARIANTS)
    said = clear(cluster.judge(matrix, tmp_path / "out"), 0)
    assert "1 workers, 1 boots at a time" in said
    assert "1 workers are left out: x86_64 tcg, QEMU 9.2.0" in said
    assert not list(cluster.cache(0).glob("artifacts/*"))


@pytest.mark.boot
def test_a_killed_scheduler_ends_the_run_and_it_can_go_on(
    bench: Bench, cluster: LocalCluster, tmp_path: Path
) -> None:
    matrix, out = bench.matrix("stock", "broken", "slow"), tmp_path / "out"
    cluster.add_worker()
    child = bench.start(*cluster.words(matrix, out))
    wait_until(lambda: bool(list(out.glob("*/*/attempt-1/attempt.json"))), "a first attempt")
    wait_until(lambda: bool(cluster.guests()), "a guest")
    os.kill(cluster.scheduler.pid, signal.SIGKILL)
    text = clear(bench.finish(child), 3)
    assert f"{cluster.url}: the scheduler is gone" in text
    assert "fix: go on with run-matrix --resume" in text
    wait_until(lambda: cluster.workers[0].poll() is not None, "the worker ends, too")
    assert "the scheduler at" in cluster.log(0)
    assert cluster.guests() == []
    run = bench.runs(out)[-1]
    kept = {p: p.read_bytes() for p in run.glob("*/attempt-*/attempt.json")}
    assert kept
    clear(bench.go("run-matrix", "--resume", run.name, "--out", str(out)), 0)
    assert {p: p.read_bytes() for p in kept} == kept


def test_a_run_without_scheduler_is_refused_in_one_line(bench: Bench, tmp_path: Path) -> None:
    words = ("run-matrix", bench.matrix(*VARIANTS), "--out", str(tmp_path))
    done = bench.go(*words, "--executor", "tcp://127.0.0.1:9", "--store", str(tmp_path / "store"))
    assert "no scheduler answers at tcp://127.0.0.1:9" in clear(done, 3)
    done = bench.go("worker", "--scheduler", "127.0.0.1:8786")
    assert "is none of tcp://HOST:8786" in clear(done, 2)


def started(bench: Bench, cluster: LocalCluster, results: Path) -> subprocess.Popen[bytes]:
    """A run on a worker that boots two guests at a time, in the middle of a boot."""
    cluster.add_worker("--boot", "2")
    child = bench.start(*cluster.words(bench.matrix("stock", "broken", "slow"), results))
    wait_until(lambda: bool(cluster.guests()), "a guest")
    return child


@pytest.mark.boot
def test_a_cancelled_run_leaves_no_guest(
    bench: Bench, cluster: LocalCluster, tmp_path: Path
) -> None:
    child = started(bench, cluster, tmp_path)
    child.send_signal(signal.SIGINT)
    done = bench.finish(child)
    assert done.code == 130 and not done.traceback, done.text
    wait_until(lambda: not cluster.left(), "nothing is left", 5)
    # the worker lives and works on
    clear(cluster.judge(bench.matrix(*VARIANTS), tmp_path), 0)


def test_ctrl_c_does_not_wait_for_a_scheduler_that_says_nothing(
    bench: Bench, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        mute.settimeout(30)
        where = f"tcp://127.0.0.1:{mute.getsockname()[1]}"
        out = ("--out", str(tmp_path / "results"), "--store", str(tmp_path / "store"))
        child = bench.start("run-matrix", bench.matrix("stock"), *out, "--executor", where)
        with mute.accept()[0], mute.accept()[0] as client:  # who looks whether there is one; dask's
            client.settimeout(30)
            assert client.recv(1)
            child.send_signal(signal.SIGINT)
            done = bench.finish(child)
    assert "interrupted" in clear(done, 130)


@pytest.mark.boot
def test_a_run_that_is_killed_leaves_no_guest(
    bench: Bench, cluster: LocalCluster, tmp_path: Path
) -> None:
    child = started(bench, cluster, tmp_path)
    child.kill()
    bench.finish(child)
    wait_until(lambda: not cluster.guests(), "all guests are gone", 5)
    run = bench.runs(tmp_path)[-1].name
    _, _, _, out, *where = cluster.words("", tmp_path)
    clear(bench.go("run-matrix", "--resume", run, "--out", out, *where), 0)
    assert stored(cluster, "attempts") == []  # nor what the killed one did not take


@pytest.mark.boot
def test_many_cancels_leave_nothing(tmp_path: Path) -> None:
    row = cancels(Bench.made(tmp_path / "bench"), CANCELS, seed=1, say=lambda text: None)
    assert row.ok, row.happened
