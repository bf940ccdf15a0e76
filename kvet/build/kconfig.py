# SPDX-License-Identifier: GPL-2.0-only
"""Kconfig fragments as values: parse, merge, and compare with the final `.config`.

Kconfig drops what it cannot satisfy without a word, so every requested line,
`=n` and values included, is looked up in what `make` made of it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

from kvet.errors import Place, UserError
from kvet.loads import Option

SET = re.compile(r"^(CONFIG_\w+)=(.*)$")
VALUE = re.compile(r'[ymn]|-?\d+|0[xX][0-9a-fA-F]+|"(?:[^"\\]|\\.)*"')
UNSET = re.compile(r"^# (CONFIG_\w+) is not set$")
SYMBOL = re.compile(r"^\s*(?:menu)?config\s+(\w+)\s*$")
NAME = re.compile(r"\b[A-Z][A-Z0-9_]{2,}\b")


def read_fragment(path: Path) -> tuple[Option, ...]:
    """The options of one fragment.

    A line that is neither option nor comment is an error, and so are two lines
    that ask different things of one option: Kconfig would take the last in silence.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot be read: {error}", path=path) from error
    options: dict[str, Option] = {}
    for number, line in enumerate(map(str.strip, text.splitlines()), start=1):
        option = _option(line, path, number)
        if option is None:
            continue
        other = options.setdefault(option.name, option)
        if other.value != option.value:
            raise UserError(
                f"{option} contradicts {str(other)!r} of line {other.line}",
                path=path,
                where=Place(line=number),
            )
    return tuple(options.values())


def _option(line: str, path: Path, number: int) -> Option | None:
    """The option that one line asks for; None for a comment."""
    if found := UNSET.match(line):
        return Option(found.group(1), "n", path, number)
    if not line or line.startswith("#"):
        return None
    found = SET.match(line)
    if found is None or not VALUE.fullmatch(found.group(2)):
        raise UserError(
            f"{line!r} is no kconfig line (CONFIG_X=y or '# CONFIG_X is not set'; a value is "
            'y, m, n, a number or "text", and nothing stands behind it)',
            path=path,
            where=Place(line=number),
        )
    return Option(found.group(1), found.group(2), path, number)


def merge(fragments: Iterable[Path]) -> tuple[Option, ...]:
    """All options, a later fragment overriding an earlier one (as merge_config.sh does)."""
    merged: dict[str, Option] = {}
    for path in fragments:
        merged.update((option.name, option) for option in read_fragment(path))
    return tuple(merged.values())


def read_config(text: str) -> dict[str, str]:
    """Name to value of a final `.config`; what is absent is n."""
    found = (SET.match(line) for line in text.splitlines())
    return {m.group(1): m.group(2) for m in found if m}


def missing_from(final: Mapping[str, str], options: Iterable[Option]) -> tuple[Option, ...]:
    """The options that the final `.config` does not hold as requested."""
    return tuple(o for o in options if final.get(o.name, "n") != o.value)


def check_final(final: Mapping[str, str], options: Sequence[Option], roots: Sequence[Path]) -> None:
    """Raise UserError naming every lost option and, where it can be found, what it lacks.

    `roots` are the directories that hold the source's Kconfig files.
    """
    lost = missing_from(final, options)
    if not lost:
        return
    symbols = SymbolTable(roots)
    lines = [
        f"  {o}  ({o.path.name}:{o.line}); final: {final.get(o.name, 'n')}; "
        f"{symbols.explain(o, final)}"
        for o in lost
    ]
    raise UserError(
        "the final .config lost what was asked for:\n" + "\n".join(lines), path=lost[0].path
    )


class SymbolTable:
    """Where each Kconfig symbol of a tree is defined; read only when an option was lost."""

    def __init__(self, roots: Sequence[Path]) -> None:
        self._blocks: dict[str, list[str]] = {}
        for path in chain.from_iterable(kconfig_files(root) for root in roots):
            for name, block in _blocks(path.read_text(encoding="utf-8", errors="replace")):
                self._blocks.setdefault(name, []).extend(block)

    def explain(self, option: Option, final: Mapping[str, str]) -> str:
        """Why `option` was not honoured, as far as its own definition tells."""
        name = option.name.removeprefix("CONFIG_")
        block = self._blocks.get(name)
        if block is None:
            close = difflib.get_close_matches(name, self._blocks, n=1)
            return "no such symbol in this tree" + (f", did you mean {close[0]}?" if close else "")
        if option.value == "n":
            selectors = self._selectors(name, final)
            if selectors:
                return "selected by " + ", ".join(selectors)
            if not _has_prompt(block):
                return "the symbol has no prompt: it cannot be switched off by hand"
        unmet = [d for d in _depends(block) if _is_unmet(d, final)]
        if unmet:
            return "depends on " + " and ".join(unmet) + ", which is not so"
        if not _has_prompt(block):
            return "the symbol has no prompt: something must select it"
        return "its dependencies look met; a choice or a menu around it decides"

    def _selectors(self, name: str, final: Mapping[str, str]) -> list[str]:
        wanted = re.compile(rf"^\s*select {name}\b")
        return [
            other
            for other, block in self._blocks.items()
            if final.get(f"CONFIG_{other}") in ("y", "m") and any(wanted.match(x) for x in block)
        ][:3]


def kconfig_files(source: Path) -> Iterator[Path]:
    """Every Kconfig file that an arm64 kernel reads."""
    for path in source.rglob("Kconfig*"):
        parts = path.relative_to(source).parts
        if path.is_file() and (parts[0] != "arch" or len(parts) < 3 or parts[1] == "arm64"):
            yield path


def _blocks(text: str) -> Iterator[tuple[str, list[str]]]:
    """Each `config NAME` with its lines and the `if` conditions round it."""
    name = ""
    block: list[str] = []
    conditions: list[str] = []
    for line in text.replace("\\\n", " ").splitlines():
        word = line.split(maxsplit=1)
        if found := SYMBOL.match(line):
            if name:
                yield name, block
            name, block = found.group(1), [f"depends on {c}" for c in conditions]
        elif (
            word
            and not line[:1].isspace()
            and word[0] in ("if", "endif", "menu", "endmenu", "choice", "endchoice", "source")
        ):
            if name:
                yield name, block
            name, block = "", []
            if word[0] == "if" and len(word) > 1:
                conditions.append(word[1])
            elif word[0] == "endif" and conditions:
                conditions.pop()
        elif name:
            block.append(line.strip())
    if name:
        yield name, block


def _depends(block: Sequence[str]) -> list[str]:
    found = [line.removeprefix("depends on ") for line in block if line.startswith("depends on ")]
    return [part.strip() for line in found for part in line.split("#")[0].split("&&")]


def _has_prompt(block: Sequence[str]) -> bool:
    return any(re.match(r'(bool|tristate|int|hex|string|prompt)\s+"', line) for line in block)


def _is_unmet(expression: str, final: Mapping[str, str]) -> bool:
    """Whether a conjunct fails; only alternatives of plain or negated symbols are judged."""
    terms = [t.strip(" ()") for t in expression.split("||")]
    met = False
    for term in terms:
        bare = term.lstrip("! ")
        if term == "m":
            return False
        if not NAME.fullmatch(bare):
            return False
        on = final.get(f"CONFIG_{bare}", "n") in ("y", "m")
        met = met or (on != term.startswith("!"))
    return not met
