# SPDX-License-Identifier: GPL-2.0-only
"""From a patch to its verdict: where the time goes, for a series that no cache knows.

    python bench/verdict.py [ATTEMPTS]

Takes patches/read-lock with a word of its own in the one .c file that it changes, so that the build
is never cached, and runs it as a user would: `harness.py run --series`. References come from the
record, the build tree is warm (run it twice). Prints each part and its share of the whole.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent


def fresh_series(folder: Path) -> Path:
    """The read-lock series with a comment in mm/vmalloc.c that no tree had before."""
    folder.mkdir()
    for patch in sorted((PROJECT / "patches" / "read-lock").glob("*.patch")):
        (folder / patch.name).write_bytes(patch.read_bytes())
    (folder / "9999-bench.patch").write_text(
        "Subject: [PATCH] mm/vmalloc: a word that no tree had before\n---\n"
        "--- a/mm/vmalloc.c\n+++ b/mm/vmalloc.c\n@@ -1,3 +1,4 @@\n"
        f"+/* {uuid.uuid4().hex} */\n // SPDX-License-Identifier: GPL-2.0-only\n /*\n"
        "  *  Copyright (C) 1993  Linus Torvalds\n",
        encoding="utf-8",
    )
    return folder


def main() -> None:
    """Run once and print the parts."""
    attempts = sys.argv[1] if len(sys.argv) > 1 else "3"
    with tempfile.TemporaryDirectory(prefix="kvet-bench-") as scratch:
        series = fresh_series(Path(scratch) / "series")
        command = [sys.executable, "harness.py", "run", "--series", str(series)]
        command += ["--attempts", attempts, "--out", scratch, "--plain"]
        started = time.time()
        done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
        whole = time.time() - started
        found = next(Path(scratch).glob("*/events.jsonl"), None)
        if found is None or done.returncode not in (0, 1, 4):
            sys.exit(done.stderr)
        events = [json.loads(x) for x in found.read_text(encoding="utf-8").splitlines()]
    built = [e for e in events if e["stage"] == "build" and e["kind"] == "end"][-1]
    boots = [e for e in events if e["kind"] == "attempt"][-int(attempts) :]
    load = sum(float(x) for x in re.findall(r"seconds: ([\d.]+)", workload())) * len(boots)
    first = built["time"] - built["seconds"]
    parts = {
        "start, references": first - started,
        "build": built["seconds"],
        "boots": boots[-1]["time"] - built["time"],
        "report": started + whole - boots[-1]["time"],
    }
    print(f"patch to verdict: {whole:.1f} s, exit code {done.returncode}; of it race {load:.0f} s")
    for name, seconds in parts.items():
        print(f"  {name:<18} {seconds:5.1f} s  {100 * seconds / whole:3.0f} %")


def workload() -> str:
    """The definition of the default workload, which holds the seconds of its race."""
    return (PROJECT / "configs" / "workloads" / "ptdump-race.yaml").read_text(encoding="utf-8")


if __name__ == "__main__":
    main()
