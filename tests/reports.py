# SPDX-License-Identifier: GPL-2.0-only
"""A small results.json with every kind of cell, for tests of reports.

The samples are what the file holds, so that a test can change anything in it; `typed` reads
them as kvet does.
"""

from __future__ import annotations

from typing import Any

import msgspec

from kvet.model import Attempt, Finding
from kvet.report.formats import FORMATS
from kvet.results.record import CellRecord, RunRecord

EVIL = '<script>alert("x")</script> & `rm` | *b* # SKIP \x1b[31m\x07]]>'
Cell = dict[str, Any]


def typed(record: Cell) -> RunRecord:
    """The record that a file with these contents is read as."""
    return msgspec.convert(record, RunRecord)


def typed_cell(data: Cell) -> CellRecord:
    """One cell of such a record."""
    return msgspec.convert(data, CellRecord)


def typed_attempt(data: Cell) -> Attempt:
    """One attempt of such a record."""
    return msgspec.convert(data, Attempt)


def typed_finding(data: Cell) -> Finding:
    """One finding of such a record."""
    return msgspec.convert(data, Finding)


def draw(form: str, record: Cell, measured: Cell | None = None) -> str:
    """The report of a record in one format, costs of `measured` beside it."""
    return FORMATS[form](typed(record), measured=typed(measured) if measured else None)


def frame(func: str, location: str = "", *, touched: bool = False, side: str = "") -> Cell:
    return {
        "func": func,
        "offset": "0x0/0x10",
        "module": "",
        "location": location,
        "source": "if (a < b && c)",
        "touched": touched,
        "side": side,
    }


def finding(title: str, *, suppressed: bool = False) -> Cell:
    return {
        "kind": "kasan",
        "title": title,
        "func": "free_it",
        "first_line": 10,
        "last_line": 20,
        "frames": [
            *(frame(f"detector_{i}", side="free") for i in range(9)),
            frame("free_it", "mm/a.c:7", touched=True, side="free"),
            *(frame(f"caller_{i}", f"mm/b.c:{i}", side="free") for i in range(30)),
            frame("walk_it", "mm/c.c:9", side="walk"),
        ],
        "alt_titles": [],
        "family": "bad-access free_it",
        "corrupted": False,
        "suppressed": suppressed,
        "origin": "console",
        "excerpt": ["BUG: it", " free_it+0x0/0x10\x00"],
    }


def attempt(n: int, status: str, found: list[Cell], detail: str = "") -> Cell:
    return {
        "n": n,
        "status": status,
        "ending": "PANIC" if found else "POWEROFF",
        "seconds": 1.5,
        "boot_seconds": 1.0,
        "ready_seconds": 1.0,
        "seed": 7,
        "console": f"cell/attempt-{n}/console.log",
        "findings": found,
        "exposure": {"overlaps": 30 * n, "walks": 5},
        "exposed": True,
        "metrics": {"longest_read": {"value": 0.25, "unit": "s"}},
        "state": {},
        "detail": detail,
        "provenance": {},
    }


def cell(variant: str, role: str, conclusion: str, attempts: list[Cell], **more: Any) -> Cell:
    failed = sum(a["status"] == "FAIL" for a in attempts)
    counted = sum(a["status"] in ("PASS", "FAIL") for a in attempts)
    config = more.pop("config", "debug")
    sha = "ab" * 32
    patch = {"name": "0001-x.patch", "subject": "mm: x", "message_id": "", "sha256": sha}
    build = {
        "key": f"key-{variant}",
        "seconds": 7.0,
        "cached": False,
        "release": f"6.12-kvet-{variant}",
        "folder": "",
        "log": "",
        "warnings_added": [],
        "finding": None,
    }
    return {
        "id": f"linux+{variant}+{config}+virt+race",
        "kernel": "linux",
        "variant": variant,
        "config": config,
        "machine": "virt",
        "workload": "race",
        "role": role,
        "title": f"what {variant} does",
        "expected": "",
        "links": [],
        "conclusion": conclusion,
        "reason": "" if conclusion == "PASS" else "race not exercised",
        "failures": failed,
        "runs": counted,
        "wanted": 2,
        "upper_bound": 0.776 if counted and not failed else None,
        "interval": [0.0, 0.66] if counted else None,
        "new_titles": [],
        "known_titles": [],
        "amplified": True,
        "floor": {"overlaps": 20},
        "reused": "",
        "series": {
            "id": sha,
            "base_tree": "cd" * 20,
            "tree": "ef" * 20,
            "changed": ["mm/a.c"],
            "patches": [{**patch, "tree": "ef" * 20}],
        },
        "build": {**build, **more.pop("build", {})},
        "attempts": attempts,
        **more,
    }


def sample_record() -> Cell:
    """A baseline, a caught control, a candidate that fails, one that passes, one invalid."""
    evil = [finding(EVIL), finding("seen later", suppressed=True)]
    title = "BUG in free_it"
    return {
        "schema": 1,
        "run": "20260102-030405-test",
        "conclusion": "FAIL",
        "exit_code": 1,
        "host": {
            "machine": "x86_64",
            "system": "Linux",
            "cpus": 2,
            "qemu": "10.0.2",
            "accel": "tcg",
            "compiler": "gcc 12",
            "linker": "ld 2.40",
            "kernels": {
                "linux": {
                    "version": "6.12.1",
                    "origin": "linux-source-6.12",
                    "base_commit": "12" * 20,
                    "tree": "cd" * 20,
                    "sha256": "34" * 32,
                }
            },
        },
        "plan": {"attempts": 2, "seed": 1, "command": ["run-matrix", "--only", "a b"]},
        "cells": [
            cell("stock", "baseline", "INCONCLUSIVE", [attempt(1, "PASS", [])]),
            cell(
                "nolock",
                "control",
                "FAIL",
                [attempt(1, "FAIL", [finding(title)], title)],
                new_titles=[title],
                reason=title,
            ),
            cell(
                "mine",
                "candidate",
                "FAIL",
                [attempt(1, "FAIL", evil, EVIL), attempt(2, "PASS", [])],
                new_titles=[EVIL],
                reason=EVIL,
                links=["2025.1-a@b.org"],
                build={"warnings_added": ["mm/a.c:1: warning: <unused>"]},
            ),
            cell("good", "candidate", "PASS", [attempt(1, "PASS", []), attempt(2, "PASS", [])]),
            cell("invalid", "candidate", "ERROR", [attempt(1, "ERROR", [], "QEMU is gone")]),
        ],
    }
