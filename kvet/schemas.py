# SPDX-License-Identifier: GPL-2.0-only
"""The JSON schemas of the YAML files a user writes; data only."""

from __future__ import annotations

from typing import Any

from kvet.toolchain import TOOLCHAIN

Schema = dict[str, Any]

TEXT: Schema = {"type": "string", "minLength": 1}
NAME: Schema = {"type": "string", "pattern": r"^[A-Za-z0-9][A-Za-z0-9._-]*$"}
NAMES: Schema = {"type": "array", "items": NAME, "minItems": 1, "uniqueItems": True}
TEXTS: Schema = {"type": "array", "items": TEXT}
ATTEMPTS: Schema = {"type": "integer", "minimum": 1, "maximum": 10_000}
SLOWDOWN: Schema = {"type": "number", "minimum": 1, "maximum": 1000}
COUNTS: Schema = {"type": "object", "additionalProperties": {"type": "integer", "minimum": 1}}


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

CONFIG = _mapping(
    ("title", "fragments"),
    title=TEXT,
    base={"type": "string", "pattern": "^[a-z0-9_]*config$"},
    fragments={"type": "array", "items": TEXT, "minItems": 1},
    slowdown=SLOWDOWN,
)

MACHINE = _mapping(
    ("vcpus", "mem_mib"),
    title=TEXT,
    vcpus={"type": "integer", "minimum": 1, "maximum": 512},
    mem_mib={"type": "integer", "minimum": 64, "maximum": 1 << 24},
    maxmem_mib={"type": "integer", "minimum": 0, "maximum": 1 << 24},
    page_kib={"enum": [4, 16, 64]},
    accel={"enum": ["auto", "tcg", "kvm"]},
    thread={"enum": ["multi", "single"]},
    cpu=TEXT,
    boot_args=TEXTS,
    qemu=TEXT,
    icount={"type": "boolean"},
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
    floor=COUNTS,
    floor_reason=TEXT,
    slowdown=SLOWDOWN,
    baseline=NAME,
    control=NAME,
    measures={"type": "boolean"},
)

VARIANT = _mapping(
    ("title", "role"),
    title=TEXT,
    role={"enum": ["baseline", "candidate", "control"]},
    expected=TEXT,
    why=TEXT,
    links=TEXTS,
    onto=NAME,
    kernels=NAMES,
    floor=COUNTS,
    floor_reason=TEXT,
    amplified_only={"type": "boolean"},
)

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
