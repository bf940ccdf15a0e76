# SPDX-License-Identifier: GPL-2.0-only
"""A run is ended at a random moment and resumed: it must come to what an undisturbed one does."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.torture.bench import Bench, difference
from tests.torture.table import Row

EARLIEST_S = 0.15  # before that Python itself is starting

End = Callable[[Bench, subprocess.Popen[bytes]], None]


def _signal(number: signal.Signals, times: int = 1) -> End:
    def end(bench: Bench, child: subprocess.Popen[bytes]) -> None:
        for again in range(times):
            if again:
                time.sleep(0.15)
            child.send_signal(number)

    return end


def _power_loss(bench: Bench, child: subprocess.Popen[bytes]) -> None:
    """Everything at once, the harness, make, compilers and guests."""
    for pid in bench.processes():
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


ENDS: dict[str, tuple[str, End]] = {
    "SIGKILL": ("kill -9 of the harness", _signal(signal.SIGKILL)),
    "SIGTERM": ("kill of the harness", _signal(signal.SIGTERM)),
    "Ctrl-C": ("SIGINT to the harness", _signal(signal.SIGINT)),
    "Ctrl-C twice": ("SIGINT, 0.15 s later once more", _signal(signal.SIGINT, 2)),
    "power loss": ("kill -9 of all processes at once", _power_loss),
}


def kills(bench: Bench, count: int, *, seed: int, say: Callable[[str], None]) -> Iterator[Row]:
    """`count` runs ended at random moments, each way of ending in turn; a row for each way."""
    bench.forget_builds()
    whole = bench.judge(matrix=bench.whole())
    want = bench.essence(bench.runs()[-1])
    pick = random.Random(seed)
    names = list(ENDS)
    wrong: dict[str, list[str]] = {name: [] for name in names}
    tried = dict.fromkeys(names, 0)
    for number in range(count):
        name = names[number % len(names)]
        # half of them with the builds to make again, half with the cache warm
        if number // len(names) % 2:
            bench.forget_builds()
        delay = pick.uniform(EARLIEST_S, whole.seconds)
        problem = _one(bench, ENDS[name][1], delay, want)
        tried[name] += 1
        if problem:
            wrong[name].append(f"after {delay:.2f} s: {problem}")
        if not (number + 1) % 10:
            say(f"kills: {number + 1} of {count}")
    for name in names:
        happened = wrong[name][0] if wrong[name] else f"resumed to {bench.same}"
        lost = f"{len(wrong[name])} runs" if wrong[name] else "nothing"
        title = f"{bench.kind}: {name}"
        yield Row(title, ENDS[name][0], tried[name], happened, lost, not wrong[name])


def _one(bench: Bench, end: End, delay: float, want: object) -> str:
    """End one run after `delay` seconds and resume it; what is wrong, empty for nothing."""
    bench.forget_runs()
    child = bench.start("run-matrix", bench.whole(), "--out", str(bench.results))
    time.sleep(delay)
    end(bench, child)
    ended = bench.finish(child)
    kept = _ended(bench)
    if ended.traceback:
        return f"traceback: {ended.text[-200:]}"
    while bench.processes() and delay < 10:
        time.sleep(0.05)
        delay += 0.05
    if pids := bench.processes():
        return f"{len(pids)} processes live on"
    runs = bench.runs()
    if runs:
        again = bench.go("run-matrix", "--resume", runs[-1].name, "--out", str(bench.results))
    else:
        again = bench.judge(matrix=bench.whole())
    return _problem(bench, again.text, again.code, want, kept)


def _ended(bench: Bench) -> dict[Path, bytes]:
    """The attempts that had ended by themselves; a guest that was ended with the run had not."""
    paths = bench.results.glob("*/*/attempt-*/attempt.json")
    texts = {path: path.read_bytes() for path in paths}
    return {p: t for p, t in texts.items() if json.loads(t)["status"] in ("PASS", "FAIL")}


def _problem(bench: Bench, text: str, code: int, want: object, kept: dict[Path, bytes]) -> str:
    if code != bench.exit_code:
        return f"the resumed run ends with {code}: {text[-300:]}"
    if other := difference(want, bench.essence(bench.runs()[-1])):
        return other
    changed = [p.parent.name for p, data in kept.items() if p.read_bytes() != data]
    if changed:
        return f"attempts that had ended were made again: {', '.join(changed)}"
    left = bench.leftovers()
    return f"left behind: {', '.join(left[:3])}" if left else ""
