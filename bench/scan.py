# SPDX-License-Identifier: GPL-2.0-only
"""How fast the findings engine reads console logs, in one process after a warm-up.

    .venv/bin/python bench/scan.py [--rounds N] FILE...

Prints logs/s and MiB/s (min, median, max over the rounds), and the same as a
multiple of the time that one plain `re` pass over the lines of the same bytes
takes: that number is comparable between hosts.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from kvet.detectors import scan_file

# what the shortest useful grep would look for on each line
_PLAIN = re.compile(r"^.*(?:BUG|WARNING|INFO|panic|Unable to handle).*$", re.MULTILINE)


def plain_pass(path: Path) -> int:
    """Read one file, decode it, and match a plain expression on its lines."""
    return len(_PLAIN.findall(path.read_bytes().decode("utf-8", "replace")))


def timed(work: Callable[[Path], object], files: Sequence[Path]) -> float:
    """Processor seconds for one pass over all files: others on the host do not count."""
    begin = time.process_time()
    for path in files:
        work(path)
    return time.process_time() - begin


def spread(values: Sequence[float], digits: int = 0) -> str:
    """Minimum, median and maximum in one cell."""
    shown = (min(values), statistics.median(values), max(values))
    return "  ".join(f"{value:10.{digits}f}" for value in shown)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; 2 when there is no file to read."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args(argv)
    files = [path for path in args.files if path.is_file()]
    mib = sum(path.stat().st_size for path in files) / (1 << 20)
    if not mib:
        parser.error("nothing to read")
    findings = sum(len(scan_file(path)) for path in files)
    timed(plain_pass, files)
    engine, plain = [], []
    for _ in range(args.rounds):
        engine.append(timed(scan_file, files))
        plain.append(timed(plain_pass, files))
    print(f"{len(files)} logs, {mib:.2f} MiB, {findings} findings, {args.rounds} rounds")
    print(f"{'':22}{'min':>10}  {'median':>10}  {'max':>10}")
    print(f"{'engine, logs/s':22}{spread([len(files) / s for s in engine])}")
    print(f"{'engine, MiB/s':22}{spread([mib / s for s in engine], 1)}")
    print(f"{'plain re pass, MiB/s':22}{spread([mib / s for s in plain], 1)}")
    ratios = [s / p for s, p in zip(engine, plain, strict=True)]
    print(f"{'engine / plain, time':22}{spread(ratios, 2)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
