# SPDX-License-Identifier: GPL-2.0-only
"""Collects the console fixtures: boots the `provoke` kernel and cuts out what each mistake made.

    .venv/bin/python -m tests.provoke [--only GLOB] [--keep DIR]

Then `pytest tests/test_detectors.py --update` writes what the engine finds in
them; look at the difference before it is committed.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path

from kvet.build.builder import Builder, BuildFailure
from kvet.build.request import BuildRequest
from kvet.build.toolchain import find_toolchain
from kvet.cache import cache_root
from kvet.events import Events
from kvet.guest import initramfs, machine, qemu
from kvet.guest.boot import BootRequest, Limits
from kvet.model import Build
from kvet.plan.library import Library
from kvet.source import fetch
from kvet.source.series import apply_series

CONSOLES = Path(__file__).parent / "data" / "consoles"
MAX_LINES = 320
BEGIN = re.compile(r"kvet: provoke begin (\S+)")
END = re.compile(r"kvet: provoke end (\S+)")
LIMITS = Limits(boot_s=120, run_s=600, silence_s=60, after_splat_s=600)


@dataclass(frozen=True, slots=True)
class Group:
    """What one boot provokes, in order; after a `fatal` one nothing more can come."""

    crashes: tuple[str, ...]
    args: tuple[str, ...] = ()
    fatal: bool = False


# lockdep turns itself off after a report
REARM = "rearm"
MULTI_SHOT = ("kasan_multi_shot",)
GROUPS = (
    Group(
        (
            *("WARNING", "WARNING_MESSAGE", "ARRAY_BOUNDS", "shift", "raw-kobject", "same-name"),
            *("REFCOUNT_INC_OVERFLOW", "REFCOUNT_DEC_ZERO", "REFCOUNT_INC_ZERO"),
            *("FORTIFY_MEM_OBJECT", "too-big", "zero-bytes", "armed-freed"),
        )
    ),
    Group(
        (
            *("READ_AFTER_FREE", "WRITE_AFTER_FREE", "SLAB_LINEAR_OVERFLOW"),
            *("VMALLOC_LINEAR_OVERFLOW", "SLAB_FREE_DOUBLE", "READ_BUDDY_AFTER_FREE"),
            *("guarded-stale-read", "guarded-overflow", "guarded-free", "guarded-corruption"),
        ),
        MULTI_SHOT,
    ),
    Group(("red-zone", "cache-in-use", "bad-page", "bad-rss", "tables-left"), MULTI_SHOT),
    Group(("leak",)),
    Group(
        (
            *("BUG", "EXCEPTION", "CORRUPT_LIST_ADD", "CORRUPT_LIST_DEL", "USERCOPY_STACK_BEYOND"),
            *("ACCESS_USERSPACE", "EXEC_DATA", "WRITE_RO", "STACK_GUARD_PAGE_LEADING"),
            *("wild-address", "null-call", "external-abort", "undefined", "breakpoint"),
            *("unaligned-exclusive", "odd-pc", "CORRUPT_PAC"),
        )
    ),
    Group(
        (
            *("sleep-in-atomic", "schedule-in-atomic", "cpu-in-preemptible", "work-leaks"),
            *("hung-task", "work-stuck", "device-kept"),
        )
    ),
    Group(("rcu-stall", "soft-lockup", "hard-lockup")),
    Group(
        (
            *("circle", REARM, "rcu-unprotected", REARM, "keyless", REARM, "lock-depth", REARM),
            *("unlock-of-free", REARM, "kept-in-user-space", REARM, "kept-at-exit"),
        )
    ),
    # these say nothing in a kernel whose lockdep was on, off and on again
    Group(("recursion",)),
    Group(("irq-state",)),
    Group(("held-freed",)),
    Group(("nest-not-held",)),
    Group(("wait-context",)),
    Group(("irq-order",)),
    Group(("irq-inversion",)),
    Group(("dentry-kept",), fatal=True),
    Group(("inode-kept",), fatal=True),
    Group(("PANIC",), fatal=True),
    Group(("EXHAUST_STACK",), fatal=True),
    Group(("canary",), fatal=True),
    Group(("vector-trap",), fatal=True),
    Group(("stack-end",), fatal=True),
    Group(("EXCEPTION",), ("kvet.label=oops-is-panic",), fatal=True),
)


def build_provoke() -> Build:
    """The unpatched kernel with every detector, from the cache or made now."""
    library = Library()
    cache = cache_root()
    tree = fetch.open_source(library.kernels()["linux-6.12"], cache, events=Events())
    builder = Builder(cache)
    series = apply_series(builder.repo(tree), tree.tree_id, ())
    built = builder.build(
        BuildRequest(
            source=tree,
            series=series,
            config=library.configs()["provoke"],
            page_kib=4,
            toolchain=find_toolchain("gcc"),
        )
    )
    if isinstance(built, BuildFailure):
        sys.exit(f"{built.finding.title}; log: {built.log}")
    return built


def boot(group: Group, build: Build, folder: Path) -> str:
    """The console of one boot that provokes `group`."""
    request = BootRequest(
        image=build.image,
        initrd=(
            *initramfs.base_layers(cache_root(), events=Events()),
            initramfs.modules_layer(build),
        ),
        machine=replace(Library().machines()["virt"], mem_mib=256),
        folder=folder,
        limits=LIMITS,
        seed=1,
        release=build.release,
        args=(
            *("kvet.mode=run", "kvet.workload=provoke", f"kvet.crash={'+'.join(group.crashes)}"),
            *(f"kvet.fatal={int(group.fatal)}", *group.args),
            # its first look at memory takes as long as the rest of the boot
            *(() if "leak" in group.crashes else ("kmemleak=off",)),
        ),
    )
    ended = qemu.run_boot(request)
    print(f"{ended.ending.value:9} {ended.seconds:6.1f} s  {' '.join(group.crashes)}", flush=True)
    return (folder / "console.log").read_bytes().decode("utf-8", "replace").replace("\r", "")


def pieces(console: str) -> Iterator[tuple[str, list[str]]]:
    """Each provoked crash with the lines of the console between its marks."""
    name = ""
    lines: list[str] = []
    for line in console.splitlines():
        begin = BEGIN.search(line)
        if begin:
            name, lines = begin[1], []
        elif END.search(line):
            if name:
                yield name, lines
            name = ""
        elif name:
            lines.append(line)
    if name:
        yield name, lines


def fixture_name(crash: str, group: Group) -> str:
    """LKDTM's names are in capitals; ours are not."""
    label = next((a.split("=")[1] for a in group.args if a.startswith("kvet.label=")), "")
    if label:
        return label
    name = crash.lower().replace("_", "-")
    return f"lkdtm-{name}" if crash.isupper() else f"provoke-{name}"


def write_fixture(crash: str, group: Group, console: str, lines: Sequence[str]) -> None:
    """Write one fixture: where it comes from, the kernel's banner, and the piece."""
    banner = next((x for x in console.splitlines() if "Linux version" in x), "")
    version = machine.find_qemu("qemu-system-aarch64").version
    header = f"# kvet fixture: {crash} on config provoke, QEMU {version} TCG, cut between two marks"
    path = CONSOLES / f"{fixture_name(crash, group)}.log"
    path.write_text("\n".join([header, banner, *lines[:MAX_LINES], ""]), encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    """Boot what `--only` names; exit code 1 when a crash left nothing on the console."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="*", metavar="GLOB", help="crashes to provoke")
    parser.add_argument("--keep", type=Path, help="keep the whole consoles in this directory")
    args = parser.parse_args(argv)
    groups = [g for g in GROUPS if any(fnmatch(crash, args.only) for crash in g.crashes)]
    build = build_provoke()
    silent: list[str] = []
    for number, group in enumerate(groups):
        with tempfile.TemporaryDirectory() as scratch:
            console = boot(group, build, Path(scratch))
        if args.keep:
            args.keep.mkdir(parents=True, exist_ok=True)
            (args.keep / f"{number:02}.log").write_text(console, encoding="utf-8")
        found = {crash: lines for crash, lines in pieces(console) if crash != REARM}
        silent += [c for c in group.crashes if c != REARM and not found.get(c)]
        for crash, lines in found.items():
            if lines:
                write_fixture(crash, group, console, lines)
    for crash in silent:
        print(f"nothing on the console: {crash}", file=sys.stderr)
    return int(bool(silent))


if __name__ == "__main__":
    sys.exit(main())
