# SPDX-License-Identifier: GPL-2.0-only
"""Reads a YAML file against a JSON schema; every complaint names file, line and key."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from kvet.errors import Place, UserError

# libyaml's parser is ten times as fast; a wheel without it has the other alone
FAST = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# what a file of settings never needs
MOST_BYTES = 4 << 20
MOST_ALIASES = 100
# keywords of JSON Schema whose own messages show a pattern or a whole mapping
SAID = ("pattern", "minProperties", "maxProperties", "oneOf", "enum")
NO_TEXT = re.compile("[\\0\ud800-\udfff]")


def _is_whole(checker: object, value: object) -> bool:
    """JSON Schema takes 2.0 for an integer; what counts boots must be one."""
    return isinstance(value, int) and not isinstance(value, bool)


Validator = jsonschema.validators.extend(  # type: ignore[no-untyped-call]
    jsonschema.Draft202012Validator,
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_whole),
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong in a YAML file: 1-based line and column, and the path of its key."""

    message: str
    line: int
    column: int
    key: str = ""

    def error(self, path: Path) -> UserError:
        """The fault as the exception that ends a command."""
        return UserError(self.message, path=path, where=Place(line=self.line, key=self.key))


def read_yaml(path: Path, schema: Mapping[str, Any]) -> dict[str, Any]:
    """Parse `path` and check it against `schema` (an object schema).

    Raises UserError with the file, the line and the key path of the first fault.
    """
    loaded, node = parse_yaml(path)
    for fault in faults(loaded, node, schema):
        raise fault.error(path)
    return loaded


def parse_yaml(path: Path) -> tuple[dict[str, Any], yaml.Node]:
    """The mapping in `path`, and its nodes, which know their lines.

    Raises UserError when it cannot be read or is no YAML mapping.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UserError(f"is larger than {MOST_BYTES >> 20} MiB of settings", path=path)
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot be read: {error}", path=path) from error
    try:
        if "&" in text and "*" in text:
            _refuse_aliases(text)
        node, loaded = _parse(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = Place(mark.line + 1, mark.column + 1) if mark else ""
        problem = getattr(error, "problem", None) or str(error)
        raise UserError(f"not valid YAML: {problem}", path=path, where=where) from error
    except RecursionError as error:
        raise UserError("is nested too deep for a file of settings", path=path) from error
    except ValueError as error:  # a date or number that looks like one and is none
        raise UserError(f"not valid YAML: {error}", path=path) from error
    if not isinstance(loaded, dict):
        raise UserError("must be a mapping of keys to values", path=path, where=Place(line=1))
    assert node is not None  # a mapping was loaded from it
    return loaded, node


def _parse(text: str) -> tuple[yaml.Node | None, Any]:
    """Nodes and value of a document; of the two parsers the slow one knows better what is wrong."""
    try:
        return yaml.compose(text, Loader=FAST), yaml.load(text, Loader=FAST)
    except yaml.YAMLError:
        return yaml.compose(text, Loader=yaml.SafeLoader), yaml.safe_load(text)


def _refuse_aliases(text: str) -> None:
    """Few lines of aliases to aliases stand for billions of values."""
    aliases = [e for e in yaml.parse(text, Loader=FAST) if isinstance(e, yaml.AliasEvent)]
    if len(aliases) > MOST_ALIASES:
        extra = aliases[MOST_ALIASES]
        raise yaml.MarkedYAMLError(
            problem=f"more than {MOST_ALIASES} aliases (*{extra.anchor})",
            problem_mark=extra.start_mark,  # type: ignore[arg-type]  # of either parser
        )


def faults(loaded: object, node: yaml.Node, schema: Mapping[str, Any]) -> Iterator[Fault]:
    """Every key that is given twice, then everything that `schema` does not allow."""
    yield from _given_twice(node)
    yield from _no_values(node)
    validator = Validator(schema)
    errors = sorted(validator.iter_errors(loaded), key=lambda e: [str(p) for p in e.absolute_path])
    for error in errors:
        for keys, message in _complaints(error):
            yield fault_at(node, keys, message)


def _no_values(node: yaml.Node) -> Iterator[Fault]:
    """`.nan` and `.inf` are YAML, and within every bound of a schema or out of none.

    Escapes of half a character and of NUL are YAML as well, and no text.
    """
    if isinstance(node, yaml.ScalarNode) and NO_TEXT.search(node.value):
        mark = node.start_mark
        yield Fault("holds an escape that is no character", mark.line + 1, mark.column + 1)
    if isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:float":
        if not math.isfinite(yaml.SafeLoader("").construct_yaml_float(node)):
            mark = node.start_mark
            yield Fault(f"{node.value} is no number", mark.line + 1, mark.column + 1)
    elif isinstance(node, (yaml.MappingNode, yaml.SequenceNode)):
        for child in node.value:
            for each in child if isinstance(child, tuple) else (child,):
                yield from _no_values(each)


def fault_at(node: yaml.Node, keys: Sequence[str | int], message: str) -> Fault:
    """A fault of the value that `keys` lead to below `node`."""
    line, column = place_of(node, keys)
    return Fault(message, line, column, ".".join(str(k) for k in keys) or "(top level)")


def _given_twice(node: yaml.Node) -> Iterator[Fault]:
    """YAML lets the last of two equal keys win in silence; that is never what was meant."""
    if not isinstance(node, (yaml.MappingNode, yaml.SequenceNode)):
        return
    seen: dict[str, int] = {}
    for child in node.value:
        name, value = child if isinstance(child, tuple) else (None, child)
        if name is not None:
            mark = name.start_mark
            if name.value in seen:
                message = f"given twice (first on line {seen[name.value]})"
                yield Fault(message, mark.line + 1, mark.column + 1, str(name.value))
            seen[str(name.value)] = mark.line + 1
        yield from _given_twice(value)


def _complaints(error: jsonschema.ValidationError) -> Iterator[tuple[list[str | int], str]]:
    """Key path and message of a schema error; each unknown key is one of its own."""
    keys = list(error.absolute_path)
    unknown = _unknown_keys(error)
    for name in unknown:
        yield [*keys, name], f"unknown key{_suggest(name, _known(error))}"
    if unknown:
        return
    if meant := _meant(error):
        for each in meant:
            yield from _complaints(each)
    else:
        yield keys, _in_words(error)


def _meant(error: jsonschema.ValidationError) -> list[jsonschema.ValidationError]:
    """Of several forms that a value may have: what is wrong with the one of its type."""
    forms: dict[Any, list[jsonschema.ValidationError]] = {}
    for each in error.context or ():
        forms.setdefault(each.schema_path[0], []).append(each)
    own = [
        found
        for found in forms.values()
        if not any(e.validator in ("type", "required") and not e.path for e in found)
    ]
    return own[0] if len(own) == 1 else []


def _in_words(error: jsonschema.ValidationError) -> str:
    """What is wrong, in the words of the schema's own key `says` where it has one."""
    schema = error.schema if isinstance(error.schema, Mapping) else {}
    if error.validator not in SAID or "says" not in schema:
        return error.message
    value = f"{error.instance!r} " if isinstance(error.instance, str) else ""
    return f"{value}{schema['says']}"


def _unknown_keys(error: jsonschema.ValidationError) -> list[str]:
    if error.validator != "additionalProperties" or not isinstance(error.instance, dict):
        return []
    known = _known(error)
    return [str(key) for key in error.instance if key not in known]


def _known(error: jsonschema.ValidationError) -> tuple[str, ...]:
    schema = error.schema
    return tuple(schema.get("properties", ())) if isinstance(schema, Mapping) else ()


def _suggest(key: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(key, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else f"; known: {', '.join(sorted(known))}"


def place_of(node: yaml.Node, keys: Sequence[str | int]) -> tuple[int, int]:
    """1-based line and column of the deepest node that `keys` reaches."""
    mark = node.start_mark
    for key in keys:
        child = _child(node, key)
        if child is None:
            break
        mark, node = child
    return mark.line + 1, mark.column + 1


def _child(node: yaml.Node, key: str | int) -> tuple[yaml.Mark, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            if name.value == str(key):
                return name.start_mark, value
    if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        return node.value[key].start_mark, node.value[key]
    return None
