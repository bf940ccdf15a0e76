# SPDX-License-Identifier: GPL-2.0-only
"""The initramfs layers of a workload's directory: its files and programs, and the guest's plan."""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kvet import proc
from kvet.build.probes import located, modules_needed
from kvet.build.sandbox import OUTSIDE, Mount, confine
from kvet.build.toolchain import CROSS_COMPILE
from kvet.cache import beside, locked
from kvet.errors import Place, UserError
from kvet.guest.cpio import Archive
from kvet.guest.packages import add_packages, check_packages
from kvet.loads import Command, Load, Side
from kvet.model import Build
from kvet.plan.loads import files_of, is_program

RECIPE = "2"
WORK = "/kvet/work"
SELFTESTS = f"{WORK}/selftests"
CFLAGS = ("-static", "-O2", "-g", "-Wall", "-pthread", "-D_GNU_SOURCE=")


@dataclass(frozen=True, slots=True)
class LoadRequest:
    """A workload for one build; `source` is the kernel's source, `diff` the series it has.

    A function that the series takes out is not counted; one that nobody ever had is an error.
    """

    load: Load
    build: Build
    source: Path | None = None
    diff: str = ""


def load_layers(request: LoadRequest, cache: Path) -> tuple[Path, ...]:
    """The layers that a guest of `request` gets beside the base and the build's modules.

    Raises UserError, with file, key and line, for what this kernel does not have.
    """
    if request.load.race:
        return ()  # it is a module of the build, and the guest's own program runs it
    own = (_files_layer(request.load, cache), _plan_layer(request, cache))
    return (*own, _selftests_layer(request.build)) if request.load.selftests else own


def _selftests_layer(build: Build) -> Path:
    """The archive of the selftests of a build, kept beside them."""
    path = build.folder / "selftests.cpio"
    if not path.exists():
        out = Archive()
        for program in sorted(build.selftests.iterdir()):
            out.file(f"{SELFTESTS}/{program.name}", program.read_bytes(), mode=0o755)
        _write(path, out.close())
    return path


def _files_layer(load: Load, cache: Path) -> Path:
    """Files, compiled programs and packages; made once for what is in the directory."""
    folder = cache / "rootfs"
    with locked(folder / "load.lock"):
        path = folder / f"load-{RECIPE}-{load.digest}.cpio"
        if not path.exists():
            check_packages(load.packages, cache, load.file)
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                _write(path, _pack(load, cache, Path(scratch)))
    return path


def _pack(load: Load, cache: Path, scratch: Path) -> bytes:
    out = Archive()
    out.folder(WORK)
    for path in files_of(load.folder):
        mode = 0o755 if is_program(path) else 0o644
        out.file(f"{WORK}/{path.relative_to(load.folder)}", path.read_bytes(), mode=mode)
    for source in load.sources:
        name = str(Path(source).with_suffix(""))
        out.file(f"{WORK}/{name}", compile_program(load, source, scratch), mode=0o755)
    if load.packages:
        add_packages(load.packages, out, cache, scratch)
    return out.close()


def compile_program(load: Load, source: str, scratch: Path) -> bytes:
    """The static arm64 program of one C file; it sees the workload's directory and no other.

    Raises UserError with the compiler's first error.
    """
    made = scratch / "made"
    made.mkdir(exist_ok=True)
    command = (f"{CROSS_COMPILE}gcc", *CFLAGS, "-o", "/kvet/made/program", source)
    mounts = (Mount(load.folder, "/kvet/load"), Mount(made, "/kvet/made", writable=True))
    env = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    argv = confine(command, mounts=mounts, chdir="/kvet/load", env=env)
    done = proc.run(argv, env=OUTSIDE, timeout_s=300)
    if done.returncode:
        said = done.stderr.decode(errors="replace").splitlines()
        first = next((line for line in said if "error" in line or "undefined" in line), "")
        raise UserError(
            f"{source} does not compile: {first or (said or ['the compiler failed'])[-1]}",
            path=load.file,
            where=Place(key="sources"),
        )
    return (made / "program").read_bytes()


def _plan_layer(request: LoadRequest, cache: Path) -> Path:
    """What the guest's init is to do, for this kernel."""
    text = "".join(f"{line}\n" for line in plan_lines(request)).encode()
    path = cache / "rootfs" / f"plan-{hashlib.sha256(text).hexdigest()[:16]}.cpio"
    if not path.exists():
        out = Archive()
        out.file("/kvet/plan", text)
        _write(path, out.close())
    return path


def plan_lines(request: LoadRequest) -> Iterator[str]:
    """`/kvet/plan`, line by line (docs/guest-protocol.md)."""
    for probe in request.load.probes:
        places = located(probe, request.load.file, request.build, request.source, request.diff)
        yield from (f"watch {probe.name}:{place}" for place in places)
        if not places:
            yield f"lost {probe.name}"
    commands = [command for side in request.load.sides for command in side.commands]
    names = [command.argv[0] for command in commands if command.is_module]
    yield from (f"need {name}" for name in modules_needed(names, request.build, request.load.file))
    for side in request.load.sides:
        yield from _side_lines(_with_selftests(side, request))


def _with_selftests(side: Side, request: LoadRequest) -> Side:
    """The side that runs selftests with a command for each of those that were built."""
    if not request.load.selftests:
        return side
    built = sorted(program.name for program in request.build.selftests.iterdir())
    return replace(side, commands=tuple(_selftest(name) for name in built))


def _selftest(name: str) -> Command:
    """Runs one selftest; its exit code becomes a result, 4 being that of a test that is skipped.

    The result is indented: it is not one of those that the test's own plan counts.
    """
    script = (
        f"cd {SELFTESTS} && ./{name}; case $? in 0) r='ok 1 - exit';; 4) r='ok 1 - exit # SKIP';; "
        "*) r='not ok 1 - exit';; esac; echo; echo \"    $r\""
    )
    return Command(re.sub(r"\s", "_", name), ("sh", "-c", script))


def _side_lines(side: Side) -> Iterator[str]:
    yield f"side {side.name} {'loop' if side.loop else 'once'}"
    for command in side.commands:
        yield from _command_lines(command)


def _command_lines(command: Command) -> Iterator[str]:
    kind = "module" if command.is_module else "program"
    yield f"cmd {command.name} {kind} {command.expect} {command.stay_s}"
    yield from _args(command.argv)
    yield "end"


def _args(argv: Sequence[str]) -> Iterator[str]:
    # a line is an argument: one with a newline in it cannot be passed on
    yield from (f"arg {' '.join(word.splitlines())}" for word in argv)


def _write(path: Path, data: bytes) -> None:
    partial = beside(path, ".partial")
    partial.write_bytes(data)
    partial.rename(path)
