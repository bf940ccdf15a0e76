# SPDX-License-Identifier: GPL-2.0-only
"""Progress on the terminal: a live table with rich, or plain lines without a terminal."""

from __future__ import annotations

import io
import sys
import time
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from kvet.board import Board, minutes, short_names
from kvet.events import Event

WIDTH = 100
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
    """`renderable` as text of at most `width` columns, without blanks at the ends of lines."""
    out = io.StringIO()
    console = Console(
        file=out,
        width=width,
        highlight=False,
        force_terminal=color,
        no_color=not color,
        color_system="standard" if color else None,
    )
    console.print(renderable)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def wants_color() -> bool:
    """Whether standard output is a terminal whose user has not refused colours."""
    console = make_console()
    return console.is_terminal and not console.no_color


class PlainUi:
    """One line for each step that ends, each attempt and each note; nothing is redrawn."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self.started = time.monotonic()

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
        if self.quiet or event.kind in ("progress", "plan", "settled"):
            return
        if event.kind == "start" and event.stage == "boot":
            return
        elapsed = time.monotonic() - self.started
        print(f"[{elapsed:7.1f}s] {describe(event)}", file=sys.stderr, flush=True)


def describe(event: Event) -> str:
    """One line of text for an event."""
    if event.kind == "note":
        return event.text
    took = f" in {event.seconds:.1f} s" if event.seconds is not None else ""
    verb = "..." if event.kind == "start" else ""
    text = f": {event.text}" if event.text else ""
    return f"{event.stage} {event.subject}{verb}{text}{took}"


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
