# SPDX-License-Identifier: GPL-2.0-only
"""The formats that programs read: JUnit, KTAP and KCIDB, valid by their own rules."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import jsonschema
import pytest

from kvet.guest.report_port import parse_lines
from tests.conftest import REAL_CACHE
from tests.reports import Cell, cell, draw, sample_record


@pytest.fixture
def record() -> Cell:
    return sample_record()


# junit


def test_junit_follows_the_schema(record: Cell) -> None:
    text = draw("junit", record)
    root = ET.fromstring(text.encode())
    assert root.tag == "testsuites"
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("7", "1", "1")
    allowed = {
        "testsuite": {"name", "tests", "failures", "errors", "skipped", "time"},
        "testcase": {"name", "classname", "time"},
        "failure": {"type", "message"},
        "error": {"type", "message"},
        "skipped": {"type", "message"},
        "property": {"name", "value"},
        "properties": set(),
        "system-out": set(),
    }
    for element in root.iter():
        if element is not root:
            assert set(element.attrib) <= allowed[element.tag]
    times = [e.get("time", "") for e in root.iter() if "time" in e.attrib]
    assert all(re.fullmatch(r"\d+\.\d{3}", time) for time in times)


def test_junit_has_a_case_for_each_attempt(record: Cell) -> None:
    root = ET.fromstring(draw("junit", record).encode())
    by_class: dict[str, list[ET.Element]] = {}
    for case in root.iter("testcase"):
        by_class.setdefault(case.get("classname", ""), []).append(case)
    assert {k: len(v) for k, v in by_class.items()} == {
        c["id"]: len(c["attempts"]) for c in record["cells"]
    }
    failure = by_class["linux+mine+debug+virt+race"][0].find("failure")
    assert failure is not None and failure.get("type") == "kasan"
    assert '<script>alert("x")</script>' in failure.get("message", "")
    assert "walk_it  mm/c.c:9" in (failure.text or "") and "reproduce" in (failure.text or "")
    skipped = by_class["linux+stock+debug+virt+race"][0].find("skipped")
    assert skipped is not None and skipped.get("message") == "race not exercised"
    error = by_class["linux+invalid+debug+virt+race"][0].find("error")
    assert error is not None and error.get("message") == "QEMU is gone"


# ktap


def test_ktap_plans_match_results(record: Cell) -> None:
    lines = draw("ktap", record).splitlines()
    assert lines[0] == "KTAP version 1"
    assert lines.count("    KTAP version 1") == len(record["cells"])
    assert "not ok 3 linux+mine+debug+virt+race" in lines
    assert "    not ok 1 attempt-1 # ERROR QEMU is gone" in lines
    results = [x for x in lines if re.match(r"\s*(not )?ok ", x)]
    assert len(results) == len(record["cells"]) + 7
    top = [line for line in lines if not line.startswith(" ")]
    assert parse_lines(top).tests == {
        "linux+stock+debug+virt+race": None,
        "linux+nolock+debug+virt+race": True,
        "linux+mine+debug+virt+race": False,
        "linux+good+debug+virt+race": True,
        "linux+invalid+debug+virt+race": False,
    }


def _kunit_parser() -> Any:
    """The kernel's own parser, from an unpacked source; the test is skipped without one."""
    found = sorted(REAL_CACHE.glob("sources/linux-source-6.12-*/tools/testing/kunit"))
    if not found:
        pytest.skip("no unpacked linux-source-6.12")
    return _load(found[-1] / "kunit_parser.py")


def _load(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location("kunit_parser", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["kunit_parser"] = module
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
    return module


def test_the_kernels_own_parser_accepts_the_ktap(
    record: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    parser = _kunit_parser()
    test = parser.parse_run_tests(draw("ktap", record).splitlines())
    counts = test.counts
    assert counts.errors == 0 and counts.crashed == 0
    assert (counts.passed, counts.failed, counts.skipped) == (4, 2, 1)
    assert [sub.name for sub in test.subtests] == [c["id"] for c in record["cells"]]
    assert [len(sub.subtests) for sub in test.subtests] == [1, 1, 2, 2, 1]


# kcidb

TEXT = {"type": "string", "pattern": "^[^\\0]*$"}
ID = {"type": "string", "pattern": "^kvet:[^\\0]+$"}
STATUS = {"enum": ["FAIL", "ERROR", "MISS", "PASS", "DONE", "SKIP"]}
TIME = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00$"}


def _object(required: list[str], **properties: Any) -> Cell:
    common = {"id": ID, "origin": {"const": "kvet"}, "misc": {"type": "object"}, "comment": TEXT}
    return {
        "type": "object",
        "properties": {**common, **properties},
        "required": ["id", "origin", *required],
        "additionalProperties": False,
    }


EXCERPT = {**TEXT, "maxLength": 16384}
KCIDB = {
    "type": "object",
    "properties": {
        "version": {"const": {"major": 5, "minor": 3}},
        "checkouts": {
            "items": _object(
                [],
                git_commit_hash={"type": "string", "pattern": "^[0-9a-f]{40}([0-9a-f]{24})?$"},
                patchset_hash={"type": "string", "pattern": "^$|^[0-9a-f]{64}$"},
                message_id={"type": "string", "pattern": "^[^@]+@[^@]+$"},
                start_time=TIME,
                log_excerpt=EXCERPT,
                valid={"type": "boolean"},
            )
        },
        "builds": {
            "items": _object(
                ["checkout_id"],
                checkout_id=ID,
                architecture={"const": "arm64"},
                compiler=TEXT,
                config_name=TEXT,
                duration={"type": "number"},
                log_excerpt=EXCERPT,
                status=STATUS,
            )
        },
        "tests": {
            "items": _object(
                ["build_id"],
                build_id=ID,
                path={"type": "string", "pattern": r"^([a-zA-Z0-9_-]+(\.[a-zA-Z0-9_-]+)*)?$"},
                status=STATUS,
                duration={"type": "number"},
                log_excerpt=EXCERPT,
                environment={"type": "object"},
                number={
                    "properties": {"value": {"type": "number"}, "unit": TEXT},
                    "required": ["value"],
                    "additionalProperties": False,
                },
            )
        },
    },
    "required": ["version"],
    "additionalProperties": False,
}


def test_kcidb_is_valid_and_linked(record: Cell) -> None:
    record["cells"].append(
        cell("none", "candidate", "ERROR", [], series={}, build={"key": ""}, reason="no\x00patch")
    )
    document = json.loads(draw("kcidb", record))
    jsonschema.validate(document, KCIDB)
    assert {b["checkout_id"] for b in document["builds"]} <= {
        c["id"] for c in document["checkouts"]
    }
    assert {t["build_id"] for t in document["tests"]} <= {b["id"] for b in document["builds"]}
    ids = [x["id"] for kind in ("checkouts", "builds", "tests") for x in document[kind]]
    assert len(ids) == len(set(ids))
    statuses = [t["status"] for t in document["tests"] if t["status"] != "DONE"]
    assert statuses == ["PASS", "FAIL", "FAIL", "PASS", "PASS", "PASS", "ERROR"]
    assert document["checkouts"][-1]["valid"] is False
    assert document["checkouts"][0]["start_time"] == "2026-01-02T03:04:05+00:00"


def test_kcidb_passes_kcidb_io(record: Cell) -> None:
    kcidb_io = pytest.importorskip("kcidb_io")
    document = json.loads(draw("kcidb", record))
    assert kcidb_io.schema.V5_3.is_valid_exactly(document)


def test_kcidb_names_a_commit_only_of_a_public_tree(record: Cell) -> None:
    assert "git_commit_hash" not in json.loads(draw("kcidb", record))["checkouts"][0]
    record["host"]["kernels"]["linux"]["sha256"] = ""
    assert json.loads(draw("kcidb", record))["checkouts"][0]["git_commit_hash"] == "12" * 20


def test_kcidb_ids_of_reused_attempts_are_those_of_their_run(record: Cell) -> None:
    record["cells"][1]["reused"] = "20250101-000000-old"
    ids = [t["id"] for t in json.loads(draw("kcidb", record))["tests"]]
    assert "kvet:20250101-000000-old/linux+nolock+debug+virt+race/1" in ids
