# SPDX-License-Identifier: GPL-2.0-only
"""Finds the series in a heap of mails: every version of it, whole, in order, and nothing else.

A thread holds cover letters, replies, mails that came twice, bots that mail the
diff they applied, fixups, older versions, and new versions of single patches.
What holds a diff and is not taken is told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from kvet.errors import UserError
from kvet.source.mails import Mail
from kvet.source.subject import version_label

Version = tuple[int, ...]
APART = "put the patches that are meant into a directory, with a `series` file that names them"


@dataclass(frozen=True, slots=True)
class Posting:
    """One version of a series as posted: its patches by number, each once.

    Patches without a number count from 1 in the order they came; `total` is 0
    then. `notes` say what was inferred.
    """

    version: Version
    total: int
    patches: Mapping[int, Mail]
    cover: Mail | None = None
    notes: tuple[str, ...] = ()
    conflict: str = ""  # two different patches that claim the same place

    @property
    def label(self) -> str:
        """`v2`."""
        return version_label(self.version)

    @property
    def first(self) -> Mail:
        """The mail that stands for the series: its cover letter, else its first patch."""
        return self.cover or self.patches[min(self.patches)]

    @property
    def missing(self) -> list[str]:
        """The patches that it says it has and has not (`2/3`)."""
        numbers = range(1, self.total + 1)
        return [f"{n}/{self.total}" for n in numbers if n not in self.patches]

    @property
    def message_ids(self) -> set[str]:
        """The message ids of its patches and cover letter."""
        mails = [*self.patches.values(), *([self.cover] if self.cover else [])]
        return {mail.message_id for mail in mails if mail.message_id}


@dataclass(frozen=True, slots=True)
class Thread:
    """The series found among mails, oldest version first, and what was left out of them."""

    postings: tuple[Posting, ...]
    left_out: tuple[str, ...] = ()


@dataclass(slots=True)
class _Heap:
    """Mails by what they can be to a series, and what is left out with its reason."""

    covers: list[Mail] = field(default_factory=list)
    numbered: list[Mail] = field(default_factory=list)
    single: list[Mail] = field(default_factory=list)  # patches without a number
    other: list[Mail] = field(default_factory=list)  # bots and replies
    left_out: list[str] = field(default_factory=list)


def find_thread(mails: Sequence[Mail]) -> Thread:
    """The versions of the series in `mails`, each complete where anything here completes it."""
    once = _once(mails)
    known = {mail.message_id: mail for mail in once if mail.message_id}
    heap = _sort(once, known)
    heap.single = list(_without_fixups(heap, known))
    postings = [*_numbered(heap.numbered), *_singles(heap)]
    if not postings and heap.other:
        postings = [_last_resort(heap)]
    heap.left_out += [f"{_quoted(mail)}: {_kind(mail)}" for mail in heap.other]
    postings = [_with_cover(p, heap.covers, known) for p in postings]
    postings.sort(key=lambda p: (p.version or (1,), p.first.sent))
    postings = _rerolled(_each_version_once(postings, known), known)
    return Thread(tuple(postings), tuple(heap.left_out))


def pick(thread: Thread, place: Path, *, meant: Sequence[str] = ()) -> Posting:
    """The newest version, or the one that the first of the message ids `meant` belongs to.

    Raises UserError when there is none, or when a part of it is missing.
    """
    of_id = [p for name in meant for p in thread.postings if name in p.message_ids]
    candidates = of_id[:1] or list(thread.postings)
    if not candidates:
        raise UserError("holds no patches", path=place)
    posting = candidates[-1]
    if posting.conflict:
        raise UserError(posting.conflict, path=place, hint=APART)
    if posting.missing:
        lacking = ", ".join(posting.missing)
        raise UserError(f"lacks patch {lacking} of {posting.label}", path=place, hint=APART)
    return posting


def _once(mails: Sequence[Mail]) -> list[Mail]:
    """Each mail once: what came over two lists, or lies there twice, is the same mail."""
    seen: dict[tuple[str, str, int | None], Mail] = {}
    for mail in mails:
        key = mail.message_id if mail.message_id else str(hash((mail.body, mail.file)))
        seen.setdefault((key, mail.subject, mail.tags.number), mail)
    return list(seen.values())


def _sort(mails: Sequence[Mail], known: Mapping[str, Mail]) -> _Heap:
    out = _Heap()
    for mail in mails:
        tags = mail.tags
        if tags.number == 0 and not tags.reply:
            out.covers.append(mail)
        elif not mail.holds_diff:
            continue
        elif tags.reply or tags.bot:
            out.other.append(mail)
        elif tags.number is not None:
            out.numbered.append(_with_version(mail, known))
        else:
            out.single.append(mail)
    return out


def _ancestors(mail: Mail, known: Mapping[str, Mail]) -> Iterator[Mail]:
    """The mails that `mail` answers, directly or through others, as far as they are here."""
    seen = {mail.message_id}
    queue = list(mail.parents)
    while queue:
        name = queue.pop(0)
        if name in seen or name not in known:
            continue
        seen.add(name)
        yield known[name]
        queue += known[name].parents


def _with_version(mail: Mail, known: Mapping[str, Mail]) -> Mail:
    """`mail` with the version of its cover letter where its own subject names none."""
    if mail.tags.version:
        return mail
    parent = next((known[x] for x in mail.parents if x in known), None)
    if parent is None or parent.tags.total != mail.tags.total:
        return mail
    # the same number again is a version of its own, without a name
    if parent.tags.number in (0, 1) and parent.tags.number != mail.tags.number:
        return replace(mail, tags=replace(mail.tags, version=parent.tags.version))
    return mail


def _numbered(mails: Sequence[Mail]) -> list[Posting]:
    """Numbered patches by version; a number that comes again begins another posting of it."""
    groups: list[dict[int, Mail]] = []
    heads: list[tuple[Version, int]] = []
    for mail in sorted(mails, key=lambda m: m.sent):
        number = mail.tags.number or 0
        head = (mail.tags.version or (1,), mail.tags.total)
        fits = [g for g, h in zip(groups, heads, strict=True) if h == head and number not in g]
        if not fits:
            fits = [{}]
            groups.append(fits[0])
            heads.append(head)
        fits[-1][number] = mail
    return [
        Posting(next(iter(group.values())).tags.version, total, dict(sorted(group.items())))
        for group, (_, total) in zip(groups, heads, strict=True)
    ]


def _without_fixups(heap: _Heap, known: Mapping[str, Mail]) -> Iterator[Mail]:
    """Patches without a number that are postings of their own.

    What answers a patch of the same version mends it and is left out; a newer
    version of one numbered patch joins the numbered ones.
    """
    ours = {m.message_id for m in [*heap.covers, *heap.numbered, *heap.single] if m.message_id}
    said = any(m.tags.patch for m in [*heap.numbered, *heap.single])
    for mail in heap.single:
        above = [m for m in _ancestors(mail, known) if m.message_id in ours]
        if again := _new_version_of(mail, above):
            heap.numbered.append(again)
        elif any(_version(m) >= _version(mail) or m.tags.number for m in above):
            heap.left_out.append(f"{_quoted(mail)}: it answers {_quoted(above[0])}")
        elif said and not mail.tags.patch:
            heap.left_out.append(f"{_quoted(mail)}: its subject does not call it a patch")
        else:
            yield mail


def _new_version_of(mail: Mail, above: Sequence[Mail]) -> Mail | None:
    """`[PATCH v3] x` in answer to `[PATCH v2 2/4] x`, with the number of that one."""
    for other in above:
        same = other.subject.lower() == mail.subject.lower()
        if other.tags.number and same and _version(mail) > _version(other):
            tags = replace(mail.tags, number=other.tags.number, total=other.tags.total)
            return replace(mail, tags=tags)
    return None


def _singles(heap: _Heap) -> Iterator[Posting]:
    """Patches without a number: one posting for each version that has no numbered ones."""
    numbered = {_version(mail) for mail in heap.numbered}
    taken: dict[Version, dict[int, Mail]] = {}
    for mail in heap.single:
        version = _version(mail)
        if version in numbered:
            why = f"it has no number, and {version_label(version)} has numbered patches"
            heap.left_out.append(f"{_quoted(mail)}: {why}")
            continue
        group = taken.setdefault(version, {})
        place = next((n for n, m in group.items() if _sent_again(m, mail)), len(group) + 1)
        if place in group:
            heap.left_out.append(f"{_quoted(group[place])} of {group[place].date}: it came again")
        group[place] = mail
    for mails in taken.values():
        yield Posting(mails[1].tags.version, 0, mails)


def _sent_again(earlier: Mail, later: Mail) -> bool:
    """Whether `later` is a version of `earlier` whose sender did not call it one."""
    named = bool(earlier.message_id and later.message_id)
    same = (earlier.subject, earlier.author) == (later.subject, later.author)
    return named and same and later.sent > earlier.sent


def _last_resort(heap: _Heap) -> Posting:
    """The newest diff among replies and bots, with all that came in the same mail."""
    newest = max(heap.other, key=lambda mail: mail.sent)
    carrier = newest.carrier or newest.message_id
    group = [m for m in heap.other if m is newest or (carrier and m.carrier == carrier)]
    heap.other = [mail for mail in heap.other if mail not in group]
    note = f"{_quoted(newest)} is taken, {_kind(newest)}: nothing else here holds a patch"
    if all(mail.tags.number for mail in group):
        return replace(_numbered(group)[0], notes=(note,))
    return Posting(newest.tags.version, 0, dict(enumerate(group, start=1)), notes=(note,))


def _each_version_once(postings: Sequence[Posting], known: Mapping[str, Mail]) -> list[Posting]:
    """One posting for each version: the last of those that were sent again, with a note."""
    found: dict[Version, Posting] = {}
    for posting in postings:
        version = posting.version or (1,)
        earlier = found.get(version)
        if earlier is None:
            found[version] = posting
        elif beside := _beside(earlier, posting, known):
            main, other = (earlier, posting) if beside is posting else (posting, earlier)
            note = f"left out: {len(other.patches)} of {other.total} patches of another series"
            note += f", {_quoted(other.first)}"
            found[version] = replace(main, notes=(*main.notes, *other.notes, note))
        else:
            found[version] = _merged(earlier, posting)
    return list(found.values())


def _beside(earlier: Posting, later: Posting, known: Mapping[str, Mail]) -> Posting | None:
    """Which of two series of one version is not the one that the mails are about, if any.

    One that answers a patch of the other mends it; and of a series that is in
    another thread there is a part alone.
    """
    if earlier.total == later.total:
        return None
    numbered = {m.message_id for m in earlier.patches.values() if m.message_id}
    if any(m.message_id in numbered for m in _ancestors(later.first, known)):
        return later
    if bool(earlier.missing) != bool(later.missing):
        return earlier if earlier.missing else later
    return None


def _merged(earlier: Posting, later: Posting) -> Posting:
    """`later`, which was sent under the same version as `earlier`; a conflict if they differ."""
    if earlier.total != later.total:
        titles = f"{_quoted(earlier.first)} and {_quoted(later.first)}"
        return replace(later, conflict=f"holds two series that are {later.label}: {titles}")
    for number in sorted(set(earlier.patches) & set(later.patches)):
        one, two = earlier.patches[number], later.patches[number]
        if one.subject.lower() != two.subject.lower():
            place = f"{number}/{later.total}" if later.total else str(number)
            what = (
                f"holds two patches {place} of {later.label}: {one.subject!r} and {two.subject!r}"
            )
            return replace(later, conflict=what)
    note = f"{later.label} was sent more than once: the last of each patch is taken"
    patches = dict(sorted({**earlier.patches, **later.patches}.items()))
    return replace(later, patches=patches, cover=later.cover or earlier.cover, notes=(note,))


def _rerolled(postings: Sequence[Posting], known: Mapping[str, Mail]) -> list[Posting]:
    """`postings`, a version that sends single patches again filled up from the one before it."""
    out: list[Posting] = []
    for posting in postings:
        if posting.missing and out and _answers(posting, out[-1], known):
            own = ", ".join(f"{n}/{posting.total}" for n in posting.patches)
            note = f"{posting.label} holds {own} alone: the others are taken from {out[-1].label}"
            posting = replace(
                posting,
                patches={**out[-1].patches, **posting.patches},
                cover=posting.cover or out[-1].cover,
                notes=(*posting.notes, note),
            )
        out.append(posting)
    return out


def _answers(posting: Posting, older: Posting, known: Mapping[str, Mail]) -> bool:
    """Whether each patch of `posting` answers the patch of its number in an older version."""
    return older.total == posting.total and all(
        any(
            (m.tags.number, m.tags.total) == (number, posting.total)
            and _version(m) < _version(mail)
            for m in _ancestors(mail, known)
        )
        for number, mail in posting.patches.items()
    )


def _with_cover(posting: Posting, covers: Sequence[Mail], known: Mapping[str, Mail]) -> Posting:
    """`posting` with its cover letter: one that its patches answer, else one of its version."""
    first = posting.patches[min(posting.patches)]
    above = list(_ancestors(first, known))
    fitting = [c for c in covers if _version(c) == (posting.version or (1,))]
    fitting = [c for c in fitting if c.tags.total in (posting.total, 0)]
    answered = [c for c in fitting if c in above]
    naked = [
        m
        for m in above[:1]
        if not (m.holds_diff or m.tags.reply or m.parents) and m.author == first.author
    ]
    cover = next(iter([*answered, *fitting[-1:], *naked]), None)
    return replace(posting, cover=cover)


def _version(mail: Mail) -> Version:
    return mail.tags.version or (1,)


def _quoted(mail: Mail) -> str:
    return repr(mail.subject or mail.file.name)


def _kind(mail: Mail) -> str:
    """What a mail is that holds a diff and is no posting."""
    if mail.tags.bot:
        return "a mail that tells of a patch"
    return "a reply with a patch attached" if mail.attached else "a reply that holds a diff"
