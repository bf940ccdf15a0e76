# SPDX-License-Identifier: GPL-2.0-only
"""What this machine lacks, and the command that mends each thing.

Runs before the virtual environment exists, so it needs the standard library
and python-debian (a package of the set-up list) alone.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kvet import garbage, proc
from kvet.build.sandbox import require_sandbox
from kvet.build.toolchain import packages_hint
from kvet.cache import cache_root
from kvet.errors import ExitCode, InfraError, KvetError, MissingTool
from kvet.guest.machine import OLDEST_QEMU, find_qemu, resolve_accel
from kvet.paths import PROJECT
from kvet.source.apt import codename, host_architecture, own_archives
from kvet.source.lore import find_b4, version_of

PACKAGES = PROJECT / "setup" / "packages.txt"
INSTALL = f"sudo {PROJECT}/bootstrap packages"
QEMU = "qemu-system-aarch64"
QEMU_PACKAGE = "qemu-system-arm"
# a source and its objects 2 GB, a lane 0.7 GB for each config, a build 0.1 GB each
ROOM_GIB = 12


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at; a check that is not `ok` but `optional` does not stop a run."""

    name: str
    ok: bool
    text: str
    mend: str = ""
    optional: bool = False


def doctor_main(*, install: bool, quiet: bool) -> int:
    """Print every check (with `quiet` those that fail), after installing what is missing."""
    if install:
        _install()
    return print_checks(run_checks(), quiet=quiet)


def print_checks(found: Iterable[Check], *, quiet: bool) -> int:
    """Print checks (with `quiet` those that fail); exit code 3 when one stops a run."""
    checks = list(found)
    for check in checks:
        if quiet and (check.ok or check.optional):
            continue
        mark = "ok  " if check.ok else "note" if check.optional else "MISS"
        print(f"{mark}  {check.name:<20} {check.text}")
        if not check.ok and check.mend:
            print(f"      fix: {check.mend}")
    return ExitCode.OK if all(c.ok or c.optional for c in checks) else ExitCode.ERROR


def run_checks() -> Iterator[Check]:
    """Look at everything a run needs, without the network and without building anything."""
    yield _python()
    yield from _packages()
    yield _qemu()
    yield _sandbox()
    yield _clang()
    yield _b4()
    yield _herd()
    yield _room()
    yield _leftovers()
    yield _accel()


def _python() -> Check:
    version = platform.python_version()
    ok = sys.version_info >= (3, 11)
    return Check("python", ok, version, "install python3.11 or newer, with its venv package")


def listed_packages(path: Path = PACKAGES) -> list[tuple[str, str, str]]:
    """The set-up list as (package, command or '-', reason)."""
    lines = path.read_text(encoding="utf-8").splitlines()
    words = [line.split(maxsplit=2) for line in lines if line and not line.startswith("#")]
    return [(name, command, reason) for name, command, reason in words]


def _packages() -> Iterator[Check]:
    installed = _installed()
    missing = [row for row in listed_packages() if row[0] not in installed]
    for name, command, reason in missing:
        found = command != "-" and shutil.which(command)
        text = f"not installed as a package, {found} is used" if found else f"missing: {reason}"
        yield Check(name, bool(found), text, INSTALL)
    if not missing:
        yield Check("packages", True, f"all {len(listed_packages())} of setup/packages.txt")


def _installed() -> set[str]:
    try:
        done = proc.run(("dpkg-query", "-W", "-f", "${db:Status-Status} ${Package}\n"))
    except MissingTool:
        return set()
    lines = done.stdout.decode().splitlines()
    return {line.split()[1] for line in lines if line.startswith("installed ")}


def _qemu() -> Check:
    try:
        found = find_qemu(QEMU)
    except KvetError as error:
        return Check(QEMU, False, error.message, INSTALL)
    if found.number >= OLDEST_QEMU:
        return Check(QEMU, True, f"{found.version} ({shutil.which(QEMU)})")
    return Check(
        QEMU,
        False,
        f"{found.version} runs stale code after live patching: it blames static-key designs "
        "wrongly (8.1 or newer is needed)",
        INSTALL,
    )


def _sandbox() -> Check:
    try:
        require_sandbox()
    except KvetError as error:
        return Check("sandbox", False, error.message, error.hint)
    return Check("sandbox", True, "bubblewrap can make namespaces")


def _clang() -> Check:
    missing = [tool for tool in ("clang", "ld.lld") if shutil.which(tool) is None]
    if missing:
        text = f"no {', '.join(missing)}: --toolchain clang cannot be used"
        return Check("clang", False, text, packages_hint("clang"), optional=True)
    return Check("clang", True, str(shutil.which("clang")))


def _b4() -> Check:
    try:
        found = find_b4()
    except MissingTool as error:
        text = "not installed: --series takes no message ids and addresses"
        return Check("b4", False, text, error.hint, optional=True)
    return Check("b4", True, f"{version_of(found)} ({found})")


def _herd() -> Check:
    """herd7 of the system or of the cache; whether it is new enough, `prove` itself looks."""
    kept = sorted((cache_root() / "prove").glob("herdtools7-*"))
    found = shutil.which("herd7") or (str(kept[-1]) if kept else "")
    if not found:
        text = 'not installed: reports say "not proved" (weak memory ordering)'
        return Check("herd7", False, text, "./harness.py prove --install", optional=True)
    return Check("herd7", True, found)


def _room() -> Check:
    root = cache_root()
    there = next(p for p in (root, *root.parents) if p.exists())
    free = shutil.disk_usage(there).free >> 30
    text = f"{free} GiB free in {root}"
    return Check(
        "disk", free >= ROOM_GIB, f"{text}, {ROOM_GIB} needed", "set KVET_CACHE to a larger disk"
    )


def _leftovers() -> Check:
    found = garbage.leftovers(cache_root())
    if not found:
        return Check("leftovers", True, "none of killed runs")
    size = sum(garbage.size_of(path) for path in found) >> 20
    text = f"{len(found)} half-made files and directories of killed runs, {size} MiB"
    return Check("leftovers", False, text, "./harness.py gc", optional=True)


def _accel() -> Check:
    accel = resolve_accel("auto")
    text = f"{accel}: host is {platform.machine()} with {os.cpu_count()} CPUs"
    return Check("accelerator", True, text)


def _install() -> None:
    """Bring packages and QEMU; needs root where something is missing."""
    missing = [name for name, command, _ in listed_packages() if name not in _installed()]
    if missing and os.geteuid() == 0:
        # it comes back here once the packages are in
        os.execv(PROJECT / "bootstrap", [str(PROJECT / "bootstrap"), "packages"])
    if missing:
        raise InfraError(f"packages are missing: {' '.join(missing)}", hint=INSTALL)
    if not _qemu().ok:
        _install_qemu()


def _install_qemu() -> None:
    """QEMU from the release where that is new enough, else from its backports."""
    if os.geteuid() != 0:
        raise InfraError(_qemu().text, hint=INSTALL)
    if _number(_candidate()) < OLDEST_QEMU:
        _apt("apt-get", "update", "-q")
    if _number(_candidate()) >= OLDEST_QEMU:
        _apt(*_get(QEMU_PACKAGE))
    else:
        _install_from(f"{codename()}-backports")
    find_qemu.cache_clear()


def _install_from(suite: str) -> None:
    """Install QEMU from `suite`, with sources of our own; the system's are not written."""
    with tempfile.TemporaryDirectory(prefix="kvet-apt-") as scratch:
        folder = Path(scratch)
        lines = [a.line(host_architecture()) for a in own_archives(suite)]
        (folder / "sources.list").write_text("\n".join(lines) + "\n", encoding="utf-8")
        (folder / "lists" / "partial").mkdir(parents=True)
        values = {
            "Dir::Etc::sourcelist": folder / "sources.list",
            "Dir::Etc::sourceparts": "-",
            "Dir::State::lists": folder / "lists",
            "APT::Sandbox::User": "root",
        }
        options = [word for key, value in values.items() for word in ("-o", f"{key}={value}")]
        _apt("apt-get", *options, "update", "-q", "--error-on=any")
        found = _candidate(options, suite)
        if _number(found) < OLDEST_QEMU:
            raise InfraError(
                f"{suite} has {QEMU_PACKAGE} {found or 'nowhere'}; 8.1 or newer is needed",
                hint="use Debian 12, Ubuntu 24.04 or newer, or put a newer QEMU into PATH",
            )
        print(f"kvet: installing {QEMU_PACKAGE} {found} from {suite}", file=sys.stderr)
        _apt(*_get(QEMU_PACKAGE, *options, "-t", suite))


def _get(package: str, *options: str) -> tuple[str, ...]:
    return ("apt-get", *options, "install", "-y", "-q", "--no-install-recommends", package)


def _candidate(options: Sequence[str] = (), suite: str = "") -> str:
    """The version of QEMU's package that apt would install ('' for none)."""
    target = ("-t", suite) if suite else ()
    done = proc.run(("apt-cache", *options, *target, "policy", QEMU_PACKAGE))
    found = re.search(r"Candidate: (\S+)", done.stdout.decode())
    return found.group(1) if found and found.group(1) != "(none)" else ""


def _number(version: str) -> tuple[int, ...]:
    """A package version (`1:10.0.2+ds-2`) as the numbers of its upstream part."""
    upstream = re.match(r"(?:\d+:)?(\d+)\.(\d+)", version)
    return tuple(map(int, upstream.groups())) if upstream else (0,)


def _apt(*argv: str) -> None:
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = proc.run(argv, env=env, timeout_s=1800)
    if done.returncode:
        words = done.stderr.decode(errors="replace").strip().splitlines()
        raise InfraError(f"apt-get failed: {words[-1] if words else ''}", hint=" ".join(argv[:6]))
