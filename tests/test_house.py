# SPDX-License-Identifier: GPL-2.0-only
"""The house itself: which package may import which, sizes, and the way from YAML to report."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from statistics import median

import pytest

from kvet.paths import PROJECT

# low to high; '' holds the modules beside the packages
FLOORS = (
    *("", "detectors", "plan", "source", "build", "prove", "guest", "results", "cost", "report"),
    *("run", "cli"),
)
FILES = sorted((PROJECT / "kvet").rglob("*.py"))
# the two that start processes: their parameters are those of a command
MOST_OF_MANY_PARAMETERS = 2
ARCHITECTURE = (PROJECT / "docs/architecture.md").read_text(encoding="utf-8")


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path): path for path in FILES}


def package_of(module: str) -> str:
    """The package of a module; '' for those of the top floor, the package kvet itself included."""
    parts = module.split(".")
    inside = len(parts) > 2 or MODULES[module].name == "__init__.py"
    return parts[1] if inside and len(parts) > 1 else ""


def imported(tree: ast.AST) -> Iterator[str]:
    """The modules of kvet that a module imports, wherever in it, for types alone or not."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
            inner = [f"{node.module}.{a.name}" for a in node.names]
            yield from (name if name in MODULES else str(node.module) for name in inner)
        else:
            assert not (isinstance(node, ast.ImportFrom) and node.level), "a relative import"


@cache
def trees() -> Mapping[str, ast.Module]:
    return {n: ast.parse(p.read_text(encoding="utf-8")) for n, p in MODULES.items()}


@cache
def imports() -> Mapping[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for name, tree in trees().items():
        found[name] = set(imported(tree))
    return found


def test_every_package_has_its_floor() -> None:
    assert {package_of(name) for name in MODULES} == set(FLOORS)


def test_no_import_runs_to_a_higher_floor() -> None:
    wrong = [
        f"{name} imports {other}"
        for name, others in imports().items()
        for other in others
        if FLOORS.index(package_of(other)) > FLOORS.index(package_of(name))
    ]
    assert wrong == []


def test_no_imports_go_in_a_circle() -> None:
    try:
        TopologicalSorter(imports()).prepare()
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


@pytest.mark.parametrize("package", ["report", "cost", "results", "detectors"])
def test_who_reads_a_run_loads_nothing_that_boots(package: str) -> None:
    names = [n for n in MODULES if package_of(n) == package]
    code = (
        "import importlib, sys\n"
        f"for name in {names}: importlib.import_module(name)\n"
        "print(*sorted(n for n in sys.modules if n.split('.')[0] in ('pexpect', 'qemu', 'paramiko')"
        " or n.startswith(('kvet.run', 'kvet.cli', 'kvet.guest.qemu'))))"
    )
    done = subprocess.run(
        (sys.executable, "-c", code), capture_output=True, text=True, cwd=PROJECT, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


def test_the_command_line_starts_light() -> None:
    code = (
        "import sys, kvet.cli.main\n"
        "kvet.cli.main.build_parser()\n"
        "print(*sorted({'rich', 'yaml', 'jsonschema', 'scipy', 'pexpect', 'paramiko'} "
        "& {n.split('.')[0] for n in sys.modules}))"
    )
    done = subprocess.run(
        (sys.executable, "-c", code), capture_output=True, text=True, cwd=PROJECT, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


def test_argparse_ends_at_the_command_line() -> None:
    users = {n for n, tree in trees().items() if "argparse" in ast.unparse(tree)}
    assert {package_of(name) for name in users} <= {"cli"}


# the terminal is the one's work; the other is text that gdb runs
MAY_PRINT = {"kvet.terminal", "kvet.guest.gdb_modules"}


def test_the_command_line_alone_prints() -> None:
    """Whoever has to say something below it is given the place to say it to."""
    printing = {
        name
        for name, tree in trees().items()
        for node in ast.walk(tree)
        if (isinstance(node, ast.Name) and node.id == "print")
        or (isinstance(node, ast.Attribute) and ast.unparse(node) in ("sys.stdout", "sys.stderr"))
    }
    assert {n for n in printing if package_of(n) != "cli"} == MAY_PRINT


@dataclass(frozen=True, slots=True)
class Function:
    """A function: where it is, how many lines and parameters it has."""

    name: str
    lines: int
    parameters: int


@cache
def functions() -> tuple[Function, ...]:
    found = []
    for module, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                found.append(Function(f"{module}.{node.name}", lines, _parameters(node.args)))
    return tuple(found)


def _parameters(args: ast.arguments) -> int:
    named = [a.arg for a in (*args.posonlyargs, *args.args, *args.kwonlyargs)]
    own = [name for name in named if name not in ("self", "cls")]
    return len(own) + bool(args.vararg) + bool(args.kwarg)


def test_functions_are_short() -> None:
    lines = sorted(f.lines for f in functions())
    assert median(lines) <= 8
    assert lines[len(lines) * 9 // 10] <= 20
    assert [f for f in functions() if f.lines > 60] == []


def test_files_are_short() -> None:
    """Those of the tests and the measurements as well."""
    files = [*FILES, *(p for d in ("tests", "bench") for p in (PROJECT / d).rglob("*.py"))]
    assert len(files) > len(FILES)
    sizes = {
        str(p.relative_to(PROJECT)): len(p.read_text(encoding="utf-8").splitlines()) for p in files
    }
    assert {name: size for name, size in sizes.items() if size > 400} == {}


def test_functions_take_few_parameters() -> None:
    many = sorted(f.name for f in functions() if f.parameters > 5)
    assert len(many) <= MOST_OF_MANY_PARAMETERS, many


def steps() -> list[tuple[str, str]]:
    """The way of one cell as docs/architecture.md lists it: (module, attribute) in order."""
    found = re.findall(r"^\d+\. `kvet\.([a-z_.]+)\.(\w+(?:\.\w+)?)`", ARCHITECTURE, re.MULTILINE)
    way = []
    for module, name in found:
        # a class and its method
        if f"kvet.{module}" not in MODULES and "." in name:
            raise AssertionError(f"kvet.{module} is no module")
        way.append((f"kvet.{module}", name))
    return way


def test_the_way_of_a_cell_is_made_of_functions_that_there_are() -> None:
    assert len(steps()) >= 20
    for module, name in steps():
        found: object = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
        assert callable(found)


def test_the_way_of_a_cell_does_not_turn_back() -> None:
    """Each package that is on the way has one stretch of it; those that orchestrate have none."""
    packages = [package_of(module) for module, _ in steps()]
    stretches = [p for i, p in enumerate(packages) if i == 0 or packages[i - 1] != p]
    assert len(stretches) == len(set(stretches)), stretches


def test_the_documents_name_every_package() -> None:
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    for package in FLOORS[1:]:
        assert f"`kvet/{package}/`" in ARCHITECTURE
        assert re.search(rf"^ {{4}}{package}/ +\S", readme, re.MULTILINE), package
