# SPDX-License-Identifier: GPL-2.0-only
"""Progress on the terminal: a live table with rich, or plain lines without a terminal."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from kvet.events import Ended, Event
from kvet.progress import Board, ending_name, minutes, short_names

WIDTH = 100
# a cold build is silent for minutes otherwise
PROGRESS_S = 15.0
STYLES = {"PASS": "green", "FAIL": "red", "ERROR": "magenta", "INCONCLUSIVE": "yellow"}


class _Console(Console):
    """A console that leaves the exit code alone; rich ends with 1 when its reader has gone."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def make_console(*, stderr: bool = False, width: int | None = None) -> Console:
    """A console that honours NO_COLOR and is 100 columns wide when not a terminal."""
    console = _Console(stderr=stderr, highlight=False)
    if not console.is_terminal:
        console = _Console(stderr=stderr, highlight=False, width=width or WIDTH, soft_wrap=True)
    return console


def drawn(renderable: RenderableType, *, color: bool = False, width: int = WIDTH) -> str:
    """`renderable` as text without blanks at the ends of lines.

    At most `width` columns, but for lines that are there `to_copy`.
    """
    out = io.StringIO()
    console = Console(
        file=out,
        width=width,
        highlight=False,
        force_terminal=color,
        no_color=not color,
        color_system="standard" if color else None,
    )
    console.print(renderable, crop=False)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def to_copy(line: str) -> Text:
    """A command or path that is copied as a whole: never wrapped, however long it is."""
    return Text(line, no_wrap=True, overflow="ignore")


def wants_color() -> bool:
    """Whether standard output is a terminal whose user has not refused colours."""
    console = make_console()
    return console.is_terminal and not console.no_color


class PlainUi:
    """One line for each step that ends, each attempt and each note; nothing is redrawn.

    A step that goes on for long says every `PROGRESS_S` seconds how far it is.
    """

    def __init__(self, *, quiet: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self.quiet = quiet
        self.clock = clock
        self.started = clock()
        self._said: dict[tuple[str, str], float] = {}

    def __enter__(self) -> PlainUi:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    def __call__(self, event: Event) -> None:
        """Print `event` when it is worth a line."""
        if self.quiet or event.kind in ("plan", "settled"):
            return
        if event.kind == "start" and event.stage == "boot":
            return
        if event.kind == "progress" and not self._is_due(event):
            return
        self._said[event.stage, event.subject] = self.clock()
        elapsed = self.clock() - self.started
        print(f"[{elapsed:7.1f}s] {describe(event)}", file=sys.stderr, flush=True)

    def _is_due(self, event: Event) -> bool:
        """Whether a step has been silent for long enough."""
        said = self._said.get((event.stage, event.subject), self.started)
        return self.clock() - said >= PROGRESS_S


def describe(event: Event) -> str:
    """One line of text for an event."""
    if event.kind == "note":
        return event.text
    if event.kind == "progress":
        return f"{event.stage} {event.subject}: {_count(event)}"
    took = f" in {event.seconds:.1f} s" if event.seconds is not None else ""
    verb = "..." if event.kind == "start" else ""
    told = _told(event.attempt) if event.attempt else event.text
    text = f": {told}" if told else ""
    return f"{event.stage} {event.subject}{verb}{text}{took}"


def _told(attempt: Ended) -> str:
    """An attempt that ended: number, status, ending and its title."""
    title = f": {attempt.title}" if attempt.title else ""
    return f"attempt {attempt.n}: {attempt.status} {ending_name(attempt.ending)}{title}"


def _count(event: Event) -> str:
    """How far a step is; what is counted is known of a build alone."""
    of = f" of {event.total:.0f}" if event.total else ""
    what = " objects" if event.stage == "build" else ""
    return f"{event.done:.0f}{of}{what}"


class RichUi:
    """The live view: the matrix with what each cell has shown, above bars of running steps."""

    def __init__(self) -> None:
        self.console = _Console(stderr=True, highlight=False)
        self.progress = Progress(
            TextColumn("{task.fields[stage]:<8}"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[count]}"),
            TimeElapsedColumn(),
            console=self.console,
        )
        self.tasks: dict[tuple[str, str], TaskID] = {}
        self.board = Board()
        self.live = Live(
            get_renderable=self._draw, console=self.console, refresh_per_second=4, transient=True
        )

    def __enter__(self) -> RichUi:
        self.live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.live.__exit__(kind, error, trace)

    def __call__(self, event: Event) -> None:
        """Update the live view with `event`."""
        self.board.take(event)
        key = (event.stage, event.subject)
        if event.kind == "note":
            self.console.print(escape(event.text))
        elif event.stage == "boot" or event.kind in ("plan", "settled"):
            return  # the board shows them
        elif event.kind == "start":
            text = f"{event.subject} {event.text}".rstrip()
            self.tasks[key] = self.progress.add_task(text, total=None, stage=event.stage, count="")
        elif event.kind == "progress" and key in self.tasks:
            count = f"{event.done:.0f}/{event.total:.0f}" if event.total else f"{event.done:.0f}"
            self.progress.update(
                self.tasks[key], completed=event.done, total=event.total or None, count=count
            )
        elif event.kind == "end":
            if key in self.tasks:
                self.progress.remove_task(self.tasks.pop(key))
            self.console.print(escape(describe(event)), style="dim")

    def _draw(self) -> Group:
        # a few lines are left to the bars and to what scrolls by
        rows, waiting = self.board.shown(max(4, self.console.height - 10))
        names = short_names(self.board.rows)
        table = Table(box=None, padding=(0, 1), show_header=False)
        for row in rows:
            marks = "".join(f"[{STYLES.get(s, 'dim')}]{s[:1]}[/]" for s in row.statuses)
            dots = "[dim]" + "." * row.left + "[/]"
            table.add_row(escape(names[row.cell]), row.stage, marks + dots, escape(row.first[:50]))
        return Group(table, *self._summary(waiting), self.progress)

    def _summary(self, waiting: int) -> list[Text]:
        if not self.board.rows:
            return []
        done, of = self.board.progress()
        left = self.board.left_s()
        parts = [
            f"attempt {done} of {of}",
            *([f"{waiting} more cells"] if waiting else []),
            *([f"about {minutes(left)} left"] if left else []),
        ]
        return [Text(" " + ", ".join(parts), "bold")]


def make_ui(*, quiet: bool, plain: bool) -> PlainUi | RichUi:
    """The progress display that fits the terminal and the user's wish."""
    if quiet or plain or not sys.stderr.isatty():
        return PlainUi(quiet=quiet)
    return RichUi()
