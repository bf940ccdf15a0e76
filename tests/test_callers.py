# SPDX-License-Identifier: GPL-2.0-only
"""A function counts as one that nothing leads to when nothing does, and only then."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from kvet import proc
from kvet.build.branches import Branch, Way
from kvet.build.callers import uncalled
from kvet.build.patch_lines import PatchLines
from kvet.build.symbolize import all_functions
from kvet.model import Attempt, Status
from kvet.run.decisions import decision_doubts, decisions

CROSS = "aarch64-linux-gnu-"
CODE = """\
#define APART __attribute__((noinline, noclone))
long sink; void *kept;
APART void called(void) { sink++; }
APART void jumped_to(void) { sink += 2; }
APART void pointed_at(void) { sink += 3; }
APART void address_taken(void) { sink += 4; }
APART void exported(void) { sink += 5; }
APART void alone(void) { sink += 6; }
APART void below_alone(void) { sink += 7; }
APART void above(void) { below_alone(); sink += 8; }
APART long again(long n) { sink += n; return n ? again(n - 1) + again(n - 2) : 0; }
void (*pointer)(void) = pointed_at;
asm(".pushsection .rodata.distance, \\"a\\"\\n .long exported - .\\n .popsection\\n"
    ".pushsection .text\\n .global decided\\n .type decided, %function\\n"
    "decided: ret\\n .size decided, . - decided\\n"
    ".global decider\\n .type decider, %function\\n decider: cbz x0, decided\\n ret\\n"
    ".size decider, . - decider\\n .popsection\\n");
void _start(void) { called(); kept = address_taken; jumped_to(); }
"""
LED_TO = ("called", "jumped_to", "pointed_at", "address_taken", "exported", "decided")
NOT_LED_TO = ("alone", "above", "below_alone", "again")


@pytest.fixture(scope="module", params=["0xffff800080010000", "0x10000"])
def kernel(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vmlinux of CODE, linked at an address of the kernel and at a low one."""
    folder = tmp_path_factory.mktemp("kernel")
    source, vmlinux = folder / "a.c", folder / "vmlinux"
    source.write_text(CODE)
    flags = ("-O2", "-ffreestanding", "-nostdlib", "-static", f"-Wl,-Ttext={request.param}")
    done = proc.run((f"{CROSS}gcc", *flags, "-o", str(vmlinux), str(source)))
    assert done.returncode == 0, done.stderr.decode()
    return vmlinux


def names_of(vmlinux: Path, *asked: str) -> set[str]:
    """Those of the functions `asked` that nothing leads to."""
    known = {name: all_functions(vmlinux)[name][0] for name in asked}
    gone = uncalled(vmlinux, list(known.values()))
    return {name for name, place in known.items() if place in gone}


def test_whatever_leads_to_a_function_counts(kernel: Path) -> None:
    assert names_of(kernel, *LED_TO) == set()


def test_a_function_that_nothing_leads_to_is_told(kernel: Path) -> None:
    assert names_of(kernel, *LED_TO, *NOT_LED_TO) == set(NOT_LED_TO)


def test_a_caller_that_is_not_asked_about_counts(kernel: Path) -> None:
    assert names_of(kernel, "below_alone") == set()
    assert names_of(kernel, "below_alone", "above") == {"below_alone", "above"}


def test_what_never_happens_there_is_waived_and_says_so() -> None:
    way = Way(8, "true")
    branch = Branch("mm/a.c:6", "free_table", "c", 4, way, replace(way, at=12, words="false"))
    lines = PatchLines({}, {}, {branch.place: "if (x)"}, (), (branch,))
    attempt = Attempt(n=1, status=Status.PASS, ways=())
    known = decisions(lines, [attempt], ())
    assert "mm/a.c:6 never run" in decision_doubts(known)[0]
    known = decisions(replace(lines, uncalled=("free_table",)), [attempt], ())
    assert decision_doubts(known) == []
    assert known is not None
    (never,) = known.never
    assert never.waived == "nothing in this kernel leads to free_table()"


def test_a_function_that_ran_was_led_to_by_something() -> None:
    way = Way(8, "true")
    branch = Branch("mm/a.c:6", "free_table", "c", 4, way, replace(way, at=12, words="false"))
    lines = PatchLines({}, {}, {branch.place: "if (x)"}, (), (branch,), uncalled=("free_table",))
    attempt = Attempt(n=1, status=Status.PASS, ways=("0x4 taken",))
    assert "mm/a.c:6 never false" in decision_doubts(decisions(lines, [attempt], ()))[0]
