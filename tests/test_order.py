# SPDX-License-Identifier: GPL-2.0-only
"""The order of a run."""

from __future__ import annotations

import threading
from contextlib import closing

import pytest

from kvet import proc
from kvet.errors import UserError
from kvet.run.ahead import built_ahead
from kvet.run.order import WAVE, waves


def test_what_is_built_is_booted_together_and_what_is_not_by_itself() -> None:
    assert list(waves("abCde", str.islower)) == [["a", "b"], ["C"], ["d", "e"]]
    assert list(waves("AB", str.islower)) == [["A"], ["B"]]
    assert list(waves("", str.islower)) == []


def test_a_wave_is_not_endless() -> None:
    assert [len(wave) for wave in waves("a" * (2 * WAVE + 1), str.islower)] == [WAVE, WAVE, 1]


def test_builds_go_on_while_others_boot() -> None:
    second = threading.Event()

    def build(name: str) -> str:
        if name == "b":
            second.set()
        return name.upper()

    for wave in built_ahead("abc", build):
        if ("a", "A") in wave:  # while this one boots, the next is built
            assert second.wait(60)
    assert second.is_set()


def test_nothing_that_was_built_ahead_is_lost() -> None:
    found = [one for wave in built_ahead("abcdefgh", str.upper) for one in wave]
    assert found == list(zip("abcdefgh", "ABCDEFGH", strict=True))
    assert list(built_ahead("", str.upper)) == []


def test_what_is_wrong_with_a_build_ahead_ends_the_run() -> None:
    def build(name: str) -> str:
        raise UserError("no such series")

    with pytest.raises(UserError, match="no such series"):
        list(built_ahead("ab", build))


def test_nothing_is_built_for_who_has_gone() -> None:
    asked: list[str] = []
    going = threading.Event()

    def build(name: str) -> str:
        asked.append(name)
        if name == "b":
            assert going.wait(60)
        return name

    with closing(built_ahead("abcd", build)) as waves_:
        assert next(waves_)[0] == ("a", "a")
        threading.Timer(0.2, going.set).start()
    assert asked in (["a"], ["a", "b"])
    assert proc.all_killed()
    proc.begin_anew()
