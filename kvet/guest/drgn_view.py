# SPDX-License-Identifier: GPL-2.0-only
"""Opens a memory dump with drgn and says what a reader of the finding asks first.

The tasks it names and the locks they hold, the lock of init_mm, the page-table
path of the address, the state of the page that was freed. Then the prompt.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kvet.errors import InfraError, MissingTool
from kvet.model import Finding

PID = re.compile(r"\bPID: (\d+)|\bby pid (\d+)")
ADDRESS = re.compile(r"at virtual address ([0-9a-f]{16})|table 0x[0-9a-f]+ of 0x([0-9a-f]+)")
TABLE_PFN = re.compile(r"BREACH .*: table 0x([0-9a-f]+) of")
LEVELS = ("pgd", "p4d", "pud", "pmd", "pte")
OUTPUT_ADDRESS = 0x0000_FFFF_FFFF_F000
READER_OWNED = 1
OWNER_FLAGS = 7  # kernel/locking/rwsem.c: the low bits of `owner` are flags
MOST_FRAMES = 14


@dataclass(frozen=True, slots=True)
class Questions:
    """What a finding names: tasks by pid, a virtual address, the page frame of a freed table."""

    title: str
    pids: tuple[int, ...]
    address: int | None
    table_pfn: int | None


def questions(finding: Finding) -> Questions:
    """What to look for in the dump, read off the lines of a finding."""
    text = "\n".join(finding.excerpt)
    pids = [int(a or b) for a, b in PID.findall(text)]
    address, table = ADDRESS.search(text), TABLE_PFN.search(text)
    return Questions(
        title=finding.title,
        pids=tuple(dict.fromkeys(pids)),
        address=int(address.group(1) or address.group(2), 16) if address else None,
        table_pfn=int(table.group(1), 16) if table else None,
    )


def open_dump(dump: Path, vmlinux: Path, modules: Path) -> Any:
    """A drgn Program of `dump`. Raises MissingTool without drgn, InfraError for a bad dump."""
    try:
        import drgn
    except ImportError as error:
        raise MissingTool("drgn", hint=".venv/bin/pip install drgn") from error
    try:
        prog = drgn.Program()
        prog.set_core_dump(str(dump))
        # vmlinux is built without types; the guest module brings them
        types = prog.extra_module("kvet-types", create=True)
        types.try_file(str(modules / "kvet_ptdump.ko"), force=True)
        prog.load_debug_info([str(vmlinux)], default=False)
    except (OSError, ValueError, drgn.MissingDebugInfoError) as error:
        raise InfraError(f"{dump}: drgn cannot open it: {error}") from error
    # some of them the guest had not loaded
    with contextlib.suppress(LookupError, drgn.MissingDebugInfoError):
        loaded = {module.name for module, _ in prog.loaded_modules()}
        found = [str(path) for path in modules.glob("*.ko") if path.stem in loaded]
        prog.load_debug_info(found, default=False)
    return prog


def show(prog: Any, asked: Questions) -> Iterator[str]:
    """The answers, line by line; one that the dump does not give says why."""
    import drgn

    view = _View(prog)
    parts: list[tuple[str, Callable[[], Iterable[str]]]] = [
        *((f"task {pid}", lambda pid=pid: view.task(pid)) for pid in asked.pids),
        ("init_mm.mmap_lock", view.lock),
    ]
    if asked.address is not None:
        address = asked.address
        parts.append((f"page-table path of {address:#x}", lambda: view.path(address)))
    if asked.table_pfn is not None:
        pfn = asked.table_pfn
        parts.append((f"the freed table, page frame {pfn:#x}", lambda: view.page(pfn)))
    yield f"{asked.title}\nkernel {view.release()}"
    for title, tell in parts:
        yield f"\n{title}"
        try:
            for line in tell():
                yield f"  {line}"
        except (LookupError, AttributeError, TypeError, ValueError, drgn.FaultError) as error:
            yield f"  not in this dump: {error}"


def prompt(prog: Any) -> None:
    """drgn's own prompt, when somebody sits at the terminal."""
    if sys.stdin.isatty():
        from drgn.cli import run_interactive

        run_interactive(prog)


class _View:
    """Reads one Program; every method yields lines."""

    def __init__(self, prog: Any) -> None:
        self.prog = prog
        self.page_shift = int(prog["PAGE_SHIFT"])

    def release(self) -> str:
        """The kernel's release, which carries the build key."""
        return str(self.prog["UTS_RELEASE"].string_().decode())

    def task(self, pid: int) -> Iterator[str]:
        """Name, CPU, state, held locks and stack of a task."""
        from drgn.helpers.linux.pid import find_task
        from drgn.helpers.linux.sched import task_cpu, task_state_to_char

        task = find_task(self.prog, pid)
        if not task:
            yield "gone by the time of the dump"
            return
        comm = task.comm.string_().decode(errors="replace")
        yield f"{comm}, CPU {int(task_cpu(task))}, state {task_state_to_char(task)}"
        yield from self._held(task)
        for frame in list(self.prog.stack_trace(task))[:MOST_FRAMES]:
            yield f"  {self._frame(frame)}"

    def _frame(self, frame: Any) -> str:
        try:
            name, line, _ = frame.source()
            return f"{frame.name}  {Path(name).name}:{line}"
        except LookupError:
            return str(frame.name or hex(frame.pc))

    def _held(self, task: Any) -> Iterator[str]:
        """What lockdep says that the task holds."""
        if not hasattr(task, "lockdep_depth"):
            yield "held locks: not known without lockdep"
            return
        depth = int(task.lockdep_depth)
        names = [self._lock_name(task.held_locks[i]) for i in range(depth)]
        yield f"holds or waits for {', '.join(names) or 'no lock'}"

    def _lock_name(self, held: Any) -> str:
        name = self.prog["lock_classes"][held.class_idx].name.string_().decode()
        return f"{name} ({'read' if int(held.read) else 'write'})"

    def lock(self) -> Iterator[str]:
        """Count, owner and waiters of the lock that walkers take for writing."""
        import drgn
        from drgn.helpers.linux.list import list_for_each_entry

        lock = self.prog["init_mm"].mmap_lock
        owner = int(lock.owner.counter)
        task = drgn.Object(self.prog, "struct task_struct *", value=owner & ~OWNER_FLAGS)
        who = f"{task.comm.string_().decode()} (pid {int(task.pid)})" if task else "nobody"
        how = "read, last by" if owner & READER_OWNED else "written by"
        count = int(lock.count.counter)
        yield f"count {count & (1 << 64) - 1:#x}, {'free' if not count else f'{how} {who}'}"
        waiters = list_for_each_entry("struct rwsem_waiter", lock.wait_list.address_of_(), "list")
        for waiter in waiters:
            kind = "read" if int(waiter.type) else "write"
            name = waiter.task.comm.string_().decode(errors="replace")
            yield f"waits to {kind}: {name} (pid {int(waiter.task.pid)})"

    def path(self, address: int) -> Iterator[str]:
        """The entries that lead to `address` in init_mm's tables, level by level."""
        bits = self.page_shift - 3
        va_bits = self._number("VA_BITS")
        depth = -(-(va_bits - self.page_shift) // bits)
        names = LEVELS[:1] + LEVELS[len(LEVELS) - depth + 1 :]
        table, physical = int(self.prog["init_mm"].pgd), False
        for level, name in enumerate(names):
            shift = self.page_shift + bits * (depth - 1 - level)
            index = (address & (1 << va_bits) - 1) >> shift & (1 << bits) - 1
            entry = self.prog.read_u64(table + 8 * index, physical)
            kind = _kind(entry, last=level == depth - 1)
            yield f"{name}[{index}] = {entry:#018x}  {kind}"
            if kind != "table":
                return
            table, physical = entry & OUTPUT_ADDRESS, True

    def page(self, pfn: int) -> Iterator[str]:
        """Flags, count and first words of a page frame."""
        import drgn
        from drgn.helpers.linux.mm import decode_page_flags

        size = int(self.prog.type("struct page").size)
        first = self._number("PHYS_OFFSET") >> self.page_shift
        place = self._number("VMEMMAP_START") + (pfn - first) * size
        page = drgn.Object(self.prog, "struct page *", value=place)
        count = int(page._refcount.counter)
        yield f"struct page {int(page):#x}: {'free' if not count else f'{count} references'}"
        yield f"flags {decode_page_flags(page)}"
        yield f"page_type {int(page.page_type) & 0xFFFFFFFF:#010x}"
        words = [self.prog.read_u64((pfn << self.page_shift) + 8 * i, True) for i in range(4)]
        yield f"begins with {' '.join(f'{word:016x}' for word in words)}"
        used = [
            i
            for i in range(1 << (self.page_shift - 3))
            if self.prog.read_u64((pfn << self.page_shift) + 8 * i, True)
        ]
        yield f"{len(used)} of {1 << (self.page_shift - 3)} words are not zero"

    def _number(self, name: str) -> int:
        """A NUMBER() of the kernel's vmcoreinfo."""
        text = self.prog["VMCOREINFO"].string_()
        found = re.search(rb"NUMBER\(%s\)=(\S+)" % name.encode(), text)
        if found is None:
            raise LookupError(f"vmcoreinfo has no {name}")
        return int(found.group(1), 0)


def _kind(entry: int, *, last: bool) -> str:
    """What a descriptor is (Arm ARM, D8.3): its two low bits tell."""
    if not entry & 1:
        return "none"
    if not entry & 2:
        return "broken" if last else "block"
    return "page" if last else "table"


def pick(findings: Sequence[Finding]) -> Finding:
    """The finding of an attempt that a dump can say most about: one with an address."""
    return min(findings, key=lambda f: (f.suppressed, questions(f).address is None))
