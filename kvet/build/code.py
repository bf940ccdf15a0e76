# SPDX-License-Identifier: GPL-2.0-only
"""Instructions and jump labels of a vmlinux, as far as branches ask for them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elftools.elf.elffile import ELFFile

from kvet import proc
from kvet.build.symbolize import addr2line
from kvet.build.toolchain import CROSS_COMPILE
from kvet.build.worktree import SOURCE
from kvet.errors import InfraError

LINE = re.compile(r"^ *([0-9a-f]+):\t(\S+)(?:[ \t]+(.*))?$", re.MULTILINE)
TARGET = re.compile(r"(?:^|\s)([0-9a-f]+)$")
CONDITIONAL = re.compile(r"b\.\w+|bc\.\w+|cbn?z|tbn?z")
# a choice without a branch: both values are computed, no log can tell which was taken
SELECT = re.compile(r"csel|csinc|csinv|csneg|cset|csetm|cinc|cinv|cneg|ccmp|ccmn|fcsel")
# after these the next instruction is reached from elsewhere alone
LEAVES = re.compile(r"b|br|braa|brab|ret|retaa|retab|eret|brk|udf")
# after these a block ends, and the next begins without a branch to it
RETURNS = re.compile(r"bl|blr|blraa|blrab|svc|hvc|smc")

Place = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Instruction:
    """One line of a disassembly; `target` is where a direct branch goes, 0 for others."""

    address: int
    name: str
    operands: str = ""
    target: int = 0

    @property
    def decides(self) -> bool:
        return CONDITIONAL.fullmatch(self.name) is not None

    @property
    def selects(self) -> bool:
        return SELECT.fullmatch(self.name) is not None

    @property
    def leaves(self) -> bool:
        return LEAVES.fullmatch(self.name) is not None

    @property
    def returns(self) -> bool:
        return RETURNS.fullmatch(self.name) is not None


@dataclass(frozen=True, slots=True)
class JumpLabel:
    """Where a jump label jumps to, its key, and whether it jumps while the key is off."""

    target: int
    key: int
    inverted: bool


def disassemble(vmlinux: Path, start: int, size: int) -> list[Instruction]:
    """The instructions of `size` bytes at `start`."""
    done = proc.run(
        (
            f"{CROSS_COMPILE}objdump",
            "-d",
            "--no-show-raw-insn",
            f"--start-address={start:#x}",
            f"--stop-address={start + size:#x}",
            str(vmlinux),
        ),
        timeout_s=60,
        brief=True,
    )
    if done.returncode:
        raise InfraError(f"objdump cannot disassemble {vmlinux}")
    return list(instructions(done.stdout.decode(errors="replace")))


def instructions(text: str) -> Iterable[Instruction]:
    """The instructions in what `objdump -d --no-show-raw-insn` prints."""
    for address, name, rest in LINE.findall(text):
        operands = rest.partition("//")[0].strip()
        jumps = name == "b" or CONDITIONAL.fullmatch(name)
        to = TARGET.findall(operands.partition(" <")[0]) if jumps else ()
        yield Instruction(int(address, 16), name, operands, int(to[-1], 16) if to else 0)


def jump_labels(vmlinux: Path) -> dict[int, JumpLabel]:
    """The jump labels of a kernel, by the address of their instruction.

    An entry of its table is two 32-bit offsets (of code and target) and a
    64-bit one of the key, each from its own place (include/linux/jump_label.h).
    """
    # one process for two symbols: reading all of them takes Python more than a second
    done = proc.run((f"{CROSS_COMPILE}nm", str(vmlinux)), timeout_s=60, brief=True)
    start, stop = (_value(done.stdout, name) for name in ("__start", "__stop"))
    if not 0 < start < stop:
        return {}
    with vmlinux.open("rb") as file:
        table = _bytes_at(ELFFile(file), start, stop - start)
    found = {}
    for at in range(0, len(table) - 15, 16):
        code, to, key = (
            int.from_bytes(table[at + a : at + b], "little", signed=True)
            for a, b in ((0, 4), (4, 8), (8, 16))
        )
        entry = JumpLabel(start + at + 4 + to, start + at + 8 + (key & ~3), bool(key & 1))
        found[start + at + code] = entry
    return found


def _value(symbols: bytes, bound: str) -> int:
    """The address of one bound of the table of jump labels, as nm prints it; 0 without one."""
    found = re.search(rb"^([0-9a-f]+) \S %b___jump_table$" % bound.encode(), symbols, re.MULTILINE)
    return int(found[1], 16) if found else 0


def _bytes_at(elf: Any, address: int, size: int) -> bytes:
    """What the file holds for `size` bytes of memory at `address`; nothing when it does not."""
    for segment in elf.iter_segments("PT_LOAD"):
        inside = address - segment["p_vaddr"]
        if inside >= 0 and inside + size <= segment["p_filesz"]:
            data: bytes = segment.data()
            return data[inside : inside + size]
    return b""


def places(vmlinux: Path, addresses: Sequence[int]) -> Mapping[int, list[Place]]:
    """Functions and `file:line` at each address, innermost first; an unknown line is empty."""
    found: dict[int, list[Place]] = {}
    for start in range(0, len(addresses), 1000):
        part = addresses[start : start + 1000]
        for address, known in zip(part, addr2line(vmlinux, part), strict=True):
            found[address] = [(function, _line(text)) for function, text in known]
    return found


def _line(text: str) -> str:
    """`file:line` without the directory of the source and without a discriminator."""
    place = text.partition(" (")[0].removeprefix(f"{SOURCE}/")
    return "" if "?" in place or place.endswith(":0") else place
