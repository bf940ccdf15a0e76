# SPDX-License-Identifier: GPL-2.0-only
"""The litmus tests that a kernel tree brings along: does the model still say what they say?"""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from kvet.errors import InfraError
from kvet.prove.herd import Herd

FOLDER = Path("tools/memory-model/litmus-tests")
RESULT = re.compile(r"^ \* Result: (Never|Sometimes|Always)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Comparison:
    """One test: what its comment says, and what the model does."""

    name: str
    wanted: str
    found: str
    counts: str


def compare_all(herd: Herd, tree: Path) -> Iterator[Comparison]:
    """Every test of the tree that says what must come out."""
    with ThreadPoolExecutor(2) as pool:
        paths = sorted((tree / FOLDER).glob("*.litmus"))
        yield from pool.map(lambda path: _compare(herd, path), paths)


def _compare(herd: Herd, path: Path) -> Comparison:
    text = path.read_text(encoding="utf-8")
    wanted = RESULT.search(text)
    answer = herd.ask(text)
    said = wanted.group(1) if wanted else "nothing"
    return Comparison(path.stem, said, answer.observation, answer.counts)


def told_results(herd: Herd, tree: Path) -> tuple[list[str], int]:
    """Lines for each test that differs and one for all; how many differ."""
    if not (tree / FOLDER).is_dir():
        raise InfraError(f"{tree} holds no {FOLDER}")
    results = list(compare_all(herd, tree))
    wrong = [r for r in results if r.wanted != r.found]
    lines = [f"{r.name}: its comment says {r.wanted}, the model {r.found}" for r in wrong]
    same = len(results) - len(wrong)
    lines.append(f"herd7 {herd.tool.version}: {same} of {len(results)} tests as their comments say")
    return lines, len(wrong)
