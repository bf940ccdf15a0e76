# SPDX-License-Identifier: GPL-2.0-only
"""The keys of a workload that is a directory, beside those of every workload; data only."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string", "minLength": 1}
# names of sides and counters: they are words of the guest's report
WORD: Schema = {
    "pattern": "^[a-z][a-z0-9_]{0,23}$",
    "says": "is no name: small letters, digits and _, a letter first, 24 at most",
}
PACKAGE: Schema = {"type": "string", "pattern": "^[a-z0-9][a-z0-9+.-]+$"}
PARAMS: Schema = {
    "type": "object",
    "propertyNames": {"pattern": "^[A-Za-z0-9_]+$"},
    "additionalProperties": {"type": ["string", "integer"], "pattern": r"^[^\s\"]+$"},
}
EXPECT: Schema = {
    "oneOf": [
        {"type": "integer", "minimum": 0, "maximum": 255},
        {"type": "string", "pattern": "^E[A-Z0-9]+$"},
    ]
}
STAY: Schema = {"type": "number", "minimum": 0, "maximum": 86_400}
MODULE: Schema = {
    "oneOf": [
        {"type": "string", "pattern": "^[A-Za-z0-9_-]+$"},
        {
            "type": "object",
            "required": ["name"],
            "additionalProperties": False,
            "properties": {
                "name": {"type": "string", "pattern": "^[A-Za-z0-9_-]+$"},
                "params": PARAMS,
                "expect": EXPECT,
                "stay": STAY,
            },
        },
    ]
}
SIDE: Schema = {
    "oneOf": [
        TEXT,
        {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "run": TEXT,
                "module": MODULE,
                "expect": EXPECT,
                "loop": {"type": "boolean"},
            },
            "oneOf": [{"required": ["run"]}, {"required": ["module"]}],
            "says": "needs one of run and module",
        },
    ]
}
# one of these says what the workload does
DOES = ("run", "sides", "module", "kunit", "kselftest", "locktorture", "rcutorture", "race")
KEYS: dict[str, Schema] = {
    "run": TEXT,
    "args": {"type": "array", "items": {"type": ["string", "integer"]}, "minItems": 1},
    "expect": EXPECT,
    "loop": {"type": "boolean"},
    "sides": {
        "type": "object",
        "minProperties": 2,
        "maxProperties": 16,
        "propertyNames": WORD,
        "additionalProperties": SIDE,
        "says": "needs two sides at least, and has 16 at most; one alone is a run",
    },
    "module": MODULE,
    "kunit": {"type": "string", "pattern": r"^[A-Za-z0-9_.*?-]+$"},
    "kselftest": {
        "type": "string",
        "pattern": r"^[a-z0-9][a-z0-9_-]*(/[a-z0-9][a-z0-9_-]*)*$",
        "says": "is no directory below tools/testing/selftests",
    },
    "locktorture": PARAMS,
    "rcutorture": PARAMS,
    "race": {
        "type": "string",
        "pattern": r"^[A-Za-z0-9_-]+\.c$",
        "says": "is no name of a C file of this directory",
    },
    "sources": {"type": "array", "items": TEXT, "minItems": 1, "uniqueItems": True},
    # what every report on it says that it leaves out
    "not_covered": {"type": "array", "items": TEXT, "minItems": 1, "uniqueItems": True},
    "packages": {"type": "array", "items": PACKAGE, "minItems": 1, "uniqueItems": True},
    "exposure": {
        "type": "object",
        "minProperties": 1,
        "maxProperties": 48,
        "propertyNames": WORD,
        "additionalProperties": TEXT,
    },
}
# keys that another one must stand beside
BELONGS = {"args": ("run",), "loop": ("run",), "expect": ("run",)}
