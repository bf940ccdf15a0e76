# SPDX-License-Identifier: GPL-2.0-only
"""Reads `patches/VARIANT/bind.yaml`: which tests there are, and what their steps are in the kernel.

A thread may extend one of another file (`uses`), so that ten designs describe
the walker that they share once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kvet.errors import Place, UserError
from kvet.paths import PROJECT
from kvet.yamlfile import read_yaml

FILE = "bind.yaml"
PATCHES = PROJECT / "patches"
TEXT: dict[str, Any] = {"type": "string", "minLength": 1}
TEXTS: dict[str, Any] = {"type": "array", "items": TEXT}
TEXT_OR_TEXTS: dict[str, Any] = {"oneOf": [TEXT, {**TEXTS, "minItems": 1}]}
REASONS: dict[str, Any] = {"type": "object", "additionalProperties": TEXT}


def _mapping(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


KINDS = ("load", "store", "call", "barrier", "ordered", "key")
STEP = _mapping(
    **{kind: TEXT for kind in KINDS},  # type: ignore[arg-type]
    at=TEXT_OR_TEXTS,
    width={"enum": [1, 2, 4, 8]},
    copies={"type": "integer", "minimum": 1},
    value_of=TEXT,
    passes=TEXT,
    itself={"type": "boolean"},
    loop=TEXT,
    root=TEXT,
    assumed=TEXT,
)
WAIVER = _mapping(("reason",), **{kind: TEXT for kind in KINDS}, at=TEXT_OR_TEXTS, reason=TEXT)
EXCLUDED = _mapping(("call", "reason"), call=TEXT, at=TEXT_OR_TEXTS, reason=TEXT)
THREAD = _mapping(
    extends=TEXT,
    roots={**TEXTS, "minItems": 1},
    follow=TEXTS,
    absent=TEXTS,
    callbacks={"type": "object", "additionalProperties": TEXT},
    not_taken={"type": "array", "items": EXCLUDED},
    waived={"type": "array", "items": WAIVER},
    steps={"type": "object", "additionalProperties": STEP},
)
TEST = _mapping(
    ("says", "threads"),
    says=TEXT,
    threads={"type": "object", "additionalProperties": TEXT, "minProperties": 1},
    reach={**TEXTS},
    mutate={**TEXTS},
    survivors=REASONS,
    assumes=TEXTS,
)
BIND = _mapping(
    uses=TEXT,
    assumes=TEXTS,
    tests={"type": "object", "additionalProperties": TEST},
    threads={"type": "object", "additionalProperties": THREAD},
)


@dataclass(frozen=True, slots=True)
class StepSpec:
    """What a step is in the kernel.

    `kind` and `what` say which instruction: an access of the entry `what`, a
    call of `what`, a barrier, a key. `at` are source expressions, from the
    outermost function to the innermost. `value_of` names the load whose value
    must be the address. With `itself` nothing is inlined at the last expression.
    Steps of one `loop` may be passed over together, when it turns no time. A step
    that is `assumed` is no instruction; it says why.
    """

    kind: str
    what: str
    at: tuple[str, ...] = ()
    width: int = 0
    copies: int = 1
    value_of: str = ""
    passes: str = ""
    itself: bool = False
    loop: str = ""
    root: str = ""
    assumed: str = ""


@dataclass(frozen=True, slots=True)
class Waiver:
    """Operations that need not be bound, and why; `kind` and `what` as in a step, by glob."""

    kind: str
    what: str
    at: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class ThreadSpec:
    """Where a thread of the kernel begins, what is followed, what its steps are.

    None of the functions that must be `absent` may be called on any way.
    """

    name: str
    roots: tuple[str, ...]
    follow: tuple[str, ...]
    absent: tuple[str, ...]
    callbacks: Mapping[str, str]
    not_taken: tuple[Waiver, ...]
    waived: tuple[Waiver, ...]
    steps: Mapping[str, StepSpec]


@dataclass(frozen=True, slots=True)
class LitmusSpec:
    """One litmus test: what it says, its threads, what must be reachable, which mutants may live.

    With `mutate` only mutants are tried whose name one of its globs fits.
    """

    name: str
    path: Path
    says: str
    threads: Mapping[str, ThreadSpec]
    reach: tuple[str, ...]
    mutate: tuple[str, ...]
    survivors: Mapping[str, str]
    assumes: tuple[str, ...]


def read_bind(path: Path) -> tuple[LitmusSpec, ...]:
    """The tests of one variant."""
    spec = read_yaml(path, BIND)
    threads = _threads(path, spec)
    tests = []
    for name, test in spec.get("tests", {}).items():
        litmus = path.parent / name
        if not litmus.is_file() or litmus.parent != path.parent:
            raise UserError(
                f"{name} does not exist beside it", path=path, where=Place(key=f"tests.{name}")
            )
        tests.append(
            LitmusSpec(
                name=name,
                path=litmus,
                says=test["says"],
                threads={p: _pick(threads, t, path) for p, t in test["threads"].items()},
                reach=tuple(test.get("reach", ())),
                mutate=tuple(test.get("mutate", ())),
                survivors=test.get("survivors", {}),
                assumes=(*spec.get("assumes", ()), *test.get("assumes", ())),
            )
        )
    return tuple(tests)


def _threads(
    path: Path, spec: Mapping[str, Any], users: tuple[Path, ...] = ()
) -> dict[str, ThreadSpec]:
    """All threads that a file may name: its own, and those of the file that it uses."""
    known: dict[str, ThreadSpec] = {}
    if "uses" in spec:
        used = used_file(path, spec["uses"])
        users = (*users, path.resolve())
        if used in users:
            raise UserError(f"{spec['uses']} uses it", path=path, where=Place(key="uses"))
        known = _threads(used, read_yaml(used, BIND), users)
    for name, thread in spec.get("threads", {}).items():
        base = _pick(known, thread["extends"], path) if "extends" in thread else None
        known[name] = _thread(name, thread, base, path)
    return known


def used_file(path: Path, name: str) -> Path:
    """The file that the bind.yaml at `path` uses: by its path, else one of its name nearby.

    That is beside it, where a run's copy has it, or among the shipped patches, so that
    the tests of a series can say `uses: ptdump.bind.yaml`.
    """
    base = Path(name).name
    places = (path.parent / name, path.parent / base, PATCHES / base)
    found = next((p.resolve() for p in places if p.is_file()), None)
    if found is None or found == path.resolve():
        raise UserError(f"{name} does not exist", path=path, where=Place(key="uses"))
    return found


def _pick(known: Mapping[str, ThreadSpec], name: str, path: Path) -> ThreadSpec:
    if name not in known:
        have = ", ".join(sorted(known)) or "none"
        raise UserError(f"no thread is called {name!r} (there are: {have})", path=path)
    return known[name]


def _thread(name: str, spec: Mapping[str, Any], base: ThreadSpec | None, path: Path) -> ThreadSpec:
    roots = tuple(spec.get("roots", base.roots if base else ()))
    if not roots:
        raise UserError("needs the key roots", path=path, where=Place(key=f"threads.{name}"))
    steps = {label: _step(s, path, f"{name}.{label}") for label, s in spec.get("steps", {}).items()}
    not_taken = tuple(_waiver(w, path) for w in spec.get("not_taken", ()))
    waived = tuple(_waiver(w, path) for w in spec.get("waived", ()))
    return ThreadSpec(
        name=name,
        roots=roots,
        follow=(*spec.get("follow", ()), *(base.follow if base else ())),
        absent=(*spec.get("absent", ()), *(base.absent if base else ())),
        callbacks={**(base.callbacks if base else {}), **spec.get("callbacks", {})},
        not_taken=(*not_taken, *(base.not_taken if base else ())),
        waived=(*waived, *(base.waived if base else ())),
        steps={**(base.steps if base else {}), **steps},
    )


def _texts(value: str | list[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _kind(spec: Mapping[str, Any], path: Path, where: str) -> tuple[str, str]:
    found = [(kind, str(spec[kind])) for kind in KINDS if kind in spec]
    if len(found) != 1:
        raise UserError(f"needs one of {', '.join(KINDS)}", path=path, where=where)
    return found[0]


def _step(spec: Mapping[str, Any], path: Path, where: str) -> StepSpec:
    if "assumed" in spec:
        return StepSpec("assumed", "", assumed=spec["assumed"])
    kind, what = _kind(spec, path, f"step {where}")
    return StepSpec(
        kind=kind,
        what=what,
        at=_texts(spec.get("at", [])),
        width=spec.get("width", 8 if kind in ("load", "store") else 0),
        copies=spec.get("copies", 1),
        value_of=spec.get("value_of", ""),
        passes=spec.get("passes", ""),
        itself=spec.get("itself", False),
        loop=spec.get("loop", ""),
        root=spec.get("root", ""),
    )


def _waiver(spec: Mapping[str, Any], path: Path) -> Waiver:
    kind, what = _kind(spec, path, "key waived")
    return Waiver(kind, what, _texts(spec.get("at", [])), spec["reason"])
