# SPDX-License-Identifier: GPL-2.0-only
"""What the findings engine does with logs that want to stall it.

    .venv/bin/python bench/hostile.py [--gib N] [--mib N] [--folder DIR]

A console of N GiB (default 1), a line of N MiB (default 10), lines repeated
n and 2n times, and each expression of the table on its own head stretched to a
whole line. Prints seconds, MiB/s, the process's largest memory and, for the
repetitions, how much longer twice as much takes: near 2 is linear.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from kvet.detectors import scan_file, scan_text
from kvet.detectors.lines import MAX_LINE
from kvet.detectors.table import Row, table

CONSOLES = Path(__file__).resolve().parent.parent / "tests" / "data" / "consoles"
REPEATED = json.loads((CONSOLES / "lines.json").read_text(encoding="utf-8"))["repeated"]
STAMP = re.compile(r"^\[ *\d+\.\d+\](?:\[ *[CT]\d+\])? ?")


def seconds(work: Callable[..., object], *args: object) -> float:
    """Processor seconds of one call."""
    begin = time.process_time()
    work(*args)
    return time.process_time() - begin


def peak_mib() -> float:
    """The most memory that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def big_console(path: Path, size: int) -> None:
    """A console of `size` bytes: clean boots of ours, then one splat, again and again."""
    logs = [log.read_bytes() for log in sorted(CONSOLES.glob("*.log"))]
    quiet = (CONSOLES / "stock-7.3.log").read_bytes() * 10
    odd = (CONSOLES / "clean.txt").read_bytes()
    with path.open("wb") as out:
        while out.tell() < size:
            for log in logs:
                out.write(quiet + odd + log)


def long_line(path: Path, size: int) -> None:
    """One line of `size` bytes that looks like a splat all along, and a splat below it."""
    path.write_bytes(b"BUG: KASAN: " * (size // 12) + b"\n[    1.000000] kernel BUG at mm/a.c:1!\n")


def files(folder: Path, gib: float, mib: float) -> Iterator[tuple[str, Path]]:
    """The large inputs, one at a time: each is removed before the next is made."""
    for name, make, size in (
        (f"console of {gib:g} GiB", big_console, int(gib * (1 << 30))),
        (f"line of {mib:g} MiB", long_line, int(mib * (1 << 20))),
    ):
        path = folder / "console.log"
        make(path, size)
        yield name, path
        path.unlink()


def worst_head(row: Row) -> float:
    """Seconds that a row's expressions need for the worst stretching of its own first line."""
    lines = [STAMP.sub("", line) for line in row.example.splitlines()]
    head = next(line for line in lines if row.regex.match(line))
    words = [*re.findall(r"[A-Za-z_]{3,}", row.match), " ", "a.", "a/", "[a] ", "at ", " mm/a.c "]
    texts = [(head[:cut] + word * MAX_LINE)[:MAX_LINE] for cut in (12, 40, None) for word in words]
    return max(seconds(row.regex.match, t) + seconds(row.also_regex.search, t) for t in texts)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--gib", type=float, default=1.0)
    parser.add_argument("--mib", type=float, default=10.0)
    parser.add_argument("--folder", type=Path, help="where the large files go for a while")
    args = parser.parse_args(argv)
    scan_text("".join(row.example for row in table().rows))
    print(f"{'at start':42}{'':26}{peak_mib():8.0f} MiB held")
    with tempfile.TemporaryDirectory(dir=args.folder) as scratch:
        for name, path in files(Path(scratch), args.gib, args.mib):
            size = path.stat().st_size / (1 << 20)
            took = seconds(scan_file, path)
            rate = f"{took:8.2f} s {size / took:8.1f} MiB/s"
            print(f"{name:42}{rate:26}{peak_mib():8.0f} MiB held")
    for unit in REPEATED:
        once, twice = (seconds(scan_text, unit * n) for n in (50_000, 100_000))
        print(f"{unit[:38]!r:42}{twice:8.2f} s   x{twice / max(once, 1e-4):.1f} for twice as much")
    worst = sorted(((worst_head(row), row.id) for row in table().rows), reverse=True)[:3]
    for took, name in worst:
        print(f"{'slowest row on one line: ' + name:42}{1000 * took:8.2f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
