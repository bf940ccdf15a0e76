# SPDX-License-Identifier: GPL-2.0-only
"""Builds go on while what is built is booted: for boots that leave this host's cores alone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from queue import SimpleQueue
from typing import TypeVar

from kvet import proc

T = TypeVar("T")
R = TypeVar("R")


def built_ahead(
    each: Iterable[T],
    build: Callable[[T], R],
    *,
    at_once: int = 1,
    cancel: Callable[[], None] = lambda: None,
) -> Generator[list[tuple[T, R]]]:
    """`build` each, `at_once` at a time; gives what was built since the last time, at least one.

    What `build` raises is raised here. Who is not interested in the rest closes it: the running
    builds are ended then, by `cancel` and with all that this process has started.
    """
    ready: SimpleQueue[tuple[T, R] | None] = SimpleQueue()
    stopped, turn = threading.Event(), threading.Lock()
    last = threading.Barrier(at_once, action=lambda: ready.put(None))
    left = iter(each)

    def work() -> None:
        try:
            while True:
                with turn:
                    taken = [] if stopped.is_set() else list(islice(left, 1))
                if not taken:
                    return
                ready.put((taken[0], build(taken[0])))
        except BaseException:
            stopped.set()
            raise
        finally:
            last.wait()

    with ThreadPoolExecutor(at_once, thread_name_prefix="build") as pool:
        futures = [pool.submit(work) for _ in range(at_once)]
        try:
            yield from _waves(ready)
            for future in futures:
                future.result()
        finally:
            if not all(future.done() for future in futures):
                stopped.set()
                cancel()
                proc.kill_all()


def _waves(ready: SimpleQueue[tuple[T, R] | None]) -> Iterator[list[tuple[T, R]]]:
    """All that is in the queue, again and again, until its end is in it."""
    last = False
    while not last and (first := ready.get()) is not None:
        wave = [first]
        while not last and not ready.empty():
            more = ready.get()
            last = more is None
            wave += [more] if more is not None else []
        yield wave
