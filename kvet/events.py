# SPDX-License-Identifier: GPL-2.0-only
"""What happens in a run, as it happens: stages emit, the terminal and the log subscribe."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from kvet.errors import InfraError
from kvet.model import Ending, Status


@dataclass(frozen=True, slots=True)
class Ended:
    """An attempt that ended: `title` is its first finding, or why it says nothing."""

    n: int
    status: Status
    ending: Ending | None
    title: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """One step of one subject (a cell id, a source, a tool).

    `kind` is start, progress, end, attempt or note; `done` of `total` counts
    objects or MiB while in progress; `seconds` is set at the end of a step, and
    `attempt` of one that ended. A run begins with a plan for each cell (`total`
    attempts, `jobs` boots at a time), and says settled of each that gets no more.
    """

    kind: str
    stage: str
    subject: str = ""
    text: str = ""
    done: float = 0.0
    total: float = 0.0
    seconds: float | None = None
    jobs: int = 0
    attempt: Ended | None = None


Listener = Callable[[Event], None]


class Events:
    """Hands every event to all listeners, one at a time, from whichever thread."""

    def __init__(self, *listeners: Listener) -> None:
        self._listeners = list(listeners)
        self._lock = threading.Lock()

    def subscribe(self, listener: Listener) -> None:
        """Add a listener for all later events."""
        self._listeners.append(listener)

    def emit(self, event: Event) -> None:
        """Tell every listener."""
        with self._lock:
            for listener in self._listeners:
                listener(event)

    def note(self, text: str) -> None:
        """A line for the user that belongs to no step."""
        self.emit(Event("note", "note", text=text))

    def step(self, stage: str, subject: str, text: str = "") -> Step:
        """A timed step, used as a context manager."""
        return Step(self, stage, subject, text)


class Step:
    """Emits start on entry and end, with its seconds, on leaving; `say` sets the end's text."""

    def __init__(self, events: Events, stage: str, subject: str, text: str) -> None:
        self._events = events
        self._stage = stage
        self._subject = subject
        self._text = text
        self._started = 0.0

    def __enter__(self) -> Step:
        self._started = time.monotonic()
        self._events.emit(Event("start", self._stage, self._subject, self._text))
        return self

    def progress(self, done: float, total: float) -> None:
        """How far the step is."""
        self._events.emit(
            Event("progress", self._stage, self._subject, self._text, done=done, total=total)
        )

    def say(self, text: str) -> None:
        """What the step came to."""
        self._text = text

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        seconds = time.monotonic() - self._started
        text = self._text if error is None else f"failed: {type(error).__name__}"
        self._events.emit(Event("end", self._stage, self._subject, text, seconds=seconds))


class JsonLines:
    """A listener that appends each event, with a host timestamp, to a file."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path

    def __call__(self, event: Event) -> None:
        if event.kind == "progress":
            return
        line = json.dumps({"time": round(time.time(), 3), **asdict(event)}, ensure_ascii=False)
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            raise InfraError(f"cannot write {self._path}: {error.strerror}") from error
