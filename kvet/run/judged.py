# SPDX-License-Identifier: GPL-2.0-only
"""What is to be judged side by side: variants and versions of series, each with a name."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kvet.errors import UserError
from kvet.model import Variant
from kvet.plan.library import Library
from kvet.prove.bindfile import FILE
from kvet.prove.tests import read_tests
from kvet.results.record import GivenRecord
from kvet.run.plan import title_of
from kvet.run.requests import RunRequest
from kvet.source.given import GivenSeries, all_versions, open_series


@dataclass(frozen=True, slots=True)
class Judged:
    """One variant to be judged; `given` is what the user gave, None for one of the library."""

    variant: Variant
    given: GivenSeries | None = None

    def record(self, base: str) -> GivenRecord | None:
        """What a run keeps of a series that was given; `base` says what it is put on."""
        given = self.given
        if given is None:
            return None
        return GivenRecord(
            spec=given.spec,
            label=given.label,
            subject=given.subject,
            author=given.author,
            message_id=given.message_id,
            base=base,
            notes=given.notes,
        )


def judged_of(request: RunRequest, library: Library, scratch: Path) -> list[Judged]:
    """The series of `request`, then its variants; patches of series may be in `scratch`.

    Raises UserError for what is no series, and for the same thing asked twice.
    """
    known = library.variants()
    asked = [library.variant(word) for word in dict.fromkeys(request.variants)]
    twice = [name for name, n in Counter(v.name for v in asked).items() if n > 1]
    if twice:
        raise UserError(f"two variants are called {twice[0]}", hint="rename a directory")
    given = list(_opened(request, scratch))
    names = series_names(given, {*known, *(variant.name for variant in asked)})
    series = [Judged(_named(g, name), g) for g, name in zip(given, names, strict=True)]
    return [*series, *(Judged(variant) for variant in asked)]


def _opened(request: RunRequest, scratch: Path) -> Iterator[GivenSeries]:
    twice = [spec for spec, times in Counter(request.series).items() if times > 1]
    if twice:
        raise UserError(f"--series {twice[0]}: is given twice")
    proofs = _proofs(request)
    for number, spec in enumerate(request.series, start=1):
        folder = scratch / str(number)
        every = request.all_versions
        given = all_versions(spec, folder) if every else (open_series(spec, folder),)
        yield from (_with_tests(one, proofs[number - 1]) for one in given)


def _proofs(request: RunRequest) -> list[Path | None]:
    """The litmus tests of each series: as asked, else what lies in a directory of patches."""
    asked, count = request.proofs, len(request.series)
    if asked and len(asked) not in (1, count):
        raise UserError(
            f"--proof is given {len(asked)} times for {count} series",
            hint="give it once for all, or once for each --series, in their order",
        )
    if asked:
        return list(asked if len(asked) == count else asked * count)
    folders = (Path(spec).expanduser().absolute() for spec in request.series)
    return [folder if (folder / FILE).is_file() else None for folder in folders]


def _with_tests(given: GivenSeries, proof: Path | None) -> GivenSeries:
    """A series with its litmus tests, which are read now: what is wrong is said first."""
    if proof is None:
        return given
    names = ", ".join(test.name for test in read_tests(proof))
    note = f"litmus tests from {proof.name}: {names}"
    variant = replace(given.variant, proof=proof)
    return replace(given, variant=variant, notes=(*given.notes, note))


def series_names(given: Sequence[GivenSeries], taken: Collection[str]) -> list[str]:
    """A name for each series that no other has: its version, else the name of what was given.

    A series that stands alone is called after its file: there is no other version to tell it from.
    """
    names = [one.variant.name for one in given]
    if len(given) > 1:
        labels = Counter(one.label for one in given)
        files = Counter(names)
        names = [_apart(one, labels, files) for one in given]
    used = set(taken)
    out = []
    for name in names:
        # a file called nolock.patch is not the control of that name
        own = f"series-{name}" if name in taken else name
        tries = (own, *(f"{own}-{n}" for n in range(2, len(used) + 3)))
        free = next(t for t in tries if t not in used)
        used.add(free)
        out.append(free)
    return out


def _apart(one: GivenSeries, labels: Counter[str], files: Counter[str]) -> str:
    """The shortest name that tells a series from the others."""
    name = one.variant.name
    if labels[one.label] == 1:
        return one.label
    topic = re.sub(r"[^A-Za-z0-9._-]+", "-", one.spec.rpartition("..")[2]).strip("-.")
    if files[name] == 1 or (one.label == name and (".." not in one.spec or not topic)):
        return name
    return f"{name}-{topic if one.label == name else one.label}"


def _named(given: GivenSeries, name: str) -> Variant:
    title = title_of(GivenRecord(given.spec, subject=given.subject))
    return replace(given.variant, name=name, title=title)
