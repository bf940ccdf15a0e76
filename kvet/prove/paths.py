# SPDX-License-Identifier: GPL-2.0-only
"""Every way through a thread of the built kernel: its functions, calls followed, as one graph.

A node is an instruction in a calling context. Edges that a constant rules out
are left out (`free(..., wait=false)`); both sides of a static key stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import NamedTuple

import capstone
from capstone import arm64

from kvet.errors import UserError
from kvet.prove.image import Chain, Function, Image
from kvet.prove.registers import (
    UNKNOWN,
    WORD,
    State,
    after,
    after_call,
    constant,
    entry_state,
    joined,
    memory_of,
    register,
    without_frame,
)

MOST_NODES = 60_000
WARN = "WARN"  # a warning, by the name of a call
BARRIERS = ("dmb", "dsb", "isb")
ORDERED = ("ldar", "ldapr", "stlr", "ldxr", "ldaxr", "stxr", "stlxr", "cas", "swp")
ORDERED_MORE = ("ldadd", "ldset", "ldclr", "ldeor", "stadd", "stset", "stclr")
# who calls these does not come back
NO_RETURN = ("panic", "__stack_chk_fail", "do_exit", "make_task_dead")


class Node(NamedTuple):
    """An instruction, in a context: an index of `Paths.contexts`."""

    context: int
    address: int


@dataclass(frozen=True, slots=True)
class Context:
    """A function as called from one place; the root has no caller."""

    function: str
    caller: Node | None
    returns: int | None


@dataclass(frozen=True, slots=True)
class Edge:
    """A step from one instruction to the next; `label` says what chose it."""

    to: Node
    label: str = ""


@dataclass(frozen=True, slots=True)
class Operation:
    """A call, barrier, ordered access, key or jump that is not followed."""

    node: Node
    kind: str
    detail: str


@dataclass(frozen=True, slots=True)
class Route:
    """What is followed: functions by name, indirect calls by a test of their chain.

    Ways end at calls that are `excluded`: calls alone, for the lines of other
    instructions are wrong too often to take code away by them.
    """

    root: Function
    follow: frozenset[str]
    callback: Callable[[Chain], str] = lambda chain: ""
    excluded: Callable[[str, Chain], bool] = lambda name, chain: False


@dataclass
class Paths:
    """The graph of one route through an image, and the state before each of its nodes."""

    image: Image
    route: Route
    contexts: list[Context] = field(default_factory=list)
    states: dict[Node, State] = field(default_factory=dict)
    edges: dict[Node, list[Edge]] = field(default_factory=dict)
    operations: list[Operation] = field(default_factory=list)
    exits: set[Node] = field(default_factory=set)
    _known: dict[tuple[Node | None, int], int] = field(default_factory=dict)
    _code: dict[int, capstone.CsInsn] = field(default_factory=dict)
    _cut: dict[Node, bool] = field(default_factory=dict)

    @property
    def root(self) -> Node:
        return Node(0, self.route.root.start)

    def insn(self, node: Node) -> capstone.CsInsn | None:
        """The instruction of a node; None outside of any function's code."""
        if node.address not in self._code:
            name = self.image.symbol_at(node.address)
            for function in self.image.functions(name):
                if function.start <= node.address < function.start + function.size:
                    self._code.update(self.image.code(function))
                    self.image.locate(self.image.code(function))
        return self._code.get(node.address)

    def chain(self, node: Node) -> Chain:
        """Functions and lines from the instruction out to the root, calls and inlining alike."""
        self.insn(node)
        places = list(self.image.chains.get(node.address, ()))
        caller = self.contexts[node.context].caller
        while caller is not None:
            places += self.image.chains.get(caller.address, ())
            caller = self.contexts[caller.context].caller
        return tuple(places)

    def explore(self) -> Paths:
        """Follow every way from the root until nothing changes."""
        self.contexts.append(Context(self.route.root.name, None, None))
        self.states[self.root] = entry_state()
        # in the order of the code: what a node is given is then mostly complete
        work = [self.root]
        waiting = {self.root}
        while work:
            node = heappop(work)
            waiting.discard(node)
            for edge, state in self._flow(node):
                if self._excluded(edge.to):
                    continue
                known = self.states.get(edge.to)
                merged = joined(known, state)
                if merged is not known:
                    self.states[edge.to] = merged
                    if edge.to not in waiting:
                        waiting.add(edge.to)
                        heappush(work, edge.to)
            if len(self.states) > MOST_NODES:
                raise UserError(f"{self.route.root.name}: more code than can be followed")
        self._settle()
        return self

    def _excluded(self, node: Node) -> bool:
        if node not in self._cut:
            insn = self.insn(node)
            name = ""
            if insn is not None and insn.mnemonic == "bl":
                name = self.image.symbol_at(insn.operands[0].imm & WORD)
            elif node.address in self.image.warnings:
                name = WARN
            self._cut[node] = bool(name) and self.route.excluded(name, self.chain(node))
        return self._cut[node]

    def _settle(self) -> None:
        """Edges and operations, from the final states."""
        self.exits.clear()
        for node in self.states:
            self.edges[node] = [e for e, _ in self._flow(node) if not self._excluded(e.to)]
            self.operations += self._operations(node)

    def _flow(self, node: Node) -> list[tuple[Edge, State]]:
        """Where a node leads, each with the state there."""
        insn = self.insn(node)
        if insn is None:
            return []
        state = self.states[node]
        following = Node(node.context, node.address + 4)
        if (site := self.image.keys.get(node.address)) is not None:
            up, down = (Node(node.context, at) for at in (site.up, site.down))
            return [(Edge(up, f"up {site.key}"), state), (Edge(down, f"down {site.key}"), state)]
        name = insn.mnemonic
        if name in ("bl", "blr"):
            return self._call(node, insn, state, following)
        if name == "ret":
            return self._return(node, state)
        if name == "br":
            self.exits.add(node)
            return []
        if name == "b":
            return self._jump(node, insn.operands[0].imm & WORD, state)
        if name == "brk":
            return [(Edge(following), state)] if node.address in self.image.warnings else []
        if name.startswith("b.") or name in ("cbz", "cbnz", "tbz", "tbnz"):
            return self._branch(node, insn, state, following)
        return [(Edge(following), after(insn, state, node.context))]

    def _branch(
        self, node: Node, insn: capstone.CsInsn, state: State, following: Node
    ) -> list[tuple[Edge, State]]:
        """Both sides of a conditional jump, or the one that a constant leaves."""
        target = Node(node.context, insn.operands[-1].imm & WORD)
        taken, not_taken = ("zero", "nonzero") if "z" in insn.mnemonic else ("taken", "else")
        if insn.mnemonic in ("cbnz", "tbnz"):
            taken, not_taken = "nonzero", "zero"
        sides = [(Edge(target, taken), state), (Edge(following, not_taken), state)]
        if insn.mnemonic.startswith("b."):
            return sides
        value = constant(state.get(register(insn, insn.operands[0].reg), UNKNOWN))
        if value is None:
            return sides
        bits = value & 0xFFFFFFFF if insn.op_str.startswith("w") else value
        if insn.mnemonic.startswith("tb"):
            bits = value >> insn.operands[1].imm & 1
        return [side for side in sides if side[0].label == ("nonzero" if bits else "zero")]

    def _jump(self, node: Node, address: int, state: State) -> list[tuple[Edge, State]]:
        """A jump inside the function (or to a part of it), or a call in its last place."""
        own = self.contexts[node.context]
        name = self.image.symbol_at(address)
        begins = self.image.function_at(address)
        if begins is None or (name == own.function and name not in self.route.follow):
            return [(Edge(Node(node.context, address)), state)]
        if name == own.function and begins.start == self._start_of(node):
            return [(Edge(Node(node.context, address)), state)]  # back to its own beginning
        if self._followed(name, own.function):
            context = self._enter(node, name, own.returns)
            return [(Edge(Node(context, address), "call"), state)]
        return self._return(node, after_call(state, node.address, node.context))

    def _start_of(self, node: Node) -> int:
        name = self.image.symbol_at(node.address)
        inside = (
            f.start
            for f in self.image.functions(name)
            if f.start <= node.address < f.start + f.size
        )
        return next(inside, 0)

    def _followed(self, name: str, own: str) -> bool:
        return name in self.route.follow or name == own

    def _call(
        self, node: Node, insn: capstone.CsInsn, state: State, following: Node
    ) -> list[tuple[Edge, State]]:
        name, address = self._callee(node, insn)
        if name in NO_RETURN:
            return []
        if address and self._followed(name, ""):
            context = self._enter(node, name, following.address)
            return [(Edge(Node(context, address), "call"), state)]
        return [(Edge(following), after_call(state, node.address, node.context))]

    def _callee(self, node: Node, insn: capstone.CsInsn) -> tuple[str, int]:
        """Name and address of what is called; an indirect call is told by its chain."""
        if insn.mnemonic == "bl":
            address = insn.operands[0].imm & WORD
            return self.image.symbol_at(address), address
        name = self.route.callback(self.chain(node))
        functions = self.image.functions(name) if name else ()
        return (name, functions[0].start) if functions else ("", 0)

    def _enter(self, node: Node, name: str, returns: int | None) -> int:
        """The context of a call; recursion is not followed further than once."""
        key = (node, returns or 0)
        if key not in self._known:
            self._known[key] = len(self.contexts)
            self.contexts.append(Context(name, node, returns))
        return self._known[key]

    def _return(self, node: Node, state: State) -> list[tuple[Edge, State]]:
        context = self.contexts[node.context]
        while context.caller is not None and context.returns is None:
            context = self.contexts[context.caller.context]
        if context.caller is None or context.returns is None:
            self.exits.add(node)
            return []
        # a tail call returns to where its caller would have
        caller = context.caller
        back = self._owner(caller, context.returns)
        return [(Edge(Node(back, context.returns), "return"), without_frame(state))]

    def _owner(self, caller: Node, address: int) -> int:
        """The context that `address` belongs to: the caller's, past calls in the last place."""
        index = caller.context
        while caller.address + 4 != address:
            outer = self.contexts[index].caller
            if outer is None:
                break
            caller, index = outer, outer.context
        return index

    def _operations(self, node: Node) -> Iterable[Operation]:
        insn = self.insn(node)
        if insn is None:
            return
        name = insn.mnemonic
        if node.address in self.image.keys:
            yield Operation(node, "key", self.image.keys[node.address].key)
        elif name in BARRIERS:
            yield Operation(node, "barrier", f"{name} {insn.op_str}".strip())
        elif name.startswith((*ORDERED, *ORDERED_MORE)):
            yield Operation(node, "ordered", name)
        elif name in ("bl", "blr"):
            called, address = self._callee(node, insn)
            if not (address and self._followed(called, "")):
                yield Operation(node, "call", called or "indirect")
        elif name == "br":
            yield Operation(node, "call", "indirect")
        elif name == "b":
            target = self.image.symbol_at(insn.operands[0].imm & WORD)
            begins = self.image.function_at(insn.operands[0].imm & WORD) is not None
            own = self.contexts[node.context].function
            if begins and not self._followed(target, own):
                yield Operation(node, "call", target)

    def reachable(
        self,
        start: Iterable[Node],
        *,
        without: Iterable[Node] = (),
        cut: Callable[[Node, Edge], bool] = lambda node, edge: False,
    ) -> set[Node]:
        """All nodes on ways from `start` that do not pass `without` or an edge that is `cut`."""
        barred = set(without)
        seen = {node for node in start if node not in barred}
        work = list(seen)
        while work:
            node = work.pop()
            for edge in self.edges.get(node, ()):
                if edge.to not in seen and edge.to not in barred and not cut(node, edge):
                    seen.add(edge.to)
                    work.append(edge.to)
        return seen

    def accesses(self) -> Mapping[Node, tuple[str, int]]:
        """Every access that is not the stack's: node to base register and offset."""
        found = {}
        for node in self.states:
            insn = self.insn(node)
            memory = memory_of(insn) if insn is not None else None
            if memory is not None and memory.base != "sp":
                found[node] = (memory.base, memory.offset)
        return found


def is_branch_on(insn: capstone.CsInsn) -> bool:
    """Whether the instruction chooses a way by the value of a register."""
    return insn.mnemonic in ("cbz", "cbnz", "tbz", "tbnz") and bool(
        insn.operands and insn.operands[0].type == arm64.ARM64_OP_REG
    )
