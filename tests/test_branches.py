# SPDX-License-Identifier: GPL-2.0-only
"""Each outcome of a branch of the series is told apart, and one that never happened is named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from kvet import proc
from kvet.build.branches import Branch, find_branches, outcomes, ways_taken
from kvet.build.code import disassemble
from kvet.build.patch_lines import PatchLines
from kvet.build.symbolize import all_functions
from kvet.errors import UserError
from kvet.model import Attempt, Conclusion, Finding, Role, Status, Waiver
from kvet.paths import PROJECT
from kvet.plan.library import Library, load_matrix
from kvet.plan.matrix import plan_cells
from kvet.run.cell_run import CellRun, conclude_cells
from kvet.run.decisions import decision_doubts, decisions
from kvet.run.waivers import parse_waiver

CROSS = "aarch64-linux-gnu-"
CODE = """\
extern int ask(void);
extern long left, right; extern void __warn_printk(const char *);
int key;
long choose(long x)
{
	if (x > 5) {
		left = ask();
		right = 1;
	}
	return left;
}
long result(void)
{
	if (!ask())
		right = 2;
	return right;
}
void warn(long x)
{
	if (x)
		__builtin_trap();
	left = 3;
}
void warn_with_words(long x)
{
	if (x > 3) {
		__warn_printk("x");
		left = 5;
	}
	right = 5;
}
static inline __attribute__((always_inline)) int arch_static_branch(void)
{
	asm goto("1: nop\\n .pushsection __jump_table, \\"aw\\"\\n .align 3\\n"
		".long 1b - ., %l[yes] - .\\n .quad key - .\\n .popsection"
		: : : : yes);
	return 0;
yes:
	return 1;
}
void keyed(void)
{
	if (arch_static_branch())
		left = ask();
	right = 4;
}
"""
STUBS = "long left, right; int ask(void) { return 1; }\nvoid __warn_printk(void) {}\n"


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vmlinux of CODE as mm/a.c, with that source beside it."""
    folder = tmp_path_factory.mktemp("build")
    source = folder / "kvet" / "src"
    objects = []
    for name, text in (("mm/a.c", CODE), ("mm/b.c", STUBS)):
        for home in (source, folder / "patched"):
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            (home / name).write_text(text)
        objects.append(str(folder / f"{Path(name).stem}.o"))
        argv = (f"{CROSS}gcc", "-g", "-O2", f"-ffile-prefix-map={source}=/kvet/src", "-c")
        done = proc.run((*argv, "-o", objects[-1], str(source / name)))
        assert done.returncode == 0, done.stderr.decode()
    vmlinux = folder / "vmlinux"
    bounds = ("-u", "__start___jump_table", "-u", "__stop___jump_table")
    link = (f"{CROSS}ld", "-Ttext=0x10000", "-e", "0", *bounds, "-o", str(vmlinux), *objects)
    done = proc.run(link)
    assert done.returncode == 0, done.stderr.decode()
    return vmlinux


def branches_of(vmlinux: Path, function: str, *lines: int) -> tuple[Branch, ...]:
    ranges = all_functions(vmlinux)[function]
    return find_branches(vmlinux, ranges, [f"mm/a.c:{n}" for n in lines]).branches


def log(vmlinux: Path, function: str, *starts: int, patched: dict[int, int] | None = None) -> bytes:
    """A translation log of the whole function, with blocks that begin at `starts`."""
    start, size = all_functions(vmlinux)[function][0]
    text = ""
    for each in disassemble(vmlinux, start, size):
        head = "----------------\nIN: \n" if each.address in (start, *starts) else ""
        word = (patched or {}).get(each.address, 0xD503201F)
        text += f"{head}{each.address:#018x}:  {word:08x}  x\n"
    return text.encode()


def never(branches: tuple[Branch, ...], text: bytes) -> set[str]:
    return {o.words for o in outcomes(branches, ways_taken(branches, text)) if not o.seen}


def test_an_if_is_true_or_false_by_where_its_blocks_begin(kernel: Path) -> None:
    (branch,) = branches_of(kernel, "choose", 6)
    ways = {way.words: way for way in (branch.taken, branch.through)}
    assert set(ways) == {"true", "false"}
    assert never((branch,), log(kernel, "choose", ways["false"].at)) == {"true"}
    assert never((branch,), log(kernel, "choose", ways["true"].at)) == {"false"}
    both = log(kernel, "choose", ways["true"].at, ways["false"].at)
    assert never((branch,), both) == set()


def test_a_branch_that_never_ran_saw_nothing(kernel: Path) -> None:
    (branch,) = branches_of(kernel, "choose", 6)
    other = f"IN: \n{branch.taken.at:#x}: d503201f\n\nIN: \n{branch.through.at:#x}: d503201f\n"
    assert never((branch,), other.encode()) == {"run"}


def test_the_result_of_a_call_is_told_as_such(kernel: Path) -> None:
    (branch,) = branches_of(kernel, "result", 14)
    words = {branch.taken.words, branch.through.words}
    assert words == {"0 from ask()", "other than 0 from ask()"}
    zero = branch.taken if branch.taken.words.startswith("0") else branch.through
    assert never((branch,), log(kernel, "result", zero.at)) == {"other than 0 from ask()"}


def test_what_leads_to_a_trap_alone_needs_not_happen(kernel: Path) -> None:
    (branch,) = branches_of(kernel, "warn", 20)
    fine = branch.through if branch.taken.fatal else branch.taken
    assert branch.taken.fatal is not branch.through.fatal
    assert never((branch,), log(kernel, "warn", fine.at)) == set()
    assert never((branch,), log(kernel, "warn")) == {"run"}


def test_a_warning_in_words_needs_not_happen(kernel: Path) -> None:
    (branch,) = branches_of(kernel, "warn_with_words", 26)
    ways = {way.words: way.fatal for way in (branch.taken, branch.through)}
    assert ways == {"true": True, "false": False}


def test_a_jump_label_is_read_from_its_instruction(kernel: Path) -> None:
    (branch,) = branches_of(kernel, "keyed", 43)
    assert branch.key
    on = log(kernel, "keyed", patched={branch.address: 0x14000004})
    assert never((branch,), log(kernel, "keyed")) == {"with the static key on"}
    assert never((branch,), on) == {"with the static key off"}
    assert never((branch,), log(kernel, "keyed") + on) == set()


def test_lines_of_others_are_none_of_the_series(kernel: Path) -> None:
    assert branches_of(kernel, "choose", 7) == ()


def test_a_place_that_other_code_leads_to_is_an_upper_bound(kernel: Path) -> None:
    (branch,) = branches_of(kernel, "choose", 6)
    seen = [f"{branch.address:#x} taken", f"{branch.address:#x} through"]
    alone = replace(
        branch,
        taken=replace(branch.taken, shared=True),
        through=replace(branch.through, shared=False),
    )
    sure = {o.words: o.surely for o in outcomes((alone,), seen)}
    assert sure == {branch.taken.words: False, branch.through.words: True}


def test_copies_of_a_condition_in_one_function_are_one_decision(kernel: Path) -> None:
    (branch,) = branches_of(kernel, "choose", 6)
    copy = replace(branch, address=branch.address + 0x100)
    seen = [f"{branch.address:#x} taken", f"{copy.address:#x} through"]
    assert all(o.seen for o in outcomes((branch, copy), seen))
    other = replace(copy, function="elsewhere")
    assert sum(not o.seen for o in outcomes((branch, other), seen)) == 2
    behind = replace(copy, condition="a later test of the line", address=0)
    alone = [o.words for o in outcomes((branch, behind), seen[:1]) if not o.seen]
    assert alone == [branch.through.words]


def lines_of(branch: Branch) -> PatchLines:
    return PatchLines({}, {}, {branch.place: "\tif (x > 5) {"}, (), (branch,))


@pytest.mark.parametrize(
    ("waiver", "counts"),
    [
        (None, True),
        (Waiver("r", line="mm/a.c:6"), False),
        (Waiver("r", line="mm/a.c:7"), True),
        (Waiver("r", text="x > 5", outcome="true"), False),
        (Waiver("r", text="x > 5", outcome="false"), True),
        (Waiver("r", text="x > 5", outcome="not true"), True),
        (Waiver("r", text="x > 5", outcome="not false"), False),
        (Waiver("r", judge="true"), True),
    ],
)
def test_an_outcome_that_never_happened_counts_unless_waived(
    kernel: Path, waiver: Waiver | None, counts: bool
) -> None:
    (branch,) = branches_of(kernel, "choose", 6)
    false = "taken" if branch.taken.words == "false" else "through"
    ran = Attempt(n=1, ways=(f"{branch.address:#x} {false}",))
    found = decisions(lines_of(branch), [ran], [waiver] if waiver else [])
    assert found is not None
    assert (found.all, found.seen) == (2, 1)
    assert [(n.place, n.words, n.waived) for n in found.never] == [
        ("mm/a.c:6", "true", "" if counts else "r")
    ]
    doubts = decision_doubts(found)
    assert bool(doubts) is counts
    assert all("mm/a.c:6 never true" in text for text in doubts)


def test_outcomes_of_all_attempts_count_together_and_no_log_is_no_word(kernel: Path) -> None:
    (branch,) = branches_of(kernel, "choose", 6)
    runs = [
        Attempt(n=n, ways=(f"{branch.address:#x} {way}",))
        for n, way in enumerate(("taken", "through"), start=1)
    ]
    found = decisions(lines_of(branch), runs, ())
    assert found is not None and found.never == ()
    assert decisions(lines_of(branch), [Attempt(n=1)], ()) is None
    assert decision_doubts(None) == []


def test_a_suspicion_can_be_waived_and_is_shown_all_the_same() -> None:
    suspected = Finding("table-freed-under-walk", "freed under a walk", suspicion=True)
    cell = plan_cells(load_matrix(PROJECT / "configs/smoke.yaml"), Library())[-1]
    run = CellRun(cell, wanted=1)
    run.add(Attempt(n=1, status=Status.PASS, exposed=True, findings=(suspected,)))
    waived = replace(run, waived=(Waiver("it holds no table then", judge="suspicion"),))
    control = CellRun(replace(cell, variant=replace(cell.variant, role=Role.CONTROL)), wanted=1)
    splat = Finding("oops", "Internal error in f")
    control.add(Attempt(n=1, status=Status.FAIL, findings=(splat,)))
    verdicts = [conclude_cells([each, control])[cell.id] for each in (run, waived)]
    assert cell.variant.role is Role.CANDIDATE
    assert [v.conclusion for v in verdicts] == [Conclusion.INCONCLUSIVE, Conclusion.PASS]
    assert {v.unconfirmed for v in verdicts} == {(suspected.title,)}


@pytest.mark.parametrize(
    ("text", "waiver"),
    [
        (
            "mm/a.c:6 never 0 from f() because of this",
            Waiver("of this", line="mm/a.c:6", outcome="0 from f()"),
        ),
        ("mm/a.c:6 because it is so", Waiver("it is so", line="mm/a.c:6")),
        ("nokprobe because it is so", Waiver("it is so", judge="nokprobe")),
    ],
)
def test_a_waiver_is_one_line(text: str, waiver: Waiver) -> None:
    assert parse_waiver(text) == waiver


@pytest.mark.parametrize(
    "text",
    [
        "",
        "mm/a.c:6",
        "mm/a.c:6 never true because ",
        "a b because c",
        "nokprob because c",
    ],
)
def test_a_waiver_without_a_reason_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="--waive"):
        parse_waiver(text)
