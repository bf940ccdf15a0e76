# SPDX-License-Identifier: GPL-2.0-only
"""`scan-log`: text and JSON, with and without a vmlinux to name file and line."""

from __future__ import annotations

import gzip
import html
import io
import json
import lzma
import os
import re
import sys
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path
from types import SimpleNamespace

import lz4.frame
import pytest
import zstandard

from kvet import archives, proc
from kvet.build.symbolize import all_functions
from kvet.cli import scan_log as module
from kvet.cli.scan_log import ScanRequest, scan_log_main
from kvet.detectors.blocks import BLOCK, blocks_of_stream
from kvet.errors import UserError
from tests.packed import tar, zipped

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
    assert scan_log_main(ScanRequest([_console(vmlinux)], False, vmlinux), out) == 1
    text = out.getvalue()
    assert re.search(r"same_name \S*mm/two\.c:\d+\n", text)
    assert re.search(r"outer_two \S*mm/two\.c:1\d\n +return same_name\(x\) \* depth;\n", text)


def test_json_holds_frames_when_there_is_a_vmlinux(vmlinux: Path) -> None:
    path = _console(vmlinux)
    plain, located = io.StringIO(), io.StringIO()
    scan_log_main(ScanRequest([path], True), plain)
    scan_log_main(ScanRequest([path], True, vmlinux), located)
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
        scan_log_main(ScanRequest([console], False, tmp_path / "nothing"))
    junk = tmp_path / "junk"
    junk.write_bytes(b"not an ELF file")
    out = io.StringIO()
    assert scan_log_main(ScanRequest([console], False, junk), out) == 1
    assert "kernel BUG in same_name" in out.getvalue()


# --- what cannot be read, what was not recognised, and why ---


BUG = Path(__file__).parent / "data" / "consoles" / "lkdtm-bug.log"


def scan_log(
    *files: Path, json_output: bool = False, explain: bool = False
) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    code = scan_log_main(ScanRequest(files, json_output, explain=explain), out, err)
    return code, out.getvalue(), err.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("log.gz", b"\x1f\x8b\x08\x00cut off", "is damaged"),
        ("log.xz", b"\xfd7zXZ\x00\x00\x04 no more", "is damaged"),
        ("log.zst", b"\x28\xb5\x2f\xfd and no more than this", "is damaged"),
        ("log.bz2", b"BZh91AY&SY and no more", "is damaged"),
        ("vmlinux", b"\x7fELF\x02\x01\x01" + bytes(100), "is an ELF file"),
        ("logs.zip", b"PK\x03\x04" + bytes(100), "is damaged"),
        ("logs.tar", b"log" + bytes(254) + b"ustar" + bytes(300), "is damaged"),
        ("noise", bytes(range(1, 32)) * 20, "holds no text"),
    ],
)
def test_what_cannot_be_read_is_said_and_the_rest_is_scanned(
    name: str, content: bytes, says: str, tmp_path: Path
) -> None:
    bad = tmp_path / name
    bad.write_bytes(content)
    code, out, err = scan_log(bad, BUG)
    assert code == 2
    assert err.count("\n") == 1 and str(bad) in err and says in err
    assert f"{bad}: no findings" not in out and "kernel BUG in lkdtm_BUG" in out
    code, out, _ = scan_log(bad, BUG, json_output=True)
    first, second = map(json.loads, out.splitlines())
    assert code == 2 and says in first["error"] and not first["recognised"]
    assert second["recognised"] and second["findings"]


def test_a_missing_file_and_a_directory_are_said(tmp_path: Path) -> None:
    code, out, err = scan_log(tmp_path / "none", tmp_path, BUG)
    assert code == 2 and len(err.splitlines()) == 2
    assert "No such file" in err and "directory" in err and "kernel BUG" in out


def test_standard_input_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = io.BytesIO(gzip.compress(BUG.read_bytes()))
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BufferedReader(packed)))
    code, out, _ = scan_log(Path("-"))
    assert code == 1 and "kernel BUG in lkdtm_BUG" in out


def test_a_log_in_which_nothing_is_recognised_is_said(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    path.write_text("".join(f"2026 server: request {n} took 3 ms\n" for n in range(9)), "utf-8")
    code, out, _ = scan_log(path)
    assert code == 0
    assert "none of 9 lines could be recognised as the kernel's" in out
    assert "9 lines look like `9 word: word 9 ...`" in out and "server: request 0" in out
    (line,) = map(json.loads, scan_log(path, json_output=True)[1].splitlines())
    assert line["findings"] == [] and line["recognised"] is False
    assert line["line_shapes"][0]["lines"] == 9
    path.write_text("", "utf-8")
    assert "the file is empty" in scan_log(path)[1]


def test_a_clean_console_is_recognised(tmp_path: Path) -> None:
    path = tmp_path / "clean.log"
    path.write_text("[    0.000000] Linux version 6.12.0\n[    1.000000] up\n", "utf-8")
    assert scan_log(path) == (0, f"{path}: no findings\n", "")


def test_the_reason_for_a_title_is_told() -> None:
    console = BUG.with_name("provoke-sleep-in-atomic.log")
    _, plain, _ = scan_log(console)
    _, out, _ = scan_log(console, explain=True)
    assert "why: line" in out and "why:" not in plain
    assert re.search(r"why: line \d+ begins a splat of the kind 'sleeping-function': BUG: sl", out)
    assert re.search(r"passed over: dump_backtrace \(list 'reporting' of blame.yaml\)", out)
    assert re.search(r"blamed: \w+, the first function that is on none of these lists", out)
    (line,) = map(json.loads, scan_log(console, json_output=True, explain=True)[1].splitlines())
    assert all(found["why"] for found in line["findings"])


@pytest.mark.parametrize("pack", [gzip.compress, lz4.frame.compress, lzma.compress])
def test_a_cut_packed_log_gives_what_came_before_the_cut(
    pack: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    noise = b"".join(b"[    9.%06d] noise %d\n" % (n, n * n) for n in range(40000))
    whole = pack(BUG.read_bytes() + noise)
    path = tmp_path / "log.packed"
    path.write_bytes(whole[: len(whole) * 3 // 4])
    code, out, err = scan_log(path)
    assert code == 2 and "kernel BUG in lkdtm_BUG" in out
    assert "cut off; only the part before was read" in err
    code, out, _ = scan_log(path, json_output=True)
    line = json.loads(out)
    assert code == 2 and line["findings"] and "is damaged" in line["error"]


def test_a_packed_log_damaged_inside_is_read_up_to_there(tmp_path: Path) -> None:
    noise = b"".join(b"[    9.%06d] noise %d\n" % (n, n * n) for n in range(40000))
    packed = bytearray(gzip.compress(BUG.read_bytes() + noise))
    middle = len(packed) // 2
    packed[middle : middle + 64] = bytes(64)
    path = tmp_path / "log.gz"
    path.write_bytes(packed)
    code, out, err = scan_log(path)
    assert code == 2 and "kernel BUG in lkdtm_BUG" in out and "is damaged" in err


def test_a_page_without_line_feeds_is_read(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    lines = html.escape(BUG.read_text("utf-8")).splitlines()
    path.write_text("<html><body>" + "<br>".join(lines) + "</body></html>", "utf-8")
    assert "kernel BUG in lkdtm_BUG" in scan_log(path)[1]


@pytest.mark.parametrize("shift", range(0, 130, 7))
def test_a_record_across_a_block_border_is_whole(shift: int) -> None:
    def record(text: str) -> str:
        return f"__CURSOR=s=1;i=2\n_BOOT_ID=1\nMESSAGE={text}\n_TRANSPORT=kernel\n\n"

    head = record("x")
    count = BLOCK // len(head)
    fill = "y" * (BLOCK - count * len(head) - shift)
    log = record("x" + fill) + head * (count - 1) + record("Unable to mount") + record("z")
    blocks = list(blocks_of_stream(io.BytesIO(log.encode())))
    assert len(blocks) > 1 and "".join(blocks) == log
    assert all(block.endswith("\n\n") for block in blocks)


def _mail(files: dict[str, bytes]) -> bytes:
    mail = EmailMessage()
    mail["Subject"] = "it fails"
    mail.set_content("The log is attached.")
    for name, content in files.items():
        mail.add_attachment(content, "application", "octet-stream", filename=name)
    return mail.as_bytes()


@pytest.mark.parametrize(
    "pack",
    [
        zipped,
        tar,
        _mail,
        lambda files: gzip.compress(tar(files)),
        lambda files: zstandard.compress(tar(files)),
    ],
    ids=["zip", "tar", "mail", "tar.gz", "tar.zst"],
)
def test_the_logs_in_an_archive_are_read(
    pack: Callable[[dict[str, bytes]], bytes], tmp_path: Path
) -> None:
    log = BUG.read_bytes()
    path = tmp_path / "parcel"
    files = {"boot/vmlinuz": b"\x7fELF" + bytes(900), "clean.log": b"[    1.000000] hello\n"}
    path.write_bytes(pack({**files, "logs/one.log": log, "two.log.gz": gzip.compress(log)}))
    code, out, err = scan_log(path)
    assert code == 1 and not err
    assert f"{path}:logs/one.log: 2 findings" in out and f"{path}:clean.log: no findings" in out
    code, out, _ = scan_log(path, json_output=True)
    assert code == 0 and out.count("\n") == 1
    findings = json.loads(out)["findings"]
    assert [one["member"] for one in findings] == 2 * ["logs/one.log"] + 2 * ["two.log.gz"]
    assert [one["title"] for one in findings[::2]] == 2 * ["kernel BUG in lkdtm_BUG"]


def test_a_cut_archive_is_read_up_to_the_cut(tmp_path: Path) -> None:
    noise = b"".join(b"[    9.%06d] noise %d\n" % (n, n * n) for n in range(40000))
    packed = gzip.compress(tar({"one.log": BUG.read_bytes(), "two.log": noise}))
    path = tmp_path / "logs.tar.gz"
    path.write_bytes(packed[: len(packed) // 2])
    code, out, err = scan_log(path)
    assert code == 2 and "kernel BUG in lkdtm_BUG" in out
    assert "only the part before was read" in err and "Traceback" not in err


def test_an_archive_without_a_log_is_said(tmp_path: Path) -> None:
    path = tmp_path / "parcel.zip"
    path.write_bytes(zipped({"vmlinuz": b"\x7fELF" + bytes(900)}))
    code, _, err = scan_log(path)
    assert code == 2 and "holds no log" in err


def test_a_mail_with_a_base64_body_is_read(tmp_path: Path) -> None:
    mail = EmailMessage()
    mail["Subject"] = "it fails"
    mail.set_content(BUG.read_text("utf-8"), cte="base64")
    path = tmp_path / "bug.eml"
    path.write_bytes(mail.as_bytes())
    assert "kernel BUG in lkdtm_BUG" in scan_log(path)[1]


@pytest.mark.parametrize("pack", [zipped, tar, _mail, lambda files: gzip.compress(tar(files))])
def test_an_archive_on_standard_input_is_read(
    pack: Callable[[dict[str, bytes]], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = io.BufferedReader(io.BytesIO(pack({"one.log": BUG.read_bytes()})))
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=packed))
    code, out, err = scan_log(Path("-"))
    assert code == 1 and not err and "-:one.log: 2 findings" in out


def test_what_an_archive_holds_beyond_the_limits_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = BUG.read_bytes()
    monkeypatch.setattr(archives, "MOST_BYTES", len(log))
    path = tmp_path / "logs.zip"
    path.write_bytes(zipped({"one.log": log}))
    assert scan_log(path)[0] == 1
    path.write_bytes(zipped({"one.log": log + b"[    9.000000] more\n", "two.log": log}))
    code, out, err = scan_log(path)
    assert code == 2 and out.count("2 findings") == 2
    assert f"{path}:one.log: is longer than 64 MiB; only the part before was read" in err
    assert "two.log" not in err
    monkeypatch.setattr(archives, "MOST_MEMBERS", 1)
    code, _, err = scan_log(path)
    assert code == 2 and f"{path}: holds more than 500 files" in err


def _dies_of_the_third(request: ScanRequest) -> module.Scanned:
    if request.files[0].name == "2.log":
        os._exit(9)
    return SCAN_BATCH(request)


SCAN_BATCH = module._scan_batch


@pytest.mark.parametrize("dies", [False, True])
@pytest.mark.parametrize("as_json", [False, True])
def test_many_files_are_told_as_if_one_process_had_read_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, dies: bool, as_json: bool
) -> None:
    """In the order given, also where one of the processes is killed."""
    for n in range(7):
        text = SPLAT.format(f"broken_{n}+0x4/0x10", "0x20") if n % 2 else "[    0.1] fine\n"
        (tmp_path / f"{n}.log").write_text(text)
    (tmp_path / "4.log").write_bytes(bytes(range(256)) * 9)  # is no text
    paths = [tmp_path / f"{n}.log" for n in (3, 1, 2, 0, 4, 6, 5)]

    def told() -> tuple[str, str, int]:
        out, err = io.StringIO(), io.StringIO()
        code = scan_log_main(ScanRequest(paths, as_json), out, err)
        return out.getvalue(), err.getvalue(), code

    expected = told()
    assert expected[0].count("broken_") >= 3
    monkeypatch.setattr(module, "MANY_FILES", 2)
    monkeypatch.setattr(module, "BATCH", 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    if dies:
        monkeypatch.setattr(module, "_scan_batch", _dies_of_the_third)
    assert told() == expected


def test_what_can_be_read_by_one_process_alone_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MANY_FILES", 2)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    monkeypatch.setattr(module, "_scan_batch", None)
    (tmp_path / "a.log").write_text("[    0.1] fine\n")
    out, err = io.StringIO(), io.StringIO()
    files = [tmp_path / "a.log", tmp_path / "gone.log"]
    assert scan_log_main(ScanRequest(files), out, err) == 2
    assert "gone.log: cannot be read" in err.getvalue()
