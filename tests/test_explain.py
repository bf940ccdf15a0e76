# SPDX-License-Identifier: GPL-2.0-only
"""A deadlock is drawn, a use after free says who freed; other kinds say nothing more."""

from __future__ import annotations

from pathlib import Path

from kvet.detectors import scan_file
from kvet.detectors.explain import explanation
from kvet.model import Finding

CONSOLES = Path(__file__).parent / "data" / "consoles"


def test_a_recursion_is_drawn_with_both_places() -> None:
    logs = [p for p in sorted(CONSOLES.glob("*double-lock*")) if p.suffix in (".log", ".txt")]
    found = [f for path in logs for f in scan_file(path) if f.kind == "lockdep"]
    assert found
    text = "\n".join(explanation(found[0]))
    assert "takes a lock that it already holds" in text
    assert "pmd_free_pte_page" in text
    assert "vmap_range_noflush" in text


def test_what_needs_no_explanation_gets_none() -> None:
    assert explanation(Finding(kind="oops", title="Oops in f")) == ()
    assert explanation(Finding(kind="kasan", title="KASAN: x in f")) == ()
