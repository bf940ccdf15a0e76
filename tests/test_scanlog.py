# SPDX-License-Identifier: GPL-2.0-only
"""`scan-log`: text and JSON, with and without a vmlinux to name file and line."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest

from kvet import proc
from kvet.errors import UserError
from kvet.scanlog import scan_log_main
from kvet.symbolize import all_functions

CROSS = "aarch64-linux-gnu-"
SOURCE = """\
int depth;
__attribute__((noinline)) static int same_name(int x)
{
	return x + %d;
}

__attribute__((noinline)) int %s(int x)
{
	return same_name(x) * depth;
}
"""
SPLAT = """\
[    1.000000][   T41] kernel BUG at mm/one.c:4!
[    1.000001][   T41] Internal error: Oops - BUG: 00000000f2000800 [#1] PREEMPT SMP
[    1.000002][   T41] pc : {0}
[    1.000003][   T41] Call trace:
[    1.000004][   T41]  {0}
[    1.000005][   T41]  outer_two+0xc/{1}
[    1.000006][   T41] ---[ end trace 0000000000000000 ]---
"""


@pytest.fixture
def vmlinux(tmp_path: Path) -> Path:
    """Two files, each with a static function of the same name; the second one's is longer."""
    folder = tmp_path / "linux"
    (folder / "mm").mkdir(parents=True)
    objects = []
    for name, extra in (("one", ""), ("two", "\tfor (int i = 0; i < x; i++) depth += i * x;\n")):
        text = SOURCE % (len(name) + len(extra), f"outer_{name}")
        text = text.replace("\treturn x", f"{extra}\treturn x", 1)
        text = text.replace("int depth", "extern int depth") if extra else text
        (folder / f"mm/{name}.c").write_text(text, encoding="utf-8")
        objects.append(f"{name}.o")
        argv = ("-g", "-O1", "-c", "-o", str(folder / objects[-1]), f"mm/{name}.c")
        done = proc.run((f"{CROSS}gcc", *argv), cwd=folder)
        assert done.returncode == 0, done.stderr.decode()
    path = folder / "vmlinux"
    link = ("-Ttext=0x10000", "-e", "0", "-o", str(path), *(str(folder / o) for o in objects))
    assert proc.run((f"{CROSS}ld", *link)).returncode == 0
    return path


def _console(vmlinux: Path) -> Path:
    """A splat in the second `same_name`, which only its size tells from the first."""
    sizes = sorted(size for _, size in all_functions(vmlinux)["same_name"])
    assert len(sizes) == 2 and sizes[1] - sizes[0] > 16
    (outer,) = all_functions(vmlinux)["outer_two"]
    path = vmlinux.parent / "console.log"
    text = SPLAT.format(f"same_name+0x4/{sizes[1]:#x}", f"{outer[1]:#x}")
    path.write_text(text, encoding="utf-8")
    return path


def test_frames_get_file_line_and_source(vmlinux: Path) -> None:
    out = io.StringIO()
    assert scan_log_main([_console(vmlinux)], False, vmlinux, out) == 1
    text = out.getvalue()
    assert re.search(r"same_name \S*mm/two\.c:\d+\n", text)
    assert re.search(r"outer_two \S*mm/two\.c:1\d\n +return same_name\(x\) \* depth;\n", text)


def test_json_holds_frames_when_there_is_a_vmlinux(vmlinux: Path) -> None:
    path = _console(vmlinux)
    plain, located = io.StringIO(), io.StringIO()
    scan_log_main([path], True, out=plain)
    scan_log_main([path], True, vmlinux, located)
    (bare,) = json.loads(plain.getvalue())["findings"]
    (found,) = json.loads(located.getvalue())["findings"]
    assert "frames" not in bare
    frames = found.pop("frames")
    assert found == bare
    assert [frame["func"] for frame in frames] == ["same_name", "outer_two"]
    assert all("mm/two.c:" in frame["location"] for frame in frames)


def test_a_vmlinux_that_is_none_is_refused_or_ignored(tmp_path: Path, vmlinux: Path) -> None:
    console = _console(vmlinux)
    with pytest.raises(UserError, match="no file"):
        scan_log_main([console], False, tmp_path / "nothing")
    junk = tmp_path / "junk"
    junk.write_bytes(b"not an ELF file")
    out = io.StringIO()
    assert scan_log_main([console], False, junk, out) == 1
    assert "kernel BUG in same_name" in out.getvalue()
