# SPDX-License-Identifier: GPL-2.0-only
"""The faults that are not kills: of guests, files, the host's disk and the user's environment."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.torture.bench import (
    AS_IT_SHOULD_BE,
    VARIANTS,
    Bench,
    Done,
    conclusions,
    difference,
    essence,
    record_of,
)
from tests.torture.table import Row

Fault = Callable[[str, Path], Row]
FAULTS: dict[str, Fault] = {}
CLEAR = "clear error, exit 3"
# the system's words for a full disk, ours for one that will be, and git's
FULL = ("No space left", "MiB free", "Out of diskspace")


def fault(name: str) -> Callable[[Fault], Fault]:
    """Enter a function into FAULTS."""

    def enter(function: Fault) -> Fault:
        FAULTS[name] = function
        return function

    return enter


def _row(name: str, how: str, problem: str, *, happened: str, lost: str = "nothing") -> Row:
    return Row(name, how, 1, problem or happened, "?" if problem else lost, not problem)


def _refused(done: Done, code: int, *words: str) -> str:
    """What is wrong with a refusal that should end with `code` and name `words`; empty if fine."""
    if done.traceback:
        return f"traceback: {done.text[-300:]}"
    if done.code != code:
        return f"exit {done.code}, not {code}: {done.text[-300:]}"
    missing = [word for word in words if word not in done.text]
    return f"says nothing of {missing}: {done.text[-300:]}" if missing else ""


def _as_usual(bench: Bench, done: Done, results: Path | None = None) -> str:
    """What is wrong with a run that should come out as an undisturbed one; empty if nothing."""
    if done.traceback or done.code != 0:
        return f"exit {done.code}: {done.text[-300:]}"
    got = conclusions(bench.runs(results)[-1])
    if got != AS_IT_SHOULD_BE:
        return f"concludes {got}"
    left = bench.leftovers()
    return f"left behind: {left[:3]}" if left else ""


def _guest(name: str, scenario: str, how: str, want: tuple[str, ...], seconds: float) -> Fault:
    def inject(title: str, root: Path) -> Row:
        bench = Bench.made(root)
        bench.add("odd", scenario)
        matrix = bench.matrix("stock", "broken", "odd", attempts=1)
        done = bench.judge(matrix=matrix)
        if done.traceback or not bench.runs():
            return _row(title, how, done.text[-300:], happened="")
        got = conclusions(bench.runs()[-1])["odd"]
        problem = "" if got in want else f"concludes {got}: {done.text[-300:]}"
        if not problem and (left := bench.leftovers()):
            problem = f"left behind: {left[:3]}"
        return _row(title, how, problem, happened=f"{got}, no other cell touched")

    return inject


for _name, _scenario, _how, _want in (
    ("guest silent", "silent", "a guest that never prints", ("ERROR", "FAIL")),
    ("guest hangs", "hang", "a banner, then nothing", ("ERROR", "FAIL")),
    ("guest floods the console", "flood", "the same line without end", ("ERROR", "FAIL")),
    ("guest floods the report", "floodreport", "the report port without end", ("ERROR", "FAIL")),
    ("guest reboots", "reset", "two banners", ("FAIL", "ERROR")),
    ("guest powers off early", "noreport", "no report at all", ("ERROR",)),
    ("guest ends without a word", "lost", "QEMU ends, no power-off", ("ERROR", "FAIL")),
    ("guest lies on the report", "lie", "bytes, cut lines, numbers that are none",
     ("ERROR", "INCONCLUSIVE")),
    ("QEMU dies at once", "die", "QEMU exits before the kernel", ("ERROR",)),
):  # fmt: skip
    FAULTS[_name] = _guest(_name, _scenario, _how, _want, 0)


@fault("QEMU missing")
def _(name: str, root: Path) -> Row:
    bench = Bench.made(root)
    bare = _tools_without(root, "qemu-system-aarch64")
    done = bench.judge(env={**bench.env, "PATH": str(bare)})
    return _row(name, "not on PATH", _refused(done, 3, "qemu", "fix:"), happened=CLEAR)


@fault("compiler missing")
def _(name: str, root: Path) -> Row:
    bench = Bench.made(root)
    bare = _tools_without(root, "aarch64-linux-gnu-gcc")
    done = bench.judge(env={**bench.env, "PATH": f"{bench.bin}:{bare}"})
    return _row(name, "not on PATH", _refused(done, 3, "gcc", "fix:"), happened=CLEAR)


@fault("ccache gone")
def _(name: str, root: Path) -> Row:
    bench = Bench.made(root)
    bare = _tools_without(root, "ccache")
    done = bench.judge(env={**bench.env, "PATH": f"{bench.bin}:{bare}"})
    problem = _as_usual(bench, done) if done.code == 0 else _refused(done, 3, "ccache", "fix:")
    return _row(name, "not on PATH", problem, happened="as usual" if done.code == 0 else CLEAR)


def _tools_without(root: Path, *names: str) -> Path:
    """A directory with links to all programs of /usr/bin but some."""
    folder = root / "tools"
    folder.mkdir()
    for place in ("/usr/sbin", "/usr/bin"):
        for program in Path(place).iterdir():
            link = folder / program.name
            if program.name not in names and not link.is_symlink():
                link.symlink_to(program)
    return folder


def _during_boot(bench: Bench, act: Callable[[int], None]) -> Done:
    """A run in whose first boot `act` is given the guest's process id."""
    (bench.bin / "qemu-system-aarch64").write_text(
        (bench.bin / "qemu-system-aarch64")
        .read_text(encoding="utf-8")
        .replace("    words = Path(", "    time.sleep(1.0)\n    words = Path("),
        encoding="utf-8",
    )
    child = bench.start("run-matrix", bench.matrix(*VARIANTS), "--out", str(bench.results))
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and child.poll() is None:
        guests = [p for p in bench.processes() if _is_guest(p)]
        if guests:
            act(guests[0])
            break
        time.sleep(0.02)
    return bench.finish(child)


def _is_guest(pid: int) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return any(b"qemu-system-aarch64" in w for w in words[:3]) and b"-kernel" in words


@fault("QEMU killed")
def _(name: str, root: Path) -> Row:
    bench = Bench.made(root)
    done = _during_boot(bench, lambda pid: os.kill(pid, signal.SIGKILL))
    problem = _as_usual(bench, done)
    return _row(name, "kill -9 in the first boot", problem, happened="attempt made again")


@fault("QEMU stopped")
def _(name: str, root: Path) -> Row:
    bench = Bench.made(root)
    done = _during_boot(bench, lambda pid: os.kill(pid, signal.SIGSTOP))
    problem = _as_usual(bench, done)
    return _row(name, "SIGSTOP in the first boot", problem, happened="attempt made again")


@fault("make killed half-way")
def _(name: str, root: Path) -> Row:
    bench = Bench.made(root)
    slow = bench.checkout / "tree/Makefile"
    text = slow.read_text(encoding="utf-8").replace("\t@$(CC) -Wall", "\t@sleep 1; $(CC) -Wall")
    slow.write_text(text, encoding="utf-8")
    child = bench.start("run-matrix", bench.matrix(*VARIANTS), "--out", str(bench.results))
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        makes = [p for p in bench.processes() if _comm(p) == "make"]
        if makes:
            os.kill(makes[0], signal.SIGKILL)
            break
        time.sleep(0.02)
    first = bench.finish(child)
    again = bench.go("run-matrix", "--resume", bench.runs()[-1].name, "--out", str(bench.results))
    problem = f"traceback: {first.text[-300:]}" if first.traceback else _as_usual(bench, again)
    return _row(name, "kill -9 of make", problem, happened="ERROR, then resumed to the same")


def _comm(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _spoil_build(spoil: Callable[[Path], object], how: str) -> Fault:
    def inject(name: str, root: Path) -> Row:
        bench = Bench.made(root)
        before = bench.judge()
        want = essence(record_of(bench.runs()[-1]))
        shutil.rmtree(bench.cache / "evidence", ignore_errors=True)
        for image in (bench.cache / "builds").glob("*/Image"):
            spoil(image)
        bench.forget_runs()
        done = bench.judge()
        problem = _as_usual(bench, before) if before.code else _as_usual(bench, done)
        problem = problem or difference(want, essence(record_of(bench.runs()[-1])))
        return _row(name, how, problem, happened="noticed and built again")

    return inject


FAULTS["cached Image truncated"] = _spoil_build(
    lambda path: path.write_bytes(path.read_bytes()[:3]), "cut to 3 bytes"
)
FAULTS["cached Image corrupted"] = _spoil_build(
    lambda path: path.write_bytes(path.read_bytes().replace(b"6.12", b"6.66")), "bytes changed"
)
FAULTS["cached Image missing"] = _spoil_build(lambda path: path.unlink(), "removed")


@fault("cached source damaged")
def _(name: str, root: Path) -> Row:
    bench = Bench.made(root)
    bench.judge()
    shutil.rmtree(bench.cache / "evidence", ignore_errors=True)
    shutil.rmtree(bench.cache / "builds", ignore_errors=True)
    for path in (bench.cache / "sources").glob("*/mm/*.c"):
        path.chmod(path.stat().st_mode | stat.S_IWUSR)
        path.write_text("not C any more\n", encoding="utf-8")
    bench.forget_runs()
    done = bench.judge()
    problem = _as_usual(bench, done)
    return _row(name, "a file overwritten in place", problem, happened="never read: as usual")


def _damaged(file: str, how: str, text: bytes) -> Fault:
    def inject(name: str, root: Path) -> Row:
        bench = Bench.made(root)
        bench.judge()
        run = bench.runs()[-1]
        want = essence(record_of(run))
        for path in run.glob(file):
            path.write_bytes(text)
        told = bench.go("report", run.name, "--out", str(bench.results))
        again = bench.go("run-matrix", "--resume", run.name, "--out", str(bench.results))
        if told.traceback or again.traceback:
            return _row(name, how, f"traceback: {told.text[-200:]}{again.text[-200:]}", happened="")
        if again.code == 0:
            problem = difference(want, essence(record_of(run)))
            return _row(name, how, problem, happened="resumed to the same results.json")
        return _row(name, how, _refused(again, 3, run.name), happened=CLEAR, lost="the plan")

    return inject


FAULTS["results.json damaged"] = _damaged("results.json", "cut off", b'{"schema": 1, "run": ')
FAULTS["results.json empty"] = _damaged("results.json", "emptied", b"")
FAULTS["attempt.json damaged"] = _damaged("*/attempt-1/attempt.json", "cut off", b'{"n": 1, ')
FAULTS["run.json damaged"] = _damaged("run.json", "cut off", b'{"run": ')


@contextmanager
def _small_disk(place: Path, *options: str) -> Iterator[None]:
    """A tmpfs at `place`; needs root, and says so."""
    place.mkdir(parents=True, exist_ok=True)
    words = ("mount", "-t", "tmpfs", "-o", ",".join(options), "none", str(place))
    done = subprocess.run(words, capture_output=True, check=False)
    if done.returncode:
        raise OSError(f"mount needs root: {done.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(("umount", "-l", str(place)), check=False)


def _full(what: str, size: str) -> Fault:
    def inject(name: str, root: Path) -> Row:
        bench = Bench.made(root)
        with _small_disk(getattr(bench, what), f"size={size}"):
            done = bench.judge()
            problem = _refused(done, 3)
        if not problem and not any(words in done.text for words in FULL):
            problem = f"does not say that the disk is full: {done.text[-300:]}"
        again = bench.judge()
        problem = problem or _as_usual(bench, again)
        return _row(name, f"tmpfs of {size}", problem, happened=f"{CLEAR}; with room as usual")

    return inject


FAULTS["disk full: results"] = _full("results", "64k")
FAULTS["disk full: cache"] = _full("cache", "300k")
FAULTS["disk full: temporary files"] = _full("tmp", "4k")


def _read_only(what: str) -> Fault:
    def inject(name: str, root: Path) -> Row:
        bench = Bench.made(root)
        with _small_disk(getattr(bench, what), "ro"):
            done = bench.judge()
        problem = _refused(done, 3, "Read-only")
        return _row(name, "read-only mount", problem, happened=CLEAR)

    return inject


FAULTS["read-only results"] = _read_only("results")
FAULTS["read-only cache"] = _read_only("cache")


@fault("cache read-only, all cached")
def _(name: str, root: Path) -> Row:
    bench = Bench.made(root)
    bench.judge()
    done = bench.go("report", "latest", "--out", str(bench.results))
    return _row(name, "report of a run", _refused(done, 0), happened="as usual")


def _at_once(count: int) -> Fault:
    def inject(name: str, root: Path) -> Row:
        bench = Bench.made(root)
        places = [root / f"results-{n}" for n in range(count)]
        matrix = bench.matrix(*VARIANTS)
        children = [bench.start("run-matrix", matrix, "--out", str(p)) for p in places]
        ended = [bench.finish(child) for child in children]
        problems = [_as_usual(bench, d, p) for d, p in zip(ended, places, strict=True)]
        essences = [essence(record_of(bench.runs(p)[-1])) for p in places if bench.runs(p)]
        problems += [difference(essences[0], other) for other in essences[1:]]
        problem = next(filter(None, problems), "")
        return _row(name, "one cache, nothing built", problem, happened="all came to the same")

    return inject


FAULTS["two runs at once"] = _at_once(2)
FAULTS["five runs at once"] = _at_once(5)
