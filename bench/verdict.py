# SPDX-License-Identifier: GPL-2.0-only
"""From a patch to its verdict: where the time goes, for a series that no cache knows.

    python bench/verdict.py [ATTEMPTS] [--header]

Takes patches/read-lock with a word of its own in the one .c file that it changes, so that the build
is never cached, and runs it as a user would: `harness.py run --series`. References come from the
record, the build tree is warm (run it twice). Prints each part and its share of the whole. With
--header the series edits a header that 800 objects include, and is judged at first sight and in its
next version, which has the same header.
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
# a comment before the first line of a file
DIFF = "--- a/{file}\n+++ b/{file}\n@@ -1,3 +1,4 @@\n+/* {word} */\n{first}"
C_LINES = (
    " // SPDX-License-Identifier: GPL-2.0-only\n /*\n  *  Copyright (C) 1993  Linus Torvalds\n"
)
GUARD = "_LINUX_VMALLOC_H"
H_LINES = f" /* SPDX-License-Identifier: GPL-2.0 */\n #ifndef {GUARD}\n #define {GUARD}\n"


def fresh_series(folder: Path, header: str = "") -> Path:
    """The read-lock series with a comment in mm/vmalloc.c that no tree had before.

    With `header`, that word in include/linux/vmalloc.h as well, which 800 objects include.
    """
    folder.mkdir()
    for patch in sorted((PROJECT / "patches" / "read-lock").glob("*.patch")):
        (folder / patch.name).write_bytes(patch.read_bytes())
    diff = DIFF.format(file="mm/vmalloc.c", word=uuid.uuid4().hex, first=C_LINES)
    if header:
        diff += DIFF.format(file="include/linux/vmalloc.h", word=header, first=H_LINES)
    text = f"Subject: [PATCH] mm/vmalloc: a word that no tree had before\n---\n{diff}"
    (folder / "9999-bench.patch").write_text(text, encoding="utf-8")
    return folder


def measure(header: str, attempts: str) -> None:
    """Judge one series and print the parts."""
    with tempfile.TemporaryDirectory(prefix="kvet-bench-") as scratch:
        series = fresh_series(Path(scratch) / "series", header)
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


def main() -> None:
    """Measure one series, or with --header one that edits a header and its next version."""
    words = [word for word in sys.argv[1:] if word != "--header"]
    header = uuid.uuid4().hex if "--header" in sys.argv else ""
    for _ in range(2 if header else 1):
        measure(header, words[0] if words else "3")


def workload() -> str:
    """The definition of the default workload, which holds the seconds of its race."""
    return (PROJECT / "configs" / "workloads" / "ptdump-race.yaml").read_text(encoding="utf-8")


if __name__ == "__main__":
    main()
