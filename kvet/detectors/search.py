# SPDX-License-Identifier: GPL-2.0-only
"""Looks through whole logs for any of many words at once.

RE2 reads each letter once, whatever the words are; `re`, which tries all of them at
every letter, does the same on a machine for which there is no RE2.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

try:
    import re2
except ImportError:
    re2 = None


def places(pattern: re.Pattern[str], text: str) -> Iterator[int]:
    """Where `pattern` matches in `text`, in order."""
    fast = _fast(pattern)
    found = fast.finditer(_ascii(text)) if fast else pattern.finditer(text)
    return (match.start() for match in found)


def holds(pattern: re.Pattern[str], text: str) -> bool:
    """Whether `pattern` matches anywhere in `text`."""
    fast = _fast(pattern)
    return (fast.search(_ascii(text)) if fast else pattern.search(text)) is not None


def _ascii(text: str) -> bytes:
    """One byte for each letter, so that places are the same: "?" for what is not ASCII."""
    return text.encode("ascii", "replace")


@cache
def _fast(pattern: re.Pattern[str]) -> Any:
    """The same pattern for RE2; None where there is none."""
    return re2 and re2.compile(pattern.pattern.encode())
