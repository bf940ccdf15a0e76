# SPDX-License-Identifier: GPL-2.0-only
"""Layout of `results/` and how records get there: written whole or not at all.

results/<run>/run.json                        plan and provenance, before the first build
results/<run>/<cell>/build.json               what was built, from what
results/<run>/<cell>/attempt-<n>/             console.log, report.ktap, attempt.json
results/<run>/results.json                    everything; enough for every report
"""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from kvet.errors import InfraError, UserError


def plain(value: object) -> Any:
    """`value` as what JSON knows: dataclasses become dicts, paths and enums strings."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(v) for v in value]
    if isinstance(value, Enum):
        return value.value
    return str(value) if isinstance(value, Path) else value


def write_json(path: Path, value: object) -> None:
    """Write `value` beside `path` and rename it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(plain(value), indent=1, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write `text` beside `path` and rename it into place; a full disk leaves the old file."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", errors="replace", dir=path.parent, prefix=".", delete=False
        ) as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(file.name, 0o644)
        os.replace(file.name, path)
    except OSError as error:
        raise InfraError(f"cannot write {path}: {error.strerror}") from error


def read_json(path: Path) -> Any:
    """Parse one JSON file; a broken one is an InfraError that names it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", path=path) from error
    except ValueError as error:
        raise InfraError(f"{path}: not valid JSON: {error}") from error
