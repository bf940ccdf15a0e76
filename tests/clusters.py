# SPDX-License-Identifier: GPL-2.0-only
"""A scheduler and workers on this machine, each worker with a cache of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.torture.bench import Bench, Done

READY_S = 60.0


def wait_until(true: Callable[[], bool], what: str, within_s: float = READY_S) -> None:
    """Return as soon as it is `true`; fail when it is not in time."""
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, f"not within {within_s:.0f} s: {what}"
        time.sleep(0.05)


class LocalCluster:
    """Processes of one bench: a scheduler, and workers with `bench`'s checkout."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.root = Path(tempfile.mkdtemp(prefix="cluster-", dir=bench.root))
        self.file = self.root / "scheduler.json"
        self.workers: list[subprocess.Popen[bytes]] = []
        ports = ("--port", "0", "--dashboard-address", "127.0.0.1:0", "--no-dashboard")
        self.scheduler = subprocess.Popen(
            (sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1")
            + (*ports, "--scheduler-file", str(self.file)),
            env={**bench.env, "DASK_TEMPORARY_DIRECTORY": str(self.root / "scheduler")},
            cwd=bench.root,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_until(self.file.exists, "a scheduler")

    @property
    def url(self) -> str:
        return str(json.loads(self.file.read_text(encoding="utf-8"))["address"])

    @property
    def store(self) -> Path:
        return self.root / "store"

    def cache(self, number: int) -> Path:
        """The cache of the worker of that number."""
        return self.root / f"worker-{number}"

    def log(self, number: int) -> str:
        """What that worker said."""
        return (self.root / f"worker-{number}.log").read_text(encoding="utf-8")

    def add_worker(self, *words: str, env: dict[str, str] | None = None) -> int:
        """Start one more worker and wait until it serves; its number."""
        number = len(self.workers)
        with (self.root / f"worker-{number}.log").open("wb") as log:
            child = subprocess.Popen(
                self.bench.argv("worker", "--scheduler", self.url, *words),
                cwd=self.bench.root,
                env={**self.bench.env, "KVET_CACHE": str(self.cache(number)), **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.workers.append(child)
        wait_until(lambda: " at a time" in self.log(number), f"worker {number} serves")
        return number

    def words(self, matrix: str, results: Path) -> tuple[str, ...]:
        """The command that runs `matrix` on the workers."""
        where = ("--executor", self.url, "--store", str(self.store))
        return ("run-matrix", matrix, "--out", str(results), *where)

    def judge(self, matrix: str, results: Path) -> Done:
        """Run `matrix` on the workers to its end."""
        return self.bench.go(*self.words(matrix, results))

    def guests(self) -> list[int]:
        """Ids of the QEMU processes of all workers."""
        name = os.fsencode(self.bench.bin / "qemu-system-aarch64")
        return [pid for pid in self.bench.processes() if name in _cmdline(pid)]

    def guests_of(self, number: int) -> list[int]:
        """Those of one worker."""
        return [pid for pid in self.guests() if _parent(pid) == self.workers[number].pid]

    def wait_for_a_boot(self) -> int:
        """Wait until a guest runs that takes its time; the number of the worker that has it."""
        found: list[int] = []

        def seen() -> bool:
            early = {n: self.guests_of(n) for n in range(len(self.workers))}
            time.sleep(0.3)  # the others last a tenth of that
            found[:] = [n for n, pids in early.items() if set(pids) & set(self.guests_of(n))]
            return bool(found)

        wait_until(seen, "a worker boots")
        return found[0]

    def builds(self) -> list[int]:
        """Ids of the sandboxes in which workers build something."""
        return [pid for pid in self.bench.processes() if self._builder(pid) is not None]

    def builds_of(self, number: int) -> list[int]:
        """Those of one worker."""
        return [pid for pid in self.builds() if self._builder(pid) == number]

    def _builder(self, pid: int) -> int | None:
        """The number of the worker in whose build tree that sandbox is."""
        words = _cmdline(pid).split(b"\0")
        lanes = {n: os.fsencode(self.cache(n) / "lanes") for n in range(len(self.workers))}
        found = [n for n, lane in lanes.items() if any(w.startswith(lane) for w in words)]
        return found[0] if words[0] == b"bwrap" and found else None

    def left(self) -> list[str]:
        """What boots have left: guests, files of boots in the workers' caches and in the store."""
        files = [
            *self.root.glob("worker-*/boots/*/tmp*"),
            *(p for p in (self.store / "attempts").rglob("*") if p.is_file()),
        ]
        return [*(f"guest {pid}" for pid in self.guests()), *map(str, files)]

    def end(self) -> None:
        """Kill all that is left of it, scheduler first."""
        for child in (self.scheduler, *self.workers):
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def _parent(pid: int) -> int:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[1])


def _cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
