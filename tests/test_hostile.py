# SPDX-License-Identifier: GPL-2.0-only
"""No log makes the findings engine fail, stall or eat memory: fuzzing, and counted work.

How long it takes is measured by bench/hostile.py; here only what does not
depend on the machine is asserted.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import random
import re
import subprocess
import sys
import tracemalloc
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kvet.cli.scan_log import as_json
from kvet.detectors import Trigger, engine, frames, lines, scan, scan_text, table
from kvet.detectors.allocations import memory_history
from kvet.detectors.chains import chains
from kvet.detectors.lockdep import explain
from kvet.detectors.table import Row
from kvet.model import Finding
from tests.test_detectors import DRESSINGS, LINES, ROWS, TEXTS

some_rows = st.sampled_from(list(ROWS.values()))
_fuzz = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


# --- bounded work --------------------------------------------------------------------------


def calls_of(text: str) -> int:
    """How many functions, of Python and of C, are called while `text` is scanned."""
    count = 0

    def note(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += 1

    sys.setprofile(note)
    try:
        scan_text(text)
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("unit", LINES["repeated"])
def test_repetition_takes_work_in_proportion(unit: str) -> None:
    scan_text(unit * 100)
    once, twice = calls_of(unit * 1000), calls_of(unit * 2000)
    assert twice < 2.5 * once + 1000


@pytest.mark.parametrize("unit", LINES["repeated"])
def test_repetition_takes_bounded_memory(unit: str) -> None:
    tracemalloc.start()
    found = scan_text(unit * 10_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 << 20
    assert len(found) <= engine.MAX_FINDINGS


def nested_repeats(pattern: str) -> Iterator[str]:
    """Repetitions without a bound inside other ones, which can take exponential time."""
    parser: Any = importlib.import_module("re._parser")

    def walk(node: Any, inside: bool) -> Iterator[str]:
        if isinstance(node, parser.SubPattern):
            for operator, argument in node:
                yield from step(str(operator), argument, inside)
        elif isinstance(node, (list, tuple)):
            for part in node:
                yield from walk(part, inside)

    def step(operator: str, argument: Any, inside: bool) -> Iterator[str]:
        # what an atomic group or a possessive repetition has taken is not tried again
        if operator in ("ATOMIC_GROUP", "POSSESSIVE_REPEAT"):
            yield from walk(argument, False)
            return
        endless = operator.endswith("_REPEAT") and argument[1] is parser.MAXREPEAT
        if endless and inside:
            yield f"{operator} in {pattern}"
        yield from walk(argument, inside or endless)

    return walk(parser.parse(pattern), False)


def expressions() -> Iterator[str]:
    """Every expression that is tried on lines of a log."""
    for row in ROWS.values():
        yield row.regex.pattern
        yield row.also_regex.pattern
    yield table.table().look.pattern
    yield from (place.regex.pattern for place in frames.PLACES.values())
    for module in (frames, lines):
        for value in vars(module).values():
            if isinstance(value, re.Pattern):
                yield value.pattern


def test_no_expression_repeats_a_repetition() -> None:
    assert list(nested_repeats(r"(?:a+b*)+")) and not list(nested_repeats(r"(?>a+)+b{2,9}c*"))
    assert [bad for pattern in set(expressions()) for bad in nested_repeats(pattern)] == []


# --- fuzzing -------------------------------------------------------------------------------


def assert_sane(findings: Iterable[Finding], count: int) -> None:
    """Whatever was read: findings have a title, stand within the log and go into JSON."""
    for finding in findings:
        assert finding.title and len(finding.title) <= 120
        assert 0 < finding.first_line <= finding.last_line <= count
        json.dumps(as_json(finding))


@_fuzz
@given(st.text(), st.binary())
def test_anything_is_scanned(text: str, raw: bytes) -> None:
    assert_sane(scan_text(text), text.count("\n") + 1)
    some: list[bytes | str] = [*text.splitlines(), raw, raw]
    assert_sane(scan(some), len(some))
    triggered = Trigger()(raw)
    assert triggered is None or triggered.kind


@_fuzz
@given(
    st.lists(st.tuples(some_rows, st.integers(0, 2000), st.integers(0, 2000), st.text(max_size=9)))
)
def test_mutated_splats_are_scanned(parts: list[tuple[Row, int, int, str]]) -> None:
    text = "".join(row.example[:a] + junk + row.example[b:] for row, a, b, junk in parts)
    assert_sane(scan_text(text), text.count("\n") + 1)


@_fuzz
@given(some_rows, st.randoms(use_true_random=False))
def test_shuffled_lines_are_scanned(row: Row, rnd: random.Random) -> None:
    shuffled = row.example.splitlines() * 2
    rnd.shuffle(shuffled)
    dressed = [rnd.choice(list(DRESSINGS.values()))(line) for line in shuffled]
    assert_sane(scan(dressed), "\n".join(dressed).count("\n") + 1)


@_fuzz
@given(some_rows, st.randoms(use_true_random=False))
def test_any_lines_are_explained(row: Row, rnd: random.Random) -> None:
    pool = ("".join(TEXTS.values()) + row.example).splitlines()
    some = [rnd.choice(pool)[: rnd.choice((5, 30, 99))] for _ in range(rnd.randrange(40))]
    assert len(explain(some)) <= 12
    assert len(chains(some)) <= 4
    memory_history(some)


@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not installed")
def test_the_guided_fuzzer_finds_nothing(tmp_path: Path) -> None:
    script = Path(__file__).parent.parent / "bench" / "fuzz.py"
    argv = [sys.executable, str(script), "console", "-atheris_runs=3000", "-seed=1", str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
