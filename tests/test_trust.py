# SPDX-License-Identifier: GPL-2.0-only
"""A series that touches what judges it is shown as such and does not pass by silence."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from kvet.model import Waiver
from kvet.paths import PROJECT
from kvet.plan.schemas import JUDGES
from kvet.report.html import html_report
from kvet.report.text import text_report
from kvet.results.record import Decisions, NeverSeen, Touch
from kvet.run.trust import RULES, UNREAD, rules, touches, trust_doubts
from kvet.run.verdict import CONTROL, RESTART, SUSPICION
from kvet.source.series import AppliedSeries
from tests.reports import sample_record, typed

PATCHES = sorted(
    [*PROJECT.glob("patches/**/*.patch"), *PROJECT.glob("tests/cost/**/*.patch")],
    key=lambda p: p.parts,
)


def series(path: str, *lines: str, more: Iterable[str] = ()) -> AppliedSeries:
    """A series that changes `path` by `lines`, each with its + or - or blank."""
    old = sum(line[0] in " -" for line in lines)
    new = sum(line[0] in " +" for line in lines)
    diff = (
        f"diff --git a/{path} b/{path}\n--- a/{path}\n+++ b/{path}\n"
        f"@@ -10,{old} +10,{new} @@\n" + "".join(f"{line}\n" for line in lines)
    )
    return AppliedSeries("base", "tree", "id", (), dict.fromkeys((path, *more), "M"), diff)


def names(found: AppliedSeries) -> list[str]:
    return [touch.rule for touch in touches(found, ())]


def test_a_waiver_may_name_every_judge_and_no_other() -> None:
    held_back = {CONTROL, SUSPICION, RESTART, UNREAD}
    assert set(JUDGES) == {rule.name for rule in rules()} | held_back


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("NOKPROBE_SYMBOL(pmd_free_pte_page);", "nokprobe"),
        ("int __kprobes pud_free_pmd_page(pud_t *pudp, unsigned long addr)", "nokprobe"),
        ("static noinstr void f(void)", "nokprobe"),
        ("static notrace void f(void)", "nokprobe"),
        ("	lockdep_off();", "lockdep"),
        ("	debug_locks_off();", "lockdep"),
        ("	debug_locks = 0;", "lockdep"),
        ("	console_loglevel = 0;", "console"),
        ("	suppress_printk = 1;", "console"),
        ("	panic_on_oops = 0;", "panic"),
        ("	touch_nmi_watchdog();", "watchdogs"),
        ("	kasan_disable_current();", "sanitizers"),
        ("	unregister_kprobe(&p);", "probes"),
        ('	if (!strcmp(current->comm, "kvet-walk"))', "asks-who-calls"),
    ],
)
def test_added_lines_that_touch_the_judge(line: str, rule: str) -> None:
    assert rule in names(series("mm/vmalloc.c", " {", f"+{line}", " }"))
    # a line that goes, a comment and a document touch nothing
    assert names(series("mm/vmalloc.c", f"-{line}", " }")) == []
    assert names(series("mm/vmalloc.c", f"+/* {line}", " }")) == []
    assert names(series("Documentation/a.rst", f"+{line}", " }")) == []


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("lib/Kconfig.debug", "sanitizers"),
        ("lib/debugobjects.c", "sanitizers"),
        ("kernel/locking/lockdep.c", "lockdep"),
        ("mm/kasan/report.c", "sanitizers"),
        ("mm/page_poison.c", "sanitizers"),
        ("kernel/kprobes.c", "probes"),
        ("drivers/tty/serial/amba-pl011.c", "console"),
        ("drivers/char/virtio_console.c", "console"),
        ("kernel/printk/printk.c", "console"),
        ("fs/debugfs/file.c", "doors"),
        ("kernel/panic.c", "panic"),
    ],
)
def test_files_of_the_judge(path: str, rule: str) -> None:
    assert rule in names(series(path, " a", "+b"))


def test_a_file_of_debugfs_that_goes_is_a_door_that_goes() -> None:
    gone = series(
        "mm/x.c", '-	debugfs_create_file("check_wx_pages", 0400, NULL, NULL, &f);', " }"
    )
    assert names(gone) == ["doors"]
    # a driver with a file of its own is no door of ours
    assert (
        names(series("drivers/x.c", '+	debugfs_create_file("x", 0400, NULL, NULL, &f);')) == []
    )


def test_what_is_too_long_to_be_read_is_said() -> None:
    (touch,) = touches(series("mm/a.c", " a", "+b", more=["mm/b.c", "Documentation/x.rst"]), ())
    assert (touch.rule, touch.place) == ("unread", "mm/b.c")


def test_no_pass_unless_waived_with_a_reason() -> None:
    touching = series("mm/a.c", " a", "+	lockdep_off();", "+	console_silent();")
    found = touches(touching, ())
    assert [(t.rule, t.place, t.text) for t in found] == [
        ("lockdep", "mm/a.c:11", "lockdep_off();"),
        ("console", "mm/a.c:12", "console_silent();"),
    ]
    (doubt,) = trust_doubts(found)
    assert "touches what judges it (lockdep, console): mm/a.c:11" in doubt
    one = touches(touching, [Waiver("why", judge="lockdep")])
    assert "lockdep" not in trust_doubts(one)[0]
    both = touches(touching, [Waiver("why", judge=name) for name in ("lockdep", "console")])
    assert trust_doubts(both) == []
    assert {t.waived for t in both} == {"why"}


@pytest.mark.parametrize("path", PATCHES, ids=lambda p: f"{p.parent.name}/{p.name[:20]}")
def test_no_shipped_design_touches_its_judge(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    diff = text[text.find("diff --git") :].rpartition("\n-- \n")[0] + "\n"
    changed = dict.fromkeys(re.findall(r"^\+\+\+ b/(\S+)", diff, re.MULTILINE), "M")
    assert touches(AppliedSeries("b", "t", "i", (), changed, diff), ()) == ()


def test_text_and_page_show_outcomes_and_touches() -> None:
    record = typed(sample_record())
    first, *others = record.cells
    never = (
        NeverSeen("mm/a.c:6", "f", "if (x > 5)", "true"),
        NeverSeen("mm/b.c:7", "f", "if (y)", "false", "cannot be"),
    )
    touch = Touch("lockdep", "mm/a.c:11", "lockdep_off();", "it finds deadlocks", "needed")
    shown = replace(
        first,
        decisions=Decisions(all=9, seen=7, certain=5, never=never, selects=("mm/c.c:1",)),
        touches=(touch,),
        unconfirmed=("freed under a walk",),
    )
    record = replace(record, cells=(shown, *others))
    for text in (text_report(record, width=200), html_report(record)):
        for words in (
            "never true",
            "if (x &gt; 5)",
            "never false",
            "waived: cannot be",
            "mm/c.c:1",
            "lockdep_off();",
            "touches what judges it",
            "waived: needed",
        ):
            assert words in text or words.replace("&gt;", ">") in text, words
    assert "freed under a walk, in 0 of" in text_report(record, width=200)
    assert "7/9, 5 for certain" in text_report(record, width=200)
    assert "--waive" in text_report(record, width=200)


def test_each_rule_says_why_and_looks_at_something() -> None:
    found = rules()
    assert len({rule.name for rule in found}) == len(found)
    for rule in found:
        assert len(rule.why) > 20
        assert rule.files or rule.added or rule.removed
    assert RULES.read_text(encoding="utf-8").startswith("# SPDX")
