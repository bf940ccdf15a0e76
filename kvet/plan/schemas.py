# SPDX-License-Identifier: GPL-2.0-only
"""The JSON schemas of the YAML files a user writes; data only."""

from __future__ import annotations

from typing import Any

from kvet.plan import load_schema

Schema = dict[str, Any]
# how a compiler is named: by kind, or by kind and version
TOOLCHAIN = r"(gcc|clang)(-[0-9]+)?"

TEXT: Schema = {"type": "string", "minLength": 1}
NAME: Schema = {"type": "string", "pattern": r"^[A-Za-z0-9][A-Za-z0-9._-]*$"}
NAMES: Schema = {"type": "array", "items": NAME, "minItems": 1, "uniqueItems": True}
TEXTS: Schema = {"type": "array", "items": TEXT}
ATTEMPTS: Schema = {"type": "integer", "minimum": 1, "maximum": 10_000}
SLOWDOWN: Schema = {"type": "number", "minimum": 1, "maximum": 1000}
COUNTS: Schema = {"type": "object", "additionalProperties": {"type": "integer", "minimum": 1}}
# counters of which one is enough, or both keys below
FLOOR: Schema = {**COUNTS, "properties": {"each": COUNTS, "any": COUNTS}}


def _mapping(required: tuple[str, ...], **properties: Schema) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


KERNEL = _mapping(
    ("kind",),
    title=TEXT,
    kind={"enum": ["package", "git", "tarball", "directory"]},
    package=NAME,
    suite={"oneOf": [NAME, NAMES]},
    url=TEXT,
    ref=TEXT,
    path=TEXT,
    sha256={"type": "string", "pattern": "^[0-9a-f]{64}$"},
)
KERNEL_REQUIRED = {
    "package": ("package",),
    "git": ("url", "ref"),
    "tarball": ("url",),
    "directory": ("path",),
}

MEM_MIB: Schema = {"type": "integer", "minimum": 64, "maximum": 1 << 24}
CONFIG = _mapping(
    ("title", "fragments"),
    title=TEXT,
    base={"type": "string", "pattern": "^[a-z0-9_]*config$"},
    fragments={"type": "array", "items": TEXT, "minItems": 1},
    slowdown=SLOWDOWN,
    mem_mib=MEM_MIB,
)

VCPUS: Schema = {"type": "integer", "minimum": 1, "maximum": 512}
PAGE_KIB: Schema = {"enum": [4, 16, 64]}
MACHINE = _mapping(
    ("vcpus", "mem_mib"),
    kind={"enum": ["qemu", "ssh"]},
    title=TEXT,
    vcpus=VCPUS,
    mem_mib=MEM_MIB,
    maxmem_mib={"type": "integer", "minimum": 0, "maximum": 1 << 24},
    page_kib=PAGE_KIB,
    accel={"enum": ["auto", "tcg", "kvm"]},
    thread={"enum": ["multi", "single"]},
    cpu=TEXT,
    boot_args=TEXTS,
    qemu=TEXT,
    icount={"type": "boolean"},
)

ARGV: Schema = {"type": "array", "items": TEXT, "minItems": 1}
WAIT: Schema = {"type": "number", "minimum": 1, "maximum": 3600}
# a machine of kind ssh: a board, or another machine that boots kernels for us
BOARD = _mapping(
    ("kind", "vcpus", "boot_args", "console"),
    kind={"const": "ssh"},
    title=TEXT,
    vcpus=VCPUS,
    page_kib=PAGE_KIB,
    boot_args={**TEXTS, "minItems": 1},
    address={"type": "string", "pattern": r"^[A-Za-z0-9:][A-Za-z0-9.:_-]*$"},
    port={"type": "integer", "minimum": 1, "maximum": 65_535},
    user={"type": "string", "pattern": r"^[A-Za-z_][A-Za-z0-9_.-]*$"},
    key=TEXT,
    host_key={"type": "string", "pattern": r"^(ssh|ecdsa)-[a-z0-9-]+ [A-Za-z0-9+/]+={0,2}$"},
    known_hosts=TEXT,
    directory={"type": "string", "pattern": r"^/[A-Za-z0-9._/-]+$"},
    load=ARGV,
    start=ARGV,
    boot=ARGV,
    console=ARGV,
    reset=ARGV,
    up_s=WAIT,
    boot_s=WAIT,
)

# what a judge can say against silence, and a waiver with `judge` can answer: rules of
# kvet/run/trust.yaml, and what kvet/run/verdict.py holds back a PASS for
JUDGES = (
    *("asks-who-calls", "console", "control", "doors", "lockdep", "nokprobe", "panic", "probes"),
    *("sanitizers", "suspicion", "unread", "walk-begins-again", "watchdogs"),
)
JUDGE: Schema = {"enum": list(JUDGES), "says": f"is none of {', '.join(JUDGES)}"}
WAIVER = _mapping(("reason",), line=TEXT, text=TEXT, outcome=TEXT, judge=JUDGE, reason=TEXT)

VARIANT = _mapping(
    ("title", "role"),
    title=TEXT,
    role={"enum": ["baseline", "candidate", "control"]},
    expected=TEXT,
    expected_on={"type": "object", "additionalProperties": TEXT},
    why=TEXT,
    links=TEXTS,
    onto=NAME,
    kernels=NAMES,
    floor=FLOOR,
    floor_reason=TEXT,
    amplified_only={"type": "boolean"},
    waive={"type": "array", "items": WAIVER, "minItems": 1},
)

WORKLOAD = _mapping(
    ("title", "seconds"),
    title=TEXT,
    program=NAME,
    seconds={"type": "number", "exclusiveMinimum": 0, "maximum": 86_400},
    params={
        "type": "object",
        # each becomes a word of the guest's kernel command line
        "propertyNames": {"pattern": r"^[A-Za-z0-9_]+$"},
        "additionalProperties": {"type": ["string", "integer"], "pattern": r"^[^\s\"]+$"},
    },
    floor=FLOOR,
    floor_reason=TEXT,
    slowdown=SLOWDOWN,
    baseline=NAME,
    control=NAME,
    measures={"type": "boolean"},
    machine={"oneOf": [NAME, NAMES]},
    config={"oneOf": [NAME, NAMES]},
    waive={"type": "array", "items": WAIVER, "minItems": 1},
    beside=NAMES,
    about={"type": "array", "items": TEXT, "minItems": 1, "uniqueItems": True},
    attempts=ATTEMPTS,
    complete={"type": "integer", "minimum": 0, "maximum": 4},
)
# the same as a directory: what it does, and options beside the names of configs
ENTRY: Schema = {"type": "string", "pattern": r"^(CONFIG_\w+=.+|[A-Za-z0-9][A-Za-z0-9._-]*)$"}
LOAD: Schema = {
    **WORKLOAD,
    "properties": {
        **WORKLOAD["properties"],
        **load_schema.KEYS,
        "config": {
            "oneOf": [ENTRY, {"type": "array", "items": ENTRY, "minItems": 1, "uniqueItems": True}]
        },
    },
}

MATRIX = _mapping(
    ("title", "kernels", "variants", "configs", "machines", "workloads"),
    title=TEXT,
    kernels=NAMES,
    variants=NAMES,
    configs=NAMES,
    machines=NAMES,
    workloads=NAMES,
    attempts=ATTEMPTS,
    max_attempts=ATTEMPTS,
    toolchain={"type": "string", "pattern": f"^{TOOLCHAIN}$"},
    exclude=TEXTS,
    more_variants=TEXT,
)

WATCH = _mapping(
    ("title", "watch"),
    title=TEXT,
    watch={
        "type": "array",
        "minItems": 1,
        "items": _mapping(
            ("name",),
            name=NAME,
            mbox=TEXT,
            maildir=TEXT,
            git=TEXT,
            base=TEXT,
            branches={"type": "array", "items": TEXT, "minItems": 1},
            match=TEXT,
        ),
    },
    kernel=NAME,
    config=NAME,
    machine=NAME,
    workload=NAME,
    attempts=ATTEMPTS,
)


# as the distribution names its packages: gcc, gcc-13, clang, clang-19
