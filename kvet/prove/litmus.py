# SPDX-License-Identifier: GPL-2.0-only
"""Litmus tests in the kernel's C form as values: read, changed, printed again.

Beside what herd7 asks for, each statement stands on a line of its own and ends
with its label (`// clear`), by which bind.yaml ties it to the built kernel.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from kvet.errors import UserError

STEP = re.compile(r"^(?P<text>[^/{}]+;)\s*//\s*(?P<label>[\w-]+)$")
DECLARATION = re.compile(r"^(?:int|intptr_t|spinlock_t|atomic_t)\b[ *]*\w+(?: = \w+)?;$")
BRANCH = re.compile(r"^if \((?P<condition>.+)\) \{$")
THREAD = re.compile(r"^P(?P<number>\d+)\((?P<params>[^)]*)\)$")
LOADED = re.compile(r"^(\w+) = ")
# what a statement does, by the primitive that it uses; the first that matches
OPERATIONS = {
    "trylock": r"\bspin_trylock\(",
    "lock": r"\bspin_lock\(",
    "unlock": r"\bspin_unlock\(",
    "reader": r"\brcu_read_lock\(",
    "reader-end": r"\brcu_read_unlock\(",
    "grace": r"\bsynchronize_rcu\(",
    "fence": r"\bsmp_\w*mb\w*\(\)",
    "atomic": r"\batomic_(?:inc|dec|add|sub|xchg)\w*\(",
    "load": r"\b(?:READ_ONCE|smp_load_acquire|rcu_dereference|atomic_read)\(",
    "store": r"\b(?:WRITE_ONCE|smp_store_release|rcu_assign_pointer|atomic_set)\(",
}


@dataclass(frozen=True, slots=True)
class Step:
    """One labelled statement; `operation` is a key of OPERATIONS, or `other`."""

    text: str
    label: str

    @property
    def operation(self) -> str:
        return next((n for n, p in OPERATIONS.items() if re.search(p, self.text)), "other")

    @property
    def lock(self) -> str:
        """The lock that a lock operation is about."""
        found = re.search(r"spin_\w+\(&?(\w+)\)", self.text)
        return found.group(1) if found else ""

    @property
    def target(self) -> str:
        """The register that the statement fills, or nothing."""
        found = LOADED.match(self.text)
        return found.group(1) if found else ""


@dataclass(frozen=True, slots=True)
class Branch:
    """An `if` with both of its sides."""

    condition: str
    then: tuple[Node, ...]
    otherwise: tuple[Node, ...] = ()


Node: TypeAlias = Step | Branch
Body: TypeAlias = tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Thread:
    """One column: its parameters, its registers and what it does."""

    params: str
    declarations: tuple[str, ...]
    body: Body

    @property
    def steps(self) -> tuple[Step, ...]:
        """All labelled statements in the order of the text."""
        return tuple(walk(self.body))


@dataclass(frozen=True, slots=True)
class Litmus:
    """A test; `condition` is what must never happen."""

    name: str
    init: tuple[str, ...]
    threads: tuple[Thread, ...]
    condition: str

    def text(self, locations: Sequence[str] = ()) -> str:
        """The test as herd7 reads it; final states tell the values of `locations`, too."""
        lines = [f"C {self.name}", "", "{", *(f"\t{line}" for line in self.init), "}", ""]
        for number, thread in enumerate(self.threads):
            lines += [f"P{number}({thread.params})", "{"]
            lines += [f"\t{line}" for line in thread.declarations]
            lines += [*_printed(thread.body, 1), "}", ""]
        if locations:
            lines.append(f"locations [{'; '.join(locations)};]")
        return "\n".join([*lines, f"exists ({self.condition})", ""])

    def with_body(self, number: int, body: Body) -> Litmus:
        """The same test with another body of one thread."""
        threads = list(self.threads)
        threads[number] = replace(threads[number], body=body)
        return replace(self, threads=tuple(threads))


def walk(body: Body) -> Iterator[Step]:
    """All steps of a body, those of branches included."""
    for node in body:
        if isinstance(node, Step):
            yield node
        else:
            yield from walk(node.then)
            yield from walk(node.otherwise)


def _printed(body: Body, depth: int) -> Iterator[str]:
    tabs = "\t" * depth
    for node in body:
        if isinstance(node, Step):
            yield f"{tabs}{node.text} // {node.label}"
            continue
        yield f"{tabs}if ({node.condition}) {{"
        yield from _printed(node.then, depth + 1)
        if node.otherwise:
            yield f"{tabs}}} else {{"
            yield from _printed(node.otherwise, depth + 1)
        yield f"{tabs}}}"


def read_litmus(path: Path) -> Litmus:
    """Read one C test; a fault names file and line."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot be read: {error}", path=path) from error
    return parse_litmus(text, path)


def parse_litmus(text: str, path: Path | None = None) -> Litmus:
    """A C test as a value; comments on lines of their own are left out."""
    return _Parser(text, path).litmus()


class _Parser:
    """One pass over the lines of a test."""

    def __init__(self, text: str, path: Path | None) -> None:
        self.path = path
        bare = re.sub(r"\(\*.*?\*\)", lambda m: "\n" * m.group().count("\n"), text, flags=re.DOTALL)
        self.lines = [line.strip() for line in bare.splitlines()]
        self.at = 0

    def litmus(self) -> Litmus:
        name = self._take()
        if not name.startswith("C "):
            raise self._fault("a test in C begins with `C NAME`")
        init = tuple(self._block())
        threads = []
        while (found := THREAD.match(self._peek())) is not None:
            self._take()
            threads.append(self._thread(found["params"]))
        ending = " ".join(line for line in self.lines[self.at :] if line)
        condition = re.fullmatch(r"exists \((.+)\)", ending)
        if condition is None or not threads:
            raise self._fault("threads `P0(...)` and then `exists (...)` are expected")
        return Litmus(name[2:].strip(), init, tuple(threads), condition.group(1).strip())

    def _thread(self, params: str) -> Thread:
        self._expect("{")
        declarations = []
        while DECLARATION.match(self._peek()):
            declarations.append(self._take())
        body = self._body()
        return Thread(params, tuple(declarations), body)

    def _body(self) -> Body:
        """Statements up to the brace that closes them."""
        nodes: list[Node] = []
        while not (line := self._take()).startswith("}"):
            step, branch = STEP.match(line), BRANCH.match(line)
            if step:
                nodes.append(Step(step["text"].strip(), step["label"]))
            elif branch:
                then = self._body()
                otherwise = self._body() if self.lines[self.at - 1] == "} else {" else ()
                nodes.append(Branch(branch["condition"], then, otherwise))
            else:
                raise self._fault(f"`{line}`: one statement a line, `STATEMENT; // label`")
        return tuple(nodes)

    def _block(self) -> Iterator[str]:
        self._expect("{")
        while (line := self._take()) != "}":
            yield line

    def _peek(self) -> str:
        while self.at < len(self.lines) and (
            not self.lines[self.at] or self.lines[self.at].startswith("//")
        ):
            self.at += 1
        return self.lines[self.at] if self.at < len(self.lines) else ""

    def _take(self) -> str:
        line = self._peek()
        if not line:
            raise self._fault("the test ends too early")
        self.at += 1
        return line

    def _expect(self, wanted: str) -> None:
        if self._take() != wanted:
            raise self._fault(f"`{wanted}` is expected")

    def _fault(self, text: str) -> UserError:
        return UserError(text, path=self.path, where=f"line {max(1, self.at)}")


def check_labels(test: Litmus, path: Path | None = None) -> None:
    """Labels name a step within its thread: none may be there twice."""
    for number, thread in enumerate(test.threads):
        labels = [step.label for step in thread.steps]
        for label in labels:
            if labels.count(label) > 1:
                raise UserError(f"P{number} has two steps labelled {label!r}", path=path)


def conjunction(text: str) -> dict[str, str]:
    """`1:r=1 /\\ table=2` as variable to value."""
    parts = (part.strip() for part in re.split(r"/\\", text))
    found = {}
    for part in parts:
        left, sign, right = part.partition("=")
        if not sign or not left.strip() or not right.strip():
            raise UserError(f"`{text}` is no conjunction of VARIABLE=VALUE")
        found[left.strip()] = right.strip()
    return found


def reached(states: Sequence[Mapping[str, str]], wanted: Mapping[str, str]) -> bool:
    """Whether one of herd7's final states holds all the values `wanted`."""
    return any(
        all(state.get(k, state.get(f"[{k}]")) == v for k, v in wanted.items()) for state in states
    )
