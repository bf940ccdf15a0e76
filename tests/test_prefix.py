# SPDX-License-Identifier: GPL-2.0-only
"""Whatever stands before the kernel's text, and whatever the log is packed in: same findings."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from kvet.detectors import scan_file, scan_text
from kvet.detectors.edges import repaired
from kvet.detectors.prefix import Sample, learn, tokens_of, undress
from kvet.model import Finding
from tests import captures
from tests.damage import SAME
from tests.forms import LINES, WHOLE, reshaped, rows_of, template
from tests.test_detectors import CLEAN, CONSOLES

SOME = (
    "double-lock",
    "lkdtm-corrupt-list-add",
    "lkdtm-panic",
    "nolock-debug",
    "provoke-device-kept",
    "provoke-hard-lockup",
    "provoke-inode-kept",
    "provoke-kept-in-user-space",
    "provoke-undefined",
)
Rows = list[tuple[float, str, str]]


def told(findings: list[Finding]) -> list[tuple[str, str, str]]:
    return [(found.kind, found.title, found.func) for found in findings]


def plain(rows: Rows) -> str:
    return reshaped(rows, template("{s} {x}"))


@cache
def consoles() -> dict[str, tuple[Rows, list[tuple[str, str, str]]]]:
    """Name, lines and findings of some consoles of our own boots."""
    all_rows = {name: rows_of((CONSOLES / f"{name}.log").read_text("utf-8")) for name in SOME}
    return {name: (rows, told(scan_text(plain(rows)))) for name, rows in all_rows.items()}


@pytest.mark.parametrize("form", LINES)
def test_the_prefix_of_a_line_changes_no_finding(form: str) -> None:
    for name, (rows, want) in consoles().items():
        assert told(scan_text(reshaped(rows, LINES[form]))) == want and want, name


@pytest.mark.parametrize("form", captures.LINES)
def test_what_a_collector_adds_to_a_line_changes_no_finding(form: str) -> None:
    for name, (rows, want) in consoles().items():
        assert told(scan_text(reshaped(rows, captures.LINES[form]))) == want, name


@pytest.mark.parametrize("form", captures.WHOLE)
def test_what_a_quotation_does_to_a_text_changes_no_finding(form: str) -> None:
    for name, (rows, want) in consoles().items():
        assert told(scan_text(captures.WHOLE[form](plain(rows)))) == want, name


@pytest.mark.parametrize("form", WHOLE)
def test_what_a_log_is_wrapped_in_changes_no_finding(form: str, tmp_path: Path) -> None:
    path = tmp_path / "log"
    for name, (rows, want) in consoles().items():
        path.write_bytes(WHOLE[form](plain(rows)))
        assert told(scan_file(path)) == want, name


@pytest.mark.parametrize("form", LINES)
def test_a_clean_boot_stays_clean(form: str) -> None:
    text = ""
    for line in CLEAN.splitlines():
        text += reshaped(rows_of(line), LINES[form]) if line.startswith("[ ") else line + "\n"
    assert scan_text(text) == []


SPLAT = (CONSOLES / "lkdtm-bug.log").read_text("utf-8")


@pytest.mark.parametrize(
    "prefix",
    [
        "Apr 15 13:58:03 host-1 fuzzer[12]: ",
        "Apr 15 13:58:03 host-1 fuzzer: ",
        "2026-04-15T13:58:03+02:00 host-1 test.sh[7]: ",
        "(XEN) ",
        "Subject: ",
    ],
)
def test_what_somebody_else_says_is_no_finding(prefix: str) -> None:
    text = reshaped(rows_of(SPLAT), lambda t, c, x: prefix + x)
    assert scan_text(SPLAT) and scan_text(text) == []


def test_a_process_that_shows_a_guests_console_is_read() -> None:
    text = reshaped(rows_of(SPLAT), template("Apr 15 {h} host-1 qemu[12]: {s} {x}"))
    assert told(scan_text(text)) == told(scan_text(SPLAT))


def test_lines_keep_their_numbers() -> None:
    want = scan_text(SPLAT)[0]
    found = scan_text(reshaped(rows_of(SPLAT), template("> | {s} {x}")))[0]
    assert (found.first_line, found.last_line) == (want.first_line, want.last_line)
    assert found.excerpt == want.excerpt


def test_two_quotes_of_different_depth_are_both_read() -> None:
    rows = rows_of(SPLAT)
    shallow, deep = (reshaped(rows, template(form)) for form in ("> {s} {x}", ">>> {x}"))
    assert len(scan_text(shallow + "Yes, and:\n" + deep)) == 2 * len(scan_text(SPLAT))


def test_a_learnt_prefix_says_who_speaks() -> None:
    text = "Apr 15 13:58:03 host-1 kernel: Call trace:\n"
    prefix = text[: text.index("Call")]
    (form,) = learn([Sample(prefix, "Call trace:")], text)
    assert undress(text, (form,)) == "[.000] Call trace:\n"
    other = text.replace("kernel", "sshd")
    assert undress(other, (form,)) == other


def test_of_two_stamps_the_last_is_the_kernels() -> None:
    kinds = [token.kind for token in tokens_of("[1.000] [    2.345678][  T12] ")]
    assert kinds == ["group", "space", "stamp", "caller", "space"]


@pytest.mark.parametrize("damage", SAME)
def test_mails_and_commit_messages_keep_the_title(damage: str) -> None:
    for name, (rows, want) in consoles().items():
        found = told(scan_text(SAME[damage](plain(rows))))
        assert found[:1] == want[:1], name


@pytest.mark.parametrize("form", [*captures.LINES, *captures.WHOLE])
def test_a_clean_log_stays_clean_in_every_capture(form: str) -> None:
    # a form with stamps would lend them to lines of user space
    text = "".join(line for line in CLEAN.splitlines(keepends=True) if line.startswith("["))
    assert text.count("\n") > 9
    whole = captures.WHOLE.get(form)
    shaped = whole(text) if whole else reshaped(rows_of(text), captures.LINES[form])
    assert scan_text(shaped) == []


def test_lines_of_a_full_width_are_joined_only_with_rests() -> None:
    line = "[    1.000000] " + "x" * 65
    broken = f"{line}\nrest\n{line}\nmore\n[    1.000001] short\n" * 3
    assert repaired(broken).split("\n")[:3] == [line + "rest", "", line + "more"]
    whole = f"{line}\n{line}\n[    1.000001] short\n" * 3
    assert repaired(whole) == whole


def test_a_tail_that_some_lines_lack_stays() -> None:
    text = "".join(f"[    1.00000{n}] f() |{' x' * (n % 2)}\n" for n in range(9))
    assert repaired(text) == text


def test_a_log_with_the_newest_line_first_is_read_from_its_end() -> None:
    rows, want = consoles()["lkdtm-panic"]
    text = plain(rows)
    total = text.count("\n")
    forth = scan_text(text)
    back = scan_text("\n".join(reversed(text.splitlines())) + "\n")
    assert told(back) == want
    assert [(total + 1 - f.last_line, total + 1 - f.first_line) for f in forth] == [
        (f.first_line, f.last_line) for f in back
    ]
