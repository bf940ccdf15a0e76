# SPDX-License-Identifier: GPL-2.0-only
"""Makes the guest's initramfs layers from `rootfs/manifest.yaml`, each once for its inputs."""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kvet import proc
from kvet.build.toolchain import CROSS_COMPILE
from kvet.cache import beside, locked
from kvet.errors import InfraError, MissingTool, UserError
from kvet.events import Events
from kvet.guest.cpio import Archive
from kvet.model import Build
from kvet.paths import ROOTFS
from kvet.source.apt import Package, fetch_debs, unpack_deb
from kvet.yamlfile import read_yaml

RECIPE = "1"
ARCH = "arm64"
CFLAGS = ("-static", "-O2", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Wno-unused-result")
NEEDED = re.compile(r"\(NEEDED\).*\[(.+)\]")
INTERPRETER = re.compile(r"interpreter: (\S+)\]")
TEXT_MAP = {"type": "object", "additionalProperties": {"type": "string"}}
LAYER = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "folders": {"type": "array", "items": {"type": "string"}},
        "nodes": {"type": "object"},
        "programs": {
            "type": "object",
            "additionalProperties": {"type": "array", "items": {"type": "string"}},
        },
        "packages": {"type": "object", "additionalProperties": TEXT_MAP},
        "links": TEXT_MAP,
        "files": TEXT_MAP,
        "libraries": {"type": "string"},
    },
}
MANIFEST = {
    "type": "object",
    "required": ["layers"],
    "additionalProperties": False,
    "properties": {"layers": {"type": "object", "additionalProperties": LAYER}},
}


def base_layers(cache: Path, *, events: Events) -> tuple[Path, ...]:
    """The layers that every guest gets."""
    return (build_layer("base", cache, events=events),)


def build_layer(name: str, cache: Path, *, events: Events) -> Path:
    """The archive of one layer of the manifest; rebuilt when its inputs changed."""
    manifest = read_yaml(ROOTFS / "manifest.yaml", MANIFEST)
    layer = manifest["layers"].get(name)
    if layer is None:
        raise UserError(f"has no layer {name}", path=ROOTFS / "manifest.yaml")
    folder = cache / "rootfs"
    with locked(folder / f"{name}.lock"):
        path = folder / f"{name}-{_digest(layer)}.cpio"
        if path.exists():
            return path
        with events.step("initramfs", name), tempfile.TemporaryDirectory(dir=folder) as scratch:
            data = _Layer(layer, cache, Path(scratch)).archive()
        partial = beside(path, ".partial")
        partial.write_bytes(data)
        partial.rename(path)
    return path


def modules_layer(build: Build) -> Path:
    """The archive of a build's modules, kept beside them.

    Without what only a debugger reads: that is more than half of what a guest would unpack.
    """
    path = build.folder / "modules-stripped.cpio"
    with locked(build.modules):  # two runs may boot one build for the first time at once
        if path.exists():
            return path
        archive = Archive()
        with tempfile.TemporaryDirectory(dir=build.folder) as scratch:
            for module in sorted(build.modules.glob("*.ko")):
                archive.file(f"/lib/modules/{module.name}", _stripped(module, Path(scratch)))
        partial = beside(path, ".partial")
        partial.write_bytes(archive.close())
        partial.rename(path)
    return path


def _stripped(module: Path, scratch: Path) -> bytes:
    """A module without its debug information; as it is where `strip` cannot read it."""
    copy = scratch / module.name
    argv = (f"{CROSS_COMPILE}strip", "--strip-debug", "-o", str(copy), str(module))
    done = proc.run(argv, brief=True)
    return (module if done.returncode else copy).read_bytes()


def key_layer(public_key: str, folder: Path) -> Path:
    """The archive that lets one ssh key into one guest."""
    archive = Archive()
    archive.file("/root/.ssh/authorized_keys", public_key.encode() + b"\n", mode=0o600)
    path = folder / "key.cpio"
    path.write_bytes(archive.close())
    return path


def _digest(layer: Mapping[str, Any]) -> str:
    """Digest of a layer's description and of every file of ours that goes into it."""
    digest = hashlib.sha256(f"{RECIPE} {sorted(layer.items())!r} {CFLAGS}".encode())
    for path in sorted((*ROOTFS.glob("src/*.[ch]"), *_own_files(layer))):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def _own_files(layer: Mapping[str, Any]) -> Sequence[Path]:
    return [_ours(name) for name in layer.get("files", {}).values()]


def _ours(name: str) -> Path:
    """A file of `rootfs/`; the manifest may not name one outside."""
    path = (ROOTFS / name).resolve()
    if not path.is_relative_to(ROOTFS) or not path.is_file():
        raise UserError(f"names {name}, which is no file of rootfs/", path=ROOTFS / "manifest.yaml")
    return path


class _Layer:
    """One layer on its way into an archive."""

    def __init__(self, layer: Mapping[str, Any], cache: Path, scratch: Path) -> None:
        self.layer = layer
        self.cache = cache
        self.scratch = scratch
        self.out = Archive()

    def archive(self) -> bytes:
        """The archive's bytes."""
        for name in self.layer.get("folders", ()):
            self.out.folder(name)
        for name, (major, minor) in self.layer.get("nodes", {}).items():
            self.out.node(name, major, minor)
        for name, sources in self.layer.get("programs", {}).items():
            self.out.file(name, self._compile(sources), mode=0o755)
        for package, files in self.layer.get("packages", {}).items():
            self._take(package, files)
        for name, target in self.layer.get("links", {}).items():
            self.out.link(name, target)
        for name, source in self.layer.get("files", {}).items():
            path = _ours(source)
            script = path.read_bytes().startswith(b"#!")
            self.out.file(name, path.read_bytes(), mode=0o755 if script else 0o644)
        return self.out.close()

    def _compile(self, sources: Sequence[str]) -> bytes:
        output = self.scratch / "program"
        compiler = f"{CROSS_COMPILE}gcc"
        paths = [str(_ours(source)) for source in sources]
        done = proc.run((compiler, *CFLAGS, "-o", str(output), *paths))
        if done.returncode:
            raise InfraError(
                f"a guest program does not compile: {done.stderr.decode(errors='replace')}"
            )
        return output.read_bytes()

    def _take(self, package: str, files: Mapping[str, str]) -> None:
        """Files of a distribution package for arm64, and the libraries they need."""
        folder = self._unpacked(package)
        for name, member in files.items():
            program = folder / member
            if not program.is_file():
                raise InfraError(f"package {package} holds no {member}")
            self.out.file(name, program.read_bytes(), mode=0o755)
            if self.layer.get("libraries") == name:
                self._take_libraries(program)

    def _unpacked(self, package: str) -> Path:
        found = self._fetch([package])[0]
        folder = self.scratch / package
        unpack_deb(found.path, folder)
        return folder

    def _fetch(self, packages: Sequence[str]) -> list[Package]:
        return fetch_debs(packages, arch=ARCH, dest=self.cache / "rootfs" / "debs", root=self.cache)

    def _take_libraries(self, program: Path) -> None:
        """The dynamic loader and every shared object that `program` needs, transitively."""
        text = _readelf(program)
        loader = INTERPRETER.search(text)
        wanted = [*NEEDED.findall(text), *([Path(loader.group(1)).name] if loader else [])]
        pool = self._library_pool()
        taken: set[str] = set()
        while wanted:
            name = wanted.pop()
            if name in taken:
                continue
            taken.add(name)
            if name not in pool:
                raise InfraError(f"{program.name} needs {name}, which no known package holds")
            self.out.file(f"/lib/{name}", pool[name].read_bytes(), mode=0o755)
            wanted += NEEDED.findall(_readelf(pool[name]))

    def _library_pool(self) -> dict[str, Path]:
        """Shared objects of the packages that dropbear may depend on, by name."""
        pool: dict[str, Path] = {}
        for package in ("libc6", "libcrypt1", "libtomcrypt1", "libtommath1", "zlib1g", "libgmp10"):
            for path in self._unpacked(package).rglob("*.so*"):
                pool.setdefault(path.name, path)
        return pool


def _readelf(path: Path) -> str:
    tool = f"{CROSS_COMPILE}readelf"
    try:
        done = proc.run((tool, "-ld", str(path)))
    except MissingTool as error:
        raise MissingTool(tool, hint="harness.py doctor --install") from error
    return done.stdout.decode(errors="replace")
