# SPDX-License-Identifier: GPL-2.0-only
"""The faults of a user's environment: odd paths, no home, jumping clocks, little memory."""

from __future__ import annotations

import resource
import time
from collections.abc import Mapping
from pathlib import Path

from tests.torture.bench import VARIANTS, Bench
from tests.torture.faults import FAULTS, Fault, _as_usual, _refused, _row, fault
from tests.torture.table import Row

JUMPS = """\
import time
_real, _start = time.time, time.time()
def _jumping():
    now = _real()
    return now + {by} if now - _start > 0.8 else now
time.time = _jumping
"""


def _with(how: str, change: Mapping[str, str | None]) -> Fault:
    def inject(name: str, root: Path) -> Row:
        bench = Bench.made(root)
        env = {k: v for k, v in {**bench.env, **change}.items() if v is not None}
        return _row(name, how, _as_usual(bench, bench.judge(env=env)), happened="as usual")

    return inject


FAULTS["HOME unset"] = _with("env -u HOME", {"HOME": None})
FAULTS["locale C"] = _with("LC_ALL=C", {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0"})
FAULTS["no terminal type"] = _with("TERM=dumb, COLUMNS=20", {"TERM": "dumb", "COLUMNS": "20"})


def _clock(by: int) -> Fault:
    def inject(name: str, root: Path) -> Row:
        bench = Bench.made(root)
        (root / "site").mkdir()
        (root / "site/sitecustomize.py").write_text(JUMPS.format(by=by), encoding="utf-8")
        done = bench.judge(env={**bench.env, "PYTHONPATH": str(root / "site")})
        return _row(
            name, f"time.time() jumps by {by} s", _as_usual(bench, done), happened="as usual"
        )

    return inject


FAULTS["clock jumps forwards"] = _clock(86400)
FAULTS["clock jumps back"] = _clock(-86400)


@fault("paths with blanks and quotes")
def _(name: str, root: Path) -> Row:
    bench = Bench.made(root / 'it\'s a "dir" with ümläuts; $HOME')
    done = bench.judge()
    return _row(
        name, "checkout, cache and results in one", _as_usual(bench, done), happened="as usual"
    )


@fault("umask 077")
def _(name: str, root: Path) -> Row:
    import os

    bench = Bench.made(root)
    old = os.umask(0o077)
    try:
        done = bench.judge()
    finally:
        os.umask(old)
    return _row(name, "umask 077", _as_usual(bench, done), happened="as usual")


@fault("2 GiB of memory")
def _(name: str, root: Path) -> Row:
    bench = Bench.made(root)
    limit = 2 << 30
    old = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (limit, old[1]))
    try:
        done = bench.judge()
    finally:
        resource.setrlimit(resource.RLIMIT_AS, old)
    return _row(name, "address space of 2 GiB", _as_usual(bench, done), happened="as usual")


@fault("10 000 cells")
def _(name: str, root: Path) -> Row:
    bench = Bench.made(root)
    names = []
    for number in range(10_000):
        folder = bench.checkout / f"patches/v{number}"
        folder.mkdir()
        (folder / "variant.yaml").write_text("title: v\nrole: candidate\n", encoding="utf-8")
        names.append(folder.name)
    begun = time.monotonic()
    done = bench.go("run-matrix", bench.matrix(*VARIANTS), "--dry-run")
    text = (bench.checkout / "configs/m.yaml").read_text(encoding="utf-8")
    path = bench.checkout / "configs/many.yaml"
    path.write_text(
        text.replace("[stock, broken, good]", f"[{', '.join(names)}]"), encoding="utf-8"
    )
    done = bench.go("run-matrix", str(path), "--dry-run")
    lines = sum("[candidate]" in line for line in done.text.splitlines())
    problem = _refused(done, 0) or ("" if lines == 10_000 else f"{lines} cells planned")
    seconds = time.monotonic() - begun
    return _row(name, "planned, --dry-run", problem, happened=f"10 000 cells in {seconds:.1f} s")
