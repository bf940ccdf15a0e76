# SPDX-License-Identifier: GPL-2.0-only
"""Which objects an edit of headers cannot change, though make would compile them anew.

Objects are made of files, and what of them becomes code is decided by names. The items of a
header that an edit touches have names; whatever mentions one of these in another header has names
of its own, and so on. An object none of whose sources mentions any of them, and whose headers
mention them only in static inline functions, macros and declarations that it never names, is the
same as before. Where that cannot be told, the object is compiled: an edit of a struct, a typedef,
an #include or a condition, a name that a macro could glue of words by ##. (Of words, not of
what other macros glued: that is assumed of no name, and `bench/spared.py` compares.)

An inline function that only moved is taken for edited: the lines that an object was compiled
from are in its line table.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import SequenceMatcher

from kvet.source.toplevel import WORD, Item, Kind, items

DEFINE = re.compile(r"^[ \t]*#[ \t]*define[ \t]+(\w+)(?:\(([^)]*)\))?((?:\\\r?\n|[^\n])*)", re.M)
COMMENT = re.compile(r"/\*.*?(?:\*/|\Z)|//[^\n]*", re.S)
GLUED = re.compile(r"(?<!\w)(\w*)((?:\s*##\s*\w*)+)")
# what a macro may hold that counts on through a whole file: an edit before it shifts the count
COUNTING = frozenset(("__COUNTER__", "static"))
# headers of the kernel have up to 2000; comparing takes the square of it
MOST_ITEMS = 5000


@dataclass(slots=True)
class Names:
    """What an edit touches: names, of which `macros` may decide conditionals.

    `edited` are those whose text is another one; the rest only moved.
    """

    all: set[str] = field(default_factory=set)
    macros: set[str] = field(default_factory=set)
    edited: set[str] = field(default_factory=set)
    mentioned: set[str] = field(default_factory=set)  # in items that were edited


def edited_names(old: str, new: str) -> Names | None:
    """What the edit of a header from `old` to `new` touches; None for anything."""
    try:
        before, after = items(old), items(new)
    except ValueError:
        return None
    if max(len(before), len(after)) > MOST_ITEMS:
        return None
    names = Names()
    pairs = SequenceMatcher(None, [i.tokens for i in before], [i.tokens for i in after], False)
    for tag, a, b, c, d in pairs.get_opcodes():
        if tag == "equal":
            pairs_of_items = zip(before[a:b], after[c:d], strict=True)
            moved = [x for x, y in pairs_of_items if x.lines != y.lines]
            if any(map(_may_be_code, moved)):
                return None
            names.all.update(n for x in moved if x.kind is Kind.FUNCTION for n in x.names)
            continue
        for item in (*before[a:b], *after[c:d]):
            if item.kind in (Kind.OTHER, Kind.CONDITION):
                return None
            names.edited.update(item.names)
            names.mentioned |= item.body_words()
            if item.kind is Kind.MACRO:
                names.macros.update(item.names)
    names.all |= names.edited
    return names


def _may_be_code(item: Item) -> bool:
    """Whether an item without a name may be compiled to something that has lines."""
    first = item.tokens[0].strip()
    return item.kind is Kind.OTHER and first not in ("#", "struct", "union", "enum", "typedef", ";")


class Defines:
    """All macros of some files, and what words could be glued of."""

    def __init__(self, texts: Iterable[str]) -> None:
        self.words: set[str] = set()
        self.bodies: dict[str, set[str]] = {}
        self.chains: set[tuple[str | None, ...]] = set()
        for text in texts:
            rest = DEFINE.sub(self._take, COMMENT.sub(" ", text))
            self.words.update(WORD.findall(rest))

    def _take(self, match: re.Match[str]) -> str:
        params = {p.strip().rstrip(".") for p in (match[2] or "").split(",")} | {"__VA_ARGS__"}
        body = match[3]
        words = set(WORD.findall(body)) - params
        self.words |= words | {match[1]}
        self.bodies.setdefault(match[1], set()).update(words)
        if "##" in body:
            for first, more in GLUED.findall(body):
                pieces = (p.strip() for p in (first, *more.split("##")[1:]))
                self.chains.add(tuple(None if not p or p in params else p for p in pieces))
        return " "

    def makes(self, name: str) -> bool:
        """Whether a macro could glue `name` of words of these files."""
        fitting = (c for c in self.chains if all(piece in name for piece in c if piece))
        return any(self._fits(name, chain) for chain in fitting)

    def _fits(self, name: str, chain: tuple[str | None, ...]) -> bool:
        if not chain or not name:
            return not chain and not name
        piece, rest = chain[0], chain[1:]
        if piece is not None:
            return name.startswith(piece) and self._fits(name[len(piece) :], rest)
        splits = (n for n in range(1, len(name) + 1) if self._fits(name[n:], rest))
        return any(name[:n] in self.words or name[:n].isdigit() for n in splits)

    def counts(self, words: Collection[str]) -> bool:
        """Whether code with these words counts something on: numbers in names would shift."""
        seen, left = set(), set(words)
        while left:
            if left & COUNTING:
                return True
            seen |= left
            left = {w for name in left for w in self.bodies.get(name, ())} - seen
        return False


def reached_files(names: Names, texts: Mapping[str, str]) -> set[str]:
    """The files among `texts` by whose mention of `names` an object may have changed.

    Headers pass on what they mention; a file that is no header is reached by a mention.
    """
    known, fresh = set(names.all), set(names.all)
    macros = set(names.macros)
    reached: set[str] = set()
    parsed: dict[str, list[Item] | None] = {}
    while fresh:
        mention = re.compile(rf"\b(?:{'|'.join(map(re.escape, sorted(fresh)))})\b")
        fresh = set()
        for path, text in texts.items():
            if path in reached or not mention.search(text):
                continue
            own = _items_of(path, text, parsed)
            if own is None or not _pass_on(own, known, macros, fresh):
                reached.add(path)
        fresh -= known
        known |= fresh
    return reached


def _items_of(path: str, text: str, parsed: dict[str, list[Item] | None]) -> list[Item] | None:
    """The items of a header; None for what is none, or cannot be read."""
    if path not in parsed:
        try:
            parsed[path] = items(text) if path.endswith(".h") else None
        except ValueError:
            parsed[path] = None
    return parsed[path]


def _pass_on(own: list[Item], known: set[str], macros: set[str], fresh: set[str]) -> bool:
    """Add the names of items that mention a known one; False where that is not all it may do."""
    for item in own:
        words = item.words()
        found = words & known
        if not found or (item.kind is Kind.DECLARATION and found <= set(item.names)):
            continue
        if item.kind is Kind.CONDITION:
            if words & macros:
                return False
            continue
        if item.kind not in (Kind.FUNCTION, Kind.MACRO):
            return False
        fresh.update(item.names)
        if item.kind is Kind.MACRO and words & macros and not macros.issuperset(item.names):
            # a conditional may have asked for it before it was seen here
            macros.update(item.names)
            known.difference_update(item.names)
    return True


def unreached(
    edits: Mapping[str, tuple[str, str]],
    made_of: Mapping[str, Collection[str]],
    texts: Mapping[str, str],
) -> set[str]:
    """The objects that edits of headers leave as they are.

    `edits` has the old and the new text of each header, `made_of` the files that each object
    was made of, `texts` what these hold now. Only objects that depend on an edited header and
    on no other edited file are to be asked about.
    """
    names = Names()
    for old, new in edits.values():
        one = edited_names(old, new)
        if one is None:
            return set()
        names.all |= one.all
        names.macros |= one.macros
        names.edited |= one.edited
        names.mentioned |= one.mentioned
    if names.edited:
        defines = Defines(texts.values())
        if defines.counts(names.mentioned) or any(map(defines.makes, names.edited)):
            return set()
    reached = reached_files(names, texts)
    return {name for name, files in made_of.items() if reached.isdisjoint(files)}
