# SPDX-License-Identifier: GPL-2.0-only
"""results.json is written once and read once: what goes in comes out, old runs still open."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kvet.cli.main import main
from kvet.errors import ExitCode, InfraError
from kvet.model import Attempt, Conclusion, Ending, Finding, Role, Status
from kvet.paths import PROJECT
from kvet.report.formats import FORMATS
from kvet.results.code_record import CodeRecord
from kvet.results.compare import compare
from kvet.results.record import SCHEMA, CellRecord, RateTest, RunRecord, read_record, write_record
from kvet.store import plain
from tests.reports import Cell, sample_record, typed

# cut down from a run of configs/smoke.yaml by the last kvet that wrote schema 1
OLD = Path(__file__).parent / "data" / "results-schema-1.json"


def put(folder: Path, data: object) -> Path:
    path = folder / "20260102-030405-m" / "results.json"
    path.parent.mkdir()
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


def lost(old: Any, new: Any, where: str = "$") -> Iterator[str]:
    """The paths of what `new` does not hold as `old` does."""
    if isinstance(old, dict):
        for key, value in old.items():
            yield from lost(value, new[key], f"{where}.{key}") if key in new else [f"{where}.{key}"]
    elif isinstance(old, list) and len(old) == len(new):
        for number, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from lost(one, other, f"{where}[{number}]")
    elif old != new:
        yield where


def test_what_is_written_is_read(tmp_path: Path) -> None:
    record = typed(sample_record() | {"schema": SCHEMA})
    path = tmp_path / "results.json"
    write_record(path, record)
    assert read_record(path) == record
    assert json.loads(path.read_text(encoding="utf-8"))["schema"] == SCHEMA


def test_a_run_of_schema_1_opens_and_loses_nothing(tmp_path: Path) -> None:
    record = read_record(OLD)
    assert (record.conclusion, record.exit_code) == (Conclusion.INCONCLUSIVE, 4)
    control = next(c for c in record.cells if c.role is Role.CONTROL)
    assert (control.count, control.conclusion) == ("2/2", Conclusion.FAIL)
    first = control.attempts[0]
    assert (first.status, first.ending) == (Status.FAIL, Ending.PANIC)
    assert first.findings[0].frames[0].func == "pmd_free_pte_page"
    assert first.provenance.banner.split()[2] == control.build.release
    path = tmp_path / "results.json"
    write_record(path, record)
    old, new = (json.loads(p.read_text(encoding="utf-8")) for p in (OLD, path))
    assert list(lost(old, new)) == ["$.schema"]


def test_every_report_and_comparison_takes_a_run_of_schema_1() -> None:
    record = read_record(OLD)
    for name, draw in FORMATS.items():
        assert "nolock" in draw(record) or name == "b4", name
    assert compare([record, record]).changes == ()


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (lambda r: r["cells"][3]["attempts"][0].update(status="GREEN"), "cells[3].attempts[0]"),
        (lambda r: r["cells"][1].pop("role"), "cells[1]"),
        (lambda r: r["cells"][2].update(failures="many"), "cells[2].failures"),
        (lambda r: r["host"]["kernels"]["linux"].update(tree=7), "host.kernels[...]"),
        (lambda r: r.update(cells=None), "cells"),
    ],
)
def test_a_damaged_file_is_one_error_with_the_path_inside_it(
    tmp_path: Path, change: Any, where: str
) -> None:
    record: Cell = sample_record()
    change(record)
    path = put(tmp_path, record)
    with pytest.raises(InfraError) as caught:
        read_record(path)
    assert str(path) in caught.value.message
    assert f"$.{where}" in caught.value.message
    assert caught.value.exit_code is ExitCode.ERROR
    assert "--resume 20260102-030405-m" in caught.value.hint


@pytest.mark.parametrize("schema", [0, SCHEMA + 1])
def test_another_schema_is_named_whatever_the_rest_says(tmp_path: Path, schema: int) -> None:
    path = put(tmp_path, {"schema": schema, "cells": 7})
    with pytest.raises(InfraError, match=f"schema {schema}; this kvet reads 1 to {SCHEMA}"):
        read_record(path)


@pytest.mark.parametrize("text", ["", "[" * 100_000, '{"run": "\\ud800', "\xff"])
def test_what_is_no_json_is_an_error_of_the_file(tmp_path: Path, text: str) -> None:
    path = put(tmp_path, {})
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InfraError, match=r"results\.json: not "):
        read_record(path)


def test_fields_that_a_later_kvet_adds_are_passed_over() -> None:
    data = plain(typed(sample_record()))
    data["cells"][0]["colour"] = {"hue": 1}
    assert msgspec.convert(data, type(typed(sample_record()))) == typed(sample_record())


@pytest.mark.parametrize("kind", [RunRecord, CellRecord, Attempt, Finding, CodeRecord, RateTest])
def test_the_document_names_every_field(kind: type[Any]) -> None:
    text = (PROJECT / "docs/results.md").read_text(encoding="utf-8")
    assert [f.name for f in fields(kind) if not re.search(rf"\b{f.name}\b", text)] == []


def test_the_command_line_opens_a_run_of_schema_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / read_record(OLD).run
    run.mkdir()
    shutil.copy(OLD, run / "results.json")
    (run / "run.json").write_text("{}")  # marks a run; the reports take nothing from it
    for command in (("report", run.name), ("compare", run.name, run.name), ("history",)):
        out = ("--out", str(tmp_path))
        assert main([*command, *out]) in (0, 1), command
        told = capsys.readouterr()
        assert "not a record" not in told.err
        if command[0] != "compare":
            assert "nolock" in told.out, command
    shown = json.loads((run / "results.json").read_text(encoding="utf-8"))
    assert shown["schema"] == 1
