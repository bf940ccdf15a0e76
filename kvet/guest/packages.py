# SPDX-License-Identifier: GPL-2.0-only
"""Programs of distribution packages for arm64, with every library that they need."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from kvet import proc
from kvet.build.toolchain import CROSS_COMPILE
from kvet.errors import InfraError, MissingTool, UserError
from kvet.guest.cpio import Archive
from kvet.source.apt import PrivateApt, fetch_debs, unpack_deb

ARCH = "arm64"
NEEDED = re.compile(r"\(NEEDED\).*\[(.+)\]")
INTERPRETER = re.compile(r"interpreter: (\S+)\]")
# what no program needs in a guest that lives for seconds
LEFT_OUT = re.compile(r"usr/share/(doc|man|info|locale|lintian|bash-completion|zsh)/|usr/include/")
MOST_ROUNDS = 8


def add_packages(packages: Sequence[str], out: Archive, cache: Path, scratch: Path) -> None:
    """Add the files of `packages` to `out`, and the shared libraries of their programs.

    Raises UserError for a package that the archive does not have.
    """
    homes = {name: _unpacked(name, cache, scratch) for name in packages}
    wanted: set[str] = set()
    for home in homes.values():
        for path, name in _files(home):
            if path.is_symlink():
                out.link(f"/{name}", str(path.readlink()))
                continue
            content = path.read_bytes()
            out.file(f"/{name}", content, mode=0o755 if path.stat().st_mode & 0o100 else 0o644)
            if content[:4] == b"\x7fELF":
                wanted |= needed_by(path)
    for name, path in _libraries(packages, wanted, cache, scratch).items():
        out.file(f"/lib/{name}", path.read_bytes(), mode=0o755)


def _files(home: Path) -> Iterator[tuple[Path, str]]:
    """The files of an unpacked package, and their names in the guest."""
    for path in sorted(home.rglob("*")):
        name = str(path.relative_to(home))
        if (path.is_symlink() or path.is_file()) and not LEFT_OUT.match(name):
            yield path, name


def _unpacked(package: str, cache: Path, scratch: Path) -> Path:
    folder = scratch / package
    if not folder.exists():
        dest = cache / "rootfs" / "debs"
        found = fetch_debs([package], arch=ARCH, dest=dest, root=cache)[0]
        unpack_deb(found.path, folder)
    return folder


def needed_by(path: Path) -> set[str]:
    """The shared objects that an ELF file names, its loader included."""
    tool = f"{CROSS_COMPILE}readelf"
    try:
        done = proc.run((tool, "-ld", str(path)))
    except MissingTool as error:
        raise MissingTool(tool, hint="harness.py doctor --install") from error
    text = done.stdout.decode(errors="replace")
    loader = INTERPRETER.search(text)
    return {*NEEDED.findall(text), *([Path(loader.group(1)).name] if loader else [])}


def _libraries(
    packages: Sequence[str], wanted: set[str], cache: Path, scratch: Path
) -> dict[str, Path]:
    """Every shared object of `wanted` and what these need, from what `packages` depend on.

    Dependencies are fetched a level at a time, and no further than anything is missing.
    """
    pool: dict[str, Path] = {}
    owner: dict[str, str] = {}
    known, level = set(packages), list(packages)
    apt = PrivateApt(cache, arch=ARCH)
    for _ in range(MOST_ROUNDS):
        for package in level:
            home = _unpacked(package, cache, scratch)
            for path in home.rglob("*.so*"):
                pool.setdefault(path.name, path)
                owner.setdefault(path.name, package)
        found, missing = _closure(wanted, pool)
        if not missing:
            return found
        # only packages of files that lack something are looked at further
        lacking = {owner[n] for n in found if needed_by(pool[n]) & missing}
        lacking |= {*packages} if wanted & missing else set()
        level = sorted({d for p in lacking for d in apt.depends(p)} - known)
        known |= {*level}
    raise InfraError(f"{', '.join(sorted(missing))}: no package that is depended on holds it")


def _closure(wanted: set[str], pool: dict[str, Path]) -> tuple[dict[str, Path], set[str]]:
    """Shared objects reachable from `wanted`, and those that are in no package so far."""
    found: dict[str, Path] = {}
    missing: set[str] = set()
    left = set(wanted)
    while left:
        name = left.pop()
        if name in found or name in missing:
            continue
        if name not in pool:
            missing.add(name)
            continue
        found[name] = pool[name].resolve()
        left |= needed_by(pool[name])
    return found, missing


def check_packages(packages: Sequence[str], cache: Path, path: Path) -> None:
    """Raise UserError for a name that the distribution's archive does not have for arm64."""
    if not packages:
        return
    apt = PrivateApt(cache, arch=ARCH)
    apt.refresh()
    for name in packages:
        try:
            apt.version(name)
        except InfraError as error:
            raise UserError(error.message, path=path, where="key packages") from error
