# SPDX-License-Identifier: GPL-2.0-only
"""The guest's kernel code is as `checkpatch --strict` wants it, but for named exceptions."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from kvet import proc
from kvet.paths import ROOTFS
from tests.conftest import REAL_CACHE

EXCEPTIONS = {
    "CAMELCASE": "PROT_DEVICE_nGnRE is the kernel's own name",
    "COMPLEX_MACRO": "lists of counters and of operations are expanded by what they are given",
    "MACRO_ARG_REUSE": "the same lists; their arguments are names and constants",
    "BIT_MACRO": "sizes that happen to be powers of two, not bits of a mask",
    "VOLATILE": "provoke: the fault has to happen, whatever the compiler thinks of it",
    "CONSTANT_COMPARISON": "churn: a macro in capitals on the left is no constant there",
    "SPACING": "walkers: typeof(&function), which checkpatch takes for an operation",
    "LONG_LINE_COMMENT": "decode: a comment that quotes an encoding whole",
    "MACRO_WITH_FLOW_CONTROL": "engine: the macro that makes the init function of a race",
}
LINE = re.compile(r"^(\S+?):(\d+): (?:ERROR|WARNING|CHECK):(\w+):")
TREES = sorted((REAL_CACHE / "sources").glob("*/scripts/checkpatch.pl"))


@pytest.mark.skipif(not TREES, reason="no kernel source in the cache")
@pytest.mark.skipif(shutil.which("perl") is None, reason="no perl")
def test_checkpatch_finds_nothing_but_the_exceptions() -> None:
    sources = sorted(
        p for part in ("engine", "ptdump", "cost", "provoke") for p in ROOTFS.glob(f"{part}/*.[ch]")
    )
    words = ("--no-tree", "--strict", "--terse", "--show-types", "-q", "-f")
    done = proc.run(("perl", str(TREES[0]), *words, *map(str, sources)), timeout_s=300)
    assert not re.search(rb"syntax error|Can't locate", done.stderr), done.stderr.decode()
    found = [m for m in map(LINE.match, done.stdout.decode().splitlines()) if m]
    strange = [m.group(0) for m in found if m.group(3) not in EXCEPTIONS]
    assert strange == []
    # an exception that nothing needs any more goes
    assert set(EXCEPTIONS) == {m.group(3) for m in found}
    assert all(Path(m.group(1)).exists() for m in found)
