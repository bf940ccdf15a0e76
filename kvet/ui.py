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

from kvet.events import Event

WIDTH = 100
STYLES = {"PASS": "green", "FAIL": "red", "ERROR": "magenta", "INCONCLUSIVE": "yellow"}


def make_console(*, stderr: bool = False, width: int | None = None) -> Console:
    """A console that honours NO_COLOR and is 100 columns wide when not a terminal."""
    console = Console(stderr=stderr, highlight=False)
    if not console.is_terminal:
        console = Console(stderr=stderr, highlight=False, width=width or WIDTH, soft_wrap=True)
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
        if self.quiet or event.kind == "progress":
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
    """The live view: bars of running steps above the last attempts, redrawn in place."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False)
        self.progress = Progress(
            TextColumn("{task.fields[stage]:<8}"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[count]}"),
            TimeElapsedColumn(),
            console=self.console,
        )
        self.tasks: dict[tuple[str, str], TaskID] = {}
        self.cells: dict[str, list[str]] = {}
        self.first: dict[str, str] = {}
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
        key = (event.stage, event.subject + (event.text if event.stage == "boot" else ""))
        if event.kind == "note":
            self.console.print(escape(event.text))
        elif event.kind == "start":
            self.tasks[key] = self.progress.add_task(
                event.subject + (f" {event.text}" if event.text else ""),
                total=None,
                stage=event.stage,
                count="",
            )
        elif event.kind == "progress" and key in self.tasks:
            count = f"{event.done:.0f}/{event.total:.0f}" if event.total else f"{event.done:.0f}"
            self.progress.update(
                self.tasks[key], completed=event.done, total=event.total or None, count=count
            )
        elif event.kind == "end":
            self._finish(key)
            self.console.print(escape(describe(event)), style="dim")
        elif event.kind == "attempt":
            self._attempt(event)

    def _finish(self, key: tuple[str, str]) -> None:
        if key in self.tasks:
            self.progress.remove_task(self.tasks.pop(key))

    def _attempt(self, event: Event) -> None:
        head, _, title = event.text.partition(": ")
        status, _, finding = title.partition(" ")
        self._finish((event.stage, event.subject + head))
        self.cells.setdefault(event.subject, []).append(status)
        if status not in ("PASS", "DONE"):
            self.first.setdefault(event.subject, finding)

    def _draw(self) -> Group:
        table = Table(box=None, padding=(0, 1), show_header=False)
        for cell, statuses in list(self.cells.items())[-20:]:
            marks = "".join(f"[{STYLES.get(s, 'dim')}]{s[:1]}[/]" for s in statuses)
            table.add_row(escape(cell), marks, escape(self.first.get(cell, "")[:60]))
        return Group(table, self.progress)


def make_ui(*, quiet: bool, plain: bool) -> PlainUi | RichUi:
    """The progress display that fits the terminal and the user's wish."""
    if quiet or plain or not sys.stderr.isatty():
        return PlainUi(quiet=quiet)
    return RichUi()
