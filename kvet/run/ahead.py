# SPDX-License-Identifier: GPL-2.0-only
"""Builds go on while what is built is booted: for boots that leave this host's cores alone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import TypeVar

from kvet import proc

T = TypeVar("T")
R = TypeVar("R")


def built_ahead(each: Iterable[T], build: Callable[[T], R]) -> Generator[list[tuple[T, R]]]:
    """`build` each in a thread of its own; gives what was built since the last time, at least one.

    What `build` raises is raised here. Who is not interested in the rest closes it: the running
    build is killed then, with all that this process has started.
    """
    ready: SimpleQueue[tuple[T, R] | None] = SimpleQueue()
    stopped = threading.Event()

    def work() -> None:
        try:
            for one in each:
                if stopped.is_set():
                    return
                ready.put((one, build(one)))
        finally:
            ready.put(None)

    with ThreadPoolExecutor(1, thread_name_prefix="build") as pool:
        future = pool.submit(work)
        try:
            yield from _waves(ready)
            future.result()
        finally:
            if not future.done():
                stopped.set()
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
