# SPDX-License-Identifier: GPL-2.0-only
"""How time grows with size: the start, the plan of a matrix, the history of many runs.

    python bench/scale.py [RUN]

Each is a command as a user gives it, on ten times as much; processor time of the least of three,
so that what else the machine does matters little. A growth near 10 is linear, near 100 quadratic;
below 10 the start of the program weighs more than the work. RUN is a directory of results/, whose
results.json is copied for the history; without it that part is left out.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
# cells of configs/matrix.yaml a variant
CELLS = 4
VARIANTS, RUNS = (250, 2500), (100, 1000)


def cpu_seconds(*argv: str) -> float:
    """Processor time of the least of three runs of `argv`, its children included."""
    least = float("inf")
    for _ in range(3):
        before = os.times()
        done = subprocess.run(argv, cwd=PROJECT, stdout=subprocess.DEVNULL, check=False)
        after = os.times()
        if done.returncode:
            sys.exit(f"{' '.join(argv)}: exit code {done.returncode}")
        spent = after.children_user + after.children_system
        least = min(least, spent - before.children_user - before.children_system)
    return least


def write_matrix(folder: Path, variants: int) -> Path:
    """configs/matrix.yaml with `variants` more, all with the patches of read-lock."""
    own = PROJECT / "patches" / "read-lock"
    for number in range(variants):
        shutil.copytree(own, folder / f"more{variants}" / f"v{number:05}")
    path = folder / f"m{variants}.yaml"
    text = (PROJECT / "configs" / "matrix.yaml").read_text(encoding="utf-8")
    path.write_text(f"{text}\nmore_variants: more{variants}\n", encoding="utf-8")
    return path


def write_runs(folder: Path, record: Path, count: int) -> Path:
    """A results directory with `count` copies of one record."""
    results = folder / f"results{count}"
    first = datetime(2026, 1, 1, tzinfo=UTC)
    for number in range(count):
        run = results / f"{first + timedelta(minutes=number):%Y%m%d-%H%M%S}-bench"
        run.mkdir(parents=True)
        shutil.copy(record, run / "results.json")
    return results


def report(what: str, sizes: tuple[int, int], seconds: tuple[float, float]) -> None:
    """One line: what, its two sizes and times, and the growth."""
    (few, many), (short, long) = sizes, seconds
    print(f"{what:<24}{few:>7} {short:6.2f} s {many:>7} {long:6.2f} s   x{long / short:.1f}")


def main() -> None:
    """Measure and print."""
    harness = (sys.executable, "harness.py")
    bare, started = cpu_seconds(sys.executable, "-c", "pass"), cpu_seconds(*harness, "--help")
    print(f"--help {started:.2f} s, of which python itself {bare:.2f} s")
    with tempfile.TemporaryDirectory(prefix="kvet-bench-") as scratch:
        folder = Path(scratch)
        dry = ("--dry-run", "--out", str(folder / "none"))
        plans = [write_matrix(folder, n) for n in VARIANTS]
        few, many = (cpu_seconds(*harness, "run-matrix", str(path), *dry) for path in plans)
        report("plan, added cells", (VARIANTS[0] * CELLS, VARIANTS[1] * CELLS), (few, many))
        if len(sys.argv) > 1:
            record = Path(sys.argv[1]) / "results.json"
            runs = [write_runs(folder, record, n) for n in RUNS]
            for what, words in (("history, read anew", ("--rebuild",)), ("history", ())):
                few, many = (
                    cpu_seconds(*harness, "history", *words, "--out", str(path)) for path in runs
                )
                report(what, RUNS, (few, many))


if __name__ == "__main__":
    main()
