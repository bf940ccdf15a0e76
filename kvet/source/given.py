# SPDX-License-Identifier: GPL-2.0-only
"""What a `--series` argument means: from a file, directory, commits or message id to patches.

Every form ends as plain patch files in a directory, in order, with what the
mails say of themselves beside them.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kvet.archives import unpack
from kvet.errors import UserError
from kvet.model import Role, Variant
from kvet.source.commits import format_range
from kvet.source.diff import backwards, prose_of, with_level_one
from kvet.source.lore import fetch_thread, message_id_of
from kvet.source.mails import FILE_NUMBER, Mail, as_patch, read_file, read_place, with_file_version
from kvet.source.quilt import read_quilt
from kvet.source.subject import version_label
from kvet.source.thread import APART, Posting, Thread, find_thread, pick

KINDS = (
    "give a mailbox, maildir, .patch, directory of mails or patches, quilt directory, "
    "archive of these, message id, GITDIR:BASE..TIP, or - for standard input"
)
BASE_COMMIT = re.compile(r"^base-commit:\s*([0-9a-f]{7,64})\s*$", re.MULTILINE | re.IGNORECASE)
PREREQUISITE = re.compile(r"^prerequisite-patch-id:\s*([0-9a-f]{40,64})\s*$", re.MULTILINE)
BASED_ON = re.compile(
    r"(?:\b(?:re)?based (?:up)?on|\bapplies (?:cleanly )?(?:on|to|against)|\bbase:"
    r"|\b(?:made|generated|developed) against).*"
    # and not on somebody's idea
    r"(?:\bv?\d+\.\d|\brc\d|\b(?:next|mainline|master|main|tree|branch|commit|tip|linus)\b"
    r"|-next|\bmm-|\b[0-9a-f]{12})",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Base:
    """What a series says it is made on: a commit, patch ids before it, and its own words."""

    commit: str = ""
    prerequisites: tuple[str, ...] = ()
    words: str = ""


@dataclass(frozen=True, slots=True)
class GivenSeries:
    """A series as given: the variant to judge, who sent it, and what was inferred or left out.

    `label` is `v2` where the mails name a version, else the name of what was given.
    """

    spec: str
    variant: Variant
    label: str
    subject: str = ""
    author: str = ""
    message_id: str = ""
    cover: str = ""
    base: Base = Base()
    notes: tuple[str, ...] = ()


def series_variant(spec: str, folder: Path) -> Variant:
    """The variant that a `--series` argument means; its patches are copied to `folder`."""
    return open_series(spec, folder).variant


def open_series(spec: str, folder: Path) -> GivenSeries:
    """The series that `spec` means, of several versions the newest; patches go to `folder`.

    `spec` is a mailbox, maildir, .patch file, directory, quilt directory, message id
    or URL, `GITDIR:BASE..TIP`, or `-` for a mailbox on standard input. Raises UserError
    that says what is wrong with it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = Path(spec).expanduser()
    if spec == "-":
        path = folder / "stdin"
        path.write_bytes(sys.stdin.buffer.read())
    path = _out_of_archive(path, folder)
    if spec and path.is_dir() and (path / "series").exists():
        return _from_quilt(spec, path, folder)
    if spec and path.is_dir() and (numbered := _numbered_files(path)):
        return _from_files(spec, path, numbered, folder)
    if (spec and path.is_dir()) or path.is_file():
        return _from_mails(spec, path, folder)
    if message_id_of(spec) or spec.startswith(("http://", "https://")):
        fetched = fetch_thread(spec, folder)
        given = _from_mails(spec, fetched.path, folder, message_id=fetched.message_id)
        return replace(given, notes=(f"fetched with {fetched.tool}", *given.notes))
    if ":" in spec and ".." in spec:
        return _from_range(spec, folder)
    raise UserError(f"--series {spec}: there is no such file or directory", hint=KINDS)


def _out_of_archive(path: Path, folder: Path) -> Path:
    """The directory into which an archive was unpacked; `path` itself when it is none."""
    place = folder / "unpacked"
    if not path.is_file() or not unpack(path, place):
        return path
    inside = list(place.iterdir()) if place.is_dir() else []
    while len(inside) == 1 and inside[0].is_dir() and inside[0].name not in ("cur", "new"):
        place = inside[0]
        inside = list(place.iterdir())
    return inside[0] if len(inside) == 1 and inside[0].is_file() else place


def all_versions(spec: str, folder: Path) -> tuple[GivenSeries, ...]:
    """Every version in a mailbox or thread, the oldest first, each with patches in a directory.

    Versions of which a part is missing are left out with a note on the newest;
    raises UserError when that one is not whole.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = Path(spec).expanduser()
    notes: list[str] = []
    if not path.exists():
        fetched = fetch_thread(spec, folder)
        path = fetched.path
        notes.append(f"fetched with {fetched.tool}")
    path = _out_of_archive(path, folder)
    thread = find_thread(with_file_version(read_place(path)))
    newest = pick(thread, path)
    out = []
    for posting in thread.postings:
        if posting is not newest and (posting.missing or posting.conflict):
            lacking = posting.conflict or f"lacks patch {', '.join(posting.missing)}"
            notes.append(f"{posting.label} is left out: it {lacking}")
            continue
        out.append(_given(spec, posting, _made(folder / posting.label), named=True))
    notes += [f"left out: {text}" for text in thread.left_out]
    return (*out[:-1], replace(out[-1], notes=(*out[-1].notes, *notes)))


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _from_mails(spec: str, path: Path, folder: Path, *, message_id: str = "") -> GivenSeries:
    mails = with_file_version(read_place(path))
    thread = find_thread(mails)
    if not thread.postings:
        raise UserError(f"--series {spec}: holds no patches", hint=_where_then(path))
    holding = [mail for mail in mails if mail.holds_diff or mail.tags.number == 0]
    if len(holding) == 1:  # one mail of a series, given alone: it is what is meant
        thread = Thread(tuple(_alone(posting) for posting in thread.postings), thread.left_out)
    # of a reply the version is meant that it answers
    parents = next((m.parents for m in mails if m.message_id == message_id), ())
    meant = (message_id, *parents) if message_id else ()
    posting = pick(thread, path, meant=meant)
    given = _given(spec, posting, folder, named=len(thread.postings) > 1)
    others = [p for p in thread.postings if p is not posting]
    older = [f"{p.label} ({p.first.subject!r}) is left out: it is not the newest" for p in others]
    if message_id:
        older = [f"{p.label} is left out: {message_id} is {posting.label}" for p in others]
    left = [f"left out: {text}" for text in thread.left_out]
    return replace(given, notes=(*given.notes, *older, *left))


def _alone(posting: Posting) -> Posting:
    """`posting` as a series of the patches that it has."""
    if not posting.missing:
        return posting
    note = f"patch {next(iter(posting.patches))}/{posting.total} is taken alone"
    return replace(posting, total=0, notes=(*posting.notes, note))


def _given(spec: str, posting: Posting, folder: Path, *, named: bool) -> GivenSeries:
    """The series of `posting`; its label is a version when `named` or where the mails name one."""
    mails = list(posting.patches.values())
    extra = [n for n in posting.patches if posting.total and n > posting.total]
    notes = [f"patch {n}/{posting.total} is taken, too" for n in extra]
    given = _of_mails(spec, mails, folder, cover=posting.cover)
    label = posting.label if named or posting.version else given.label
    return replace(given, label=label, notes=(*posting.notes, *notes))


def _of_mails(
    spec: str, mails: Sequence[Mail], folder: Path, *, cover: Mail | None = None
) -> GivenSeries:
    """The series that `mails` are, in this order."""
    patches = tuple(_written(mail, n, folder) for n, mail in enumerate(mails, start=1))
    cover = cover or _cover_beside(spec)
    first = cover or mails[0]
    text = _text(cover)
    name = _name_of(spec)
    return GivenSeries(
        spec=spec,
        variant=_variant(spec, name, patches),
        label=name,
        subject=first.subject,
        author=first.author,
        message_id=first.message_id,
        cover=text,
        base=_base(text, mails[0]),
    )


def _variant(spec: str, name: str, patches: tuple[Path, ...]) -> Variant:
    title = f"series {spec}"
    return Variant(name=name, title=title, role=Role.CANDIDATE, patches=patches, foreign=True)


def _name_of(spec: str) -> str:
    """A name for cells and directories from what was given."""
    path = Path(spec).expanduser()
    gitdir = Path(spec.rpartition(":")[0] or ".").expanduser()
    if path.is_dir():
        name = path.resolve().name
    elif path.is_file():
        name = re.sub(r"\.(?:gz|xz|bz2|zst|lz4)$", "", path.name)
        name = re.sub(r"\.[A-Za-z]+$", "", name)
    elif spec == "-":
        name = "stdin"
    elif message_id_of(spec):
        name = message_id_of(spec).partition("@")[0]
    else:
        name = gitdir.resolve().name
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "series"


def _written(mail: Mail, number: int, folder: Path) -> Path:
    """`mail` as a patch file, called as format-patch would; its own file where it is one."""
    data = as_patch(mail)
    if mail.file.suffix in (".patch", ".diff", ".eml") and mail.file.read_bytes() == data:
        return mail.file
    words = re.sub(r"[^A-Za-z0-9._]+", "-", mail.subject or mail.file.stem).strip("-.")
    path = folder / f"{number:04d}-{words[:52].strip('-.') or 'patch'}.patch"
    path.write_bytes(data)
    return path


def _text(mail: Mail | None) -> str:
    return prose_of(mail.body).decode(errors="replace").strip() if mail else ""


def _cover_beside(spec: str) -> Mail | None:
    """The cover letter that `b4 am` puts beside its .mbx, .maildir or .patches."""
    path = Path(spec).expanduser().with_suffix(".cover")
    return next(iter(read_file(path)), None) if path.is_file() else None


def _base(cover: str, first: Mail) -> Base:
    """What the cover letter, or the first patch below its message, says of the base."""
    everything = f"{cover}\n{first.body.decode(errors='replace')}"
    commit = BASE_COMMIT.search(everything)
    prose = cover or _text(first).partition("\n---\n")[2]
    return Base(
        commit=commit[1] if commit else "",
        prerequisites=tuple(PREREQUISITE.findall(everything)),
        words=next((x for x in _sentences(prose) if BASED_ON.search(x)), ""),
    )


def _sentences(text: str) -> Iterator[str]:
    for paragraph in re.split(r"\n\s*\n", text):
        yield from re.split(r"(?<=[.!:])\s+(?=[A-Z])", " ".join(paragraph.split()))


def _from_quilt(spec: str, path: Path, folder: Path) -> GivenSeries:
    mails, notes = [], []
    for entry in read_quilt(path):
        if entry.guarded:
            notes.append(f"left out: {entry.path.name}, by its guard {entry.guarded}")
            continue
        for mail in read_file(entry.path):
            if entry.level != 1 or entry.reverse:
                head = prose_of(mail.body)
                diff = with_level_one(mail.body[len(head) :], entry.level)
                diff = backwards(diff) if entry.reverse else diff
                mail = replace(mail, body=head + diff, as_sent=False)
            mails.append(replace(mail, file=entry.path))
    if not mails:
        raise UserError(f"--series {spec}: holds no patches", hint=_where_then(path))
    return replace(_of_mails(spec, mails, folder), notes=tuple(notes))


def _from_range(spec: str, folder: Path) -> GivenSeries:
    """The commits `BASE..TIP` of a repository."""
    mails = [mail for file in format_range(spec, folder) for mail in read_file(file)]
    if not mails:
        raise UserError(f"--series {spec}: holds no patches", hint=_where_then(Path(spec)))
    return _of_mails(spec, mails, folder)


def _numbered_files(path: Path) -> list[Mail]:
    """The mails of a directory whose files are all called as format-patch calls them; else none."""
    mails = with_file_version(read_place(path))
    holding = [m for m in mails if m.holds_diff]
    names = [m.file.name for m in mails]
    alike = all(FILE_NUMBER.match(name) for name in names) and len(set(names)) == len(names)
    replies = any(m.tags.reply or m.tags.bot for m in holding)
    return mails if holding and alike and not replies else []


def _from_files(spec: str, path: Path, mails: Sequence[Mail], folder: Path) -> GivenSeries:
    """Patches in the order of their files' numbers: the newest version of them."""
    by_version: dict[tuple[int, ...], list[Mail]] = {}
    for mail in mails:
        by_version.setdefault(mail.tags.version or (1,), []).append(mail)
    newest = max(version for version, group in by_version.items() if _patches_of(group))
    chosen = _patches_of(by_version[newest])
    _refuse_twice(chosen, path)
    posting = Posting(chosen[0].tags.version, 0, dict(enumerate(chosen, start=1)))
    covers = [m for m in by_version[newest] if m.tags.number == 0]
    posting = replace(posting, cover=covers[-1] if covers else None)
    given = _given(spec, posting, folder, named=len(by_version) > 1)
    notes = [
        f"{version_label(version)} is left out: {posting.label} is newer"
        for version in sorted(by_version)
        if version != newest
    ]
    total = max(mail.tags.total for mail in chosen)
    if len(chosen) < total:
        notes.append(f"{len(chosen)} of its {total} patches are here")
    return replace(given, notes=(*given.notes, *notes))


def _patches_of(mails: Sequence[Mail]) -> list[Mail]:
    return [mail for mail in mails if mail.holds_diff and mail.tags.number != 0]


def _refuse_twice(mails: Sequence[Mail], path: Path) -> None:
    """Raise UserError when two files have one number: a patch renamed, its old file still there."""
    seen: dict[int, str] = {}
    for mail in mails:
        found = FILE_NUMBER.match(mail.file.name)
        number = int(found[2]) if found else 0
        if number in seen:
            names = f"{seen[number]} and {mail.file.name}"
            raise UserError(f"holds two files with number {number}: {names}", path=path, hint=APART)
        seen[number] = mail.file.name


def _where_then(path: Path) -> str:
    """What may have been meant by a `--series` in which there are no patches."""
    if (path / "patches").is_dir():
        return f"--series {path / 'patches'}"
    if path.is_dir() and (path / ".git").exists():
        return f"for commits of a repository: --series {path}:BASE..TIP"
    if path.is_dir():
        return "a directory needs mails or *.patch files, or a quilt `series` file that names them"
    return "" if path.exists() else "the range is BASE..TIP: what TIP has and BASE has not"
