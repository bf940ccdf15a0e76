# SPDX-License-Identifier: GPL-2.0-only
"""A thread's column out of built code: where a test for a stranger's series begins.

Accesses, barriers, calls, keys and their order are the build's. What needs
judgement is left as a hole, `?`: which pointers are one, what a lock is in the
model, what a callee or a callback does, what "free" writes.
"""

from __future__ import annotations

import string
from collections.abc import Iterator, Sequence
from pathlib import Path

from kvet.errors import UserError
from kvet.prove.bind import NEUTRAL, NEUTRAL_KEYS, Sources, is_one, same_pointer
from kvet.prove.image import Image
from kvet.prove.paths import Node, Operation, Paths, Route
from kvet.prove.registers import UNKNOWN, Origins, constant, memory_of

# what a call is in the kernel's C form of a test
CALLS = {
    "down_read": "spin_lock(?lock);",
    "down_write": "spin_lock(?lock);",
    "down_write_nested": "spin_lock(?lock);",
    "down_read_trylock": "got = spin_trylock(?lock);",
    "up_read": "spin_unlock(?lock);",
    "up_write": "spin_unlock(?lock);",
    "mutex_lock": "spin_lock(?lock);",
    "mutex_unlock": "spin_unlock(?lock);",
    "_raw_spin_lock": "spin_lock(?lock);",
    "_raw_spin_unlock": "spin_unlock(?lock);",
    "__rcu_read_lock": "rcu_read_lock();",
    "__rcu_read_unlock": "rcu_read_unlock();",
    "synchronize_rcu": "synchronize_rcu();",
    "call_rcu": "synchronize_rcu(); /* ? and then its callback */",
    "static_key_slow_inc": "n = atomic_inc_return(?key);",
    "static_key_slow_dec": "n = atomic_dec_return(?key);",
    "static_key_enable": "n = atomic_xchg(?key, 1);",
    "static_key_disable": "n = atomic_xchg(?key, 0);",
}
BARRIERS = {
    "dmb ish": "smp_mb();",
    "dsb ish": "smp_mb();",
    "dmb ishst": "smp_wmb();",
    "dsb ishst": "smp_wmb();",
    "dmb ishld": "smp_rmb();",
}


def column(image: Image, folders: Sequence[Path], functions: Sequence[str]) -> Iterator[str]:
    """The column of the first function, with the others followed where it calls them."""
    sources = Sources(folders)
    known = image.functions(functions[0])
    if not known:
        raise UserError(f"the build has no function {functions[0]}; it may be inlined")
    image.locate(
        at
        for name in functions
        for f in image.functions(name)
        for at in range(f.start, f.start + f.size, 4)
    )
    paths = Paths(image, Route(known[0], frozenset(functions))).explore()
    yield f"/* {', '.join(functions)} as built; `?` is for you to say */"
    yield "P0(?)"
    yield "{"
    told = _Column(paths, sources)
    for node in in_order(paths):
        yield from told.lines(node)
    yield "}"


def in_order(paths: Paths) -> list[Node]:
    """All nodes, each before what follows it unless a loop leads back."""
    seen, order = {paths.root}, []
    stack = [(paths.root, iter(paths.edges.get(paths.root, ())))]
    while stack:
        node, edges = stack[-1]
        edge = next((e for e in edges if e.to not in seen), None)
        if edge is None:
            order.append(node)
            stack.pop()
        else:
            seen.add(edge.to)
            stack.append((edge.to, iter(paths.edges.get(edge.to, ()))))
    return order[::-1]


class _Column:
    """Lines of one column; pointers that are one get one name."""

    def __init__(self, paths: Paths, sources: Sources) -> None:
        self.paths, self.sources = paths, sources
        self.operations = {o.node: o for o in paths.operations}
        self.accesses = paths.accesses()
        self.pointers: list[tuple[Origins, int]] = []

    def lines(self, node: Node) -> Iterator[str]:
        operation = self.operations.get(node)
        text = self._access(node) if operation is None else self._operation(operation)
        if text:
            chain = self.paths.chain(node)
            own = next((p for p in chain if p.file.endswith(".c")), None)
            source = self.sources.line(own.file, own.line) if own else ""
            place = f"{own.file}:{own.line}: {source}" if own else ""
            yield f"\t{text:<44} // {place}"

    def _access(self, node: Node) -> str:
        insn = self.paths.insn(node)
        memory = memory_of(insn) if insn is not None else None
        if memory is None or node not in self.accesses or memory.base == "x29":
            return ""
        origins = self.paths.states[node].get(memory.base, UNKNOWN)
        if constant(origins) is not None or any(o.kind == "stack" for o in origins):
            return ""  # the kernel's own data, or the stack
        name = self._name((origins, memory.offset))
        wide = "" if memory.width == 8 else f" /* {memory.width} bytes */"
        if memory.is_store:
            return f"WRITE_ONCE(*?{name}, ?);{wide}"
        return f"r = READ_ONCE(*?{name});{wide}"

    def _name(self, pointer: tuple[Origins, int]) -> str:
        for index, known in enumerate(self.pointers):
            if same_pointer(known, pointer):
                return _letters(index)
        self.pointers.append(pointer)
        return _letters(len(self.pointers) - 1)

    def _operation(self, operation: Operation) -> str:
        kind, what = operation.kind, operation.detail
        if kind == "barrier":
            return BARRIERS.get(what, f"/* {what} */")
        if kind == "key":
            return "" if is_one(what, NEUTRAL_KEYS) else f"up = atomic_read(?{what});"
        if kind == "call":
            return (
                "" if is_one(what, NEUTRAL) else CALLS.get(what, f"/* ? what does {what}() do */")
            )
        return f"/* {what} */"


def _letters(index: int) -> str:
    letters = string.ascii_lowercase
    return letters[index % 26] + (str(index // 26) if index >= 26 else "")
