# SPDX-License-Identifier: GPL-2.0-only
"""Runs on workers are ended by Ctrl-C at random moments: nothing of them may stay anywhere."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

from tests.clusters import LocalCluster
from tests.torture.bench import AS_IT_SHOULD_BE, VARIANTS, Bench, conclusions
from tests.torture.table import Row

GONE_S = 5.0


def cancels(bench: Bench, count: int, *, seed: int, say: Callable[[str], None]) -> Row:
    """`count` runs on two workers ended at random; then one that is left alone."""
    bench.add("slow", "slow")
    cluster = LocalCluster(bench)
    pick = random.Random(seed)
    wrong = []
    try:
        for _ in range(2):
            cluster.add_worker("--boot", "2")
        for number in range(count):
            delay = pick.uniform(0.8, 4)
            problem = _one(bench, cluster, bench.root / f"cancelled-{number}", delay)
            wrong += [f"after {delay:.2f} s: {problem}"] if problem else []
            if not (number + 1) % 10:
                say(f"cancels: {number + 1} of {count}")
        done = cluster.judge(bench.matrix(*VARIANTS), bench.results)
        if done.code or conclusions(bench.runs()[-1]) != AS_IT_SHOULD_BE:
            wrong.append(f"the run after them: {done.text[-300:]}")
    finally:
        cluster.end()
    wrong += [f"left behind: {what}" for what in bench.leftovers()]
    happened = wrong[0] if wrong else "no guest, no file left; workers go on"
    lost = f"{len(wrong)} troubles" if wrong else "nothing"
    return Row("workers: Ctrl-C", "SIGINT to run-matrix", count, happened, lost, not wrong)


def _one(bench: Bench, cluster: LocalCluster, out: Path, after_s: float) -> str:
    """End one run; what is wrong, empty for nothing."""
    child = bench.start(*cluster.words(bench.matrix("stock", "broken", "slow"), out))
    time.sleep(after_s)
    child.send_signal(signal.SIGINT)
    done = bench.finish(child)
    if done.code != 130 or done.traceback:
        return f"exit code {done.code}: {done.text[-300:]}"
    deadline = time.monotonic() + GONE_S
    while (left := cluster.left()) and time.monotonic() < deadline:
        time.sleep(0.05)
    half = [str(path) for path in out.rglob(".*")]
    return f"left behind: {', '.join([*left, *half][:3])}" if left or half else ""
