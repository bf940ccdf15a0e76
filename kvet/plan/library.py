# SPDX-License-Identifier: GPL-2.0-only
"""Reads the data directories (`kernels/ patches/ configs/`) into the nouns of the model.

Every fault is a UserError that names file, line and key; paths written in a
file never leave the directory they belong to.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from kvet.errors import Place, UserError
from kvet.model import Config, Floor, Kernel, Machine, Role, Variant, Waiver, Workload
from kvet.paths import PROJECT
from kvet.plan import load_schema, loads, schemas
from kvet.plan.boards import board_machine
from kvet.yamlfile import parse_yaml, read_yaml

T = TypeVar("T")

# below 5 the console does not show what the kernel warns of
# the tree as it is: what a race of one's own is compared with
BASELINE = "stock"
MUTES = re.compile(r"quiet|loglevel=[0-4]")

VARIANT = "variant.yaml"


@dataclass(frozen=True, slots=True)
class Library:
    """The data directories of one project checkout, and what a command brings along.

    `more` are kernels that no file defines, `given` a workload that lies elsewhere: variants
    of its own are then known as well.
    """

    root: Path = PROJECT
    more: tuple[Kernel, ...] = ()
    given: Workload | None = None

    def kernels(self) -> dict[str, Kernel]:
        """All kernel sources, by name."""
        defined = _load_all(self._yaml("kernels"), load_kernel)
        return {**defined, **{kernel.name: kernel for kernel in self.more}}

    def variants(self) -> dict[str, Variant]:
        """All shipped variants, by name."""
        shipped = _load_all(sorted(self.root.glob("patches/*/variant.yaml")), load_variant)
        return {**shipped, **(own_variants(self.given) if self.given else {})}

    def configs(self) -> dict[str, Config]:
        """All kernel configurations, by name."""
        return _load_all(self._yaml("configs/kconfig"), load_config)

    def machines(self) -> dict[str, Machine]:
        """All guest machines, by name."""
        return _load_all(self._yaml("configs/machines"), load_machine)

    def workloads(self) -> dict[str, Workload]:
        """All workloads, by name."""
        paths = self._yaml("configs/workloads")
        paths += sorted(self.root.glob(f"configs/workloads/*/{loads.FILE}"))
        given = {self.given.name: self.given} if self.given else {}
        return {**_load_all(paths, load_workload), **given}

    def with_workload(self, word: str) -> tuple[Library, str]:
        """The library in which the workload `word`, a name or a directory, is known, and its name.

        What has a slash in it, or leads to a `workload.yaml`, is a directory.
        """
        path = Path(word).expanduser()
        path = path.parent if path.name == loads.FILE else path
        known = self.workloads()
        if "/" not in word and word in known:
            made = known[word]
        elif "/" in word or (path / loads.FILE).is_file():
            made = load_workload(path.resolve() / loads.FILE)
        else:
            return self, word
        return replace(self, given=made), made.name

    def variant(self, word: str) -> Variant:
        """The variant called `word`, or that of a directory: what has a slash in it is one."""
        if "/" not in word:
            return pick_one("variant", self.variants(), word)
        path = Path(word).expanduser()
        file = (path if path.name == VARIANT else path / VARIANT).resolve()
        if not file.is_file():
            hint = "give a directory with a variant.yaml, or see: list variants"
            raise UserError(f"there is no {VARIANT}", path=file.parent, hint=hint)
        return load_variant(file)

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


def pick_one(kind: str, known: Mapping[str, T], name: str) -> T:
    """The item called `name`; an unknown one is a UserError that lists the near misses."""
    return pick(kind, known, [name], path=None)[0]


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
        mem_mib=spec.get("mem_mib", 0),
    )


def load_machine(path: Path) -> Machine:
    """Read `configs/machines/NAME.yaml`."""
    is_board = parse_yaml(path)[0].get("kind") == "ssh"
    spec = read_yaml(path, schemas.BOARD if is_board else schemas.MACHINE)
    spec["boot_args"] = tuple(spec.get("boot_args", ()))
    for word in " ".join(spec["boot_args"]).split():
        if MUTES.fullmatch(word):
            reason = "hides WARN and lockdep lines from the console"
            raise UserError(f"{word} {reason}", path=path, where=Place(key="boot_args"))
    if is_board:
        return board_machine(spec, path)
    if 0 < spec.get("maxmem_mib", 0) < spec["mem_mib"]:
        raise UserError(
            f"is less than mem_mib ({spec['mem_mib']})", path=path, where=Place(key="maxmem_mib")
        )
    spec.pop("kind", None)
    return Machine(name=path.stem, **spec)


def load_workload(path: Path) -> Workload:
    """Read `configs/workloads/NAME.yaml`, or the `workload.yaml` of a workload's directory."""
    whole = path.name == loads.FILE
    spec = read_yaml(path, schemas.LOAD if whole else schemas.WORKLOAD)
    name = path.resolve().parent.name if whole else path.stem
    if not re.fullmatch(schemas.NAME["pattern"], name):
        what = "the directory is called" if whole else "the file is called"
        raise UserError(
            f"{what} {name!r}: a workload's name is letters, digits, '.', '_' and '-', "
            "and begins with a letter or digit",
            path=path,
        )
    load = loads.read_load(path, spec) if whole else None
    spec = {**_judged_by(path), **spec} if whole else spec
    spec = {key: value for key, value in spec.items() if key not in load_schema.KEYS}
    floor = _floor(spec.pop("floor", {}), path)
    machines, configs = (_names(spec.pop(kind, ())) for kind in ("machine", "config"))
    waivers = tuple(_waiver(each, n, path) for n, each in enumerate(spec.pop("waive", ())))
    return Workload(
        name=name,
        machines=machines,
        configs=tuple(entry for entry in configs if not loads.is_option(entry)),
        waivers=waivers,
        floor=loads.floor_of(load, floor, path) if load else floor,
        load=load,
        beside=tuple(spec.pop("beside", ())),
        about=tuple(spec.pop("about", ())),
        **spec,
    )


def _judged_by(path: Path) -> dict[str, str]:
    """What a workload's directory is judged by when its file does not say it.

    The tree as it is, and the control in the directory, where there is one alone.
    """
    made = (load_variant(p) for p in sorted(path.parent.glob(f"{loads.VARIANTS}/*/variant.yaml")))
    controls = [variant.name for variant in made if variant.role is Role.CONTROL]
    return {"baseline": BASELINE, **({"control": controls[0]} if len(controls) == 1 else {})}


def own_variants(workload: Workload) -> dict[str, Variant]:
    """The variants that a workload's own directory holds, by name."""
    if workload.load is None:
        return {}
    folder = workload.load.folder / loads.VARIANTS
    return _load_all(sorted(folder.glob("*/variant.yaml")), load_variant)


def _names(value: str | Sequence[str]) -> tuple[str, ...]:
    """One name or several."""
    return (value,) if isinstance(value, str) else tuple(value)


def _floor(spec: Mapping[str, Any], path: Path) -> Floor:
    """A floor as a file states it: counters of which one is enough, or `each` and `any`."""
    if spec.keys() & {"each", "any"}:
        if stray := sorted(spec.keys() - {"each", "any"}):
            raise UserError(
                f"{stray[0]} stands beside each or any",
                path=path,
                where=Place(key=f"floor.{stray[0]}"),
                hint="move it below one of them",
            )
        return Floor(**spec)
    return Floor(any=spec)


def load_variant(path: Path) -> Variant:
    """Read `patches/NAME/variant.yaml`; its patches, per kernel where it has directories."""
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
        expected_on=spec.get("expected_on", {}),
        why=spec.get("why", ""),
        links=tuple(spec.get("links", ())),
        kernels=tuple(spec.get("kernels", ())),
        floor=_floor(spec.get("floor", {}), path),
        floor_reason=spec.get("floor_reason", ""),
        amplified_only=spec.get("amplified_only", False),
        waivers=(
            *_inherited_waivers(spec.get("onto", "")),
            *(_waiver(each, n, path) for n, each in enumerate(spec.get("waive", ()))),
        ),
    )


def _onto(name: str, path: Path) -> tuple[Path, ...]:
    """The patches of the shipped variant that this one is made on top of."""
    if not name:
        return ()
    folder = PROJECT / "patches" / name
    if not (folder / "variant.yaml").exists():
        raise UserError(f"no variant is called {name!r}", path=path, where=Place(key="onto"))
    return patch_files(folder)


def _waiver(spec: Mapping[str, str], number: int, path: Path) -> Waiver:
    """One waiver of a file: of a line, of lines that hold a text, or of a rule."""
    about = [key for key in ("line", "text", "judge") if key in spec]
    if len(about) != 1 or ("judge" in about and "outcome" in spec):
        raise UserError(
            "a waiver is about one thing: line or text (with an outcome), or judge",
            path=path,
            where=Place(key=f"waive.{number}"),
        )
    return Waiver(**spec)


def _inherited_waivers(name: str) -> tuple[Waiver, ...]:
    """What is waived of the shipped variant that this one is made on top of."""
    return load_variant(PROJECT / "patches" / name / "variant.yaml").waivers if name else ()


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
                where=Place(line=number),
                hint=f"quilt refresh -p1 {name}",
            )
        found += [_inside(folder, name, series)] if name else []
    return tuple(found)


def _inside(folder: Path, name: str, named_by: Path) -> Path:
    """`folder/name`, provided that it exists and does not leave `folder`."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise UserError(f"{name} leaves the directory {folder}", path=named_by)
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
    """All variants of a directory that a matrix names, relative to its own."""
    if not folder:
        return ()
    place = (path.parent / folder).resolve()
    # a matrix beside the project may name a directory of the project or one below itself
    if not any(place.is_relative_to(home) for home in (PROJECT, path.parent.resolve())):
        raise UserError(
            f"{folder} leaves the project and the directory of the matrix",
            path=path,
            where=Place(key="more_variants"),
        )
    found = sorted(place.glob("*/variant.yaml"))
    if not found:
        raise UserError(f"{folder} holds no variants", path=path, where=Place(key="more_variants"))
    return tuple(load_variant(p) for p in found)
