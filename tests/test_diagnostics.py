# SPDX-License-Identifier: GPL-2.0-only
"""What a failed build shows: each error with its include chain, and how many there are."""

from __future__ import annotations

import pytest

from kvet.build.diagnostics import MOST_ERRORS, blamed, errors
from kvet.errors import InfraError

GCC = """\
  CC      mm/vmalloc.o
  CC      mm/ptdump.o
In file included from ./include/linux/mm.h:7,
                 from mm/ptdump.c:2:
./include/linux/ptdump.h:12:9: error: unknown type name 'spinlok_t'; did you mean 'spinlock_t'?
   12 |         spinlok_t lock;
      |         ^~~~~~~~~
      |         spinlock_t
mm/ptdump.c: In function 'ptdump_walk_pgd':
mm/ptdump.c:150:17: error: 'start' undeclared (first use in this function)
  150 |         mmap_read_lock(start);
      |                 ^~~~~
mm/ptdump.c:150:17: note: each undeclared identifier is reported only once
make[3]: *** [scripts/Makefile.build:229: mm/ptdump.o] Error 1
make[3]: *** Waiting for unfinished jobs....
  CC      mm/vmscan.o
""".splitlines()


def test_an_error_in_a_header_says_who_included_it() -> None:
    finding = blamed(GCC)
    assert finding is not None
    assert finding.title.startswith("build: ./include/linux/ptdump.h:12: unknown type name")
    assert GCC[finding.first_line - 1] == GCC[4]
    # all that belongs to the two errors in the order of the log, and nothing of make's
    assert list(finding.excerpt) == GCC[2:13]


def test_further_errors_are_shown_up_to_a_number_and_counted() -> None:
    log = [f"mm/a.c:{n}:1: error: no {n}" for n in range(1, MOST_ERRORS + 4)]
    finding = blamed([*log, *log])
    assert finding is not None
    assert list(finding.excerpt) == [*log[:MOST_ERRORS], "and 3 more errors"]


def test_a_linkers_error_has_no_line_of_source() -> None:
    log = ["  LD      vmlinux", "ld.lld: error: undefined symbol: walk", ">>> referenced by x.o"]
    (found,) = errors(log)
    assert (found.title, found.line, found.lines) == (log[1], 2, (log[1],))


def test_a_log_without_an_error_blames_nobody() -> None:
    assert blamed(["  CC      mm/vmalloc.o", "make: *** [Makefile:1: all] Error 2"]) is None


def test_a_full_disk_is_no_error_of_the_series() -> None:
    full = "fatal error: error writing to /tmp/x.s: No space left on device"
    with pytest.raises(InfraError, match="lack of resources"):
        blamed(["  CC      mm/vmalloc.o", full, *GCC])
    assert blamed([*GCC, full]) is not None
