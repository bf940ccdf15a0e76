# SPDX-License-Identifier: GPL-2.0-only
"""Mails as people and bots send them, written for the tests; no word of them was ever posted."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.utils import format_datetime, formataddr
from pathlib import Path

from kvet.source.given import GivenSeries, open_series
from kvet.source.patchfile import Patch, read_patch

AUTHOR = "Ann Author <ann@example.org>"
START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


def diff(name: str = "mm/x.c", old: str = "a", new: str = "b") -> str:
    """A small diff of `name` that stands on no tree."""
    heads = f"---\ndiff --git a/{name} b/{name}\n--- a/{name}\n+++ b/{name}\n"
    return f"{heads}@@ -1 +1 @@\n-{old}\n+{new}\n"


@dataclass
class Box:
    """Mails in the order they came; each is one minute younger than the one before."""

    mails: list[EmailMessage] = field(default_factory=list)

    def add(
        self,
        subject: str,
        body: str | None = None,
        *,
        to: str | None = None,
        key: str | None = None,
        author: str = AUTHOR,
        **headers: str,
    ) -> str:
        """Add one mail that answers `to`; returns its message id, made of `key`."""
        mail = EmailMessage()
        mail["From"] = author
        mail["Subject"] = subject
        mail["Date"] = format_datetime(START + timedelta(minutes=len(self.mails)))
        message_id = f"{key or len(self.mails)}@example.org"
        mail["Message-ID"] = f"<{message_id}>"
        if to:
            mail["In-Reply-To"] = f"<{to}>"
            mail["References"] = f"<{to}>"
        for name, value in headers.items():
            mail[name.replace("_", "-")] = value
        mail.set_content(diff() if body is None else body, cte="8bit")
        self.mails.append(mail)
        return message_id

    def attach(self, text: str, name: str, subtype: str = "x-patch") -> None:
        """Attach a file to the last mail."""
        self.mails[-1].add_attachment(text.encode(), "text", subtype, filename=name)

    def series(
        self, tag: str, *subjects: str, to: str | None = None, cover: bool = True
    ) -> list[str]:
        """A series as `git send-email` sends it, with `tag` between brackets; its message ids."""
        ids = []
        if cover:
            ids.append(self.add(f"[{tag} 0/{len(subjects)}] why", "The story.\n", to=to))
        for number, subject in enumerate(subjects, start=1):
            above = ids[0] if ids else to
            ids.append(self.add(f"[{tag} {number}/{len(subjects)}] {subject}", to=above))
        return ids

    def mbox(self, *, newline: str = "\n") -> bytes:
        """All of them as a mailbox."""
        parts = [f"From mboxrd@z Thu Jan  1 00:00:00 1970\n{m.as_string()}\n" for m in self.mails]
        return "".join(parts).replace("\n", newline).encode()


def address(name: str) -> str:
    """An address whose name needs encoding."""
    return formataddr((name, "someone@example.org"))


def given(folder: Path, box: Box, name: str = "t.mbox") -> GivenSeries:
    path = folder / name
    path.write_bytes(box.mbox())
    return open_series(str(path), folder / "out")


def read(series: GivenSeries, scratch: Path) -> list[Patch]:
    return [read_patch(path, scratch) for path in series.variant.patches]


def subjects(series: GivenSeries, scratch: Path) -> list[str]:
    return [patch.subject for patch in read(series, scratch)]
