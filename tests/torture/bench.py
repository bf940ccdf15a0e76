# SPDX-License-Identifier: GPL-2.0-only
"""A checkout of its own with a fake kernel and a fake QEMU, run as a user runs it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kvet.paths import PROJECT
from tests.fakes import FakeProject, put_fake_qemu

# what a repeated or resumed run may differ in: times, names of runs, and where things lie
MAY_DIFFER = frozenset(
    [
        "seconds",
        "boot_seconds",
        "ready_seconds",
        "run",
        "cached",
        "folder",
        "argv",
        "uptime_s",
        "host",
        "command",
        "plan",
        "detail_path",
        "log",
        "again",
    ]
)
MANIFEST = "layers:\n  base:\n    folders: [/proc, /dev]\n"
VARIANTS = ("stock", "broken", "good")
AS_IT_SHOULD_BE = {"stock": "INCONCLUSIVE", "broken": "FAIL", "good": "PASS"}


@dataclass(frozen=True, slots=True)
class Done:
    """One command that ended: its exit code and what it printed."""

    code: int
    text: str
    seconds: float

    @property
    def traceback(self) -> bool:
        """Whether a user was shown the harness's inside."""
        return "Traceback (most recent call last)" in self.text


@dataclass(slots=True)
class Bench:
    """The checkout below `root`, its cache, its results, and the environment it runs in."""

    root: Path
    env: dict[str, str] = field(default_factory=dict)

    @classmethod
    def made(cls, root: Path) -> Bench:
        """A new checkout with a baseline, a control and a candidate, and a matrix of the three."""
        root.mkdir(parents=True)
        project = FakeProject(root / "checkout")
        for name in ("kvet", "rootfs"):
            skip = shutil.ignore_patterns("__pycache__")
            shutil.copytree(PROJECT / name, project.root / name, ignore=skip)
        shutil.copy2(PROJECT / "harness.py", project.root)
        (project.root / "rootfs/manifest.yaml").write_text(MANIFEST, encoding="utf-8")
        project.variant("stock", "baseline", "unexposed")
        project.variant("broken", "control", "breach")
        project.variant("good", "candidate", edit=("mm/vmalloc.c", "addr + 1", "addr + 3"))
        bench = cls(root)
        bench.tmp.mkdir()
        put_fake_qemu(bench.bin)
        bench.env = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("KVET", "GIT_"))},
            "PATH": f"{bench.bin}:{os.environ['PATH']}",
            "KVET_CACHE": str(bench.cache),
            "TMPDIR": str(bench.tmp),
            "NO_COLOR": "1",
            "KVET_TORTURE": str(root),
        }
        return bench

    @property
    def checkout(self) -> Path:
        return self.root / "checkout"

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    @property
    def results(self) -> Path:
        return self.root / "results"

    @property
    def tmp(self) -> Path:
        return self.root / "tmp"

    @property
    def bin(self) -> Path:
        return self.root / "bin"

    def add(self, name: str, scenario: str = "", edit: tuple[str, str, str] | None = None) -> None:
        """One more candidate, whose guest plays `scenario`, and whose source has `edit` made."""
        self.project.variant(name, "candidate", scenario, edit)

    @property
    def project(self) -> FakeProject:
        """What lies in the checkout, to add to."""
        project = FakeProject.__new__(FakeProject)
        project.root = self.checkout
        return project

    def matrix(self, *variants: str, attempts: int = 2) -> str:
        """Write a matrix of these variants; its path."""
        text = (self.checkout / "configs/m.yaml").read_text(encoding="utf-8")
        text = text.replace("[stock, broken, good]", f"[{', '.join(variants)}]")
        text = text.replace("attempts: 2", f"attempts: {attempts}")
        path = self.checkout / f"configs/{'-'.join(variants)}.yaml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    def argv(self, *words: str) -> list[str]:
        """The command line of harness.py, its results going to this bench."""
        return [sys.executable, str(self.checkout / "harness.py"), *words]

    def start(self, *words: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start harness.py in a session of its own, as a terminal would."""
        return subprocess.Popen(
            self.argv(*words),
            cwd=self.checkout,
            env=dict(env if env is not None else self.env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def finish(self, child: subprocess.Popen[bytes], *, timeout_s: float = 240) -> Done:
        """Wait for a started command; one that does not end in time is killed, code -9."""
        begun = time.monotonic()
        try:
            out, _ = child.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            out, _ = child.communicate()
        text = out.decode(errors="replace")
        return Done(child.returncode, text, time.monotonic() - begun)

    def go(self, *words: str, env: Mapping[str, str] | None = None, timeout_s: float = 240) -> Done:
        """Run harness.py to its end."""
        return self.finish(self.start(*words, env=env), timeout_s=timeout_s)

    def judge(
        self, *, matrix: str = "", env: Mapping[str, str] | None = None, results: Path | None = None
    ) -> Done:
        """`run-matrix` of the three variants, or of `matrix`."""
        out = str(results or self.results)
        return self.go("run-matrix", matrix or self.matrix(*VARIANTS), "--out", out, env=env)

    def runs(self, results: Path | None = None) -> list[Path]:
        """The directories of all runs that were planned, oldest first."""
        below = (results or self.results).glob("*/run.json")
        return sorted(p.parent for p in below if not p.parent.is_symlink())

    @property
    def kind(self) -> str:
        """What is done to this bench's runs."""
        return "kill"

    @property
    def same(self) -> str:
        """What a resumed run must have in common with an undisturbed one, in words."""
        return "the same results.json"

    @property
    def exit_code(self) -> int:
        """What a whole run ends with."""
        return 0

    def whole(self) -> str:
        """The matrix of all variants."""
        return self.matrix(*VARIANTS)

    def essence(self, run: Path) -> Any:
        """The part of a run's record that must not differ."""
        return essence(record_of(run))

    def forget_builds(self) -> None:
        """Remove finished builds and kept evidence, so that the next run makes them again."""
        for name in ("builds", "evidence"):
            shutil.rmtree(self.cache / name, ignore_errors=True)

    def forget_runs(self) -> None:
        """Remove all results."""
        shutil.rmtree(self.results, ignore_errors=True)

    def processes(self) -> list[int]:
        """Ids of processes that this bench started and that still live."""
        mark = f"KVET_TORTURE={self.root}".encode()
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                text = (folder / "environ").read_bytes() + b"\0" + (folder / "cmdline").read_bytes()
                state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            ours = mark in text or os.fsencode(self.root) in text
            if ours and state != "Z" and int(folder.name) != os.getpid():
                found.append(int(folder.name))
        return found

    def leftovers(self) -> list[str]:
        """What should not be there when nothing runs: processes, half files, scratch."""
        deadline = time.monotonic() + 3  # who was told to die needs a moment
        while (pids := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.05)
        half = [p for p in self.results.rglob("*") if p.name.startswith((".", "tmp"))]
        half += [p for p in self.results.rglob("*.partial")]
        scratch = list(self.tmp.iterdir())
        return [*(f"process {pid}" for pid in pids), *(str(p) for p in (*half, *scratch))]


def essence(value: Any) -> Any:
    """A record without what two runs of one plan may differ in."""
    if isinstance(value, dict):
        return {k: essence(v) for k, v in value.items() if k not in MAY_DIFFER}
    return [essence(v) for v in value] if isinstance(value, list) else value


def difference(old: Any, new: Any, where: str = "results.json") -> str:
    """The first place in which two essences differ, with both values; "" where they are equal."""
    if isinstance(old, dict) and isinstance(new, dict):
        pairs = [(f"{where}.{k}", old.get(k), new.get(k)) for k in {**old, **new}]
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = [(f"{where}[{n}]", *both) for n, both in enumerate(zip(old, new, strict=True))]
    else:
        return "" if old == new else f"another record than before: {where}: {old!r}, now {new!r}"
    return next((found for at, a, b in pairs if (found := difference(a, b, at))), "")


def record_of(run: Path) -> dict[str, Any]:
    """The results.json of a run."""
    record: dict[str, Any] = json.loads((run / "results.json").read_text(encoding="utf-8"))
    return record


def conclusions(run: Path) -> dict[str, str]:
    """Variant to conclusion."""
    return {c["variant"]: c["conclusion"] for c in record_of(run)["cells"]}


@contextmanager
def stopped_clock(pids: Sequence[int]) -> Iterator[None]:
    """These processes stand still inside; none is left stopped."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                continue
