# SPDX-License-Identifier: GPL-2.0-only
"""The litmus tests of a directory: read, checked against their bind.yaml, copied into a run."""

from __future__ import annotations

import shutil
from pathlib import Path

from kvet.errors import InfraError, Place, UserError
from kvet.prove.bindfile import BIND, FILE, LitmusSpec, read_bind, used_file
from kvet.prove.litmus import Litmus, check_labels, conjunction, read_litmus
from kvet.yamlfile import read_yaml


def read_tests(folder: Path) -> tuple[LitmusSpec, ...]:
    """The tests in `folder`, each read. Raises UserError for the first thing that is wrong."""
    path = folder / FILE
    if not path.is_file():
        raise UserError("does not exist: it says what the steps of the tests are", path=path)
    specs = read_bind(path)
    if not specs:
        raise UserError("names no test", path=path, where=Place(key="tests"))
    for spec in specs:
        read_test(spec)
    return specs


def read_test(spec: LitmusSpec) -> Litmus:
    """One test, which must be about the threads and the values that its bind.yaml names."""
    test = read_litmus(spec.path)
    check_labels(test, spec.path)
    bind = spec.path.parent / FILE
    where = Place(key=f"tests.{spec.name}.threads")
    wanted = {f"P{number}" for number in range(len(test.threads))}
    if set(spec.threads) != wanted:
        raise UserError(
            f"names {', '.join(sorted(spec.threads))}; the test has {', '.join(sorted(wanted))}",
            path=bind,
            where=where,
        )
    for text in spec.reach:
        try:
            conjunction(text)
        except UserError as error:
            where = Place(key=f"tests.{spec.name}.reach")
            raise UserError(error.reason, path=bind, where=where) from error
    return test


def keep_tests(folder: Path, copy: Path) -> Path:
    """Copy the tests in `folder`, and the files that they use, to `copy`; returns `copy`."""
    path = folder / FILE
    files = [path, *(spec.path for spec in read_bind(path))]
    spec = read_yaml(path, BIND)
    while "uses" in spec:
        used = used_file(path, spec["uses"])
        if used.name in {file.name for file in files}:
            where = Place(key="uses")
            raise UserError("is called as another file of the tests", path=path, where=where)
        path, spec = used, read_yaml(used, BIND)
        files.append(path)
    try:
        copy.mkdir(parents=True, exist_ok=True)
        for file in files:
            shutil.copyfile(file, copy / file.name)
    except OSError as error:
        raise InfraError(f"cannot copy {folder} to {copy}: {error.strerror}") from error
    return copy
