# SPDX-License-Identifier: GPL-2.0-only
"""Which workload judges a series for which nobody named one, and what is said where none fits."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvet.errors import InfraError
from kvet.model import Kernel
from kvet.plan.library import Library
from kvet.plan.reach import Reach, read_reach, write_reach
from kvet.report.answer import answer
from kvet.run.fitting import changed_files, fit
from kvet.run.judged import Judged
from kvet.source.functions import functions_of
from kvet.source.given import open_series
from tests.reports import draw, sample_record, typed

PATCH = """From: T Tester <t@example.org>
Subject: [PATCH] change one line

Signed-off-by: T Tester <t@example.org>
---
diff --git a/{0} b/{0}
--- a/{0}
+++ b/{0}
@@ -1,1 +1,1 @@
-old
+new
"""
CODE = """#include <linux/a.h>

static const struct ops x = {
	.open = no_function,
};

/*
 * comment ()
 */
static int __init first(int a,
			struct b *b)
	__releases(&lock)
{
	if (a) {
		return 0;
	}
	return 1;
}
EXPORT_SYMBOL(first);

SYSCALL_DEFINE3(read, unsigned int, fd, char __user *, buf, size_t, count)
{
	return 0;
}
"""


def judged(tmp_path: Path, file: str) -> list[tuple[Judged, Kernel]]:
    path = tmp_path / "one.patch"
    path.write_text(PATCH.format(file), encoding="utf-8")
    given = open_series(str(path), tmp_path / "scratch")
    return [(Judged(given.variant, given), Kernel("none", "package", {"package": "p"}, path))]


def fitted(tmp_path: Path, file: str) -> tuple[str, str]:
    found = fit("ptdump-race", judged(tmp_path, file), Library(), tmp_path / "cache")
    return found.workload, "\n".join(found.lines)


def test_functions_are_found_by_the_layout_of_the_source() -> None:
    assert list(functions_of(CODE)) == [("first", 10, 18), ("__do_sys_read", 21, 24)]


def test_a_series_about_page_tables_is_judged_as_ever(tmp_path: Path) -> None:
    assert fitted(tmp_path, "arch/arm64/mm/mmu.c") == ("ptdump-race", "")


def test_a_workload_that_is_about_the_file_judges_instead(tmp_path: Path) -> None:
    workload, said = fitted(tmp_path, "fs/pipe.c")
    assert workload == "pipe-resize"
    assert said.startswith("judged by pipe-resize, which is about fs/pipe.c")
    assert "--workload ./examples/workloads/race/" in said


def test_a_race_of_the_past_that_is_about_the_file_is_named(tmp_path: Path) -> None:
    workload, said = fitted(tmp_path, "fs/timerfd.c")
    assert workload == "ptdump-race"
    assert "about it: ./harness.py run --workload ./races/timerfd-cancel/ --series" in said


@pytest.mark.parametrize(
    ("file", "kind"),
    [("kernel/locking/rwsem.c", "locktorture"), ("fs/inode.c", "sides"), ("lib/list.c", "kunit")],
)
def test_where_none_fits_that_comes_first_and_how_to_start_one(
    tmp_path: Path, file: str, kind: str
) -> None:
    workload, said = fitted(tmp_path, file)
    assert workload == "ptdump-race"
    assert said.startswith(f"no workload fits: ptdump-race is not about {file}")
    assert f"init --workload {kind} ./my-race" in said
    assert f"--series {tmp_path / 'one.patch'}" in said


def test_every_report_begins_with_it() -> None:
    record = sample_record()
    cell = next(c for c in record["cells"] if c["role"] == "candidate")
    cell["given"] = {"spec": "a.mbox", "unfit": "w is not about fs/a.c"}
    assert answer(typed(record)).startswith("No workload fits: w is not about fs/a.c.")
    for form in ("text", "mail"):
        assert "No workload fits: w is not about fs/a.c." in " ".join(draw(form, record).split())


def test_changed_files_are_those_of_the_patches(tmp_path: Path) -> None:
    ((one, _),) = judged(tmp_path, "fs/inode.c")
    assert list(changed_files(one.variant)) == ["fs/inode.c"]


def test_the_record_of_what_ran_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "reach.txt"
    written = Reach("6.12", ("a", "./races/b/"), {("fs/a.c", "f"): 3, ("mm/b.c", "g"): 2})
    write_reach(path, written)
    assert read_reach(path) == written
    assert read_reach(path).reaching("fs/a.c", "f") == ("a", "./races/b/")
    assert read_reach(path).reaching("fs/a.c", "other") == ()


def test_a_damaged_record_of_what_ran_is_named(tmp_path: Path) -> None:
    path = tmp_path / "reach.txt"
    path.write_text("fs/a.c\n\tf zz\n")
    with pytest.raises(InfraError, match=r"reach\.txt: cannot be read"):
        read_reach(path)


def test_the_shipped_record_knows_the_shipped_workloads() -> None:
    reach = read_reach()
    assert "pipe-resize" in reach.workloads
    assert "pipe-resize" in reach.reaching("fs/pipe.c", "pipe_resize_ring")
    assert reach.reaching("fs/pipe.c", "no_such_function") == ()
