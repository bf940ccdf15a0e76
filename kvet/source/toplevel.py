# SPDX-License-Identifier: GPL-2.0-only
"""C text as the items of its top level: functions, declarations, macros, conditionals.

No parser of C: an item that is none of the forms which headers of the kernel consist of is
OTHER, and whoever asks has to expect anything of it. Comments are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

TOKEN = re.compile(
    r"""(?P<space>[ \t\f\v\r]+|\\\r?\n|/\*.*?(?:\*/|\Z)|//(?:\\\n|[^\n])*)
      | (?P<newline>\n)
      | (?P<text>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')
      | (?P<word>[A-Za-z_$][\w$]*)
      | (?P<number>\.?\d(?:[eEpP][+-]|[\w.])*)
      | (?P<sign>\#\#|.)""",
    re.S | re.X,
)
WORD = re.compile(r"[A-Za-z_$][\w$]*")
INLINE = frozenset(("inline", "__inline", "__inline__", "__always_inline"))
# words before a parenthesis that belong to a function and are not its name
ATTRIBUTE = re.compile(
    r"__attribute__|__(?:printf|scanf|acquires|releases|must_hold\w*|aligned|section|alloc_size"
    r"|malloc|nonnull|cond_acquires|no_sanitize\w*|access|counted_by)|if|while|for|switch|sizeof"
)
# macros of which a use is a declaration of what stands in their parentheses
DECLARES = frozenset(
    ("DECLARE_STATIC_KEY_FALSE", "DECLARE_STATIC_KEY_TRUE", "DECLARE_PER_CPU", "DECLARE_RWSEM")
)
CONDITIONS = frozenset(("if", "ifdef", "ifndef", "elif", "else", "endif"))


class Kind(Enum):
    """What an item is, as far as it matters to whoever does not mention its name."""

    FUNCTION = "static inline function"
    DECLARATION = "declaration"
    MACRO = "macro"
    CONDITION = "conditional"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Item:
    """One item: what it declares, its tokens (with a blank before one after white space), lines.

    `lines` has the line of each token, counted from 1.
    """

    kind: Kind
    names: tuple[str, ...]
    tokens: tuple[str, ...]
    lines: tuple[int, ...]

    def words(self, since: int = 0) -> frozenset[str]:
        """All names that are mentioned from token `since` on.

        Those in strings too: an asm() may call by them.
        """
        return frozenset(WORD.findall(" ".join(self.tokens[since:])))

    def body_words(self) -> frozenset[str]:
        """The same without the `static` by which every function here begins."""
        return self.words(int(self.kind is Kind.FUNCTION))


@dataclass(slots=True)
class _Gathered:
    """Tokens of an item that has not ended yet."""

    tokens: list[str]
    lines: list[int]
    braces: int = 0
    parens: int = 0
    body: bool = False  # of a function: its brace ends the item

    def add(self, token: str, line: int) -> bool:
        """Whether the item ends with `token`."""
        sign = token.strip()
        if sign == "{" and not self.braces:
            self.body = bool(self.tokens) and self.tokens[-1].strip() == ")"
        self.tokens.append(token)
        self.lines.append(line)
        self.braces += (sign == "{") - (sign == "}")
        self.parens += (sign == "(") - (sign == ")")
        if sign == "}":
            return self.body and not self.braces
        return sign == ";" and not self.braces and not self.parens


def items(text: str) -> list[Item]:
    """The items of C source `text`, in order.

    Directives in the middle of an item are part of it. Raises ValueError where braces do not
    match, as those of conditionals that hold half a function.
    """
    found: list[Item] = []
    own = _Gathered([], [])
    for tokens, lines in _lines(text):
        if tokens[0].strip() == "#" and not own.tokens:
            found.append(_directive(tokens, lines))
            continue
        if tokens[0].strip() == "#":
            own.tokens += [*tokens, "\n"]
            own.lines += [*lines, lines[-1]]
            continue
        for token, line in zip(tokens, lines, strict=True):
            if own.add(token, line):
                found.append(_item(own))
                own = _Gathered([], [])
            elif own.braces < 0:
                raise ValueError(f"line {line}: a brace that closes nothing")
    if own.tokens:
        found.append(Item(Kind.OTHER, (), tuple(own.tokens), tuple(own.lines)))
    if own.braces:
        raise ValueError("a brace that is never closed")
    return found


def _lines(text: str) -> Iterator[tuple[list[str], list[int]]]:
    """The tokens of each logical line, and their line numbers; empty lines are left out."""
    tokens: list[str] = []
    numbers: list[int] = []
    number, space = 1, True
    for match in TOKEN.finditer(text):
        kind, token = match.lastgroup, match[0]
        if kind == "newline" and tokens:
            yield tokens, numbers
            tokens, numbers = [], []
        if kind in ("newline", "space"):
            number += token.count("\n")
            space = True
            continue
        tokens.append(f" {token}" if space else token)
        numbers.append(number)
        space = False
    if tokens:
        yield tokens, numbers


def _directive(tokens: Sequence[str], lines: Sequence[int]) -> Item:
    name = tokens[1].strip() if len(tokens) > 1 else ""
    kind: Kind = Kind.OTHER
    names: tuple[str, ...] = ()
    if name == "define" and len(tokens) > 2:
        kind, names = Kind.MACRO, (tokens[2].strip(),)
    elif name in CONDITIONS:
        kind = Kind.CONDITION
    return Item(kind, names, tuple(tokens), tuple(lines))


def _item(own: _Gathered) -> Item:
    tokens = [token.strip() for token in own.tokens]
    kind: Kind = Kind.OTHER
    names: tuple[str, ...] = ()
    if own.body:
        head = tokens[: tokens.index("{")]
        inner = {after for sign, after in zip(tokens, tokens[1:], strict=False) if sign == "#"}
        if head[0] == "static" and INLINE.intersection(head) and inner <= CONDITIONS:
            kind, names = Kind.FUNCTION, _called(head)
    elif "{" not in tokens and "=" not in tokens and "#" not in tokens:
        if tokens[0] in ("struct", "union") and len(tokens) == 3:
            kind, names = Kind.DECLARATION, (tokens[1],)
        elif tokens[0] in DECLARES and tokens[1] == "(" and tokens[-2:] == [")", ";"]:
            kind, names = Kind.DECLARATION, tuple(filter(WORD.fullmatch, tokens[2:-2]))
        elif tokens[0] == "extern" and "(" not in tokens and "," not in tokens:
            words = [t for t in tokens[: (*tokens, "[").index("[")] if WORD.fullmatch(t)]
            kind, names = Kind.DECLARATION, tuple(words[-1:])
        elif tokens[0] != "typedef" and (tokens[1:2] != ["("] or ATTRIBUTE.fullmatch(tokens[0])):
            kind, names = Kind.DECLARATION, _called(tokens)
    if not names:
        kind = Kind.OTHER
    return Item(kind, names, tuple(own.tokens), tuple(own.lines))


def _called(tokens: Sequence[str]) -> tuple[str, ...]:
    """Names before a parenthesis that is in no other: one of them is what is declared."""
    found, depth = [], 0
    for before, token in zip(tokens, tokens[1:], strict=False):
        named = WORD.fullmatch(before) and not ATTRIBUTE.fullmatch(before)
        if token == "(" and not depth and named:
            found.append(before)
        depth += (token == "(") - (token == ")")
    return tuple(found)
