# SPDX-License-Identifier: GPL-2.0-only
"""Functions as readable instructions, and two of them side by side.

The code of all functions goes to one objdump as one binary file. Addresses of
that file mean nothing: they are turned into those of the kernel, and these
into names.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import zip_longest
from pathlib import Path

from kvet import proc
from kvet.build.toolchain import CROSS_COMPILE
from kvet.cost.vmlinux import Binary, Symbol
from kvet.errors import InfraError
from kvet.results.code_record import CodeRow

LINE = re.compile(r"^\s*([0-9a-f]+):\t(\S+)(?:\t(.*))?$")
LAST_ADDRESS = re.compile(r"0x([0-9a-f]+)$")
JUMPS = re.compile(r"^(?:bl?|b\.\w+|cbn?z|tbn?z|adr)$")
BASE = re.compile(r"\[(x\d+)(?:, #(\d+))?\]$")
ADD = re.compile(r"^(x\d+), (x\d+), #(0x[0-9a-f]+)$")
FIRST_REGISTER = re.compile(r"^[wx](\d+)")
GROWS = re.compile(r"\[sp, #-(\d+)\]!$")
SHRINKS = re.compile(r"\[sp\], #(\d+)$")
ADJUSTS = re.compile(r"^sp, sp, #(0x[0-9a-f]+)(, lsl #12)?$")
CONTEXT = 3
ADDRESSES = 1 << 64


@dataclass(frozen=True, slots=True)
class Insn:
    """One instruction as text; `key` is the same without what a shift of the code changes."""

    text: str
    key: str


def disassemble(functions: Sequence[tuple[Binary, Symbol]]) -> list[list[Insn]]:
    """The instructions of each function, by one objdump for all of them."""
    code = [binary.code(symbol)[: symbol.size & ~3] for binary, symbol in functions]
    if not any(code):
        return [[] for _ in code]
    with tempfile.TemporaryDirectory(prefix="kvet-code-") as folder:
        path = Path(folder) / "code"
        path.write_bytes(b"".join(code))
        argv = ("-D", "-z", "-b", "binary", "-m", "aarch64", "--no-show-raw-insn", str(path))
        done = proc.run((f"{CROSS_COMPILE}objdump", *argv), brief=True)
    if done.returncode:
        raise InfraError(f"objdump: {done.stderr.decode(errors='replace').strip()}")
    found = (LINE.match(line) for line in done.stdout.decode(errors="replace").splitlines())
    lines = {int(f.group(1), 16): (f.group(2), f.group(3) or "") for f in found if f}
    start, told = 0, []
    for (binary, symbol), text in zip(functions, code, strict=True):
        own = [(at - start, *lines[at]) for at in range(start, start + len(text), 4) if at in lines]
        told.append(_named(binary, symbol, start, own))
        start += len(text)
    return told


def _named(
    binary: Binary, symbol: Symbol, start: int, lines: Sequence[tuple[int, str, str]]
) -> list[Insn]:
    """The instructions of one function that lies at `start` of the file, addresses named."""
    insns: list[Insn] = []
    pages: dict[str, tuple[int, int]] = {}  # register: which adrp filled it, and the page
    for offset, name, raw in lines:
        operands = raw.partition("//")[0].strip()
        here = symbol.address + offset
        jump = LAST_ADDRESS.search(operands)
        if name == "adrp" and jump:
            page = int(jump.group(1), 16) - (start + offset & ~0xFFF) + (here & ~0xFFF)
            register = operands.partition(",")[0]
            pages[register] = (len(insns), page % ADDRESSES)
            insns.append(_plain(name, f"{register}, [page]"))
        elif JUMPS.match(name) and jump:
            target = (int(jump.group(1), 16) - start + symbol.address) % ADDRESSES
            insns.append(_jump(binary, symbol, name, operands[: jump.start()], target))
        elif here in binary.keys and name == "nop":
            target, key = binary.keys[here]
            told = f"{name:<5} (key {binary.name_of(key)}"
            insns.append(Insn(f"{told} +{target - symbol.address:#x})", told))
        else:
            insns.append(_low_part(binary, name, operands, pages, insns))
            _forget(name, operands, pages)
    return insns


def _plain(name: str, operands: str) -> Insn:
    text = f"{name:<5} {operands}".rstrip()
    return Insn(text, text)


def _jump(binary: Binary, symbol: Symbol, name: str, before: str, target: int) -> Insn:
    """A jump: inside the function by offset, which is no difference, else by name."""
    inside = target - symbol.address
    if 0 <= inside < symbol.size:
        return Insn(f"{name:<5} {before}+{inside:#x}", f"{name} {before}.")
    return _plain(name, before + binary.name_of(target))


def _low_part(
    binary: Binary,
    name: str,
    operands: str,
    pages: dict[str, tuple[int, int]],
    insns: list[Insn],
) -> Insn:
    """An instruction that completes an address, with its symbol; any other as it is."""
    add, base = ADD.match(operands) if name == "add" else None, BASE.search(operands)
    register = add.group(2) if add else base.group(1) if base else ""
    if register not in pages:
        return _plain(name, operands)
    index, page = pages[register]
    low = int(add.group(3), 16) if add else int((base and base.group(2)) or 0)
    target = binary.name_of(page + low)
    insns[index] = _plain("adrp", f"{register}, {target}")
    if add:
        return _plain(name, f"{add.group(1)}, {register}, {target}")
    return _plain(name, f"{operands[: base.start() if base else 0]}[{register}, {target}]")


def _forget(name: str, operands: str, pages: dict[str, tuple[int, int]]) -> None:
    """Drop what is known of a register that the instruction writes."""
    if name.startswith(("st", "cmp", "cbz", "cbnz", "tb")):
        return
    if name in ("bl", "blr"):
        for number in range(19):  # the callee may use them
            pages.pop(f"x{number}", None)
    for operand in operands.split(", ")[: 2 if name == "ldp" else 1]:
        if found := FIRST_REGISTER.match(operand):
            pages.pop(f"x{found.group(1)}", None)


def stack_bytes(insns: Sequence[Insn]) -> int:
    """The most stack that a function itself takes, in bytes, by its changes of sp in order."""
    depth = most = 0
    for insn in insns:
        name, _, operands = insn.text.partition(" ")
        operands = operands.strip()
        if found := GROWS.search(operands):
            depth += int(found.group(1))
        elif found := SHRINKS.search(operands):
            depth -= int(found.group(1))
        elif (found := ADJUSTS.match(operands)) and name in ("sub", "add"):
            size = int(found.group(1), 16) << (12 if found.group(2) else 0)
            depth += size if name == "sub" else -size
        depth = max(0, depth)
        most = max(most, depth)
    return most


def side_by_side(old: Sequence[Insn], new: Sequence[Insn]) -> list[CodeRow]:
    """Both functions aligned, with some like instructions round each difference."""
    matcher = SequenceMatcher(None, [i.key for i in old], [i.key for i in new], autojunk=False)
    rows: list[CodeRow] = []
    for _, a, b, c, d in matcher.get_opcodes():
        for left, right in zip_longest(old[a:b], new[c:d]):
            if left and right:
                rows.append(CodeRow(" " if left.key == right.key else "|", left.text, right.text))
            else:
                rows.append(CodeRow("<", left.text, "") if left else CodeRow(">", "", right.text))
    return list(_shortened(rows))


def _shortened(rows: Sequence[CodeRow]) -> Iterator[CodeRow]:
    """Without the like rows that are far from any difference."""
    near = {
        index + shift
        for index, row in enumerate(rows)
        if row.mark != " "
        for shift in range(-CONTEXT, CONTEXT + 1)
    }
    hidden = 0
    for index, row in enumerate(rows):
        if index in near:
            if hidden:
                yield CodeRow("~", str(hidden), "")
            hidden = 0
            yield row
        else:
            hidden += 1
    if hidden and near:
        yield CodeRow("~", str(hidden), "")
