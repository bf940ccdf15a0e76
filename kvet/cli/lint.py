# SPDX-License-Identifier: GPL-2.0-only
"""Checks the YAML files a user writes and names every fault: file, line, column and key.

A file's kind follows from where it lies (`kernels/`, `configs/machines/`, ...); one that
lies elsewhere is taken for the kind whose keys it uses.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from kvet.build.kconfig import read_fragment
from kvet.errors import Place, UserError
from kvet.guest.initramfs import MANIFEST
from kvet.guest.load_layers import compile_program
from kvet.loads import Load
from kvet.model import Role
from kvet.plan import schemas
from kvet.plan.library import (
    Library,
    load_config,
    load_machine,
    load_matrix,
    load_variant,
    load_workload,
    pick,
)
from kvet.plan.loads import FILE as WORKLOAD_FILE
from kvet.plan.loads import VARIANTS, is_option
from kvet.plan.matrix import matches, plan_cells
from kvet.prove.bindfile import BIND, FILE, read_bind
from kvet.prove.tests import read_tests
from kvet.run.planning import check_needs
from kvet.run.verdict import CONTROL
from kvet.run.waivers import waived_rule
from kvet.yamlfile import Fault, fault_at, faults, parse_yaml

Spec = Mapping[str, Any]
AXES = ("kernels", "variants", "configs", "machines", "workloads")


@dataclass(frozen=True, slots=True)
class _File:
    """A YAML file that its schema has nothing against."""

    path: Path
    spec: Spec
    node: yaml.Node
    library: Library


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of file: its schema, and what else must be true of it."""

    schema: Mapping[str, Any]
    check: Callable[[_File], Iterator[Fault]]


def lint_files(files: Iterable[Path]) -> int:
    """Print every fault of `files`; exit code 2 when there is one, else 0."""
    code = 0
    for path in _of_directories(files):
        kind, found = lint(path)
        for fault in found:
            key = f"{fault.key}: " if fault.key else ""
            print(f"{path}:{fault.line}:{fault.column}: {key}{fault.message}")
        if found:
            code = UserError.exit_code
        else:
            print(f"{path}: OK ({kind})")
    return code


def _of_directories(paths: Iterable[Path]) -> Iterator[Path]:
    """Files as they are; of the directory of a workload or a variant its YAML files."""
    for path in paths:
        if not path.is_dir():
            yield path
        elif (path / "variant.yaml").exists():
            yield path / "variant.yaml"
        elif (path / WORKLOAD_FILE).exists():
            yield path / WORKLOAD_FILE
            yield from sorted((path / VARIANTS).glob("*/variant.yaml"))
        else:
            yield path


def lint(path: Path, library: Library | None = None) -> tuple[str, list[Fault]]:
    """The kind of a file and its faults, in the order of their lines."""
    library = library or Library()
    if path.is_dir():
        return "directory", [Fault(f"holds neither {WORKLOAD_FILE} nor variant.yaml", 1, 1)]
    try:
        spec, node = parse_yaml(path)
    except UserError as error:
        return "YAML", [_of(error)]
    name = kind_of(path, spec)
    found = list(faults(spec, node, KINDS[name].schema))
    if not found:
        found = list(KINDS[name].check(_File(path, spec, node, library)))
    return name, sorted(found, key=lambda fault: (fault.line, fault.column))


def _of(error: UserError) -> Fault:
    """A UserError as a fault; the first line where it knows no place."""
    place = error.where if isinstance(error.where, Place) else Place()
    return Fault(error.reason, place.line or 1, place.column or 1)


def kind_of(path: Path, spec: Spec) -> str:
    """What kind of file `path` is, by its place, else by its keys."""
    folder = path.resolve().parent.name
    if path.name in ("variant.yaml", "watch.yaml"):
        return path.stem
    if path.name == WORKLOAD_FILE:
        return "workload directory"
    if path.name == FILE or path.name.endswith(f".{FILE}"):
        return "bind"
    places = {"kernels": "kernel", "kconfig": "config", "machines": "machine"}
    places |= {"workloads": "workload", "configs": "matrix"}
    if folder in places:
        board = places[folder] == "machine" and spec.get("kind") == "ssh"
        return "board" if board else places[folder]

    def fit(name: str) -> int:
        known = KINDS[name].schema["properties"]
        needed = KINDS[name].schema["required"]
        return sum(k in known for k in spec) + sum(k in spec for k in needed)

    return max((name for name in KINDS if name != "workload directory"), key=fit)


def _nothing(file: _File) -> Iterator[Fault]:
    """The schema says it all."""
    yield from ()


def _kernel(file: _File) -> Iterator[Fault]:
    kind = file.spec["kind"]
    for key in schemas.KERNEL_REQUIRED[kind]:
        if key not in file.spec:
            yield fault_at(file.node, ["kind"], f"kind {kind} needs the key {key}")
    url = str(file.spec.get("url", ""))
    if kind == "tarball" and url.startswith(("http:", "https:")) and "sha256" not in file.spec:
        yield fault_at(file.node, ["url"], "a tarball from the network needs its sha256")


def _names(
    file: _File, kind: str, known: Mapping[str, Any], keys: list[str | int], name: str
) -> Iterator[Fault]:
    """A fault when nothing of that kind is called `name`."""
    try:
        pick(kind, known, [name], path=None)
    except UserError as error:
        yield fault_at(file.node, keys, error.message)


def _loads(file: _File, load: Callable[[Path], Any], key: str) -> Iterator[Fault]:
    """A fault of `key` when the file does not load."""
    try:
        load(file.path)
    except UserError as error:
        if isinstance(error.where, Place) and error.where.key:
            key = error.where.key
        keys = [int(part) if part.isdigit() else part for part in key.split(".")]
        yield fault_at(file.node, keys if keys[0] in file.spec else [], error.reason)


def _config(file: _File) -> Iterator[Fault]:
    broken = list(_loads(file, load_config, "fragments"))
    yield from broken
    if broken:
        return
    for i, name in enumerate(file.spec["fragments"]):
        path = file.path.parent / name
        if path.is_file():
            try:
                read_fragment(path)
            except UserError as error:
                yield fault_at(file.node, ["fragments", i], error.message)


def _machine(file: _File) -> Iterator[Fault]:
    yield from _loads(file, load_machine, "boot_args")


def _workload(file: _File) -> Iterator[Fault]:
    variants = file.library.variants()
    for key, known in (("machine", file.library.machines()), ("config", file.library.configs())):
        named = file.spec.get(key, [])
        for i, name in enumerate([named] if isinstance(named, str) else named):
            if is_option(name):
                continue
            place: list[str | int] = [key] if isinstance(named, str) else [key, i]
            yield from _names(file, key, known, place, name)
    for key in ("baseline", "control"):
        name = file.spec.get(key)
        if name is None:
            continue
        yield from _names(file, "variant", variants, [key], name)
        if name in variants and variants[name].role is not Role(key):
            yield fault_at(file.node, [key], f"{name} is a {variants[name].role}, not a {key}")


def _directory(file: _File) -> Iterator[Fault]:
    """A workload's directory: its files and programs, and what every workload has."""
    broken = list(_loads(file, load_workload, ""))
    if broken:
        yield from broken
        return
    made = load_workload(file.path)
    yield from _workload(replace(file, library=replace(file.library, given=made)))
    if not (made.control or waived_rule(made.waivers, CONTROL) or made.measures):
        yield fault_at(file.node, [], "no control and no waiver of one: no candidate can pass")
    if made.load is not None:
        yield from _programs(file, made.load)


def _programs(file: _File, load: Load) -> Iterator[Fault]:
    """C files that do not compile."""
    for number, source in enumerate(load.sources):
        with tempfile.TemporaryDirectory(prefix="kvet-lint-") as scratch:
            try:
                compile_program(load, source, Path(scratch))
            except UserError as error:
                yield fault_at(file.node, ["sources", number], error.reason)


def _variant(file: _File) -> Iterator[Fault]:
    kernels = file.library.kernels()
    for i, name in enumerate(file.spec.get("kernels", ())):
        yield from _names(file, "kernel", kernels, ["kernels", i], name)
    for name in file.spec.get("expected_on", ()):
        yield from _names(file, "kernel", kernels, ["expected_on", name], name)
    broken = list(_loads(file, load_variant, "onto"))
    yield from broken
    if broken:
        return
    variant = load_variant(file.path)
    has = bool(variant.patches or any(variant.by_kernel.values()))
    if variant.role is Role.BASELINE and has:
        yield fault_at(
            file.node, ["role"], "a baseline is the tree as it is, but there are patches"
        )
    if variant.role is not Role.BASELINE and not has:
        yield fault_at(file.node, ["role"], f"a {variant.role} needs patches beside variant.yaml")


def _bind(file: _File) -> Iterator[Fault]:
    """What is wrong with the tests that a bind.yaml names; shared threads have none."""
    try:
        if file.path.name == FILE:
            read_tests(file.path.parent)
        else:
            read_bind(file.path)
    except UserError as error:
        place = error.where if isinstance(error.where, Place) else Place()
        keys = [place.key] if place.key in file.spec else []
        if place.key.startswith("tests."):
            name = next((n for n in file.spec["tests"] if place.key.startswith(f"tests.{n}")), "")
            keys = ["tests", name] if name else ["tests"]
        elif place.key.startswith("threads."):
            keys = ["threads", *place.key.split(".")[1:2]]
        own = error.path is None or error.path.resolve() == file.path.resolve()
        yield fault_at(file.node, keys, error.reason if own else error.message)


def _matrix(file: _File) -> Iterator[Fault]:
    known = {axis: getattr(file.library, axis)() for axis in AXES}
    found: list[Fault] = []
    for axis in AXES:
        for i, name in enumerate(file.spec[axis]):
            found += _names(file, axis.removesuffix("s"), known[axis], [axis, i], name)
    found += _loads(file, load_matrix, "more_variants")
    attempts, most = file.spec.get("attempts", 1), file.spec.get("max_attempts")
    if most is not None and most < attempts:
        message = f"is less than attempts ({attempts})"
        found.append(fault_at(file.node, ["max_attempts"], message))
    yield from found
    if not found:
        yield from _cells(file)


def _cells(file: _File) -> Iterator[Fault]:
    """What is wrong with the cells of a matrix whose names are all known."""
    matrix = load_matrix(file.path)
    everything = plan_cells(replace(matrix, exclude=()), file.library)
    for i, glob in enumerate(matrix.exclude):
        if not any(matches(cell, glob) for cell in everything):
            yield fault_at(file.node, ["exclude", i], f"no cell matches {glob}")
    left = [c for c in everything if not any(matches(c, glob) for glob in matrix.exclude)]
    if not left:
        yield fault_at(file.node, ["exclude"], "no cell is left")
    elif not any(c.variant.role is Role.CONTROL for c in left):
        yield fault_at(file.node, ["variants"], "no control among them: no candidate can pass")
    try:
        check_needs(left)
    except UserError as error:
        yield fault_at(file.node, ["workloads"], error.message)


KINDS: dict[str, Kind] = {
    "bind": Kind(BIND, _bind),
    "matrix": Kind(schemas.MATRIX, _matrix),
    "kernel": Kind(schemas.KERNEL, _kernel),
    "variant": Kind(schemas.VARIANT, _variant),
    "config": Kind(schemas.CONFIG, _config),
    "machine": Kind(schemas.MACHINE, _machine),
    "board": Kind(schemas.BOARD, _machine),
    "watch": Kind(schemas.WATCH, _nothing),
    "workload": Kind(schemas.WORKLOAD, _workload),
    "workload directory": Kind(schemas.LOAD, _directory),
    "manifest": Kind(MANIFEST, _nothing),
}
