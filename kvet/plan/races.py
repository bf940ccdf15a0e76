# SPDX-License-Identifier: GPL-2.0-only
"""Reads `races/races.yaml`: races of the kernel's past, each a workload and what brings it back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from kvet.errors import Place, UserError
from kvet.paths import PROJECT
from kvet.plan.schemas import NAME, TEXT, Schema
from kvet.yamlfile import read_yaml

RACES = PROJECT / "races"
COMMIT: Schema = {"type": "string", "pattern": "^[0-9a-f]{12}$"}
RACE: Schema = {
    "type": "object",
    "required": ["fix", "subsystem", "sides", "kernel", "unfixed"],
    "additionalProperties": False,
    "properties": {
        "fix": TEXT,
        "commit": COMMIT,
        "cve": {"type": "string", "pattern": "^CVE-[0-9]{4}-[0-9]{4,}$"},
        "subsystem": TEXT,
        "sides": {"type": "array", "items": TEXT, "minItems": 2},
        "kernel": NAME,
        "unfixed": TEXT,
    },
}
FILE: Schema = {
    "type": "object",
    "required": ["races"],
    "additionalProperties": False,
    "properties": {
        "races": {"type": "object", "propertyNames": NAME, "additionalProperties": RACE},
        "left_out": {"type": "object", "additionalProperties": TEXT},
    },
}


@dataclass(frozen=True, slots=True)
class Race:
    """One race: the commit that fixed it, its CVE, what meets, and what goes wrong without it.

    `folder` is its workload, with the variant `unfixed`, which takes the fix out of `kernel`.
    """

    name: str
    folder: Path
    fix: str
    subsystem: str
    sides: tuple[str, ...]
    kernel: str
    unfixed: str
    commit: str = ""
    cve: str = ""


def load_races(root: Path = RACES) -> tuple[Race, ...]:
    """All races, in the order of the file; one without its directory is a UserError."""
    path = root / "races.yaml"
    races = []
    for name, spec in read_yaml(path, FILE)["races"].items():
        folder = root / name
        if not (folder / "workload.yaml").is_file():
            raise UserError(
                f"there is no {folder.name}/workload.yaml",
                path=path,
                where=Place(key=f"races.{name}"),
            )
        races.append(Race(name=name, folder=folder, **{**spec, "sides": tuple(spec["sides"])}))
    return tuple(races)


def chosen(races: Sequence[Race], globs: Sequence[str]) -> list[Race]:
    """The races whose name or subsystem one of `globs` matches; all without any."""
    found = [
        race
        for race in races
        if not globs
        or any(fnmatchcase(race.name, g) or fnmatchcase(race.subsystem, g) for g in globs)
    ]
    if not found:
        raise UserError(
            f"no race matches {', '.join(globs)}",
            hint=f"there are: {', '.join(race.name for race in races)}",
        )
    return found
