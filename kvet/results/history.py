# SPDX-License-Identifier: GPL-2.0-only
"""All runs in one SQLite file, `results/history.db`: what each cell came to, run by run.

The file is a digest of the run directories and may be removed at any time. A run whose
directory is gone stays in it until it is rebuilt.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import astuple, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

from kvet.errors import InfraError, KvetError
from kvet.results.booted import booted_on
from kvet.results.record import CellRecord, RunRecord, kernels_text, read_record

# raise it whenever a table changes: an older file is rebuilt from the run directories
SCHEMA = 1
TABLES = """
CREATE TABLE runs (
  run TEXT PRIMARY KEY, name TEXT, started TEXT, conclusion TEXT, exit_code INTEGER,
  kernels TEXT, tools TEXT, stamp TEXT
);
CREATE TABLE cells (
  run TEXT, cell TEXT, kernel TEXT, variant TEXT, config TEXT, machine TEXT, workload TEXT,
  role TEXT, title TEXT, links TEXT, conclusion TEXT, failures INTEGER, runs INTEGER,
  upper_bound REAL, reason TEXT, reused TEXT, place INTEGER,
  PRIMARY KEY (run, cell)
);
CREATE TABLE titles (run TEXT, cell TEXT, variant TEXT, title TEXT);
CREATE INDEX cells_by_variant ON cells (variant);
CREATE INDEX titles_by_variant ON titles (variant);
"""
TABLE_NAMES = ("runs", "cells", "titles")
STARTED = re.compile(r"^(\d{8}-\d{6})(-|$)")


@dataclass(frozen=True, slots=True)
class PastRun:
    """One run on record; `started` is ISO 8601 in UTC, `tools` are compiler and emulator."""

    run: str
    name: str
    started: str
    conclusion: str
    exit_code: int
    kernels: str
    tools: str

    @property
    def when(self) -> str:
        """Day and time, to the minute."""
        return self.started[:16].replace("T", " ")


@dataclass(frozen=True, slots=True)
class Entry:
    """What one cell came to in one run: `failures` of `runs` attempts.

    `reused` names the earlier run that its attempts were taken from; `place` is its
    place in the matrix.
    """

    run: str
    cell: str
    kernel: str
    variant: str
    config: str
    machine: str
    workload: str
    role: str
    title: str
    links: str
    conclusion: str
    failures: int
    runs: int
    upper_bound: float | None
    reason: str
    reused: str
    place: int

    @property
    def count(self) -> str:
        """k/n."""
        return f"{self.failures}/{self.runs}"


@dataclass(frozen=True, slots=True)
class Seen:
    """A title that blamed a variant: the first and last run that showed it, and in how many."""

    title: str
    first: str
    last: str
    runs: int


class History:
    """The open database; use `open_history`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._sql = connection

    def sync(self, results: Path, *, rebuild: bool = False) -> list[str]:
        """Take in what is new or changed below `results`; `rebuild` forgets everything first.

        Returns a line for each run that could not be read.
        """
        notes = []
        with self._sql:
            if rebuild:
                for table in TABLE_NAMES:
                    self._sql.execute(f"DELETE FROM {table}")
            known = dict(self._sql.execute("SELECT run, stamp FROM runs"))
            for path in run_records(results):
                stat = path.stat()
                stamp = f"{stat.st_size} {stat.st_mtime_ns}"
                if known.get(path.parent.name) == stamp:
                    continue
                try:
                    self._take(read_record(path), path, stamp)
                except KvetError as error:
                    notes.append(error.message)
        return notes

    def _take(self, record: RunRecord, path: Path, stamp: str) -> None:
        """Put one record in, in place of what the file said before."""
        run = path.parent.name
        for table in TABLE_NAMES:
            self._sql.execute(f"DELETE FROM {table} WHERE run = ?", (run,))
        past = _past_run(record, path)
        self._insert("runs", (*astuple(past), stamp))
        for place, cell in enumerate(record.cells):
            self._insert("cells", astuple(_entry(run, place, cell)))
            for title in cell.new_titles:
                self._insert("titles", (run, cell.id, cell.variant, title))

    def _insert(self, table: str, values: Sequence[object]) -> None:
        marks = ",".join("?" * len(values))
        self._sql.execute(f"INSERT INTO {table} VALUES ({marks})", values)

    def runs(self, *, name: str = "", last: int = 0) -> list[PastRun]:
        """The runs, oldest first: all, or those of the matrix `name`, or the `last` ones."""
        columns = ",".join(f.name for f in fields(PastRun))
        rows = self._sql.execute(
            f"SELECT {columns} FROM runs WHERE ? IN ('', name) ORDER BY started, run", (name,)
        ).fetchall()
        return [PastRun(*row) for row in rows[-last if last else 0 :]]

    def entries(self, runs: Iterable[str], *, variant: str = "") -> dict[str, list[Entry]]:
        """What the cells came to in `runs`: cell id to entries in the order of `runs`."""
        found: dict[str, list[Entry]] = {}
        for run in runs:
            rows = self._sql.execute(
                "SELECT * FROM cells WHERE run = ? AND ? IN ('', variant) ORDER BY place",
                (run, variant),
            )
            for row in rows:
                found.setdefault(row[1], []).append(Entry(*row))
        return found

    def variants(self) -> list[str]:
        """Names of all variants on record, those of the newest run first."""
        rows = self._sql.execute(
            "SELECT variant FROM cells JOIN runs USING (run) GROUP BY variant "
            "ORDER BY max(started) DESC, min(place)"
        )
        return [row[0] for row in rows]

    def titles(self, variant: str) -> list[Seen]:
        """The titles that ever blamed `variant`, the latest first."""
        rows = self._sql.execute(
            "SELECT title, min(run), max(run), count(DISTINCT run) FROM titles "
            "WHERE variant = ? GROUP BY title ORDER BY max(run) DESC, title",
            (variant,),
        )
        return [Seen(*row) for row in rows]


def run_records(results: Path) -> list[Path]:
    """results.json of every run below `results`, by name; `latest` is none of its own."""
    found = sorted(results.glob("*/results.json"))
    return [p for p in found if not p.parent.is_symlink()]


def _past_run(record: RunRecord, path: Path) -> PastRun:
    host = record.host
    tools = (host.compiler, booted_on(record))
    return PastRun(
        run=path.parent.name,
        name=record.plan.name,
        started=_started(path),
        conclusion=record.conclusion.value,
        exit_code=record.exit_code,
        kernels=kernels_text(record),
        tools=", ".join(tool for tool in tools if tool),
    )


def _started(path: Path) -> str:
    """When a run began: its name says so, or else its file's time."""
    if found := STARTED.match(path.parent.name):
        try:
            moment = datetime.strptime(found.group(1), "%Y%m%d-%H%M%S").replace(tzinfo=UTC)
            return moment.isoformat()
        except ValueError:
            pass  # digits that are no date
    return datetime.fromtimestamp(path.stat().st_mtime, UTC).isoformat(timespec="seconds")


def _entry(run: str, place: int, cell: CellRecord) -> Entry:
    return Entry(
        run=run,
        cell=cell.id,
        kernel=cell.kernel,
        variant=cell.variant,
        config=cell.config,
        machine=cell.machine,
        workload=cell.workload,
        role=cell.role.value,
        title=cell.title,
        links=json.dumps(cell.links),
        conclusion=cell.conclusion.value,
        failures=cell.failures,
        runs=cell.runs,
        upper_bound=cell.upper_bound,
        reason=cell.reason,
        reused=cell.reused,
        place=place,
    )


@contextmanager
def open_history(results: Path) -> Iterator[History]:
    """The history of `results`, its file made when absent, of another schema or broken.

    Raises InfraError when the directory cannot be written.
    """
    path = results / "history.db"
    try:
        results.mkdir(parents=True, exist_ok=True)
        connection = _connect(path)
    except (sqlite3.Error, OSError) as error:
        raise InfraError(f"cannot open {path}: {error}") from error
    with closing(connection):
        try:
            yield History(connection)
        except sqlite3.Error as error:
            raise InfraError(f"{path}: {error}", hint=f"rm {path}; it is rebuilt") from error


def _connect(path: Path) -> sqlite3.Connection:
    """An open database of this schema; what it held is in the run directories."""
    connection = sqlite3.connect(path, timeout=30)
    try:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version == SCHEMA:
            connection.execute("SELECT count(*) FROM runs, cells, titles LIMIT 0")
            return connection
        empty = not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    except sqlite3.OperationalError:
        connection.close()
        raise
    except sqlite3.DatabaseError:  # no database at all
        empty = False
    if not empty:
        connection.close()
        path.unlink()
        connection = sqlite3.connect(path, timeout=30)
    connection.executescript(f"BEGIN; {TABLES} PRAGMA user_version = {SCHEMA}; COMMIT;")
    return connection
