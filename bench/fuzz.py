# SPDX-License-Identifier: GPL-2.0-only
"""Coverage-guided fuzzing of the findings engine with atheris (`pip install atheris`).

    .venv/bin/python bench/fuzz.py [-max_total_time=SECONDS] [CORPUS_DIR]

Whatever bytes come, nothing may raise, and what is found must stand within
the log and go into JSON. Starts from the examples of the table and the
project's own consoles. A crashing input is kept as `crash-*`.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

with atheris.instrument_imports(include=["kvet.detectors", "kvet.scanlog"]):
    from kvet.detectors import Trigger, scan, scan_text
    from kvet.detectors.explain import explanation
    from kvet.detectors.table import table
    from kvet.model import Finding
    from kvet.scanlog import as_json

CONSOLES = Path(__file__).resolve().parent.parent / "tests" / "data" / "consoles"
TRIGGER = Trigger()


def check(findings: list[Finding], lines: int) -> None:
    """What holds of findings in any log."""
    for finding in findings:
        assert finding.title and len(finding.title) <= 120, finding
        assert 0 < finding.first_line <= finding.last_line <= lines, finding
        explanation(finding)
        json.dumps(as_json(finding))


def one_input(data: bytes) -> None:
    """Scan `data` as one text and as lines; and its first line as a living console's."""
    text = data.decode("utf-8", "replace")
    check(scan_text(text), text.count("\n") + 1)
    lines = data.split(b"\n")
    check(scan(lines), len(lines))
    TRIGGER(lines[0])


def write_seeds(folder: Path) -> None:
    """One file for each example and console."""
    for row in table().rows:
        (folder / row.id).write_text(row.example, encoding="utf-8")
    for path in (*CONSOLES.glob("*.log"), *CONSOLES.glob("*.txt")):
        (folder / path.name).write_bytes(path.read_bytes())


def main() -> None:
    """Fuzz until libFuzzer's own limits say stop."""
    with tempfile.TemporaryDirectory() as seeds:
        write_seeds(Path(seeds))
        atheris.Setup([*sys.argv, seeds], one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
