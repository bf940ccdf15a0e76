# SPDX-License-Identifier: GPL-2.0-only
"""The conditional branches that the lines of a series compile to, and which outcomes happened.

A branch has two ways out. QEMU ends a block of guest code at a branch, so each
way begins a block of its own, and the translation log tells which blocks there
were. A place that other code leads to as well may have been reached from
there: such a sighting is an upper bound, and says so. A jump label is no
branch but a nop or a jump that the kernel patches: there the log's instruction
word tells the way. Copies that the compiler made of one condition in one
function are one decision.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kvet.build.code import Instruction, JumpLabel, Place, disassemble, jump_labels, places
from kvet.build.symbolize import function_ranges

# inline functions behind the macros of a static key: the line of the caller is meant
KEY_HELPERS = frozenset({"arch_static_branch", "arch_static_branch_jump"})
PAGE = 4096  # a block of guest code does not cross a page
FATAL_REACH = 24  # instructions on the way to a brk: a WARN or BUG loads its message before
LEAD_REACH = 8  # instructions of a block that tell whose it is: a prologue may stand before it
CALL_REACH = 8  # instructions from a call to the branch on its result
NOP = 0xD503201F
# calls that are the report of a WARN or of a sanitizer, and those that may stand before a brk
REPORTS = re.compile(r"<(?:__warn_printk|__(?:asan|hwasan)_report\w+|__ubsan_handle\w+|panic)>")
SAYS = re.compile(r"<(?:_printk|dump_page|dump_mm|dump_vma|dump_stack\w*)>")
RESULT = re.compile(r"[wx]0\b")
ZERO_WHEN_TAKEN = {
    "cbz": True,
    "tbz": True,
    "b.eq": True,
    "cbnz": False,
    "tbnz": False,
    "b.ne": False,
}


@dataclass(frozen=True, slots=True)
class Way:
    """One outcome of a branch: the block that begins at `at`; `words` complete "never ...".

    `fatal` when it leads to nothing but a WARN or BUG; `shared` when other
    code leads there as well.
    """

    at: int
    words: str
    fatal: bool = False
    shared: bool = False


@dataclass(frozen=True, slots=True)
class Branch:
    """A conditional branch of line `place` in `function`, or with `key` a jump label.

    Branches with equal `place`, `function` and `condition` are one decision.
    """

    place: str
    function: str
    condition: str
    address: int
    taken: Way
    through: Way
    key: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """The branches of a series, functions they lead out to, and lines with a select instead."""

    branches: tuple[Branch, ...] = ()
    ranges: tuple[tuple[int, int], ...] = ()
    selects: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Code:
    """The functions that hold lines of a series, as the rules below look at them."""

    at: Mapping[int, Instruction]
    labels: Mapping[int, JumpLabel]
    entries: Mapping[int, set[int]]
    starts: frozenset[int]
    leads: Mapping[int, list[Place]]
    own: Mapping[int, str]
    sources: Path


def find_branches(
    vmlinux: Path, ranges: Sequence[tuple[int, int]], written: Iterable[str]
) -> Found:
    """The branches of the `written` lines (`file:line`) in the functions at `ranges`."""
    code = _disassembled(vmlinux, ranges)
    labels = {site: to for site, to in jump_labels(vmlinux).items() if site in code}
    asked = [a for a, i in code.items() if i.decides or i.selects or a in labels]
    at, own = places(vmlinux, asked), frozenset(written)
    mine = {a: place for a in asked if (place := _own_place(at[a], own))}
    chosen = [a for a in sorted(mine) if not code[a].selects]
    targets = {_target(code[a], labels) for a in chosen}
    ends = targets | {a + 4 for a in chosen}
    more = function_ranges(vmlinux, {to for to in targets if to not in code})
    code |= _disassembled(vmlinux, more)
    looked = _Code(
        at=code,
        labels=labels,
        entries=_entries(code.values(), labels),
        starts=frozenset(start for start, _ in (*ranges, *more)),
        leads=places(vmlinux, sorted({a for to in ends for a in _block(code, to)})),
        own={a: next(f for f, text in at[a] if text == mine[a]) for a in chosen},
        sources=vmlinux.parent / "patched",
    )
    return Found(
        branches=tuple(_branch(looked, a, mine[a], at[a][-1][0]) for a in chosen),
        ranges=tuple(more),
        selects=tuple(sorted({place for a, place in mine.items() if code[a].selects})),
    )


def _disassembled(vmlinux: Path, ranges: Iterable[tuple[int, int]]) -> dict[int, Instruction]:
    return {i.address: i for start, size in ranges for i in disassemble(vmlinux, start, size)}


def _own_place(at: Sequence[Place], own: frozenset[str]) -> str:
    """The series' line that an instruction is of: its own, not that of a function inlined there."""
    for function, text in at:
        if text in own:
            return text
        if function not in KEY_HELPERS:
            return ""
    return ""


def _target(instruction: Instruction, labels: Mapping[int, JumpLabel]) -> int:
    label = labels.get(instruction.address)
    return label.target if label else instruction.target


def _entries(
    code: Iterable[Instruction], labels: Mapping[int, JumpLabel]
) -> Mapping[int, set[int]]:
    """Address to the instructions after which a block may begin there."""
    into: dict[int, set[int]] = {}
    for each in code:
        if target := _target(each, labels):
            into.setdefault(target, set()).add(each.address)
        if each.decides or each.returns:
            into.setdefault(each.address + 4, set()).add(each.address)
    return into


def _branch(code: _Code, address: int, place: str, function: str) -> Branch:
    """The branch at `address` with its ways in words."""
    label = code.labels.get(address)
    target = _target(code.at[address], code.labels)
    condition, taken, through = _words(code, address, place, target)

    def way(at: int, words: str) -> Way:
        shared = len(code.entries.get(at, ())) > 1 or at in code.starts or at % PAGE == 0
        return Way(at, words, _is_fatal(code, at), shared)

    return Branch(
        place=place,
        function=function,
        condition=condition,
        address=address,
        taken=way(target, taken),
        through=way(address + 4, through),
        key=label is not None,
    )


def _is_fatal(code: _Code, at: int) -> bool:
    """Whether the way that begins at `at` meets a brk before anything else is decided."""
    for _ in range(FATAL_REACH):
        here = code.at.get(at)
        if here is None or here.decides:
            return False
        if here.name == "brk":
            return True
        if here.name == "bl" and REPORTS.search(here.operands):
            return True
        # what a BUG says before it is one
        says = here.name == "bl" and SAYS.search(here.operands) is not None
        if (here.returns and not says) or (here.leaves and not here.target):
            return False
        at = here.target if here.name == "b" else at + 4
    return False


def _words(code: _Code, address: int, place: str, target: int) -> tuple[str, str, str]:
    """What is decided at `address`, and the outcomes taken and through, to follow "never"."""
    here = code.at[address]
    if label := code.labels.get(address):
        on, off = "with the static key on", "with the static key off"
        key = f"key {label.key:#x}"
        return (key, off, on) if label.inverted else (key, on, off)
    if called := _called(code, address):
        nil, other = f"0 from {called}()", f"other than 0 from {called}()"
        call = f"call {called}"
        return (call, nil, other) if ZERO_WHEN_TAKEN[here.name] else (call, other, nil)
    taken, through = _lead(code, target), _lead(code, address + 4)
    leads = [_lines(code, at, code.own[address]) for at in (target, address + 4)]
    truths = [_truth(code.sources, place, lines) for lines in leads]
    if truths[0] == truths[1]:
        truths = ["", ""]
    elif not all(truths) and _is_simple(code.sources, place):
        opposite = {"true": "false", "false": "true"}
        truths = [truths[0] or opposite[truths[1]], truths[1] or opposite[truths[0]]]
    condition = "to " + " or ".join(sorted((taken, through)))
    if set(truths) == {"true", "false"}:
        return condition, truths[0], truths[1]
    if taken != through:
        return condition, truths[0] or f"on to {taken}", truths[1] or f"on to {through}"
    operands = here.operands.partition(" <")[0].rpartition(",")[0]
    test = f"{here.name} {operands}".strip()
    return f"{condition} by {test}", f"taken, {test}", f"passed by, {test}"


def _block(code: Mapping[int, Instruction], at: int) -> Iterator[int]:
    """The first addresses of the block that begins at `at`."""
    for address in range(at, at + 4 * LEAD_REACH, 4):
        if address not in code:
            return
        yield address
        if code[address].decides or code[address].leaves:
            return


def _lines(code: _Code, at: int, own: str) -> list[str]:
    """Lines of the function `own` in the first instructions of the block that begins at `at`."""
    found = (place for a in _block(code.at, at) for place in code.leads.get(a, ()))
    return [text for function, text in found if text and function == own]


def _lead(code: _Code, at: int) -> str:
    """`file:line` that the block at `at` is code of, or its address."""
    return next((text for _, text in code.leads.get(at, ()) if text), f"{at:#x}")


def _called(code: _Code, address: int) -> str:
    """The function whose result the branch at `address` looks at; empty when it is none."""
    here = code.at[address]
    tested = RESULT.match(here.operands) is not None
    if here.name not in ZERO_WHEN_TAKEN or not (tested or here.name.startswith("b.")):
        return ""
    for step in range(1, CALL_REACH):
        each = code.at.get(address - 4 * step)
        if each is None or each.decides or each.leaves:
            return ""
        if each.name == "bl":
            found = re.search(r"<([\w.]+)>", each.operands)
            return found.group(1) if found and tested else ""
        if step == 1 and not tested:
            tested = each.name == "tst" and RESULT.match(each.operands) is not None
            if not tested:
                return ""
        elif RESULT.match(each.operands) and not each.name.startswith("st"):
            return ""
    return ""


HEAD = re.compile(r"\s*(?:\} )?(?:else )?(?:if|while|for) ?\(")


def _is_simple(sources: Path, place: str) -> bool:
    """Whether the line at `place` is one condition: then what is not its one way is the other."""
    path, _, number = place.rpartition(":")
    file = sources / path
    if not file.is_file():
        return False
    line = file.read_text(encoding="utf-8", errors="replace").splitlines()[int(number) - 1]
    whole = line.count("(") == line.count(")")
    return HEAD.match(line) is not None and whole and not re.search(r"&&|\|\||\?", line)


def _truth(sources: Path, place: str, leads: Sequence[str]) -> str:
    """`true` when code with these lines is in the body of the if or loop at `place`.

    `false` when it is behind it, empty when it does not tell.
    """
    path, _, number = place.rpartition(":")
    file = sources / path
    if not file.is_file():
        return ""
    body = _body(file.read_text(encoding="utf-8", errors="replace").splitlines(), int(number))
    if body is None:
        return ""
    for lead in leads:
        other, _, line = lead.rpartition(":")
        if other == path and int(line) in body:
            return "true"
        if other == path and int(line) >= body.stop:
            return "false"
    return ""


def _body(lines: Sequence[str], head: int) -> range | None:
    """Line numbers of what the if or loop at line `head` guards; None when it is neither."""
    if not HEAD.match(lines[head - 1]):
        return None
    depth, end = 0, head
    for end in range(head, min(head + 20, len(lines)) + 1):
        depth += lines[end - 1].count("(") - lines[end - 1].count(")")
        if depth <= 0:
            break
    indent = _indent(lines[head - 1])
    stop = end + 1
    while stop <= len(lines) and (not lines[stop - 1].strip() or _indent(lines[stop - 1]) > indent):
        stop += 1
    return range(end + 1, stop)


def _indent(line: str) -> int:
    expanded = line.expandtabs(8)
    return len(expanded) - len(expanded.lstrip())


BLOCK = re.compile(rb"^IN: .*\n0x([0-9a-f]+):", re.MULTILINE)
WORD = re.compile(rb"^0x([0-9a-f]+):\s+([0-9a-f]{8})\b", re.MULTILINE)


def ways_taken(branches: Iterable[Branch], log: bytes) -> tuple[str, ...]:
    """The outcomes in a translation log, as `ADDRESS taken` and `ADDRESS through`."""
    starts = {int(found, 16) for found in BLOCK.findall(log)}
    words: dict[int, set[int]] = {}
    for address, word in WORD.findall(log):
        words.setdefault(int(address, 16), set()).add(int(word, 16))
    seen = []
    for branch in branches:
        here = words.get(branch.address)
        if here is None:  # it never ran: what begins at its ways came from elsewhere
            continue
        taken = any(w != NOP for w in here) if branch.key else branch.taken.at in starts
        through = NOP in here if branch.key else branch.through.at in starts
        seen += [f"{branch.address:#x} taken"] * taken + [f"{branch.address:#x} through"] * through
    return tuple(seen)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One outcome of one decision of a series: `place` never `words`, unless `seen`.

    `surely` is whether one of its sightings can have come from there alone.
    """

    place: str
    function: str
    words: str
    seen: bool
    surely: bool


def outcomes(branches: Iterable[Branch], seen: Iterable[str]) -> Iterator[Outcome]:
    """Every outcome of every decision, less those that lead to a WARN or BUG alone.

    A decision that was never come to has one, to have `run`; none where an
    earlier decision of its line is what kept it from that.
    """
    known = frozenset(seen)
    by_line: dict[tuple[str, str], dict[str, list[Branch]]] = {}
    for branch in branches:
        line = by_line.setdefault((branch.place, branch.function), {})
        line.setdefault(branch.condition, []).append(branch)
    for (place, function), conditions in by_line.items():
        decisions = [list(_ways(copies, known)) for copies in conditions.values()]
        come_to = [d for d in decisions if any(sighted for _, sighted, _ in d)]
        for words, sighted, surely in (way for decision in come_to for way in decision):
            yield Outcome(place, function, words, sighted, surely)
        if not come_to and any(decisions):
            yield Outcome(place, function, "run", seen=False, surely=False)


def _ways(copies: Iterable[Branch], known: frozenset[str]) -> Iterator[tuple[str, bool, bool]]:
    """Words, whether it was seen and whether for certain, of each outcome of one decision."""
    ways: dict[str, list[tuple[Way, bool]]] = {}
    for each in copies:
        for name, way in (("taken", each.taken), ("through", each.through)):
            ways.setdefault(way.words, []).append((way, f"{each.address:#x} {name}" in known))
    for words, found in ways.items():
        if not all(way.fatal for way, _ in found):
            sighted = any(seen for _, seen in found)
            yield words, sighted, any(seen and not way.shared for way, seen in found)
