# SPDX-License-Identifier: GPL-2.0-only
"""Where mails are kept: files, archives, maildirs, directories of patches."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
from collections.abc import Callable
from pathlib import Path

import lz4.frame
import pytest
import zstandard

from kvet.compressed import unpacked
from kvet.errors import UserError
from kvet.source.given import open_series
from tests.mails import Box, diff, subjects
from tests.packed import tar, zipped


def test_mailbox_on_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    box = Box()
    box.series("PATCH", "mm: one", "mm: two")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(gzip.compress(box.mbox()))))
    series = open_series("-", tmp_path / "o")
    assert (series.variant.name, subjects(series, tmp_path)) == ("stdin", ["mm: one", "mm: two"])


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
    ".lz4": lz4.frame.compress,
    ".zst": lambda data: zstandard.ZstdCompressor().compress(data),
}


@pytest.mark.parametrize("suffix", PACKERS)
def test_compressed_as_a_file_and_in_a_directory(tmp_path: Path, suffix: str) -> None:
    box = Box()
    box.series("PATCH", "mm: one", "mm: two")
    (tmp_path / f"t.mbox{suffix}").write_bytes(PACKERS[suffix](box.mbox()))
    series = open_series(str(tmp_path / f"t.mbox{suffix}"), tmp_path / "out")
    assert (series.variant.name, subjects(series, tmp_path)) == ("t", ["mm: one", "mm: two"])
    folder = tmp_path / "dir"
    folder.mkdir()
    for number, mail in enumerate(box.mails[1:], start=1):
        path = folder / f"000{number}-x.patch{suffix}"
        path.write_bytes(PACKERS[suffix](mail.as_bytes()))
    assert subjects(open_series(str(folder), tmp_path / "o"), tmp_path) == ["mm: one", "mm: two"]


@pytest.mark.parametrize("suffix", PACKERS)
def test_damaged_archives_are_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"t.mbox{suffix}"
    path.write_bytes(PACKERS[suffix](b"From x" * 500)[:-12] + b"\0" * 4)
    with pytest.raises(UserError, match=r"t\.mbox.*cannot be unpacked"):
        open_series(str(path), tmp_path / "out")


@pytest.mark.parametrize("suffix", PACKERS)
def test_what_unpacks_without_end_is_refused(suffix: str) -> None:
    data = PACKERS[suffix](b"\0" * (3 << 20))
    with pytest.raises(UserError, match="bomb: unpacks to more than 1 MiB"):
        unpacked(data, name=Path("bomb"), most=1 << 20)
    assert len(unpacked(data * 2, name=Path("twice"))) == 6 << 20


def test_maildir(tmp_path: Path) -> None:
    box = Box()
    box.series("PATCH v2", "mm: one", "mm: two")
    for name in ("cur", "new", "tmp"):
        (tmp_path / "dir" / name).mkdir(parents=True)
    for number, mail in enumerate(box.mails):
        place = "new" if number == 2 else "cur"
        flags = "" if number == 2 else ":2,S"
        (tmp_path / "dir" / place / f"{9 - number}.host{flags}").write_bytes(mail.as_bytes())
    trashed = Box()
    trashed.series("PATCH v3", "mm: gone", "mm: gone too")
    (tmp_path / "dir" / "cur" / "0.host:2,ST").write_bytes(trashed.mails[1].as_bytes())
    series = open_series(str(tmp_path / "dir"), tmp_path / "out")
    assert (series.label, subjects(series, tmp_path)) == ("v2", ["mm: one", "mm: two"])


@pytest.mark.parametrize("suffix", [".eml", ".eml.gz"])
def test_directory_of_mails_with_any_names(tmp_path: Path, suffix: str) -> None:
    box = Box()
    box.series("PATCH v2", "mm: one", "mm: two")
    box.add("Re: [PATCH v2 1/2] mm: one", "Fine.\n\n" + diff(), to="1@example.org")
    folder = tmp_path / "mails"
    folder.mkdir()
    for name, mail in zip("dcba", box.mails, strict=True):
        data = mail.as_bytes()
        packed = gzip.compress(data) if suffix.endswith(".gz") else data
        (folder / f"{name}{suffix}").write_bytes(packed)
    (folder / "notes.md").write_text("not a mail")
    assert subjects(open_series(str(folder), tmp_path / "o"), tmp_path) == ["mm: one", "mm: two"]


def test_directory_of_bare_diffs_in_the_order_of_numbers(tmp_path: Path) -> None:
    folder = tmp_path / "diffs"
    folder.mkdir()
    for name in ("10-c.diff", "9-b.diff", "1-a.diff"):
        (folder / name).write_text(diff(new=name))
    series = open_series(str(folder), tmp_path / "o")
    assert [p.name for p in series.variant.patches] == ["1-a.diff", "9-b.diff", "10-c.diff"]


def test_directory_with_two_versions_takes_the_newest(tmp_path: Path) -> None:
    folder = tmp_path / "outgoing"
    folder.mkdir()
    for prefix, tag in (("", "PATCH"), ("v2-", "PATCH v2")):
        box = Box()
        box.series(tag, f"mm: {prefix}one", f"mm: {prefix}two")
        names = ("cover-letter", "one", "two")
        for number, (name, mail) in enumerate(zip(names, box.mails, strict=True)):
            (folder / f"{prefix}{number:04d}-{name}.patch").write_bytes(mail.as_bytes())
    series = open_series(str(folder), tmp_path / "o")
    assert subjects(series, tmp_path) == ["mm: v2-one", "mm: v2-two"]
    assert (series.label, series.cover) == ("v2", "The story.")
    assert series.notes == ("v1 is left out: v2 is newer",)


@pytest.mark.parametrize(
    ("names", "taken"),
    [
        (("mm-fix-v1.patch", "mm-fix-v2.patch", "mm-fix-v10.patch"), "mm-fix-v10.patch"),
        (("v1.diff", "v2.diff"), "v2.diff"),
        (("fix.diff", "fix.v2.diff"), "fix.v2.diff"),
    ],
)
def test_versions_in_the_names_of_files(tmp_path: Path, names: tuple[str, ...], taken: str) -> None:
    folder = tmp_path / "diffs"
    folder.mkdir()
    for name in names:
        (folder / name).write_text(f"mm: fix\n\n{diff()}")
    series = open_series(str(folder), tmp_path / "o")
    assert [p.name for p in series.variant.patches] == [taken]
    assert len([note for note in series.notes if "left out" in note]) == len(names) - 1


def test_names_of_kernels_are_no_versions(tmp_path: Path) -> None:
    for name in ("a-v6.12.diff", "b-v6.1.diff"):
        (tmp_path / name).write_text(diff())
    assert len(open_series(str(tmp_path), tmp_path / "o").variant.patches) == 2


def test_directory_in_which_patches_of_the_series_are_missing(tmp_path: Path) -> None:
    box = Box()
    box.series("PATCH v2", "mm: one", "mm: two", "mm: three", cover=False)
    for number in (0, 2):
        (tmp_path / f"v2-000{number + 1}-x.patch").write_bytes(box.mails[number].as_bytes())
    series = open_series(str(tmp_path), tmp_path / "o")
    assert subjects(series, tmp_path) == ["mm: one", "mm: three"]
    assert series.notes == ("2 of its 3 patches are here",)


def test_two_files_with_one_number(tmp_path: Path) -> None:
    for name in ("0001-old-name.patch", "0001-new-name.patch"):
        (tmp_path / name).write_text(diff())
    with pytest.raises(
        UserError, match="two files with number 1: 0001-new-name.patch and 0001-old"
    ):
        open_series(str(tmp_path), tmp_path / "o")


def test_directory_cannot_lead_out_of_itself(tmp_path: Path) -> None:
    (tmp_path / "secret.patch").write_text(diff())
    folder = tmp_path / "d"
    folder.mkdir()
    (folder / "0001-x.patch").symlink_to(tmp_path / "secret.patch")
    with pytest.raises(UserError, match="leaves the directory"):
        open_series(str(folder), tmp_path / "o")


def test_output_of_b4_am(tmp_path: Path) -> None:
    """Patches with links, in a .mbx; the cover letter in a file beside it."""
    box = Box()
    box.series("PATCH v3", "mm: one", "mm: two", cover=False)
    for mail in box.mails:
        link = f"Link: https://patch.msgid.link/{mail['Message-ID'].strip('<>')}\n"
        mail.set_content(f"Why.\n\n{link}{diff()}-- \n2.39.5\n", cte="8bit")
    (tmp_path / "v3_20260302_why.mbx").write_bytes(box.mbox())
    cover = Box()
    cover.add("[PATCH v3 0/2] why", "The story.\n\nbase-commit: 0123456789abcdef0123\n")
    (tmp_path / "v3_20260302_why.cover").write_bytes(cover.mails[0].as_bytes())
    series = open_series(str(tmp_path / "v3_20260302_why.mbx"), tmp_path / "o")
    assert (series.label, subjects(series, tmp_path)) == ("v3", ["mm: one", "mm: two"])
    assert series.base.commit == "0123456789abcdef0123"
    assert (series.subject, series.message_id) == ("why", "0@example.org")
    assert series.cover.startswith("The story.")


ARCHIVES: dict[str, Callable[[dict[str, bytes]], bytes]] = {
    "t.tar": tar,
    "t.tar.xz": lambda files: lzma.compress(tar(files)),
    "t.zip": zipped,
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_archives_of_mails_maildirs_and_patches(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = Box()
    box.series("PATCH v3", "mm: one", "mm: two")
    mails = [mail.as_bytes() for mail in box.mails]
    places = {
        "a mailbox": {"t.mbox": box.mbox()},
        "a directory": {f"dir/{number}.eml": mail for number, mail in enumerate(mails)},
        "a maildir": {f"box/cur/{number}:2,S": mail for number, mail in enumerate(mails)},
        "patches": {f"v3-000{number}-x.patch": mail for number, mail in enumerate(mails)},
    }
    for what, files in places.items():
        path = tmp_path / name
        path.write_bytes(ARCHIVES[name](files))
        series = open_series(str(path), tmp_path / what)
        assert subjects(series, tmp_path) == ["mm: one", "mm: two"], what
        assert series.label == "v3", what
    piped = io.TextIOWrapper(io.BytesIO(path.read_bytes()))
    monkeypatch.setattr("sys.stdin", piped)
    assert subjects(open_series("-", tmp_path / "piped"), tmp_path) == ["mm: one", "mm: two"]


@pytest.mark.parametrize("name", ["../evil.patch", "/evil.patch"])
def test_an_archive_cannot_lead_out_of_itself(tmp_path: Path, name: str) -> None:
    path = tmp_path / "t.tar"
    path.write_bytes(tar({name: b"x"}))
    with pytest.raises(UserError, match="leads out of the archive"):
        open_series(str(path), tmp_path / "out")
    assert not (tmp_path / "evil.patch").exists()


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.zip"
    path.write_bytes(zipped({"1.patch": b"x" * 500})[:-30])
    with pytest.raises(UserError, match=r"t\.zip.*is damaged"):
        open_series(str(path), tmp_path / "out")
