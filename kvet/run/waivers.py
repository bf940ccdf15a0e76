# SPDX-License-Identifier: GPL-2.0-only
"""Waivers as they are given: in variant.yaml, and as one line of text on the command line."""

from __future__ import annotations

import re
from collections.abc import Iterable

from kvet.errors import UserError
from kvet.model import Waiver
from kvet.plan.schemas import JUDGES

SPELLED = re.compile(
    r"(?:(?P<line>[^\s:]+:\d+)(?: never (?P<outcome>.+?))?|(?P<judge>[a-z][a-z0-9-]*))"
    r" because (?P<reason>\S.*)",
    re.DOTALL,
)


def parse_waiver(text: str) -> Waiver:
    """`FILE:LINE [never OUTCOME] because REASON` or `RULE because REASON`, as reports print it."""
    found = SPELLED.fullmatch(text.strip())
    if found is None:
        raise UserError(
            f"--waive {text!r} is not understood",
            hint="--waive 'mm/vmalloc.c:203 never true because ...', "
            "or the name of a rule: --waive 'nokprobe because ...'",
        )
    parts = {name: value or "" for name, value in found.groupdict().items()}
    if parts["judge"] and parts["judge"] not in JUDGES:
        raise UserError(
            f"--waive {text!r}: nothing is called {parts['judge']}",
            hint=f"a place FILE:LINE, or one of {', '.join(JUDGES)}",
        )
    return Waiver(**parts)


def waived_way(waivers: Iterable[Waiver], place: str, text: str, words: str) -> str:
    """Why it does not count that the branch at `place`, of `text`, never `words`; '' if it does."""
    for each in waivers:
        at = each.line == place if each.line else bool(each.text) and each.text in text
        if at and _means(each.outcome, words):
            return each.reason
    return ""


def _means(outcome: str, words: str) -> bool:
    """Whether a waiver's outcome is that one; empty means all, "not X" all but X."""
    other = outcome.removeprefix("not ")
    return outcome in ("", words) if other == outcome else other != words


def waived_rule(waivers: Iterable[Waiver], rule: str) -> str:
    """Why it does not count that a series touches what `rule` is about; '' if it does."""
    return next((w.reason for w in waivers if w.judge == rule), "")
