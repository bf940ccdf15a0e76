# SPDX-License-Identifier: GPL-2.0-only
"""Reads the data folders (`kernels/ patches/ configs/`) into the nouns of the model.

Every fault is a UserError that names file, line and key; paths written in a
file never leave the folder they belong to.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from kvet import schemas
from kvet.errors import UserError
from kvet.model import Config, Kernel, Machine, Role, Variant, Workload
from kvet.yamlfile import read_yaml

T = TypeVar("T")

# below 5 the console does not show what the kernel warns of
MUTES = re.compile(r"quiet|loglevel=[0-4]")
PROJECT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Library:
    """The data folders of one project checkout."""

    root: Path = PROJECT

    def kernels(self) -> dict[str, Kernel]:
        """All kernel sources, by name."""
        return _load_all(self._yaml("kernels"), load_kernel)

    def variants(self) -> dict[str, Variant]:
        """All shipped variants, by name."""
        return _load_all(sorted(self.root.glob("patches/*/variant.yaml")), load_variant)

    def configs(self) -> dict[str, Config]:
        """All kernel configurations, by name."""
        return _load_all(self._yaml("configs/kconfig"), load_config)

    def machines(self) -> dict[str, Machine]:
        """All guest machines, by name."""
        return _load_all(self._yaml("configs/machines"), load_machine)

    def workloads(self) -> dict[str, Workload]:
        """All workloads, by name."""
        return _load_all(self._yaml("configs/workloads"), load_workload)

    def _yaml(self, folder: str) -> list[Path]:
        return [p for p in sorted((self.root / folder).glob("*.yaml")) if p.stem != "lock"]


def _load_all(paths: Iterable[Path], load: Callable[[Path], T]) -> dict[str, T]:
    loaded = [load(path) for path in paths]
    return {str(getattr(item, "name")): item for item in loaded}  # noqa: B009


def pick(kind: str, known: Mapping[str, T], names: Iterable[str], *, path: Path | None) -> list[T]:
    """The items called `names`; an unknown one is a UserError that lists the near misses."""
    picked = []
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            guess = f"; did you mean {close[0]}?" if close else ""
            have = ", ".join(sorted(known)) or "none"
            raise UserError(f"no {kind} is called {name!r}{guess} (there are: {have})", path=path)
        picked.append(known[name])
    return picked


def load_kernel(path: Path) -> Kernel:
    """Read `kernels/NAME.yaml`."""
    spec = read_yaml(path, schemas.KERNEL)
    kind = spec.pop("kind")
    for key in schemas.KERNEL_REQUIRED[kind]:
        if key not in spec:
            raise UserError(f"kind {kind} needs the key {key}", path=path)
    return Kernel(name=path.stem, kind=kind, spec=spec, path=path)


def load_config(path: Path) -> Config:
    """Read `configs/kconfig/NAME.yaml`; fragments are files beside it."""
    spec = read_yaml(path, schemas.CONFIG)
    fragments = tuple(_inside(path.parent, name, path) for name in spec["fragments"])
    return Config(
        name=path.stem,
        title=spec["title"],
        base=spec.get("base", "allnoconfig"),
        fragments=fragments,
        slowdown=float(spec.get("slowdown", 1.0)),
    )


def load_machine(path: Path) -> Machine:
    """Read `configs/machines/NAME.yaml`."""
    spec = read_yaml(path, schemas.MACHINE)
    spec["boot_args"] = tuple(spec.get("boot_args", ()))
    for word in " ".join(spec["boot_args"]).split():
        if MUTES.fullmatch(word):
            reason = "hides WARN and lockdep lines from the console"
            raise UserError(f"{word} {reason}", path=path, where="key boot_args")
    if 0 < spec.get("maxmem_mib", 0) < spec["mem_mib"]:
        raise UserError(
            f"is less than mem_mib ({spec['mem_mib']})", path=path, where="key maxmem_mib"
        )
    return Machine(name=path.stem, **spec)


def load_workload(path: Path) -> Workload:
    """Read `configs/workloads/NAME.yaml`."""
    spec = read_yaml(path, schemas.WORKLOAD)
    return Workload(name=path.stem, **spec)


def load_variant(path: Path) -> Variant:
    """Read `patches/NAME/variant.yaml` and list its patches, per kernel where it has folders."""
    spec = read_yaml(path, schemas.VARIANT)
    folder = path.parent
    by_kernel = {sub.name: patch_files(sub) for sub in sorted(folder.iterdir()) if sub.is_dir()}
    return Variant(
        name=folder.name,
        title=spec["title"],
        role=Role(spec["role"]),
        patches=(*_onto(spec.get("onto", ""), path), *patch_files(folder)),
        by_kernel=by_kernel,
        expected=spec.get("expected", ""),
        why=spec.get("why", ""),
        links=tuple(spec.get("links", ())),
        kernels=tuple(spec.get("kernels", ())),
        floor=spec.get("floor", {}),
        floor_reason=spec.get("floor_reason", ""),
        amplified_only=spec.get("amplified_only", False),
    )


def _onto(name: str, path: Path) -> tuple[Path, ...]:
    """The patches of the shipped variant that this one is made on top of."""
    if not name:
        return ()
    folder = PROJECT / "patches" / name
    if not (folder / "variant.yaml").exists():
        raise UserError(f"no variant is called {name!r}", path=path, where="key onto")
    return patch_files(folder)


COVER = re.compile(r"^(?:v\d+-)?0000-.*cover-letter\.patch$")


def patch_files(folder: Path) -> tuple[Path, ...]:
    """The patches of `folder` in order: its quilt `series` file, else numbered `*.patch`.

    The cover letter of `git format-patch` is left out.
    """
    series = folder / "series"
    if not series.exists():
        return tuple(p for p in sorted(folder.glob("*.patch")) if not COVER.match(p.name))
    try:
        lines = series.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot be read: {error}", path=series) from error
    found = []
    for number, line in enumerate(lines, start=1):
        # quilt allows options behind a name and comments behind `#`
        name, *options = line.split("#")[0].split() or [""]
        if unknown := [o for o in options if o != "-p1"]:
            raise UserError(
                f"{name} {unknown[0]}: only -p1 patches are taken",
                path=series,
                where=f"line {number}",
                hint=f"quilt refresh -p1 {name}",
            )
        found += [_inside(folder, name, series)] if name else []
    return tuple(found)


def _inside(folder: Path, name: str, named_by: Path) -> Path:
    """`folder/name`, provided that it exists and does not leave `folder`."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise UserError(f"{name} leaves the folder {folder}", path=named_by)
    if not path.is_file():
        raise UserError(f"{name} does not exist in {folder}", path=named_by)
    return path


@dataclass(frozen=True, slots=True)
class Matrix:
    """One matrix file: which kernels, variants, configs, machines and workloads to cross."""

    name: str
    title: str
    kernels: tuple[str, ...]
    variants: tuple[str, ...]
    configs: tuple[str, ...]
    machines: tuple[str, ...]
    workloads: tuple[str, ...]
    attempts: int | None
    max_attempts: int
    toolchain: str
    exclude: tuple[str, ...]
    path: Path | None = None
    more: tuple[Variant, ...] = ()


def load_matrix(path: Path) -> Matrix:
    """Read `configs/NAME.yaml`."""
    spec: dict[str, Any] = read_yaml(path, schemas.MATRIX)
    axes = ("kernels", "variants", "configs", "machines", "workloads")
    return Matrix(
        name=path.stem,
        title=spec["title"],
        **{axis: tuple(spec[axis]) for axis in axes},
        attempts=spec.get("attempts"),
        max_attempts=spec.get("max_attempts", spec.get("attempts", 10)),
        toolchain=spec.get("toolchain", "gcc"),
        exclude=tuple(spec.get("exclude", ())),
        path=path,
        more=_more_variants(path, spec.get("more_variants", "")),
    )


def _more_variants(path: Path, folder: str) -> tuple[Variant, ...]:
    """All variants of a folder that a matrix names, relative to its own."""
    if not folder:
        return ()
    place = (path.parent / folder).resolve()
    # a matrix beside the project may name a folder of the project or one below itself
    if not any(place.is_relative_to(home) for home in (PROJECT, path.parent.resolve())):
        raise UserError(
            f"{folder} leaves the project and the folder of the matrix",
            path=path,
            where="key more_variants",
        )
    found = sorted(place.glob("*/variant.yaml"))
    if not found:
        raise UserError(f"{folder} holds no variants", path=path, where="key more_variants")
    return tuple(load_variant(p) for p in found)
