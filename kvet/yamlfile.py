# SPDX-License-Identifier: GPL-2.0-only
"""Reads a YAML file against a JSON schema; every complaint names file, line and key."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from kvet.errors import UserError


def read_yaml(path: Path, schema: Mapping[str, Any]) -> dict[str, Any]:
    """Parse `path` and check it against `schema` (an object schema).

    Raises UserError with the file, the line and the key path of the first fault.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot be read: {error}", path=path) from error
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        loaded = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error)
        raise UserError(f"not valid YAML: {problem}", path=path, where=where) from error
    if not isinstance(loaded, dict):
        raise UserError("must be a mapping of keys to values", path=path, where="line 1")
    assert node is not None  # a mapping was loaded from it
    _check(loaded, node, schema, path)
    return loaded


def _check(loaded: object, node: yaml.Node, schema: Mapping[str, Any], path: Path) -> None:
    validator = jsonschema.Draft202012Validator(schema)
    errors = sorted(validator.iter_errors(loaded), key=lambda e: [str(p) for p in e.absolute_path])
    for error in errors:
        keys = list(error.absolute_path)
        message = error.message
        unknown = _unknown_key(error)
        if unknown is not None:
            keys.append(unknown)
            message = f"unknown key{_suggest(unknown, _known(error))}"
        key_path = ".".join(str(k) for k in keys) or "(top level)"
        where = f"line {_line_of(node, keys)}, key {key_path}"
        raise UserError(message, path=path, where=where)


def _unknown_key(error: jsonschema.ValidationError) -> str | None:
    if error.validator != "additionalProperties" or not isinstance(error.instance, dict):
        return None
    known = _known(error)
    return next((str(key) for key in error.instance if key not in known), None)


def _known(error: jsonschema.ValidationError) -> tuple[str, ...]:
    schema = error.schema
    return tuple(schema.get("properties", ())) if isinstance(schema, Mapping) else ()


def _suggest(key: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(key, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else f"; known: {', '.join(sorted(known))}"


def _line_of(node: yaml.Node, keys: Sequence[str | int]) -> int:
    """1-based line of the deepest node that `keys` reaches."""
    line = node.start_mark.line
    for key in keys:
        child = _child(node, key)
        if child is None:
            break
        line, node = child
    return line + 1


def _child(node: yaml.Node, key: str | int) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            if name.value == str(key):
                return name.start_mark.line, value
    if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        return node.value[key].start_mark.line, node.value[key]
    return None
