# SPDX-License-Identifier: GPL-2.0-only
"""What the live view says of a run: stages, attempts, the time left."""

from __future__ import annotations

from kvet.events import Ended, Event
from kvet.model import Ending, Status
from kvet.progress import BOOTING, BUILDING, DONE, WAITING, Board, minutes, short_names

CELLS = ("linux+nolock+debug+virt+race", "linux+trylock+debug+virt+race")


def planned() -> Board:
    board = Board()
    for cell in CELLS:
        board.take(Event("plan", "run", cell, jobs=1, total=2))
    return board


def attempt(cell: str, ended: Ended, seconds: float = 4.0) -> Event:
    return Event("attempt", "boot", cell, seconds=seconds, attempt=ended)


def test_a_cell_goes_through_its_stages() -> None:
    board = planned()
    row, other = board.rows[CELLS[0]], board.rows[CELLS[1]]
    assert (row.stage, row.left, board.progress()) == (WAITING, 2, (0, 4))
    board.take(Event("start", "build", "linux+nolock+debug"))
    assert (row.stage, other.stage) == (BUILDING, WAITING)
    board.take(Event("end", "build", "linux+nolock+debug", seconds=10))
    board.take(Event("start", "boot", CELLS[0], "attempt 1"))
    assert row.stage == BOOTING
    title = "KASAN: use-after-free Read in f"
    board.take(attempt(CELLS[0], Ended(1, Status.FAIL, Ending.PANIC, title)))
    assert (row.statuses, row.first) == (["FAIL"], "KASAN: use-after-free Read in f")
    board.take(attempt(CELLS[1], Ended(1, Status.ERROR, None)))
    assert other.first == "no boot"
    board.take(Event("settled", "run", CELLS[0]))
    assert (row.stage, row.left, board.progress()) == (DONE, 0, (2, 3))


def test_the_time_left_is_boots_and_builds_at_the_pace_so_far() -> None:
    board = planned()
    assert board.left_s() is None
    board.take(Event("end", "build", "linux+nolock+debug", seconds=10))
    board.take(attempt(CELLS[0], Ended(1, Status.PASS, Ending.POWEROFF), seconds=4))
    # three boots of 4 s and one more build of 10 s
    assert board.left_s() == 22
    board.jobs = 2
    assert board.left_s() == 16


def test_cells_that_run_are_shown_before_those_that_wait() -> None:
    board = planned()
    board.take(Event("start", "boot", CELLS[1], "attempt 1"))
    rows, waiting = board.shown(1)
    assert [row.cell for row in rows] == [CELLS[1]]
    assert waiting == 1


def test_names_say_what_differs() -> None:
    assert list(short_names(CELLS).values()) == ["nolock", "trylock"]
    assert list(short_names(CELLS[:1]).values()) == [CELLS[0]]


def test_lengths_of_time_are_for_people() -> None:
    assert [minutes(x) for x in (40, 200, 4800)] == ["40 s", "3 min", "1 h 20 min"]
