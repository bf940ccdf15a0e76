# SPDX-License-Identifier: GPL-2.0-only
"""The herd7 program: found or fetched, run on a test, its answer read.

Debian carries it in sid alone, linked against a newer libc than stable has. It
is unpacked with the loader and libraries of its own suite, without root.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kvet import proc
from kvet.cache import locked
from kvet.errors import InfraError, UserError
from kvet.source.apt import fetch_debs, host_architecture, unpack_deb
from kvet.store import read_json, write_json

NEEDED = (7, 52)  # what the memory model of linux-6.12 asks for
SUITE = "sid"
PACKAGES = ("herdtools7", "libc6", "libgmp10")
PROGRAMS = ("herd7", "klitmus7")
LIBRARIES = ("libc.so.6", "libm.so.6", "libgmp.so.10")
INSTALL = "harness.py prove --install"
TIMEOUT_S = 300.0
OBSERVATION = re.compile(r"^Observation \S+ (Always|Sometimes|Never) (\d+) (\d+)$", re.MULTILINE)
STATE = re.compile(r"(\S+?)=([^;]*);")
FLAG = re.compile(r"^Flag (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Tool:
    """herd7 and how to start it: `start` is the argv before its options."""

    start: tuple[str, ...]
    version: str
    home: Path | None = None

    def argv(self, program: str = "herd7") -> tuple[str, ...]:
        """How to start one of the suite's programs."""
        if self.home is None:
            return (program,)
        library = self.home / "share" / ("herd" if program == "herd7" else "litmus")
        return (*self.start, str(self.home / "bin" / program), "-set-libdir", str(library))


@dataclass(frozen=True, slots=True)
class Answer:
    """What herd7 says of one test.

    `positive` and `negative` count executions that end as the final condition
    says, or not; `states` are the final states, variable to value.
    """

    observation: str
    positive: int
    negative: int
    states: tuple[Mapping[str, str], ...]
    flags: tuple[str, ...]
    seconds: float

    @property
    def counts(self) -> str:
        """Executions in which the condition holds, of all."""
        return f"{self.positive}/{self.positive + self.negative}"


def find_tool(cache: Path) -> Tool | None:
    """A herd7 that is new enough: the system's, else the one in `cache`; None without."""
    for tool in (Tool((), ""), *_kept(cache)):
        version = _version_of(tool)
        if version and _numbers(version) >= NEEDED:
            return Tool(tool.start, version, tool.home)
    return None


def need_tool(cache: Path) -> Tool:
    """herd7, fetched now if the machine has none that is new enough."""
    try:
        return find_tool(cache) or install_tool(cache)
    except InfraError as error:
        raise InfraError(f"no herd7, and none is fetched: {error.message}", hint=INSTALL) from error


def install_tool(cache: Path) -> Tool:
    """Fetch and unpack herd7 with its loader and libraries (about 45 MB to download)."""
    root = cache / "prove"
    with locked(root / "herd7.lock"), tempfile.TemporaryDirectory(dir=root) as scratch:
        folder = Path(scratch)
        arch = host_architecture()
        packages = fetch_debs(PACKAGES, arch=arch, dest=folder / "debs", root=cache, suite=SUITE)
        for package in packages:
            unpack_deb(package.path, folder / "root")
        _collect(folder / "root", folder / "kept")
        home = root / f"herdtools7-{packages[0].version}"
        shutil.rmtree(home, ignore_errors=True)
        (folder / "kept").rename(home)
    found = find_tool(cache)
    if found is None:
        raise InfraError(f"herd7 {packages[0].version} of {SUITE} does not run on this machine")
    return found


def _collect(root: Path, kept: Path) -> None:
    """Of the unpacked packages keep what runs: 30 MB of 250."""
    for name in ("bin", "lib", "share"):
        (kept / name).mkdir(parents=True)
    loader = next(iter(sorted(root.glob("usr/lib/*/ld-linux*.so*"))), None)
    if loader is None:
        raise InfraError(f"libc6 of {SUITE} holds no loader")
    shutil.copy2(loader, kept / "lib" / "loader")
    for name in LIBRARIES:
        shutil.copy2(loader.parent / name, kept / "lib" / name)
    for name in PROGRAMS:
        shutil.copy2(root / "usr/bin" / name, kept / "bin" / name)
    for name in ("herd", "litmus"):
        shutil.copytree(root / "usr/share/herdtools7" / name, kept / "share" / name)


def _kept(cache: Path) -> list[Tool]:
    homes = sorted((cache / "prove").glob("herdtools7-*"), reverse=True)
    return [Tool((str(h / "lib/loader"), "--library-path", str(h / "lib")), "", h) for h in homes]


def _version_of(tool: Tool) -> str:
    program = tool.argv()[0]
    if shutil.which(program) is None:
        return ""
    done = proc.run((*tool.argv(), "-version"), timeout_s=20)
    found = re.match(rb"\d[\d.+~-]*", done.stdout)
    return found.group().decode() if found and done.returncode == 0 else ""


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", version)[:2])


class Herd:
    """herd7 with the memory model of one kernel tree; what it answered once is kept.

    C tests run under the tree's own model. AArch64 tests run under Arm's, with
    the variant (Ifetch, VMSA) that their header asks for.
    """

    def __init__(self, tool: Tool, tree: Path, cache: Path) -> None:
        self.tool = tool
        self.model = tree / "tools/memory-model"
        self._answers = cache / "prove" / "answers"
        self._digest = _digest_of(self.model)

    def ask(self, text: str) -> Answer:
        """The answer to a test, from the cache or computed now."""
        key = hashlib.sha256("\n".join((self.tool.version, self._digest, text)).encode())
        note = self._answers / f"{key.hexdigest()[:24]}.json"
        if note.exists():
            os.utime(note)
            known = read_json(note)
            return Answer(**known | {k: tuple(known[k]) for k in ("states", "flags")})
        answer = read_answer(self._run(text, ()))
        write_json(note, answer)
        return answer

    def drawings(self, text: str, most: int = 20) -> list[str]:
        """Executions in which the final condition holds, as Graphviz digraphs."""
        with tempfile.TemporaryDirectory(prefix="kvet-prove-") as folder:
            options = ("-show", "cond", "-nshow", str(most), "-showevents", "noregs", "-o", folder)
            self._run(text, options)
            drawn = "".join(p.read_text(encoding="utf-8") for p in Path(folder).glob("*.dot"))
        return [part for part in re.split(r"(?m)^(?=digraph )", drawn) if part.strip()]

    def _run(self, text: str, options: Sequence[str]) -> str:
        if text.startswith("C ") and not (self.model / "linux-kernel.cfg").exists():
            raise InfraError(f"{self.model} holds no memory model")
        with tempfile.TemporaryDirectory(prefix="kvet-prove-") as folder:
            path = Path(folder) / "test.litmus"
            path.write_text(text, encoding="utf-8")
            conf = ("-conf", "linux-kernel.cfg") if text.startswith("C ") else ()
            cwd = self.model if conf else None
            argv = (*self.tool.argv(), *conf, *options, str(path))
            done = proc.run(argv, cwd=cwd, timeout_s=TIMEOUT_S)
        out, err = (part.decode(errors="replace") for part in (done.stdout, done.stderr))
        if "Observation " not in out:
            raise UserError(f"herd7 refuses the test: {_reason(err, str(path))}")
        return out


def read_answer(out: str) -> Answer:
    """What herd7 printed for one test."""
    found = OBSERVATION.search(out)
    if found is None:
        raise InfraError("herd7 printed no observation")
    lines = out[: found.start()].splitlines()
    states = [dict(STATE.findall(line)) for line in lines if STATE.match(line)]
    seconds = re.search(r"^Time \S+ ([\d.]+)", out, re.MULTILINE)
    return Answer(
        observation=found.group(1),
        positive=int(found.group(2)),
        negative=int(found.group(3)),
        states=tuple({k.strip(): v.strip() for k, v in s.items()} for s in states),
        flags=tuple(dict.fromkeys(FLAG.findall(out))),
        seconds=float(seconds.group(1)) if seconds else 0.0,
    )


def _reason(err: str, path: str) -> str:
    lines = [line for line in err.splitlines() if line.strip()]
    text = lines[0] if lines else "no reason given"
    text = re.sub(rf'^(?:Warning: )?File "{re.escape(path)}"[,:]? ', "", text)
    return text.replace("(User error)", "").strip()


def _digest_of(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.[bcd]*")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def as_json(answer: Answer) -> dict[str, Any]:
    """An answer as it goes into a record."""
    return {
        "observation": answer.observation,
        "positive": answer.positive,
        "negative": answer.negative,
        "seconds": answer.seconds,
    }
