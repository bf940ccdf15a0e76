# SPDX-License-Identifier: GPL-2.0-only
"""What the harness itself costs: wall time of a run less its builds and its QEMUs.

    python bench/overhead.py results/RUN

Reads the run's events.jsonl; for runs with one boot at a time.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path


def overheads(events: list[dict[str, object]]) -> list[float]:
    """Seconds between the end of one attempt and of the next, less the next one's QEMU time."""
    found = []
    previous: float | None = None
    for event in events:
        time, seconds = float(str(event["time"])), event["seconds"]
        if event["kind"] == "attempt" and isinstance(seconds, float):
            if previous is not None:
                found.append(time - previous - seconds)
            previous = time
        elif event["stage"] == "build":
            previous = None
    return found


def main() -> None:
    """Print count, median and maximum, and the share of QEMU's own time."""
    run = Path(sys.argv[1])
    lines = (run / "events.jsonl").read_text(encoding="utf-8").splitlines()
    events = [json.loads(line) for line in lines]
    spent = overheads(events)
    qemu = [float(e["seconds"]) for e in events if e["kind"] == "attempt"]
    if not spent:
        sys.exit(f"{run}: needs two attempts in a row")
    print(
        f"{run.name}: {len(spent)} attempts, overhead median {statistics.median(spent):.3f} s, "
        f"max {max(spent):.3f} s, {100 * statistics.median(spent) / statistics.median(qemu):.1f} % "
        "of QEMU's time"
    )


if __name__ == "__main__":
    main()
