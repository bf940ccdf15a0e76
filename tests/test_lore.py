# SPDX-License-Identifier: GPL-2.0-only
"""A message id or an archive's address goes through b4; without b4 the command for it is given."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from kvet.cli.main import main
from kvet.errors import InfraError, MissingTool, UserError
from kvet.source.given import all_versions, open_series
from kvet.source.lore import find_b4, message_id_of
from tests.mails import Box

B4 = """\
#!/bin/sh
# as b4 0.16: `b4 mbox -o DIR -n NAME MSGID` writes the thread to DIR/NAME
[ "$1" = --version ] && echo 0.16.0 && exit 0
printf '%s\\n' "$*" >>{log}
if [ "$1 $2 $4 $6" != "mbox -o -n {wanted}" ]; then
	echo "Could not retrieve thread: no $6" >&2
	exit 1
fi
cp {thread} "$3/$5"
"""


@pytest.fixture
def b4(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A b4 that knows one thread of two versions; the file that tells how it was called."""
    box = Box()
    ids = box.series("PATCH", "mm: one", "mm: two")
    box.series("PATCH v2", "mm: eins", "mm: zwei", to=ids[0])
    (tmp_path / "thread").write_bytes(box.mbox())
    (tmp_path / "bin").mkdir()
    log = tmp_path / "calls"
    script = B4.format(log=log, wanted="1@example.org", thread=tmp_path / "thread")
    (tmp_path / "bin" / "b4").write_text(script)
    (tmp_path / "bin" / "b4").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    return log


@pytest.mark.parametrize(
    ("spec", "message_id"),
    [
        ("1@example.org", "1@example.org"),
        ("<1@example.org>", "1@example.org"),
        ("https://lore.kernel.org/all/1@example.org/", "1@example.org"),
        ("https://lore.kernel.org/linux-mm/1@example.org/T/#u", "1@example.org"),
        ("https://patch.msgid.link/1@example.org", "1@example.org"),
        ("https://lore.kernel.org/r/a%2Bb%40example.org", "a+b@example.org"),
        ("https://lore.kernel.org/linux-mm/", ""),
        ("-o@example.org", ""),
        ("/tmp/x@y/t.mbox", ""),
        ("user@host:linux:a..b", ""),
    ],
)
def test_message_id_of_what_was_given(spec: str, message_id: str) -> None:
    assert message_id_of(spec) == message_id


def test_the_version_that_was_asked_for_is_taken(b4: Path, tmp_path: Path) -> None:
    """The thread holds a newer one; the message id is of the first."""
    series = open_series("https://lore.kernel.org/all/1@example.org/", tmp_path / "o")
    assert [p.name for p in series.variant.patches] == ["0001-mm-one.patch", "0002-mm-two.patch"]
    assert series.notes[0] == "fetched with b4 0.16.0"
    assert "v2 is left out: 1@example.org is v1" in series.notes
    assert b4.read_text() == f"mbox -o {tmp_path}/o/b4 -n thread.mbx 1@example.org\n"


def test_a_reply_stands_for_the_version_that_it_answers(b4: Path, tmp_path: Path) -> None:
    box = Box()
    ids = box.series("PATCH", "mm: one")
    reply = box.add("Re: [PATCH 1/1] mm: one", "Hm.\n", to=ids[1], key="1")
    box.series("PATCH v2", "mm: eins", to=reply)
    box.mails[2].replace_header("Message-ID", "<1@example.org>")
    box.mails[1].replace_header("Message-ID", "<first@example.org>")
    box.mails[2].replace_header("In-Reply-To", "<first@example.org>")
    (tmp_path / "thread").write_bytes(box.mbox())
    series = open_series("1@example.org", tmp_path / "o")
    assert [p.name for p in series.variant.patches] == ["0001-mm-one.patch"]


def test_every_version_of_a_message_id(b4: Path, tmp_path: Path) -> None:
    versions = all_versions("1@example.org", tmp_path / "o")
    assert [v.label for v in versions] == ["v1", "v2"]
    assert "fetched with b4 0.16.0" in versions[-1].notes


def test_what_b4_cannot_fetch_is_our_trouble(b4: Path, tmp_path: Path) -> None:
    with pytest.raises(InfraError, match="b4 cannot fetch 9@example.org: Could not retrieve"):
        open_series("9@example.org", tmp_path / "o")


def test_an_address_without_a_message_id(b4: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no message id in this address"):
        open_series("https://lore.kernel.org/linux-mm/", tmp_path / "o")


def test_without_b4_the_command_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.touch()
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    monkeypatch.setattr("kvet.source.lore.PROJECT", tmp_path)
    with pytest.raises(MissingTool) as caught:
        open_series("1@example.org", tmp_path / "o")
    assert caught.value.hint == f"{python} -m pip install b4"
    assert main(["run", "--series", "1@example.org", "--dry-run"]) == 3
    err = capsys.readouterr().err
    assert "b4, which fetches message ids and addresses, is not installed" in err
    assert f"{python} -m pip install b4" in err
    python.with_name("b4").write_text("#!/bin/sh\necho 0.16.0\n")
    python.with_name("b4").chmod(0o755)
    assert find_b4() == str(python.with_name("b4"))
