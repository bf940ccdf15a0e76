# SPDX-License-Identifier: GPL-2.0-only
"""The splat table: loads `splats.yaml` and `blame.yaml`, compiles a row when first used."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any

import yaml

_HERE = Path(__file__).parent

MACROS = {
    "{FUNC}": r"(?![0-9a-f]{8,16}(?:\s|$))(?P<at>[A-Za-z_$][\w$]*+)(?:\.[\w.$]++)?"
    r"(?:\+0x[0-9a-f]+| \((?:[\w./+~@-]+\.[chSrs]+:\d+|\?\?:)|(?:\(\))?(?=[ .]*$)"
    r"|(?= [\w.-]+/[\w./-]+\.[chS]:\d+))",
    "{SRC}": r"[\w./-]+\.[a-z]+:\d+",
    "{PC}": r"\[<?(?:0x)?[0-9a-f]+>?\]",
}


def expand(pattern: str) -> str:
    """Replace the macros of the data files by their regular expressions."""
    for name, text in MACROS.items():
        pattern = pattern.replace(name, text)
    return pattern


@dataclass(frozen=True, eq=False)
class Row:
    """One message of the kernel; the keys are explained in `splats.yaml`."""

    id: str
    kind: str
    has: str
    match: str
    title: str
    ways: tuple[tuple[str, ...], ...]
    also: str = ""
    alt: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    pick: str = "first"
    stack: bool = True
    cut: bool = False
    inside: str = ""
    timed: bool = False
    reboot: bool = False
    family: str = ""
    fatal: bool = False
    example: str = ""
    expect: str = ""

    @cached_property
    def regex(self) -> re.Pattern[str]:
        """What the kernel's own text must start with."""
        return re.compile(expand(self.match))

    @cached_property
    def also_regex(self) -> re.Pattern[str]:
        """What a later line of the splat must hold."""
        return re.compile(expand(self.also))

    @cached_property
    def keep_regex(self) -> re.Pattern[str]:
        """Functions to blame although they are helpers elsewhere; fits nothing when none are."""
        return _any(self.keep or ("(?!)",))


@dataclass(frozen=True)
class BlameRules:
    """`blame.yaml`: function names as regular expressions."""

    helpers: re.Pattern[str]
    extra: Mapping[str, tuple[str, ...]]
    strip_prefixes: tuple[str, ...]
    stall_anchors: re.Pattern[str]
    stall_self: Mapping[str, str]
    hang_buckets: Mapping[str, str]
    hang_skip: re.Pattern[str]
    self_tests: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """All rows in the order in which they are tried, and what the first look searches.

    `alone` are rows for traces without a heading.
    """

    rows: tuple[Row, ...]
    alone: tuple[Row, ...]
    look: re.Pattern[str]


def _read(name: str) -> dict[str, Any]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    with (_HERE / name).open(encoding="utf-8") as stream:
        data: dict[str, Any] = yaml.load(stream, Loader=loader)
    return data


@cache
def table() -> Table:
    """The table as shipped, read once a process."""
    data = _read("splats.yaml")
    ways = data["ways"]
    rows = tuple(_row(raw, ways) for raw in data["rows"])
    alone = tuple(_row(raw, ways) for raw in data["alone"])
    return Table(rows, alone, _any(data["looks"]))


def _row(raw: dict[str, Any], ways: Mapping[str, list[list[str]]]) -> Row:
    blame = raw.pop("blame")
    found = ways[blame] if isinstance(blame, str) else blame
    raw["ways"] = tuple(tuple(way) for way in found)
    for key in ("alt", "skip", "keep"):
        raw[key] = tuple(raw.get(key, ()))
    return Row(**raw)


@cache
def blame_rules() -> BlameRules:
    """The blame lists as shipped, read once a process."""
    data = _read("blame.yaml")
    return BlameRules(
        helpers=_whole(data),
        extra={key: tuple(names) for key, names in data["extra"].items()},
        strip_prefixes=tuple(data["strip_prefixes"]),
        stall_anchors=_any(data["stall_anchors"]),
        stall_self=data["stall_self"],
        hang_buckets=data["hang_buckets"],
        hang_skip=_any(data["hang_skip"]),
        self_tests=tuple(data["self_tests"]),
    )


@lru_cache(maxsize=65536)
def helper_group(name: str) -> str:
    """The list of helpers on which `name` stands; "" when on none."""
    found = blame_rules().helpers.fullmatch(name)
    return (found.lastgroup or "") if found else ""


def is_helper(name: str) -> bool:
    """Whether `name` is on the general lists of helpers."""
    return helper_group(name) != ""


@cache
def skip_regex(lists: tuple[str, ...]) -> re.Pattern[str]:
    """The named extra lists as one expression."""
    return _any(name for key in lists for name in blame_rules().extra[key])


def _whole(data: Mapping[str, Any]) -> re.Pattern[str]:
    """One expression for whole names, with the wrappers before and the variants after them.

    The group of it that matched last has the name of the list.
    """
    before, after = "|".join(data["wrappers"]), "|".join(data["variants"])
    lists = "|".join(f"(?P<{key}>{'|'.join(names)})" for key, names in data["helpers"].items())
    return re.compile(f"(?:{before})?(?:{lists})(?:_(?:{after})(?![a-z]))*")


def _any(patterns: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(patterns))
