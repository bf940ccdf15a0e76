# SPDX-License-Identifier: GPL-2.0-only
"""C text as the items of its top level."""

from __future__ import annotations

import pytest

from kvet.paths import PROJECT
from kvet.source.toplevel import Kind, items


@pytest.mark.parametrize(
    ("text", "kind", "names"),
    [
        ("static inline int a(int x) { return x; }", Kind.FUNCTION, ("a",)),
        ("static __always_inline struct s *a(void)\n{\n\treturn b();\n}", Kind.FUNCTION, ("a",)),
        ("static inline void a(void) __acquires(RCU) { if (x) { y(); } }", Kind.FUNCTION, ("a",)),
        ("static inline int a(void)\n{\n#ifdef X\n\treturn 1;\n#endif\n}", Kind.FUNCTION, ("a",)),
        # a macro that is defined inside is good for everything below
        ("static inline int a(void)\n{\n#define X 1\n\treturn X;\n}", Kind.OTHER, ()),
        ("static int a(void) { return 1; }", Kind.OTHER, ()),
        ("int a(int x);", Kind.DECLARATION, ("a",)),
        ("__printf(1, 2) void a(const char *f, ...);", Kind.DECLARATION, ("a",)),
        # more names than one is on the safe side
        ("__odd(1) void a(int);", Kind.OTHER, ()),
        ("extern int a(int x) __odd(1);", Kind.DECLARATION, ("a", "__odd")),
        ("extern unsigned long a[N];", Kind.DECLARATION, ("a",)),
        ("extern int a, b;", Kind.OTHER, ()),
        ("struct a;", Kind.DECLARATION, ("a",)),
        ("struct a { int x; };", Kind.OTHER, ()),
        ("typedef int (*a)(int);", Kind.OTHER, ()),
        ("DECLARE_STATIC_KEY_FALSE(a);", Kind.DECLARATION, ("a",)),
        ("DEFINE_GUARD(a, struct a *, lock(_T), unlock(_T))", Kind.OTHER, ()),
        ("static const int a = 1;", Kind.OTHER, ()),
        ('asm(".globl a");', Kind.OTHER, ()),
        ("#define a(x) \\\n\t((x) + 1)", Kind.MACRO, ("a",)),
        ("# ifndef a", Kind.CONDITION, ()),
        ("#include <a.h>", Kind.OTHER, ()),
        ("#undef a", Kind.OTHER, ()),
    ],
)
def test_an_item_has_a_kind_and_names(text: str, kind: Kind, names: tuple[str, ...]) -> None:
    (item,) = items(text)
    assert (item.kind, item.names) == (kind, names)


def test_comments_are_left_out_and_lines_are_kept() -> None:
    text = "/* a\n * comment */\nint a(int x); // ; {\n\n#define b \\\n  1 /* { */\nint c(void);\n"
    found = items(text)
    assert [item.names for item in found] == [("a",), ("b",), ("c",)]
    assert found[0].lines[0] == 3
    assert found[1].lines == (5, 5, 5, 6)
    assert found[2].lines[0] == 7


def test_white_space_counts_as_much_as_it_does_for_the_preprocessor() -> None:
    (with_params,), (without,) = items("#define a(x) x"), items("#define a (x) x")
    assert with_params.tokens != without.tokens
    (spaced,), (commented,) = items("int a( int x);"), items("int a(/* one */\n\tint x);")
    assert spaced.tokens == commented.tokens


def test_names_in_strings_are_mentioned() -> None:
    (item,) = items('static inline void a(void) { asm("bl helper" : : "r"(x)); }')
    assert {"helper", "x", "a"} <= item.words()


@pytest.mark.parametrize("text", ["int a(void) {", "}", "#ifdef X\nint a(void) {\n#endif\n"])
def test_braces_that_do_not_match_are_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="brace"):
        items(text)


def test_headers_of_the_guest_are_read_whole() -> None:
    for path in sorted((PROJECT / "rootfs").glob("*/*.h")):
        text = path.read_text(encoding="utf-8")
        found = items(text)
        assert max(item.lines[-1] for item in found) <= text.count("\n")
        assert any(item.kind is Kind.DECLARATION for item in found) or "KVET_" in text
