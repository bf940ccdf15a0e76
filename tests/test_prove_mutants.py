# SPDX-License-Identifier: GPL-2.0-only
"""Mutants of litmus tests: what is dropped, weakened and exchanged, and what is not."""

from __future__ import annotations

from kvet.paths import PROJECT
from kvet.prove.litmus import parse_litmus, read_litmus
from kvet.prove.mutants import bare, mutants
from tests.litmus import LOCKED


def test_of_a_bare_test_what_it_does_is_left() -> None:
    test = read_litmus(PROJECT / "patches/static-key/pmd.litmus")
    left = {s.operation for thread in bare(test).threads for s in thread.steps}
    assert left == {"atomic", "load", "store"}
    assert "got = 1;" in bare(parse_litmus(LOCKED)).text()


def test_mutants_drop_weaken_and_exchange() -> None:
    names = {m.name for m in mutants(parse_litmus(LOCKED))}
    assert {"P0: drop lock", "P1: drop lock", "P1: empty lock", "P1: read check again"} <= names
    assert "P0: swap clear and free" not in names  # both under the lock
    assert "P0: swap free and unlock" in names  # which takes the free out of it
    texts = [m.test.text() for m in mutants(parse_litmus(LOCKED))]
    assert len(texts) == len(set(texts))


def test_a_lock_held_for_longer_is_no_mutant() -> None:
    text = LOCKED.replace(
        "\tspin_lock(lock); // lock", "\tsmp_mb(); // order\n\tspin_lock(lock); // lock"
    )
    assert "spin_trylock" in text
    tried = {m.name for m in mutants(parse_litmus(text))}
    assert "P1: swap order and lock" in tried  # a trylock that fails learns of it
    taken = text.replace("got = spin_trylock(lock); // trylock", "spin_lock(lock); // take")
    names = {m.name for m in mutants(parse_litmus(taken.replace("if (got)", "if (1)")))}
    assert "P1: swap order and lock" not in names
    assert "P1: drop order" in names


def test_a_barrier_is_dropped_and_weakened() -> None:
    text = LOCKED.replace("\t\tWRITE_ONCE(*table", "\t\tsmp_mb(); // order\n\t\tWRITE_ONCE(*table")
    found = {m.name: m.test.text() for m in mutants(parse_litmus(text))}
    assert "smp_mb" not in found["P0: drop order"]
    assert "smp_wmb(); // order" in found["P0: weaken order"]
