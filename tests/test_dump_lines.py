# SPDX-License-Identifier: GPL-2.0-only
"""What a reader of the dump takes for garbage; the guest's own code, compiled for the host."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvet import proc
from kvet.paths import PROJECT

# the reader with its file replaced by standard input and its report by exit codes
PROGRAM = """
#include "%s"
long read_file(const char *path, char *buffer, size_t size)
{
    const char *text = "ffff8000c0000000 ffff8000c0800000\\n";
    return strcmp(path, CHURN_AREAS) ? -1 : snprintf(buffer, size, "%%s", text);
}
int main(void)
{
    static char text[65536];
    const char *bad;
    read_areas();
    bad = bad_dump_line(text, fread(text, 1, sizeof(text), stdin));
    if (bad)
        printf("%%.199s", bad);
    return !!bad;
}
"""
MARK = "---[ vmalloc() area ]---"
PLAIN = "0xffff800081371000-0xffff800081372000           4K PTE       RW NX SHD AF"
GOOD = f"{PLAIN}            UXN    MEM/NORMAL"
CHURN = "0xffff8000c0200000-0xffff8000c0400000           2M PMD       RW NX SHD AF        BLK UXN  "


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reader")
    (folder / "main.c").write_text(PROGRAM % (PROJECT / "rootfs/src/readers.c"))
    done = proc.run(("gcc", "-w", "-o", str(folder / "reader"), str(folder / "main.c")))
    assert done.returncode == 0, done.stderr.decode()
    return folder / "reader"


def verdict(reader: Path, *lines: str) -> str:
    """The line that the reader takes for garbage; empty when it takes none."""
    done = proc.run((str(reader),), stdin=("\n".join(lines) + "\n").encode())
    assert done.returncode in (0, 1)
    assert bool(done.stdout) == bool(done.returncode)
    return done.stdout.decode()


def test_a_dump_as_the_kernel_prints_it_is_sane(reader: Path) -> None:
    lines = (
        "---[ Linear Mapping start ]---",
        "0xffff000000000000-0xffff000000200000           2M PTE F     RW NX SHD AF"
        "            UXN    MEM/NORMAL-TAGGED",
        "0xffff008000000000-0xffff800000000000      130560G PGD",
        MARK,
        "0xffff800080200000-0xffff800080400000           2M PMD       ro x  SHD AF        BLK UXN"
        "    MEM/NORMAL",
        GOOD,
        f"{CHURN}  DEVICE/nGnRE",
        "---[ vmalloc() end ]---",
        f"{CHURN}    MEM/NORMAL".replace("8000c02", "8000c04").replace(
            "-0xffff8000c0400", "-0xffff8000c0600"
        ),
        "0xffffffffff800000-0x0000000000000000           8M PMD",
    )
    assert verdict(reader, *lines) == ""


@pytest.mark.parametrize(
    "line",
    [
        GOOD.replace("4K", "8K"),  # the size is not what the addresses say
        GOOD.replace("PTE", "PXE"),
        PLAIN,  # no memory type
        GOOD.replace(" AF", "   "),
        GOOD.replace("RW NX", "RW   "),
        GOOD.replace("MEM/NORMAL", "MEM/NORMAL DEVICE/nGnRE"),
        GOOD.replace("0xffff8000", "0x00008000"),  # not the kernel's half
        f"{CHURN}  MEM/NORMAL-NC",  # nobody maps such memory in a churned range
        f"{CHURN}  DEVICE/nGnRnE",
        f"{CHURN}  MEM/NORMAL".replace(" NX", "   ").replace("  RW", "x RW"),
        f"{CHURN}  DEVICE/nGnRE".replace("c0200000-", "c0201000-").replace(" 2M", "2044K"),
        "\x01\x02 garbage",
    ],
)
def test_what_no_table_can_hold_is_garbage(reader: Path, line: str) -> None:
    assert verdict(reader, MARK, line) == line[:199]


def test_ranges_are_in_order_and_in_a_region(reader: Path) -> None:
    later = GOOD.replace("81371000", "81372000").replace(
        "-0xffff800081372000", "-0xffff800081373000"
    )
    assert verdict(reader, MARK, GOOD, later) == ""
    assert verdict(reader, MARK, later, GOOD) == GOOD
    assert verdict(reader, GOOD) == GOOD
