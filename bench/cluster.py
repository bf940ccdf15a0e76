# SPDX-License-Identifier: GPL-2.0-only
"""Simulates a run of 100 000 cells on 1000 workers, with the durations of runs on record.

    python bench/cluster.py RUN... [--workers N] [--slots N] [--cells N]

Nothing is built or booted. Each build and each boot takes as long as one picked at random from
the runs; waves are those of a run without workers (kvet.run.order). Boots go to the slot that is
free first; scheduler, store and host do one thing after the other. A row is one way to carry the
run out; its bottleneck is what was busy for the largest part of the time.
"""

from __future__ import annotations

import argparse
import heapq
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kvet.model import COUNTED_STATUSES
from kvet.results.record import read_record
from kvet.run.order import waves

# measured with tests/clusters.py: 200 boots more of a fake QEMU, processor seconds of each process,
# and 2 ms to read a real console; docs/scale.md
HOST_S, SCHEDULER_S = 0.011, 0.0055
# bytes of linux-6.12 debug: Image and modules of a build, programs that all share, a packed attempt
BUILD_B, SHARED_B, PACK_B = 12_230_000, 2_640_000, 9_000
# of a first build in a tree of its own
COLD_S = 300.0
GIGABIT = 125e6


@dataclass(frozen=True, slots=True)
class Way:
    """How a run is carried out.

    `builders` build trees are there, on as many hosts; `beside`: builds go on while others boot.
    With `near` the boots of one build are kept on one worker. `store_bps` is what the
    store gives to all together, in bytes a second.
    """

    name: str
    builders: int = 1
    beside: bool = False
    built: bool = False
    near: bool = False
    store_bps: float = 10 * GIGABIT


WAYS = (
    Way("all is built on the host, in turn"),
    Way("every build in the cache, waves of eight", built=True),
    Way("without --build: boots beside builds", beside=True),
    Way("20 hosts build", builders=20, beside=True),
    Way("100 hosts build", builders=100, beside=True),
    Way("... a build stays on one worker", builders=100, beside=True, near=True),
    Way("all in the cache, boots as they come", built=True, beside=True),
    Way("... a build stays on one worker", built=True, beside=True, near=True),
    Way("... and a store of 1 Gbit/s", built=True, beside=True, near=True, store_bps=GIGABIT),
)


@dataclass(frozen=True, slots=True)
class Recorded:
    """Seconds of builds in a warm tree and of boots, from runs on record."""

    builds: Sequence[float]
    boots: Sequence[float]


@dataclass(frozen=True, slots=True)
class Size:
    """What there is to do, and how many workers of how many boots at a time do it."""

    workers: int
    slots: int
    cells: int
    cells_a_build: int
    attempts: int

    @property
    def builds(self) -> int:
        return self.cells // self.cells_a_build


@dataclass(slots=True)
class Server:
    """Something that does one thing at a time, in the order of asking."""

    free_at: float = 0.0
    busy_s: float = 0.0

    def serve(self, asked: float, seconds: float) -> float:
        """When it is done."""
        self.free_at = max(self.free_at, asked) + seconds
        self.busy_s += seconds
        return self.free_at


@dataclass(slots=True)
class Simulation:
    """One way of carrying out a run of this size, as far as it has come."""

    way: Way
    size: Size
    recorded: Recorded
    pick: random.Random = field(default_factory=lambda: random.Random(1))
    host: Server = field(default_factory=Server)
    scheduler: Server = field(default_factory=Server)
    store: Server = field(default_factory=Server)
    lanes: list[Server] = field(default_factory=list)
    slots: list[list[float]] = field(default_factory=list)
    turn: list[tuple[float, int]] = field(default_factory=list)
    held: set[tuple[int, int]] = field(default_factory=set)
    booted_s: float = 0.0
    sent_b: float = 0.0

    def run(self) -> float:
        """Carry it all out; the time at which the last verdict is there."""
        self.lanes = [Server() for _ in range(self.way.builders)]
        self.slots = [[0.0] * self.size.slots for _ in range(self.size.workers)]
        self.turn = [(0.0, worker) for worker in range(self.size.workers)]
        now = 0.0
        done: list[float] = []
        for wave in self._waves():
            ready = [(self._built(build, now), build) for build in wave]
            if self.way.beside:
                done += self._booted(sorted(ready))
                continue
            built = max(at for at, _ in ready)
            now = self._judged(self._booted((built, build) for build in wave))
        return self._judged(done) if self.way.beside else now

    def _waves(self) -> Iterable[Sequence[int]]:
        if self.way.beside:
            return [range(self.size.builds)]
        return waves(range(self.size.builds), lambda build: self.way.built)

    def _built(self, build: int, now: float) -> float:
        """When that build is there; the first one of each tree is a cold one."""
        if self.way.built:
            return now
        lane = self.lanes[build % len(self.lanes)]
        seconds = self.pick.choice(self.recorded.builds) if lane.busy_s else COLD_S
        return lane.serve(now, seconds)

    def _booted(self, ready: Iterable[tuple[float, int]]) -> list[float]:
        """When each boot of these builds has ended, in whatever order."""
        ends = []
        boots = self.size.cells_a_build * self.size.attempts
        for built, build in ready:
            for _ in range(1 if self.way.near else boots):
                ends += self._placed(build, built, boots if self.way.near else 1)
        return ends

    def _placed(self, build: int, built: float, boots: int) -> list[float]:
        """Give `boots` boots to the worker that has a slot first."""
        _, worker = heapq.heappop(self.turn)
        slots, ends = self.slots[worker], []
        for _ in range(boots):
            asked = max(self.scheduler.serve(built, SCHEDULER_S), slots[0])
            seconds = self.pick.choice(self.recorded.boots)
            end = self._fetched(worker, build, asked) + seconds
            heapq.heapreplace(slots, end)
            self.booted_s += seconds
            ends.append(end)
        heapq.heappush(self.turn, (slots[0], worker))
        return ends

    def _fetched(self, worker: int, build: int, asked: float) -> float:
        """When that worker has what the boot needs."""
        size = 0
        for what, bytes_ in ((-1, SHARED_B), (build, BUILD_B)):
            if (worker, what) not in self.held:
                self.held.add((worker, what))
                size += bytes_
        self.sent_b += size + 2 * PACK_B  # a pack is too small to wait for
        return self.store.serve(asked, size / self.way.store_bps) if size else asked

    def _judged(self, ends: Sequence[float]) -> float:
        """When the host has judged them all."""
        return max((self.host.serve(end, HOST_S) for end in sorted(ends)), default=0.0)

    def parts(self, total: float) -> dict[str, float]:
        """How much of the time each part was busy."""
        slots = self.size.workers * self.size.slots
        busy = sum(lane.busy_s for lane in self.lanes)
        return {
            "builds": busy / total / len(self.lanes),
            "boots": self.booted_s / total / slots,
            "store": self.store.busy_s / total,
            "scheduler": self.scheduler.busy_s / total,
            "host": self.host.busy_s / total,
        }


def recorded(runs: Sequence[Path]) -> Recorded:
    """What builds that were compiled and attempts that counted took in these runs."""
    records = [read_record(run / "results.json") for run in runs]
    cells = [cell for record in records for cell in record.cells if not cell.reused]
    builds = {c.build.key: c.build.seconds for c in cells if not c.build.cached}
    boots = [a.seconds for c in cells for a in c.attempts if a.status in COUNTED_STATUSES]
    return Recorded([s for s in builds.values() if s], boots)


def main() -> None:
    """Simulate every way and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    for name, number in (("workers", 1000), ("slots", 4), ("cells", 100_000), ("attempts", 3)):
        parser.add_argument(f"--{name}", type=int, default=number)
    parser.add_argument("--cells-a-build", type=int, default=5)
    options = parser.parse_args()
    known = recorded(options.runs)
    size = Size(
        options.workers, options.slots, options.cells, options.cells_a_build, options.attempts
    )
    print(
        f"{size.cells} cells of {size.builds} builds, {size.attempts} attempts each, on "
        f"{size.workers} workers of {size.slots} boots; {len(known.builds)} builds and "
        f"{len(known.boots)} boots on record"
    )
    print(f"{'':<46}{'time':>9}  builds boots store sched  host  store TB  bottleneck")
    for way in WAYS:
        simulation = Simulation(way, size, known)
        total = simulation.run()
        parts = simulation.parts(total)
        most = max(parts, key=lambda name: parts[name])
        shares = "".join(f"{share:6.0%}" for share in parts.values())
        sent = simulation.sent_b / 1e12
        print(f"{way.name:<46}{total / 3600:8.1f}h {shares}{sent:10.2f}  {most}")


if __name__ == "__main__":
    main()
