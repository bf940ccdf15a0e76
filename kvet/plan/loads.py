# SPDX-License-Identifier: GPL-2.0-only
"""Reads the directory of a workload: `workload.yaml` and the files beside it.

Nothing outside the directory gets in: a name that leads out of it, by `..` or by a symbolic
link, is a UserError. So is every key that cannot be what it says, with file, line and key.
"""

from __future__ import annotations

import errno
import hashlib
import re
import shlex
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from kvet.errors import Place, UserError
from kvet.loads import Command, Load, Option, Probe, Side
from kvet.model import Floor
from kvet.plan import load_schema
from kvet.yamlfile import parse_yaml, place_of

FILE = "workload.yaml"
# variants of the workload's own; they are the host's, no guest gets them
VARIANTS = "patches"
MOST_FILES = 2000
MOST_BYTES = 64 << 20
OPTION = re.compile(r'(CONFIG_\w+)=([ymn]|-?\d+|0[xX][0-9a-fA-F]+|"[^"]*")')
FUNC = r"[A-Za-z_]\w*(?:\.\w+)*"
HOME = r"[\w./-]+\.[chS]"
PROBE = re.compile(
    rf"(?P<func>{FUNC})(?: in (?P<home>{HOME}))?(?: while (?P<during>{FUNC}))?"
    rf"|(?P<waits>contended)(?: in (?P<inside>{FUNC}))?"
    r"|line (?P<file>[\w./-]+): (?P<text>\S.*)"
)
FORMS = "FUNC, FUNC in FILE, FUNC while FUNC, contended, contended in FUNC, or line FILE: TEXT"
# what only a shell understands
SHELL = frozenset(("|", "<", ">", ">>", "2>", "&", "&&", "||", ";"))
# counters that every workload has: how often a side's commands ran, and tests that were ok
RUNS = "runs_"
TESTS = "tests"
# counters of the engine, and how a race counts its own: rootfs/engine/kvet_engine.h
ENGINE_COUNTERS = (
    *("schedules", "rounds", "met", "delays", "given_back"),
    *("unfollowed", "quarantined", "quarantine_full"),
)
HIT = re.compile(r'\bkvet_hit\(\s*(?:"(\w+)"|([^")]))')
Spec = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Given:
    """A `workload.yaml` that its schema has nothing against."""

    path: Path
    spec: Spec
    node: yaml.Node

    def error(self, message: str, *keys: str | int, hint: str = "") -> UserError:
        """A fault of the value that `keys` lead to."""
        where = Place(line=self.line(*keys), key=".".join(map(str, keys)))
        return UserError(message, path=self.path, where=where, hint=hint)

    def line(self, *keys: str | int) -> int:
        """The line of the value that `keys` lead to."""
        return place_of(self.node, keys)[0]


def read_load(path: Path, spec: Spec) -> Load:
    """What the directory of `path` holds, whose YAML is `spec`.

    Raises UserError for a name that leads out of it and for what cannot be.
    """
    given = Given(path, spec, parse_yaml(path)[1])
    does = _what_it_does(given)
    load = Load(
        file=path,
        digest=digest_of(path.parent),
        does=does,
        not_covered=tuple(spec.get("not_covered", ())),
        probes=tuple(_probes(given)),
        options=tuple(_options(given)),
        packages=tuple(spec.get("packages", ())),
        sources=tuple(_inside(given, name, "sources") for name in spec.get("sources", ())),
    )
    made = replace(load, **KINDS[does](given))
    made = replace(made, sources=tuple(dict.fromkeys((*made.sources, *_sources(given, made)))))
    _check_programs(given, made)
    return made


def _sources(given: Given, load: Load) -> Iterator[str]:
    """The C files that programs are made of without being named: `./x` is made of `x.c`."""
    for command in (command for side in load.sides for command in side.commands):
        name = command.argv[0].removeprefix("./")
        if command.is_module or name == command.argv[0] or "/" in name:
            continue
        folder = given.path.parent
        if not (folder / name).exists() and (folder / f"{name}.c").is_file():
            yield _inside(given, f"{name}.c", "sources")


def _what_it_does(given: Given) -> str:
    """The one key that says what the workload does."""
    said = [key for key in load_schema.DOES if key in given.spec]
    if len(said) != 1:
        one_of = ", ".join(load_schema.DOES)
        if said:
            raise given.error(f"stands beside {said[0]}: a workload does one thing", said[1])
        raise UserError(f"says not what it does: one of {one_of}", path=given.path)
    for key, owners in load_schema.BELONGS.items():
        if key in given.spec and said[0] not in owners:
            raise given.error(f"belongs to {' or '.join(owners)}, and there is none", key)
    return said[0]


def _run(given: Given) -> dict[str, Any]:
    """Kind 1: one program, once or until the time is up."""
    argv = (*_words(given, given.spec["run"], "run"), *map(str, given.spec.get("args", ())))
    command = Command("run", argv, _expected(given, given.spec.get("expect", 0), "expect"))
    return {"sides": (Side("run", (command,), loop=given.spec.get("loop", False)),)}


def _sides(given: Given) -> dict[str, Any]:
    """Kind 3: programs and modules beside each other."""
    return {"sides": tuple(_side(given, name) for name in given.spec["sides"])}


def _side(given: Given, name: str) -> Side:
    spec = given.spec["sides"][name]
    keys = ("sides", name)
    if isinstance(spec, str):
        return Side(name, (Command(name, _words(given, spec, *keys)),))
    loop = spec.get("loop", True)
    if "module" in spec:
        if "expect" in spec:
            raise given.error("belongs below module", *keys, "expect")
        return Side(name, (_module(given, spec["module"], name, *keys, "module"),), loop)
    expect = _expected(given, spec.get("expect", 0), *keys, "expect")
    return Side(name, (Command(name, _words(given, spec["run"], *keys, "run"), expect),), loop)


def _module(given: Given, spec: Any, name: str, *keys: str) -> Command:
    """A module with its parameters; it is loaded and, where that succeeds, removed again."""
    whole: dict[str, Any] = {"name": spec} if isinstance(spec, str) else spec
    params = tuple(f"{key}={value}" for key, value in whole.get("params", {}).items())
    expect = _expected(given, whole.get("expect", 0), *keys, "expect")
    argv = (whole["name"].replace("-", "_"), *params)
    return Command(name, argv, expect, is_module=True, stay_s=float(whole.get("stay", 0)))


def _words(given: Given, text: str, *keys: str) -> tuple[str, ...]:
    try:
        words = tuple(shlex.split(text))
    except ValueError as error:
        raise given.error(f"{text!r}: {error}", *keys) from error
    if not words or not words[0]:
        raise given.error("names no program", *keys)
    if found := next((word for word in words if word in SHELL), ""):
        raise given.error(
            f"{found!r} means nothing: no shell reads the line",
            *keys,
            hint="put the line into a script: run: ./NAME.sh",
        )
    return words


def _expected(given: Given, value: int | str, *keys: str) -> int:
    if isinstance(value, int):
        return value
    number = getattr(errno, value, None)
    if not isinstance(number, int):
        raise given.error(f"{value} is no error of the kernel", *keys)
    return number


def _probes(given: Given) -> Iterator[Probe]:
    for name, text in given.spec.get("exposure", {}).items():
        found = PROBE.fullmatch(text.strip())
        if found is None:
            raise given.error(f"{text!r} is not understood", "exposure", name, hint=FORMS)
        yield Probe(
            name=name,
            key=f"exposure.{name}",
            line=given.line("exposure", name),
            func=found["func"] or "",
            home=found["home"] or "",
            during=found["during"] or found["inside"] or "",
            contended=bool(found["waits"]),
            file=found["file"] or "",
            text=found["text"] or "",
        )


def config_entries(value: str | list[str]) -> tuple[str, ...]:
    """The entries of the key `config`: names of configs, and options."""
    return (value,) if isinstance(value, str) else tuple(value)


def is_option(entry: str) -> bool:
    """Whether an entry of `config` is an option and no config's name."""
    return entry.startswith("CONFIG_")


def _options(given: Given) -> Iterator[Option]:
    entries = given.spec.get("config", ())
    for number, entry in enumerate(config_entries(entries)):
        if not is_option(entry):
            continue
        keys: tuple[str | int, ...] = (
            ("config",) if isinstance(entries, str) else ("config", number)
        )
        found = OPTION.fullmatch(entry)
        if found is None:
            raise given.error(
                f"{entry!r} is no option",
                *keys,
                hint='CONFIG_X=VALUE, and VALUE is y, m, n, a number or "text"',
            )
        yield Option(found.group(1), found.group(2), given.path, given.line(*keys))


def _inside(given: Given, name: str, *keys: str | int) -> str:
    """`name`, provided that it is a file of the workload's directory."""
    folder = given.path.parent.resolve()
    path = (folder / name).resolve()
    if not path.is_relative_to(folder):
        raise given.error(f"{name} leads out of the directory of the workload", *keys)
    if not path.is_file():
        raise given.error(f"{name} does not exist in {given.path.parent}", *keys)
    return str(path.relative_to(folder))


def _check_programs(given: Given, load: Load) -> None:
    """A program given with a path is a file of the directory, or made from a source."""
    made = {Path(source).stem for source in load.sources}
    for side in load.sides:
        keys: tuple[str, ...] = ("run",) if "run" in given.spec else ("sides", side.name)
        for command in side.commands:
            program = command.argv[0]
            if command.is_module or not program.startswith(("./", "../")):
                continue
            if program.removeprefix("./") in made:
                continue
            name = _inside(given, program, *keys)
            if not is_program(given.path.parent / name):
                raise given.error(f"{program} is no program", *keys, hint=f"chmod +x {name}")


def is_program(path: Path) -> bool:
    """Whether a file may be run: it has the bit, or is a script."""
    return bool(path.stat().st_mode & stat.S_IXUSR) or path.read_bytes()[:2] == b"#!"


def files_of(folder: Path) -> Iterator[Path]:
    """The files of a workload's directory that go into the guest, in a stable order.

    Hidden ones and variants of its own stay out. Raises UserError for one that leads out
    of the directory, and for more than a guest takes.
    """
    home = folder.resolve()
    total = 0
    inside = (p for p in sorted(folder.rglob("*")) if not _left_out(p.relative_to(folder)))
    for number, path in enumerate(inside):
        if not path.resolve().is_relative_to(home):
            raise UserError("leads out of the directory of the workload", path=path)
        if path.is_dir():
            continue
        if not path.is_file():
            raise UserError("is no regular file", path=path)
        total += path.stat().st_size
        if total > MOST_BYTES or number >= MOST_FILES:
            raise UserError(
                f"more than {MOST_FILES} files or {MOST_BYTES >> 20} MiB: too much for a guest",
                path=folder,
            )
        yield path


def _left_out(name: Path) -> bool:
    return name.parts[0] == VARIANTS or any(part.startswith(".") for part in name.parts)


def digest_of(folder: Path) -> str:
    """Digest of everything in a workload's directory that reaches a build or a guest."""
    digest = hashlib.sha256()
    for path in files_of(folder):
        name = str(path.relative_to(folder))
        digest.update(f"{name}\0{is_program(path)}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def floor_of(load: Load, floor: Floor, path: Path) -> Floor:
    """The floor of a workload's directory: what it states, else that everything ran.

    Raises UserError for a counter that the workload does not have.
    """
    runs = {f"{RUNS}{side.name}": 1 for side in load.sides}
    known = {*runs, *(probe.name for probe in load.probes), TESTS}
    if load.race:
        known = _race_counters(load.folder / load.race)
    for name in floor.counts:
        if known and name not in known:
            raise UserError(
                f"no counter is called {name} (there are: {', '.join(sorted(known))})",
                path=path,
                where=Place(key=f"floor.{name}"),
            )
    if load.race:
        return floor or Floor(each={"schedules": 2})
    return floor or Floor(each={TESTS: 1} if load.reads_log or load.selftests else runs)


def _race_counters(path: Path) -> set[str]:
    """The counters of a race in C; empty where its file gives one a name that is no constant."""
    calls = HIT.findall(path.read_text(encoding="utf-8", errors="replace"))
    names = {name for name, _ in calls}
    return set() if "" in names else {*ENGINE_COUNTERS, *names}


def _race(given: Given) -> dict[str, Any]:
    """Kind 4: the engine runs it."""
    return {"race": _inside(given, given.spec["race"], "race")}


def _own_module(given: Given) -> dict[str, Any]:
    """Kind 2: a test module of the kernel, loaded once; what it logs is read."""
    command = _module(given, given.spec["module"], "module", "module")
    return {"sides": (Side("module", (command,), loop=False),), "reads_log": True}


def _kunit(given: Given) -> dict[str, Any]:
    """Kind 2: suites of KUnit that are built in; they have run before init does."""
    nothing = Command("kunit", ("true",))
    return {
        "sides": (Side("kunit", (nothing,), loop=False),),
        "boot_args": ("kunit.enable=1", f"kunit.filter_glob={given.spec['kunit']}"),
        "reads_log": True,
        "options": _wanted(given, "kunit", "CONFIG_KUNIT", "y"),
    }


def _kselftest(given: Given) -> dict[str, Any]:
    """Kind 2: programs of tools/testing/selftests, known once they are built, one after another."""
    return {"sides": (Side("kselftest", (), loop=False),), "selftests": given.spec["kselftest"]}


def _locktorture(given: Given) -> dict[str, Any]:
    return _torture(given, "locktorture", "CONFIG_LOCK_TORTURE_TEST")


def _rcutorture(given: Given) -> dict[str, Any]:
    return _torture(given, "rcutorture", "CONFIG_RCU_TORTURE_TEST")


def _torture(given: Given, name: str, option: str) -> dict[str, Any]:
    """Kind 2: a torture module that stays for the seconds of the workload; its end is judged."""
    params = tuple(f"{key}={value}" for key, value in given.spec[name].items())
    stay = float(given.spec["seconds"])
    command = Command(name, (name, *params), is_module=True, stay_s=stay)
    return {
        "sides": (Side(name, (command,), loop=False),),
        "reads_log": True,
        "options": _wanted(given, name, option, "m"),
    }


def _wanted(given: Given, key: str, name: str, value: str) -> tuple[Option, ...]:
    """The options of `config`, and one that the kind itself needs."""
    return (*_options(given), Option(name, value, given.path, given.line(key)))


KINDS = {
    "run": _run,
    "sides": _sides,
    "module": _own_module,
    "kunit": _kunit,
    "kselftest": _kselftest,
    "locktorture": _locktorture,
    "rcutorture": _rcutorture,
    "race": _race,
}
