# SPDX-License-Identifier: GPL-2.0-only
"""Layout of `results/` and how records get there: written whole or not at all.

results/<run>/run.json                        plan and provenance, before the first build
results/<run>/patches/<kernel>/<variant>/     the series as it was applied
results/<run>/<cell>/attempt-<n>/             console.log, report.ktap, attempt.json
results/<run>/results.json                    everything; enough for every report
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from kvet.errors import InfraError, UserError

HALF = ".half-written"


def sweep(folder: Path) -> None:
    """Remove what a killed writer left below `folder`; nobody else may be writing there."""
    for path in folder.rglob(f".*{HALF}"):
        path.unlink(missing_ok=True)


def plain(value: object) -> Any:
    """`value` as what JSON can hold: dataclasses become dicts, paths and enums strings."""
    return msgspec.to_builtins(value, str_keys=True, enc_hook=_plain_other)


def _plain_other(value: object) -> Any:
    """What msgspec does not know by itself."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise NotImplementedError(f"{type(value).__name__} has no form in JSON")


def write_json(path: Path, value: object) -> None:
    """Write `value` beside `path` and rename it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(plain(value), indent=1, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write `text` beside `path` and rename it into place; a full disk leaves the old file."""
    file = None
    try:
        with tempfile.NamedTemporaryFile(
            "w",
            encoding="utf-8",
            errors="replace",
            dir=path.parent,
            prefix=".",
            suffix=HALF,
            delete=False,
        ) as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(file.name, 0o644)
        os.replace(file.name, path)
    except OSError as error:
        raise InfraError(f"cannot write {path}: {error.strerror}") from error
    finally:
        if file is not None:  # still there after a Ctrl-C alone, or on a full disk
            Path(file.name).unlink(missing_ok=True)


def read_json(path: Path) -> Any:
    """Parse one JSON file; a broken one is an InfraError that names it."""
    return read_as(path, Any)


def read_as(path: Path, kind: Any) -> Any:
    """One JSON file as a value of the type `kind`.

    Raises UserError when it cannot be read; InfraError, with the path inside the file, when
    it is damaged or does not fit.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", path=path) from error
    except msgspec.ValidationError as error:
        raise InfraError(f"{path}: {error}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InfraError(f"{path}: not valid JSON: {error}") from error
