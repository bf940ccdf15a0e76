# SPDX-License-Identifier: GPL-2.0-only
"""Binds the steps of a test's thread to instructions of the built kernel.

A step that fits no instruction, or more than it should, is a problem and never
a guess; so is an operation on the way that is neither bound nor waived.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path

from kvet.errors import UserError
from kvet.prove.bindfile import StepSpec, ThreadSpec
from kvet.prove.image import Chain, Image
from kvet.prove.litmus import Step, Thread
from kvet.prove.order import Bound, order_problems, region
from kvet.prove.paths import Node, Paths, Route
from kvet.prove.registers import NAMELESS, UNKNOWN, Origin, Origins, constant, memory_of

AT = re.compile(r"^(?:(?P<function>\w+): )?(?P<text>.+?)(?: #(?P<nth>\d+))?$")
# what neither orders nor waits; each call that is none of these is bound or waived
NEUTRAL = (
    "lock_acquire", "lock_release", "lock_is_held_type", "lock_pin_lock", "lock_unpin_lock",
    "debug_lockdep_rcu_enabled", "rcu_is_watching", "lockdep_rcu_suspicious",
    "rcu_read_lock_held", "rcu_read_lock_held_common", "rcu_lockdep_current_cpu_online",
    "__mmap_lock_do_trace_*", "__might_sleep", "__might_resched", "preempt_schedule*",
    "dump_page", "__warn_printk", "_printk", "__memset", "memset", "mod_node_page_state",
    "ptlock_free", "__kasan_*", "kasan_*", "__asan_*", "__hwasan_*", "__sanitizer_cov_*",
    "trace_*", "__trace_*", "__stack_chk_fail", "warn_slowpath_fmt",
)  # fmt: skip
NEUTRAL_KEYS = ("__tracepoint_*",)


class Sources:
    """Source lines of a build: its patched files first, then the tree."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = tuple(folders)
        self._read: dict[str, tuple[str, ...]] = {}

    def line(self, file: str, number: int) -> str:
        """The line as it is written, without its indentation."""
        lines = self.lines(file)
        return lines[number - 1].strip() if 0 < number <= len(lines) else ""

    def lines(self, file: str) -> tuple[str, ...]:
        """All lines of a source file; none when there is no such file."""
        if file not in self._read:
            path = next((f / file for f in self.folders if file and (f / file).is_file()), None)
            text = path.read_text(encoding="utf-8", errors="replace") if path else ""
            self._read[file] = tuple(text.splitlines())
        return self._read[file]

    def fits(self, chain: Chain, wanted: Sequence[str]) -> bool:
        """Whether the expressions stand in the chain, outermost first."""
        left = list(wanted)
        for place in reversed(chain):
            if left and self._is_at(place.function, place.file, place.line, left[0]):
                left.pop(0)
        return not left

    def _is_at(self, function: str, file: str, line: int, wanted: str) -> bool:
        name, text, nth = _parsed(wanted)
        if (name and name != function) or text not in self.line(file, line):
            return False
        same = [n for n, each in enumerate(self.lines(file), 1) if text in each]
        return nth == 0 or (nth <= len(same) and same[nth - 1] == line)


@lru_cache(maxsize=1024)
def _parsed(wanted: str) -> tuple[str, str, int]:
    found = AT.match(wanted)
    if found is None:
        raise UserError(f"`{wanted}` is no source expression")
    return found["function"] or "", found["text"], int(found["nth"] or 0)


@dataclass(frozen=True, slots=True)
class BoundStep:
    """A step and its instruction: `place` is file:line, `source` the line there."""

    label: str
    address: int
    text: str
    place: str
    source: str


@dataclass(frozen=True, slots=True)
class Binding:
    """How one thread of a test is tied to a root function of the build."""

    thread: str
    root: str
    steps: tuple[BoundStep, ...] = ()
    assumed: Mapping[str, str] = field(default_factory=dict)
    waived: tuple[tuple[str, str], ...] = ()
    problems: tuple[str, ...] = ()


class Binder:
    """Binds threads to one image; `sources` are the folders of its source files."""

    def __init__(self, image: Image, sources: Sequence[Path]) -> None:
        self.image = image
        self.sources = Sources(sources)
        self._explored: dict[tuple[str, str], Paths] = {}

    def bind(self, name: str, thread: Thread, spec: ThreadSpec) -> list[Binding]:
        """The thread on each of its roots."""
        return [self._bind(name, thread, spec, root) for root in spec.roots]

    def paths(self, spec: ThreadSpec, root: str) -> Paths | None:
        """All ways through one root; None when the build has no such function."""
        key = (spec.name, root)
        if key not in self._explored:
            functions = self.image.functions(root)
            if not functions:
                return None
            whole = next((f for f in functions if root in self.image.symbols), functions[0])
            self._locate(spec, root)
            route = Route(
                root=whole,
                follow=frozenset((*spec.follow, *spec.callbacks.values())),
                callback=lambda chain: self._callback(spec, chain),
                excluded=lambda name, chain: self._excluded(spec, name, chain),
            )
            self._explored[key] = Paths(self.image, route).explore()
        return self._explored[key]

    def _locate(self, spec: ThreadSpec, root: str) -> None:
        """Ask for all chains at once: each question starts a process."""
        names = {root, *spec.follow, *spec.callbacks.values()}
        functions = [f for name in names for f in self.image.functions(name)]
        self.image.locate(at for f in functions for at in range(f.start, f.start + f.size, 4))

    def _excluded(self, spec: ThreadSpec, name: str, chain: Chain) -> bool:
        return any(
            fnmatchcase(name, e.what) and self.sources.fits(chain, e.at) for e in spec.not_taken
        )

    def _callback(self, spec: ThreadSpec, chain: Chain) -> str:
        found = (to for at, to in spec.callbacks.items() if self.sources.fits(chain[:1], (at,)))
        return next(found, "")

    def _bind(self, name: str, thread: Thread, spec: ThreadSpec, root: str) -> Binding:
        paths = self.paths(spec, root)
        if paths is None:
            return Binding(name, root, problems=(f"{root} is not in the build",))
        matching = _Matching(self, spec, paths, thread)
        return matching.binding(name, root)

    def place(self, paths: Paths, node: Node) -> tuple[str, str]:
        """file:line of a node and the source line; the call's where a header was inlined."""
        chain = paths.chain(node)
        own = next((p for p in chain if p.file.endswith(".c")), chain[0] if chain else None)
        if own is None:
            return "", ""
        return f"{own.file}:{own.line}", self.sources.line(own.file, own.line)


class _Matching:
    """One thread on one root."""

    def __init__(self, binder: Binder, spec: ThreadSpec, paths: Paths, thread: Thread) -> None:
        self.binder, self.spec, self.paths, self.thread = binder, spec, paths, thread
        self.nodes: Bound = {}
        self.elsewhere: dict[str, tuple[Paths, tuple[Node, ...]]] = {}
        self.assumed: dict[str, str] = {}
        self.waived: dict[tuple[str, str], None] = {}
        self.problems: list[str] = []

    def binding(self, name: str, root: str) -> Binding:
        for step in self.thread.steps:
            self._match(step)
        self._entries()
        self._values()
        self.problems += order_problems(self.paths, self.thread.body, self.nodes, self._loops())
        self._complete()
        return Binding(
            name,
            root,
            steps=tuple(self._told()),
            assumed=self.assumed,
            waived=tuple(self.waived),
            problems=tuple(dict.fromkeys(self.problems)),
        )

    def _match(self, step: Step) -> None:
        spec = self.spec.steps.get(step.label)
        if spec is None:
            self.problems.append(f"{step.label}: bind.yaml does not say what it is")
            return
        if spec.kind == "assumed":
            self.assumed[step.label] = spec.assumed
            return
        paths = self.binder.paths(self.spec, spec.root) if spec.root else self.paths
        if paths is None:
            self.problems.append(f"{step.label}: {spec.root} is not in the build")
            return
        found = tuple(n for n in candidates(paths, spec) if self._is_step(paths, n, spec))
        if len(found) != spec.copies and not self._copied(paths, found, spec):
            self.problems.append(_count(step.label, spec, len(found)))
        elif spec.root:
            self.elsewhere[step.label] = (paths, found)
        else:
            self.nodes[step.label] = found
        for node in found:
            self._check_argument(step.label, spec, paths, node)

    def _copied(self, paths: Paths, found: Sequence[Node], spec: StepSpec) -> bool:
        """Whether the compiler made copies of one statement: the whole chain is the same.

        Not told of loads, for two reads on one line are what this is about.
        """
        chains = {paths.chain(node) for node in found}
        return spec.kind != "load" and spec.copies == 1 and len(chains) == 1

    def _is_step(self, paths: Paths, node: Node, spec: StepSpec) -> bool:
        own = paths.chain(node)[:1]
        itself = not spec.itself or self.binder.sources.fits(own, spec.at[-1:])
        return itself and self._is_at(paths, node, spec.at)

    def _is_at(self, paths: Paths, node: Node, at: Sequence[str]) -> bool:
        return self.binder.sources.fits(paths.chain(node), at)

    def _check_argument(self, label: str, spec: StepSpec, paths: Paths, node: Node) -> None:
        """What a call passes: an object by its symbol, or a function."""
        if not spec.passes:
            return
        values = [constant(paths.states[node].get(f"x{n}", UNKNOWN)) for n in range(4)]
        passed = {paths.image.symbol_at(v) for v in values if v is not None}
        if spec.passes not in passed:
            self.problems.append(f"{label}: does not pass {spec.passes}")

    def _entries(self) -> None:
        """Accesses of one entry go through one pointer."""
        for what, labels in self._by_entry().items():
            if what in self.paths.image.symbols:
                continue  # found by its address
            pointers = [self._pointer(n) for label in labels for n in self.nodes[label]]
            for label, pointer in zip(labels, pointers, strict=False):
                if not any(same_pointer(pointer, other) for other in pointers[:1]):
                    self.problems.append(f"{label}: another pointer than {labels[0]}'s to {what}")

    def _by_entry(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for label in self.nodes:
            spec = self.spec.steps[label]
            if spec.kind in ("load", "store"):
                found.setdefault(spec.what, []).append(label)
        return found

    def _pointer(self, node: Node) -> tuple[Origins, int]:
        """Where an access's base register comes from, and the offset from it."""
        insn = self.paths.insn(node)
        memory = memory_of(insn) if insn is not None else None
        if memory is None:
            return frozenset(), 0
        return self.paths.states[node].get(memory.base, UNKNOWN), memory.offset

    def _values(self) -> None:
        """The value of one load must be the address of another access, and of it alone."""
        for label, nodes in self.nodes.items():
            source = self.spec.steps[label].value_of
            if not source or source not in self.nodes:
                continue
            origins = {o for node in nodes for o in self._pointer(node)[0]}
            if not any(_loads(n) & _plain(origins) for n in self.nodes[source]):
                self.problems.append(f"{label}: its address is not what {source} loads")
            for other in self._by_entry().get(self.spec.steps[source].what, ()):
                if other != source and any(_loads(n) & _plain(origins) for n in self.nodes[other]):
                    self.problems.append(f"{label}: its address may be what {other} loads")

    def _loops(self) -> dict[str, str]:
        steps = self.spec.steps
        return {label: steps[label].loop for label in self.nodes if steps[label].loop}

    def _complete(self) -> None:
        """Every operation on the way is bound or waived, and every access of a bound entry."""
        called = {o.detail for o in self.paths.operations if o.kind == "call"}
        called |= {context.function for context in self.paths.contexts}
        for name in sorted(called & set(self.spec.absent)):
            self.problems.append(f"{name} is called, which must not be")
        bound = {node for nodes in self.nodes.values() for node in nodes}
        inside = region(self.paths, self.thread.body, self.nodes)
        for operation in sorted(self.paths.operations, key=lambda o: o.node):
            if operation.node in inside and operation.node not in bound:
                self._waive(operation.kind, operation.detail, operation.node)
        for what, labels in self._by_entry().items():
            pointer = self._pointer(self.nodes[labels[0]][0])
            for node in self.paths.accesses():
                same = same_pointer(self._pointer(node), pointer)
                if same and node in inside and node not in bound:
                    self._other_access(what, node)

    def _other_access(self, what: str, node: Node) -> None:
        insn = self.paths.insn(node)
        memory = memory_of(insn) if insn is not None else None
        kind = "store" if memory is not None and memory.is_store else "load"
        used = [
            label
            for label, nodes in self.nodes.items()
            if self.spec.steps[label].value_of
            and any(_loads(node) & _plain(self._pointer(n)[0]) for n in nodes)
        ]
        place, source = self.binder.place(self.paths, node)
        if used:
            self.problems.append(
                f"another {kind} of {what}, whose value is the address of {used[0]}: "
                f"{place}: {source}"
            )
        else:
            self._waive(kind, what, node)

    def _waive(self, kind: str, what: str, node: Node) -> None:
        neutral = (kind == "call" and is_one(what, NEUTRAL)) or (
            kind == "key" and is_one(what, NEUTRAL_KEYS)
        )
        if neutral:
            return
        place, source = self.binder.place(self.paths, node)
        for waiver in self.spec.waived:
            meant = waiver.kind == kind and fnmatchcase(what, waiver.what)
            if meant and self._is_at(self.paths, node, waiver.at):
                self.waived[(f"{kind} {what} at {place}", waiver.reason)] = None
                return
        self.problems.append(f"neither bound nor waived: {kind} {what}, {place}: {source}")

    def _told(self) -> Iterable[BoundStep]:
        for step in self.thread.steps:
            paths, nodes = self.elsewhere.get(
                step.label, (self.paths, self.nodes.get(step.label, ()))
            )
            for node in nodes:
                insn = paths.insn(node)
                text = f"{insn.mnemonic} {insn.op_str}".strip() if insn is not None else ""
                place, source = self.binder.place(paths, node)
                yield BoundStep(step.label, node.address, text, place, source)


def candidates(paths: Paths, spec: StepSpec) -> list[Node]:
    """Instructions of the right kind, wherever they are."""
    if spec.kind in ("load", "store"):
        return [n for n in paths.accesses() if _fits_access(paths, n, spec)]
    return [
        o.node for o in paths.operations if o.kind == spec.kind and fnmatchcase(o.detail, spec.what)
    ]


def _fits_access(paths: Paths, node: Node, spec: StepSpec) -> bool:
    insn = paths.insn(node)
    memory = memory_of(insn) if insn is not None else None
    if memory is None or memory.width != spec.width or len(memory.registers) != 1:
        return False
    # what has an address of its own is named by its symbol
    base = constant(paths.states[node].get(memory.base, UNKNOWN))
    if base is not None and paths.image.symbol_at(base + memory.offset) != spec.what:
        return False
    return memory.is_load if spec.kind == "load" else memory.is_store


def _count(label: str, spec: StepSpec, found: int) -> str:
    what = f"{spec.kind} {spec.what}" + (f" at `{' > '.join(spec.at)}`" if spec.at else "")
    if found == 0:
        return f"{label}: not in the build: {what}"
    return f"{label}: ambiguous, {found} instructions and not {spec.copies}: {what}"


def same_pointer(one: tuple[Origins, int], other: tuple[Origins, int]) -> bool:
    """Whether two accesses may go through one pointer, at one offset."""
    named = {o for o in one[0] if o.exact and o.kind not in (*NAMELESS, "stack")}
    stack = {o for o in one[0] if o.exact and o.kind == "stack"}
    return one[1] == other[1] and bool((named | stack) & other[0])


def _loads(node: Node) -> set[Origin]:
    return {Origin("load", node.address, node.context)}


def _plain(origins: Iterable[Origin]) -> set[Origin]:
    return {o._replace(exact=True) for o in origins}


def is_one(name: str, globs: Sequence[str]) -> bool:
    """Whether one of `globs` fits the name."""
    return any(fnmatchcase(name, glob) for glob in globs)
