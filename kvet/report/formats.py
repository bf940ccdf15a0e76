# SPDX-License-Identifier: GPL-2.0-only
"""Formats of a report: pure functions from the record of a run (`results.json`) to text.

Each format has a module of its own, imported when it is asked for; what they
share is in `facts`.
"""

from __future__ import annotations

from typing import Protocol

from kvet.results.record import RunRecord


class Format(Protocol):
    """Draws a run. `measured` is the run whose costs are shown beside it, where it shows any."""

    def __call__(self, record: RunRecord, *, measured: RunRecord | None = None) -> str: ...


def _text(record: RunRecord, *, measured: RunRecord | None = None) -> str:
    from kvet.report.text import text_report

    return text_report(record, measured=measured)


def _json(record: RunRecord, *, measured: RunRecord | None = None) -> str:
    from kvet.report.text import json_report

    return json_report(record)


def _html(record: RunRecord, *, measured: RunRecord | None = None) -> str:
    from kvet.report.html import html_report

    return html_report(record, measured=measured)


def _junit(record: RunRecord, *, measured: RunRecord | None = None) -> str:
    from kvet.report.junit import junit_report

    return junit_report(record)


def _ktap(record: RunRecord, *, measured: RunRecord | None = None) -> str:
    from kvet.report.ktap import ktap_report

    return ktap_report(record)


def _kcidb(record: RunRecord, *, measured: RunRecord | None = None) -> str:
    from kvet.report.kcidb import kcidb_report

    return kcidb_report(record)


def _markdown(record: RunRecord, *, measured: RunRecord | None = None) -> str:
    from kvet.report.markdown import markdown_report

    return markdown_report(record, measured=measured)


def _mail(record: RunRecord, *, measured: RunRecord | None = None) -> str:
    from kvet.report.mail import mail_report

    return mail_report(record, measured=measured)


def _b4(record: RunRecord, *, measured: RunRecord | None = None) -> str:
    from kvet.report.b4 import b4_report

    return b4_report(record)


FORMATS: dict[str, Format] = {
    "text": _text,
    "json": _json,
    "html": _html,
    "junit": _junit,
    "ktap": _ktap,
    "kcidb": _kcidb,
    "markdown": _markdown,
    "mail": _mail,
    "b4": _b4,
}
