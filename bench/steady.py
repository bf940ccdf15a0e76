# SPDX-License-Identifier: GPL-2.0-only
"""Memory and file descriptors of the harness over a long run, its QEMU a fake.

    python bench/steady.py [ATTEMPTS]

Looks at the process every half second and compares the second fifth of the attempts with
the last one: what grows with every attempt shows there. Exits with 1 where either grows
by more than what the records of the attempts take.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.torture.bench import VARIANTS, Bench

ATTEMPTS = 500
RECORD_KIB = 64  # an attempt in memory, with its findings, exposure and provenance
MORE_FDS = 4  # guests that happen to run


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at the process: attempts that had ended, open descriptors, memory in KiB."""

    attempts: int
    fds: int
    rss_kib: int


def look(pid: int, results: Path) -> Sample | None:
    """What the process holds now; None when it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
        fds = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return None
    memory = [line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")]
    if not memory:
        return None
    done = sum(1 for _ in results.glob("2*/*/attempt-*/attempt.json"))
    return Sample(done, fds, int(memory[0]))


def watch(bench: Bench, attempts: int) -> list[Sample]:
    """Run `attempts` boots of three variants and look on."""
    matrix = bench.matrix(*VARIANTS, attempts=attempts // len(VARIANTS) + 1)
    child = bench.start("run-matrix", matrix, "--quiet", "--out", str(bench.results))
    samples = []
    while child.poll() is None:
        if sample := look(child.pid, bench.results):
            samples.append(sample)
        time.sleep(0.5)
    child.communicate()
    return samples


def fifth(samples: list[Sample], number: int) -> tuple[float, float]:
    """Median of descriptors and of memory in one fifth of the attempts."""
    most = samples[-1].attempts
    # with the last attempt the reports begin, which are no part of this
    running = [s for s in samples if s.attempts < most]
    inside = [s for s in running if number * most <= 5 * s.attempts <= (number + 1) * most]
    return statistics.median(s.fds for s in inside), statistics.median(s.rss_kib for s in inside)


def main() -> int:
    """Print both figures early and late."""
    attempts = int(sys.argv[1]) if len(sys.argv) > 1 else ATTEMPTS
    with tempfile.TemporaryDirectory() as scratch:
        samples = watch(Bench.made(Path(scratch) / "bench"), attempts)
    done = samples[-1].attempts
    (fds, rss), (late_fds, late_rss) = fifth(samples, 1), fifth(samples, 4)
    each = (late_rss - rss) / (0.6 * done)
    print(f"{done} attempts, {len(samples)} looks")
    print(f"file descriptors  {fds:.0f} early, {late_fds:.0f} late")
    print(f"memory            {rss / 1024:.1f} MiB early, {late_rss / 1024:.1f} MiB late: "
          f"{each:.1f} KiB an attempt")  # fmt: skip
    return int(late_fds > fds + MORE_FDS or each > RECORD_KIB)


if __name__ == "__main__":
    sys.exit(main())
