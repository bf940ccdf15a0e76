# SPDX-License-Identifier: GPL-2.0-only
"""Coverage-guided fuzzing of everything that reads what others wrote, with atheris.

    .venv/bin/pip install atheris
    .venv/bin/python bench/fuzz.py TARGET [-max_total_time=SECONDS] [CORPUS_DIR]

TARGET is one of:

    console   the findings engine: consoles, pasted logs
    ktap      the report port of a guest
    mbox      mailboxes, single mails and patches given as --series
    yaml      the files of configs/, kernels/ and patches/
    results   results.json of any schema, and the reports that are drawn of it

Whatever bytes come, nothing may raise but the error that a user is told (KvetError). What is
found must stand within the log and go into JSON. The memory of the process is printed at the
end: it must not grow with time. A crashing input is kept as `crash-*`.
"""

from __future__ import annotations

import copy
import json
import resource
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import atheris
import yaml as pyyaml

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

with atheris.instrument_imports(include=["kvet"]):
    from kvet.cli.scan_log import as_json
    from kvet.detectors import Trigger, scan, scan_text
    from kvet.detectors.explain import explanation
    from kvet.detectors.table import table
    from kvet.errors import KvetError
    from kvet.guest.report_port import parse_lines, stages
    from kvet.model import Finding
    from kvet.plan import library
    from kvet.report.mail import mail_report
    from kvet.report.markdown import markdown_report
    from kvet.report.text import text_report
    from kvet.results.record import read_record
    from kvet.source.given import all_versions, open_series

from tests.reports import sample_record  # noqa: E402  found beside this file's directory

DATA = PROJECT / "tests" / "data"
TRIGGER = Trigger()
RECORDS = [
    sample_record(),
    *(json.loads(p.read_text(encoding="utf-8")) for p in DATA.glob("results*.json")),
]
SHIPPED = [
    json.loads(json.dumps(pyyaml.safe_load(p.read_text(encoding="utf-8")), default=str))
    for part in ("configs", "kernels", "patches")
    for p in sorted((PROJECT / part).rglob("*.yaml"))
]
ODD: tuple[Any, ...] = (
    *(
        None,
        True,
        -1,
        0,
        1,
        2**70,
        1e308,
        float("nan"),
        float("-inf"),
        "",
        "x",
        "../../x",
        "\x1b[2J",
    ),
    *("a+b+c+d+e", "*", "linux-6.12", "PASS", "FAIL", [], {}, [[]], {"a": {"b": []}}, "\ud7ff\n\t"),
)
LOADERS: tuple[Callable[[Path], object], ...] = (
    library.load_kernel,
    library.load_config,
    library.load_machine,
    library.load_workload,
    library.load_matrix,
)


def check(findings: list[Finding], lines: int) -> None:
    """What holds of findings in any log."""
    for finding in findings:
        assert finding.title and len(finding.title) <= 120, finding
        assert 0 < finding.first_line <= finding.last_line <= lines, finding
        explanation(finding)
        json.dumps(as_json(finding))


def console(data: bytes, folder: Path) -> None:
    """Scan `data` as one text and as lines; and its first line as a living console's."""
    text = data.decode("utf-8", "replace")
    check(scan_text(text), text.count("\n") + 1)
    lines = data.split(b"\n")
    check(scan(lines), len(lines))
    TRIGGER(lines[0])


def ktap(data: bytes, folder: Path) -> None:
    """Read `data` as what a guest wrote to its report port."""
    text = data.decode("utf-8", "replace")
    json.dumps(repr(parse_lines(text.splitlines())))
    assert all(isinstance(value, float) for value in stages(text).values())


def mbox(data: bytes, folder: Path) -> None:
    """Take `data` as a series, and as all the versions of one."""
    path = folder / "v1.mbox"
    path.write_bytes(data)
    for take in (open_series, all_versions):
        with tempfile.TemporaryDirectory(dir=folder) as scratch, suppress(KvetError):
            take(str(path), Path(scratch))


def yaml(data: bytes, folder: Path) -> None:
    """Load `data`, or a shipped file changed as `data` says, as each kind of file a user writes."""
    path = folder / "x.yaml"
    path.write_bytes(changed(data, SHIPPED) if data[:1] < b"\x80" else data)
    for load in LOADERS:
        with suppress(KvetError):
            load(path)


def results(data: bytes, folder: Path) -> None:
    """Load `data`, or a record changed as `data` says, as results.json; what loads can be drawn."""
    path = folder / "results.json"
    path.write_bytes(changed(data, RECORDS) if data[:1] < b"\xe0" else data)
    with suppress(KvetError):
        record = read_record(path)
        for draw in (text_report, markdown_report, mail_report):
            draw(record)


def changed(data: bytes, trees: Sequence[Any]) -> bytes:
    """One of `trees` as JSON, which is YAML, with some of its values others: `data` says which."""
    say = atheris.FuzzedDataProvider(data[1:])
    tree = copy.deepcopy(trees[say.ConsumeIntInRange(0, len(trees) - 1)])
    for _ in range(say.ConsumeIntInRange(1, 4)):
        places = list(_places(tree))
        if not places:
            break
        parent, key = places[say.ConsumeIntInRange(0, len(places) - 1)]
        how = say.ConsumeIntInRange(0, len(ODD) + 2)
        if how < len(ODD):
            parent[key] = copy.deepcopy(ODD[how])
        elif how == len(ODD):
            del parent[key]
        elif how == len(ODD) + 1:
            parent[key] = say.ConsumeUnicodeNoSurrogates(40)
        else:
            other, name = places[say.ConsumeIntInRange(0, len(places) - 1)]
            parent[key] = copy.deepcopy(other[name])
    return json.dumps(tree).encode()


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Every container with each of its keys."""
    if isinstance(tree, dict | list):
        for key in list(tree) if isinstance(tree, dict) else range(len(tree)):
            yield tree, key
            yield from _places(tree[key])


def console_seeds() -> Iterator[bytes]:
    """The examples of the table and the project's own consoles."""
    yield from (row.example.encode() for row in table().rows)
    yield from (
        p.read_bytes() for end in ("log", "txt") for p in (DATA / "consoles").glob(f"*.{end}")
    )


def ktap_seeds() -> Iterator[bytes]:
    """Reports that guests wrote."""
    yield from (p.read_bytes() for p in DATA.rglob("*.ktap"))
    lines = ("KTAP version 1", "1..1", "# kvet exposure walks 3", "# kvet stage init 0.5", "ok 1 a")
    yield "\n".join((*lines, "# kvet end", "")).encode()


def mbox_seeds() -> Iterator[bytes]:
    """The shipped patches, alone and as a mailbox."""
    patches = [p.read_bytes() for p in sorted((PROJECT / "patches").rglob("*.patch"))]
    yield from patches
    yield b"".join(patches[:3])
    yield b"From a@b Thu Jan  1 00:00:00 2026\nSubject: [PATCH v2 0/2] x\n\nbase-commit: 1\n\n"


def yaml_seeds() -> Iterator[bytes]:
    """The shipped files."""
    for part in ("configs", "kernels", "patches"):
        yield from (p.read_bytes() for p in (PROJECT / part).rglob("*.yaml"))


def results_seeds() -> Iterator[bytes]:
    """Records of the tests."""
    yield from (p.read_bytes() for p in DATA.glob("results*.json"))


TARGETS = {
    "console": (console, console_seeds),
    "ktap": (ktap, ktap_seeds),
    "mbox": (mbox, mbox_seeds),
    "yaml": (yaml, yaml_seeds),
    "results": (results, results_seeds),
}


def main() -> None:
    """Fuzz until libFuzzer's own limits say stop."""
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"usage: fuzz.py {{{','.join(TARGETS)}}} [libFuzzer options] [CORPUS_DIR]")
    one_input, seeds = TARGETS[sys.argv.pop(1)]
    with tempfile.TemporaryDirectory() as scratch, tempfile.TemporaryDirectory() as folder:
        for number, data in enumerate(seeds()):
            (Path(scratch) / str(number)).write_bytes(data)
        tried = 0

        def once(data: bytes) -> None:
            nonlocal tried
            one_input(data, Path(folder))
            tried += 1
            if tried in (2000, 20000) or not tried % 100000:
                peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
                print(f"fuzz: {tried} inputs, at most {peak} MiB of memory", file=sys.stderr)

        atheris.Setup([sys.argv[0], *sys.argv[1:], scratch], once)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
