# SPDX-License-Identifier: GPL-2.0-only
"""Checks the YAML files a user writes and names every fault: file, line, column and key.

A file's kind follows from where it lies (`kernels/`, `configs/machines/`, ...); one that
lies elsewhere is taken for the kind whose keys it uses.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from kvet import schemas
from kvet.config import Library, load_config, load_machine, load_matrix, load_variant, pick
from kvet.errors import UserError
from kvet.kconfig import read_fragment
from kvet.matrix import matches, plan_cells
from kvet.model import Role
from kvet.rootfs import MANIFEST
from kvet.yamlfile import Fault, fault_at, faults, parse_yaml

Spec = Mapping[str, Any]
PLACE = re.compile(r"^line (\d+)(?:, column (\d+))?")
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


def lint_command(options: argparse.Namespace) -> int:
    """Print every fault of `options.files`; exit code 2 when there is one, else 0."""
    code = 0
    for path in options.files:
        kind, found = lint(path)
        for fault in found:
            key = f"{fault.key}: " if fault.key else ""
            print(f"{path}:{fault.line}:{fault.column}: {key}{fault.message}")
        if found:
            code = UserError.exit_code
        else:
            print(f"{path}: nothing to complain of ({kind})")
    return code


def lint(path: Path, library: Library | None = None) -> tuple[str, list[Fault]]:
    """The kind of a file and its faults, in the order of their lines."""
    library = library or Library()
    try:
        spec, node = parse_yaml(path)
    except UserError as error:
        return "YAML", [_of(error, path)]
    name = kind_of(path, spec)
    found = list(faults(spec, node, KINDS[name].schema))
    if not found:
        found = list(KINDS[name].check(_File(path, spec, node, library)))
    return name, sorted(found, key=lambda fault: (fault.line, fault.column))


def _of(error: UserError, path: Path) -> Fault:
    """A UserError as a fault; its place is in its text where it has one."""
    place = PLACE.match(error.where)
    line, column = (int(n or 1) for n in place.groups()) if place else (1, 1)
    prefix = ": ".join(str(p) for p in (path, error.where) if p)
    return Fault(error.message.removeprefix(f"{prefix}: "), line, column)


def kind_of(path: Path, spec: Spec) -> str:
    """What kind of file `path` is, by its place, else by its keys."""
    folder = path.resolve().parent.name
    if path.name == "variant.yaml":
        return "variant"
    places = {"kernels": "kernel", "kconfig": "config", "machines": "machine"}
    places |= {"workloads": "workload", "configs": "matrix"}
    if folder in places:
        return places[folder]

    def fit(name: str) -> int:
        known = KINDS[name].schema["properties"]
        needed = KINDS[name].schema["required"]
        return sum(k in known for k in spec) + sum(k in spec for k in needed)

    return max(KINDS, key=fit)


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
        message = error.message.removeprefix(f"{error.path}: ").removeprefix(f"{error.where}: ")
        key = error.where.removeprefix("key ") if error.where.startswith("key ") else key
        yield fault_at(file.node, [key] if key in file.spec else [], message)


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
    for key in ("baseline", "control"):
        name = file.spec.get(key)
        if name is None:
            continue
        yield from _names(file, "variant", variants, [key], name)
        if name in variants and variants[name].role is not Role(key):
            yield fault_at(file.node, [key], f"{name} is a {variants[name].role}, not a {key}")


def _variant(file: _File) -> Iterator[Fault]:
    kernels = file.library.kernels()
    for i, name in enumerate(file.spec.get("kernels", ())):
        yield from _names(file, "kernel", kernels, ["kernels", i], name)
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


KINDS: dict[str, Kind] = {
    "matrix": Kind(schemas.MATRIX, _matrix),
    "kernel": Kind(schemas.KERNEL, _kernel),
    "variant": Kind(schemas.VARIANT, _variant),
    "config": Kind(schemas.CONFIG, _config),
    "machine": Kind(schemas.MACHINE, _machine),
    "workload": Kind(schemas.WORKLOAD, _workload),
    "manifest": Kind(MANIFEST, _nothing),
}
