# SPDX-License-Identifier: GPL-2.0-only
"""Reads a quilt `series` file: order, options behind a name, guards, comments.

Guards are those of the `guards` script (`+name patch`) and of Mercurial queues
and guilt (`patch #+name`); no name is ever selected, so that `+` leaves out
and `-` takes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kvet.errors import UserError
from kvet.source.mails import inside

LEVEL = re.compile(r"^-p(\d|ab)?$")
GUARD = re.compile(r"^[+-][A-Za-z0-9_.!-]+$")


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of a series file: `level` is that of `-p`, `reverse` is `-R`."""

    path: Path
    level: int = 1
    reverse: bool = False
    guarded: str = ""


def read_quilt(folder: Path) -> Iterator[Entry]:
    """The entries of `folder/series` in order; those with `guarded` are not to be taken.

    Raises UserError that names the line for an option that is not known and for a
    patch that is not there or leads out of `folder`.
    """
    series = folder / "series"
    try:
        lines = series.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot be read: {error}", path=series) from error
    for number, line in enumerate(lines, start=1):
        text, _, comment = line.partition("#")
        words = text.split()
        guards = [w for w in words if GUARD.match(w)] if words and GUARD.match(words[0]) else []
        guards += re.findall(r"(?:^|#)([+-][^\s#+-][^\s#]*)", comment)
        words = words[next((i for i, w in enumerate(words) if not GUARD.match(w)), len(words)) :]
        if words:
            yield _entry(folder, words, guards, f"line {number}")


def _entry(folder: Path, words: list[str], guards: list[str], where: str) -> Entry:
    series, name = folder / "series", words[0]
    level, reverse = 1, False
    options = re.sub(r"-p (\d)", r"-p\1", " ".join(words[1:])).split()
    for option in options:
        if found := LEVEL.match(option):
            level = 1 if found[1] in (None, "ab") else int(found[1])
        elif option in ("-R", "--reverse"):
            reverse = True
        else:
            raise UserError(
                f"{name} {option}: quilt's options are -pN, -pab and -R", path=series, where=where
            )
    if blocked := [guard for guard in guards if guard.startswith("+")]:
        return Entry(folder / name, guarded=blocked[0])
    return Entry(inside(folder, name, named_by=series), level, reverse)
