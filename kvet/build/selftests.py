# SPDX-License-Identifier: GPL-2.0-only
"""Builds the kernel's own selftests of one directory, from the tree under test and static.

What of them does not build with this compiler and without more libraries is left out: a test
that gave a result on the baseline and is lost here is found missing when a series is judged.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection
from pathlib import Path

from kvet.build.diagnostics import errors
from kvet.build.make import Make
from kvet.build.worktree import SOURCE, Lane
from kvet.errors import UserError
from kvet.model import Config

HOME = "tools/testing/selftests"
OUTPUT = "/kvet/selftests"
# their Makefiles name their tests as COLLECTION:NAME
EMITTED = re.compile(r"^kvet:(?P<name>[\w.+-]+)$")
LIST = "kvet.list"


def build_selftests(run: Make) -> None:
    """Build what the config of `run` asks for, in the lane.

    Raises UserError for a directory that the tree does not have, and where nothing builds.
    """
    config, folder = run.request.config, _folder(run.lane)
    if not config.selftests:
        return
    shutil.rmtree(folder, ignore_errors=True)
    log = run.lane.folder / "build.log"
    run.run(*run.of_kernel("headers"), log=log)
    names: list[str] = []
    for directory in config.selftests:
        if not run.lane.source(f"{HOME}/{directory}/Makefile").is_file():
            raise UserError(f"this tree has no {HOME}/{directory}")
        run.tail.clear()
        run.run(*_command(run, directory), log=log)
        found = [match["name"] for line in run.tail if (match := EMITTED.match(line))]
        # a script that starts them names itself alone (mm): then each program is run as it is
        built = [n for n in found if (folder / n).is_file()] or _programs(folder, names)
        if not built:
            said = next((error.title for error in errors(run.tail)), "it has no C program")
            raise UserError(f"{HOME}/{directory} does not build: {said}")
        names += built
    (folder / LIST).write_text("".join(f"{name}\n" for name in names), encoding="ascii")


def _programs(folder: Path, others: Collection[str]) -> list[str]:
    """The ELF programs in `folder` that are none of `others`."""
    found = (path for path in sorted(folder.iterdir()) if path.is_file() and path.suffix != ".o")
    return [p.name for p in found if p.name not in others and p.read_bytes()[:4] == b"\x7fELF"]


def _command(run: Make, directory: str) -> tuple[str, ...]:
    return (
        "make",
        "-k",
        "-C",
        f"{SOURCE}/{HOME}/{directory}",
        f"OUTPUT={OUTPUT}",
        "ARCH=arm64",
        *run.request.toolchain.make_args,
        "KHDR_INCLUDES=-isystem /kvet/out/usr/include",
        "USERLDFLAGS=-static -s",
        "COLLECTION=kvet",
        f"-j{run.jobs}",
        "all",
        "emit_tests",
    )


def built_selftests(lane: Lane, config: Config) -> list[Path]:
    """The programs that `build_selftests` made in the lane."""
    if not config.selftests:
        return []
    folder = _folder(lane)
    return [folder / name for name in (folder / LIST).read_text(encoding="ascii").split()]


def _folder(lane: Lane) -> Path:
    return lane.folder / "selftests"
