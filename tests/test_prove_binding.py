# SPDX-License-Identifier: GPL-2.0-only
"""The binding, on small functions that the cross compiler builds here: what it ties and refuses."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from kvet.build.toolchain import CROSS_COMPILE
from kvet.prove.binary_mutants import binary_mutants
from kvet.prove.bind import Binder, Binding
from kvet.prove.bindfile import StepSpec, ThreadSpec, Waiver
from kvet.prove.extract import column
from kvet.prove.image import Image, read_image
from kvet.prove.litmus import Thread, parse_litmus

GCC = f"{CROSS_COMPILE}gcc"
pytestmark = pytest.mark.skipif(shutil.which(GCC) is None, reason=f"{GCC} is not installed")

HEAD = """\
typedef unsigned long u64;
#define READ_ONCE(x) (*(volatile __typeof__(x) *)&(x))
#define WRITE_ONCE(x, v) (*(volatile __typeof__(x) *)&(x) = (v))
#define smp_mb() asm volatile("dmb ish" ::: "memory")
#define CALLED __attribute__((noinline))
u64 mmap_lock[4];
CALLED void down_read(void *lock) { asm volatile("" :: "r"(lock) : "memory"); }
CALLED void up_read(void *lock) { asm volatile("" :: "r"(lock) : "memory"); }
CALLED void __rcu_read_unlock(void) { asm volatile("" ::: "memory"); }
CALLED void free_table(void *table) { asm volatile("" :: "r"(table) : "memory"); }
"""
FREER = """\
CALLED int freer(u64 **entry)
{
	u64 *table = READ_ONCE(*entry);

	WRITE_ONCE(*entry, (u64 *)0); /* clear */
	smp_mb();
	down_read(mmap_lock);
	up_read(mmap_lock);
	free_table(table);
	return 1;
}
"""
WALKER = """\
CALLED u64 walker(u64 **entry)
{
	u64 value = 0;

	down_read(mmap_lock);
	u64 *first = READ_ONCE(*entry);
	if (first) {
		u64 *second = READ_ONCE(*entry); /* again */
		value = READ_ONCE(*second);
	}
	up_read(mmap_lock);
	return value;
}
"""
END = "int main(void) { u64 t = 0, *e = &t; return freer(&e) + (int)walker(&e); }\n"
TEST = parse_litmus("""\
C small

{
}

P0(int **entry, int *table, int *none, spinlock_t *lock)
{
	WRITE_ONCE(*entry, none); // clear
	smp_mb(); // order
	spin_lock(lock); // lock
	spin_unlock(lock); // unlock
	WRITE_ONCE(*table, 2); // free
}

P1(int **entry, int *table, spinlock_t *lock)
{
	int *e0;
	int *e1;
	int r;

	spin_lock(lock); // lock
	e0 = READ_ONCE(*entry); // check
	if (e0 == table) {
		e1 = READ_ONCE(*entry); // again
		r = READ_ONCE(*e1); // read
	}
	spin_unlock(lock); // unlock
}

exists (1:r=2)
""")
LOCKS = {
    "lock": StepSpec("call", "down_read", passes="mmap_lock"),
    "unlock": StepSpec("call", "up_read", passes="mmap_lock"),
}
STEPS = {
    **LOCKS,
    "clear": StepSpec("store", "entry", ("clear",), width=8),
    "order": StepSpec("barrier", "dmb ish", ("smp_mb()",)),
    "free": StepSpec("call", "free_table"),
    "check": StepSpec("load", "entry", ("first = READ_ONCE(*entry)",), width=8),
    "again": StepSpec("load", "entry", ("/* again */",), width=8),
    "read": StepSpec("load", "table", ("READ_ONCE(*second)",), width=8, value_of="again"),
}


def spec(root: str, *waived: Waiver) -> ThreadSpec:
    return ThreadSpec(root, (root,), (), (), {}, (), waived, STEPS)


def built(folder: Path, source: str) -> Image:
    (folder / "small.c").write_text(source, encoding="utf-8")
    argv = (GCC, "-O2", "-g", "-fno-ipa-ra", "-nostdlib", "-static", "-Wl,-e,main")
    subprocess.run((*argv, "-o", "small", "small.c"), cwd=folder, check=True)
    return read_image(folder / "small")


def bind(folder: Path, source: str, number: int, *waived: Waiver) -> Binding:
    binder = Binder(built(folder, source), (folder,))
    thread: Thread = TEST.threads[number]
    root = ("freer", "walker")[number]
    return binder.bind(f"P{number}", thread, spec(root, *waived))[0]


def test_each_step_is_tied_to_its_instruction(tmp_path: Path) -> None:
    freer = bind(tmp_path, HEAD + FREER + WALKER + END, 0)
    assert freer.problems == ()
    assert [s.label for s in freer.steps] == ["clear", "order", "lock", "unlock", "free"]
    assert freer.steps[0].text.startswith("str\txzr".replace("\t", " "))
    assert freer.steps[1].text == "dmb ish"
    assert freer.steps[0].source.startswith("WRITE_ONCE(*entry")
    assert bind(tmp_path, HEAD + FREER + WALKER + END, 1).problems == ()


@pytest.mark.parametrize(
    ("number", "old", "new", "problem"),
    [
        (0, "\tsmp_mb();\n", "", "order: not in the build"),
        (0, "\tsmp_mb();\n", "\tif (table) smp_mb();\n", "order is not on every way to lock"),
        (0, "up_read(mmap_lock);\n\tfree", "free", "unlock: not in the build"),
        (0, "free_table(table);", "smp_mb(); /* x */ free_table(table);", "ambiguous, 2"),
        (0, "free_table(table);", "__rcu_read_unlock(); free_table(table);", "neither bound nor"),
        (0, "WRITE_ONCE(*entry, (u64 *)0)", "WRITE_ONCE(*(int *)entry, 0)", "clear: not in"),
        (1, "READ_ONCE(*second)", "READ_ONCE(*first) /* *second: READ_ONCE(*second) */", "address"),
        (1, "\tup_read(mmap_lock);\n", "\tif (value) up_read(mmap_lock);\n", "not give it back"),
        (
            1,
            "value = READ_ONCE(*second)",
            "up_read(mmap_lock); value = READ_ONCE(*second)",
            "unlock",
        ),
    ],
)
def test_what_the_build_does_otherwise_is_unbound(
    tmp_path: Path, number: int, old: str, new: str, problem: str
) -> None:
    parts = [FREER, WALKER]
    assert old in parts[number]
    parts[number] = parts[number].replace(old, new)
    found = bind(tmp_path, HEAD + parts[0] + parts[1] + END, number).problems
    assert any(problem in each for each in found), found


def test_another_load_of_the_entry_is_bound_or_waived(tmp_path: Path) -> None:
    walker = WALKER.replace("if (first)", "if (READ_ONCE(*entry) == first)")
    source = HEAD + FREER + walker + END
    problems = bind(tmp_path, source, 1).problems
    assert any("neither bound nor waived: load entry" in p for p in problems), problems
    waiver = Waiver("load", "entry", (), "only checks")
    found = bind(tmp_path, source, 1, waiver)
    assert found.problems == ()
    assert [reason for _, reason in found.waived] == ["only checks"]


def test_binary_mutants_are_noticed(tmp_path: Path) -> None:
    image = built(tmp_path, HEAD + FREER + WALKER + END)
    tried = 0
    for number, root in enumerate(("freer", "walker")):
        whole = Binder(image, (tmp_path,)).bind(f"P{number}", TEST.threads[number], spec(root))[0]
        for mutant in binary_mutants(image, whole):
            binder = Binder(image.patched(mutant.patches), (tmp_path,))
            bound = binder.bind(f"P{number}", TEST.threads[number], spec(root))[0]
            assert bound.problems, mutant.name
            tried += 1
    assert tried >= 15


def test_a_column_is_extracted_with_holes(tmp_path: Path) -> None:
    image = built(tmp_path, HEAD + FREER + WALKER + END)
    lines = [line.split("//")[0].strip() for line in column(image, (tmp_path,), ["freer"])]
    assert lines[3:-1] == [
        "r = READ_ONCE(*?a);",
        "WRITE_ONCE(*?a, ?);",
        "smp_mb();",
        "spin_lock(?lock);",
        "spin_unlock(?lock);",
        "/* ? what does free_table() do */",
    ]
