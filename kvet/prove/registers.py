# SPDX-License-Identifier: GPL-2.0-only
"""Where the values in arm64 registers and stack slots come from, instruction by instruction.

A state maps a register, or a slot of the stack, to the origins that its value
may have. `exact` origins are the value itself, others are what it was computed
from. It is a may-analysis: paths that meet put their origins together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

import capstone
from capstone import arm64

# a register by its 64-bit name, or the distance of a slot from the stack pointer at the root
Place: TypeAlias = str | int
WORD = (1 << 64) - 1
CLOBBERED = (*(f"x{n}" for n in range(19)), "x30", "nzcv")


class Origin(NamedTuple):
    """Where a value comes from.

    `kind` is `const` (at: the value), `stack` (at: an address, as a distance),
    `argument` (at: the register's number), `unknown`, or `load`, `call` and
    `computed` (at: the instruction, `context` the call path to it).
    """

    kind: str
    at: int = 0
    context: int = 0
    exact: bool = True


Origins: TypeAlias = frozenset[Origin]
State: TypeAlias = Mapping[Place, Origins]
MOST_CONSTANTS = 4
MANY = Origin("many")
NAMED = ("load", "call", "argument")
NAMELESS = ("const", "unknown", "many")
UNKNOWN: Origins = frozenset({Origin("unknown")})


def entry_state() -> State:
    """The state in which a root function begins."""
    state: dict[Place, Origins] = {f"x{n}": frozenset({Origin("argument", n)}) for n in range(31)}
    state["sp"] = frozenset({Origin("stack", 0)})
    return state


def joined(one: State | None, other: State) -> State:
    """Both states put together, `one` itself when it held all of `other`.

    What one of them does not know is unknown.
    """
    if one is None:
        return other
    new: dict[Place, Origins] = {}
    for place, origins in one.items():
        more = other.get(place, UNKNOWN)
        if more is not origins and not more <= origins:
            widened = _widened(origins | more)
            if widened != origins:
                new[place] = widened
    for place in other.keys() - one.keys():
        new[place] = _widened(other[place] | UNKNOWN)
    return {**one, **new} if new else one


def without_frame(state: State) -> State:
    """A state behind a return: what lies below the stack pointer is dead."""
    top = min((o.at for o in state.get("sp", UNKNOWN) if o.kind == "stack"), default=None)
    if top is None:
        return state
    return {p: o for p, o in state.items() if isinstance(p, str) or p >= top}


def _widened(origins: Origins) -> Origins:
    """A loop that counts makes ever new constants: after a few of them they are `many`."""
    plain = [o for o in origins if o.kind in ("const", "stack") and o.exact]
    if len(plain) <= MOST_CONSTANTS and MANY not in origins:
        return origins
    return (origins - frozenset(plain)) | {MANY}


def constant(origins: Origins) -> int | None:
    """The value, where it is one constant whatever path was taken."""
    if len(origins) == 1:
        (origin,) = origins
        if origin.kind == "const" and origin.exact:
            return origin.at
    return None


def derived(origins: Origins) -> Origins:
    """What a value was computed from: loads, results of calls and arguments."""
    return frozenset(o._replace(exact=False) for o in origins if o.kind in NAMED)


def register(insn: capstone.CsInsn, number: int) -> str:
    """A register by its 64-bit name; `zr` reads as zero."""
    name = str(insn.reg_name(number) or "")
    if name in ("wzr", "xzr"):
        return "zr"
    aliases = {"fp": "x29", "lr": "x30", "wsp": "sp"}
    if name.startswith("w") and name[1:].isdigit():
        return f"x{name[1:]}"
    return aliases.get(name, name)


# what was worked out of an instruction word; a kernel's functions share most of theirs
_MEMORY: dict[bytes, Memory | None] = {}
_REGISTERS: dict[bytes, tuple[tuple[str, ...], tuple[str, ...]]] = {}


def registers_of(insn: capstone.CsInsn) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The registers that an instruction reads and those that it writes."""
    word = bytes(insn.bytes)
    if word not in _REGISTERS:
        read, written = insn.regs_access()
        _REGISTERS[word] = (
            tuple(register(insn, number) for number in read),
            tuple(register(insn, number) for number in written),
        )
    return _REGISTERS[word]


class Memory(NamedTuple):
    """The memory operand of an access: width in bytes of each register, registers in order."""

    base: str
    offset: int
    width: int
    registers: tuple[str, ...]
    is_load: bool
    is_store: bool


LOADS = ("ldr", "ldp", "ldur", "ldar", "ldapr", "ldxr", "ldaxr", "ldnp", "ldtr")
STORES = ("str", "stp", "stur", "stlr", "stxr", "stlxr", "stnp", "sttr")
EXCLUSIVE = ("stxr", "stlxr", "stxp", "stlxp")
ATOMICS = ("cas", "swp", "ldadd", "ldset", "ldclr", "ldeor", "stadd", "stset", "stclr")


def memory_of(insn: capstone.CsInsn) -> Memory | None:
    """What an instruction reads or writes; None when it is no access."""
    word = bytes(insn.bytes)
    if word not in _MEMORY:
        _MEMORY[word] = _memory(insn)
    return _MEMORY[word]


def _memory(insn: capstone.CsInsn) -> Memory | None:
    name = insn.mnemonic
    atomic = name.startswith(ATOMICS)
    is_load = name.startswith(LOADS) or atomic
    is_store = name.startswith(STORES) or atomic
    if not (is_load or is_store):
        return None
    operand = next((o for o in insn.operands if o.type == arm64.ARM64_OP_MEM), None)
    if operand is None or not operand.mem.base:
        return None  # a literal next to the code
    names = [register(insn, o.reg) for o in insn.operands if o.type == arm64.ARM64_OP_REG]
    if name.startswith(EXCLUSIVE):
        names = names[1:]  # the first says whether it was stored
    indexed = operand.mem.index != 0
    return Memory(
        base=register(insn, operand.mem.base),
        offset=-1 if indexed else int(operand.mem.disp),
        width=_width(insn),
        registers=tuple(names),
        is_load=is_load,
        is_store=is_store,
    )


def _width(insn: capstone.CsInsn) -> int:
    name = insn.mnemonic
    if name.endswith("b"):
        return 1
    if name.endswith("h"):
        return 2
    if name.endswith("sw"):
        return 4
    first = insn.op_str.split(",")[0].strip()
    if name.startswith(EXCLUSIVE):
        first = insn.op_str.split(",")[1].strip()
    return {"w": 4, "s": 4, "q": 16}.get(first[:1], 8)


def after(insn: capstone.CsInsn, state: State, context: int) -> State:
    """The state behind one instruction that is no call."""
    new = dict(state)
    memory = memory_of(insn)
    if memory is not None:
        _access(insn, memory, state, new, context)
        return new
    name, operands = insn.mnemonic, insn.operands
    here = Origin("computed", insn.address, context)
    if name in ("mov", "movz", "movk", "movn", "adrp", "adr", "add", "sub", "and") and operands:
        target = register(insn, operands[0].reg)
        new[target] = _simple(insn, state) or (_sources(insn, state) | {here})
        return new
    sources = _sources(insn, state) | {here}
    for name in registers_of(insn)[1]:
        new[name] = sources
    return new


def _simple(insn: capstone.CsInsn, state: State) -> Origins | None:
    """The result of an instruction that copies or adds, where it can be told."""
    name, operands = insn.mnemonic, insn.operands
    last = operands[-1]
    if name in ("adrp", "adr"):
        return frozenset({Origin("const", last.imm & WORD)})
    if name in ("mov", "movz", "movn"):
        if last.type == arm64.ARM64_OP_IMM:
            value = last.imm << (last.shift.value if last.shift.type else 0)
            return frozenset({Origin("const", (~value if name == "movn" else value) & WORD)})
        return _read(insn, last.reg, state)
    if name == "movk":
        shift = last.shift.value if last.shift.type else 0
        known = constant(_read(insn, operands[0].reg, state))
        if known is not None:
            value = known & ~(0xFFFF << shift) | last.imm << shift
            return frozenset({Origin("const", value & WORD)})
        return None
    if name == "and":
        known = constant(_read(insn, operands[1].reg, state))
        plain = last.type == arm64.ARM64_OP_IMM and known is not None
        return frozenset({Origin("const", (known or 0) & last.imm & WORD)}) if plain else None
    if len(operands) == 3 and last.type == arm64.ARM64_OP_IMM:
        shift = last.shift.value if last.shift.type else 0
        step = (last.imm << shift) * (1 if name == "add" else -1)
        return _shifted(_read(insn, operands[1].reg, state), step)
    return None


def _shifted(origins: Origins, step: int) -> Origins | None:
    """Addresses and constants with `step` added; None where another value is among them."""
    if step == 0:
        return origins
    if all(o.kind in ("const", "stack") and o.exact for o in origins):
        return frozenset(
            o._replace(at=o.at + step if o.kind == "stack" else (o.at + step) & WORD)
            for o in origins
        )
    return None


def _read(insn: capstone.CsInsn, number: int, state: State) -> Origins:
    name = register(insn, number)
    return frozenset({Origin("const", 0)}) if name == "zr" else state.get(name, UNKNOWN)


def _sources(insn: capstone.CsInsn, state: State) -> Origins:
    found: Origins = frozenset()
    for name in registers_of(insn)[0]:
        if name != "zr":
            found |= derived(state.get(name, UNKNOWN))
    return found


def slots(memory: Memory, state: State) -> list[int]:
    """The stack slots that an access may mean, as distances from the root's stack pointer."""
    origins = state.get(memory.base, UNKNOWN)
    return [o.at + memory.offset for o in origins if o.kind == "stack" and o.exact]


def _access(
    insn: capstone.CsInsn, memory: Memory, state: State, new: dict[Place, Origins], context: int
) -> None:
    """Loads fill registers, stores fill slots of the stack; then the base moves on."""
    if insn.mnemonic.startswith(EXCLUSIVE):  # the first register says whether it was stored
        status = register(insn, insn.operands[0].reg)
        new[status] = frozenset({Origin("computed", insn.address, context)})
    post = insn.writeback and "], #" in insn.op_str
    slot_memory = memory._replace(offset=0) if post else memory
    places = slots(slot_memory, state) if memory.offset != -1 else []
    wide = memory.width
    only_stack = all(o.kind == "stack" for o in state.get(memory.base, UNKNOWN))
    for index, name in enumerate(memory.registers):
        at = [place + index * wide for place in places]
        if memory.is_store and not memory.is_load:
            value = state.get(name, UNKNOWN) if name != "zr" else frozenset({Origin("const", 0)})
            for place in at:
                new[place] = value if len(at) == 1 else state.get(place, UNKNOWN) | value
            continue
        origins: Origins = frozenset()
        for place in at:
            origins |= state.get(place, UNKNOWN)
        if not at or not only_stack:
            pointer = derived(state.get(memory.base, UNKNOWN))
            origins |= pointer | {Origin("load", insn.address, context)}
        if name != "zr":
            new[name] = origins
    if insn.writeback:
        step = _step(insn, post)
        moved = _shifted(state.get(memory.base, UNKNOWN), step)
        own = derived(state.get(memory.base, UNKNOWN))
        here = Origin("computed", insn.address, context)
        new[memory.base] = moved if moved is not None else own | {here}


def _step(insn: capstone.CsInsn, post: bool) -> int:
    """By how much the base register moves."""
    if post:
        return int(insn.op_str.rpartition("#")[2], 0)
    operand = next(o for o in insn.operands if o.type == arm64.ARM64_OP_MEM)
    return int(operand.mem.disp)


def after_call(state: State, address: int, context: int) -> State:
    """The state behind a call that is not followed: the callee may use some registers."""
    new = dict(state)
    for name in CLOBBERED:
        new[name] = UNKNOWN
    new["x0"] = frozenset({Origin("call", address, context)})
    return new
