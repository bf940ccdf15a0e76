# SPDX-License-Identifier: GPL-2.0-only
"""python -m tests.torture: inject every fault, print what happened; exit 1 if a promise broke."""

from __future__ import annotations

import argparse
import fnmatch
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.torture import environment  # noqa: F401  its faults enter themselves
from tests.torture.bench import Bench
from tests.torture.faults import FAULTS
from tests.torture.kills import kills
from tests.torture.real import RealBench
from tests.torture.table import Row, show
from tests.torture.workers import cancels


def main() -> int:
    """Run what was asked for; 0 when every promise of docs/reliability.md held."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200, metavar="N", help="kills at random")
    parser.add_argument("--real", type=int, default=20, metavar="N", help="the same, real QEMU")
    parser.add_argument("--cancels", type=int, default=50, metavar="N", help="the same on workers")
    parser.add_argument("--seed", type=int, default=1, help="of the random moments")
    parser.add_argument("--only", default="*", metavar="GLOB", help="faults by name")
    options = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="kvet-torture-") as scratch:
        root = Path(scratch)
        if fnmatch.fnmatch("kill", options.only) and options.kills:
            bench = Bench.made(root / "kills")
            rows += kills(bench, options.kills, seed=options.seed, say=say)
        if fnmatch.fnmatch("real kill", options.only) and options.real:
            bench = RealBench.made(root / "real")
            rows += kills(bench, options.real, seed=options.seed, say=say)
        if fnmatch.fnmatch("workers", options.only) and options.cancels:
            bench = Bench.made(root / "workers")
            rows.append(cancels(bench, options.cancels, seed=options.seed, say=say))
        for number, (name, fault) in enumerate(FAULTS.items()):
            if fnmatch.fnmatch(name, options.only):
                say(name)
                rows.append(_inject(name, fault, root / f"fault-{number}"))
    show(rows)
    return 0 if all(row.ok for row in rows) else 1


def _inject(name: str, fault: Callable[[str, Path], Row], root: Path) -> Row:
    try:
        return fault(name, root)
    except (AssertionError, OSError, LookupError, ValueError) as error:
        return Row(name, "see tests/torture", 1, f"{type(error).__name__}: {error}", "?", False)


def say(text: str) -> None:
    """Progress, on standard error."""
    print(f"torture: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
