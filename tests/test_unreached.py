# SPDX-License-Identifier: GPL-2.0-only
"""Which objects an edit of a header leaves as they are: told from text, checked by a compiler."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvet import proc
from kvet.build.unreached import Defines, edited_names, unreached

LOCK = """\
#ifndef LOCK_H
#define LOCK_H
#define can_lock can_lock
static inline int can_lock(int x)
{
	return x && 1;
}
int lock_slow(int x);
#define LOCK_MAX 4
static inline int below(int x)
{
	return x + 1;
}
#endif
"""
WRAP = """\
#include "lock.h"
#ifndef can_lock
static inline int can_lock(int x) { return 0; }
#endif
int other(int x);
static inline int try_lock(int x)
{
	return can_lock(x) ? 1 : lock_slow(x);
}
#define TRY(x) try_lock(x)
"""
SOURCES = {
    "none.c": '#include "wrap.h"\nint none(int x) { return other(x); }\n',
    "direct.c": '#include "lock.h"\nint direct(int x) { return can_lock(x); }\n',
    "wrapped.c": '#include "wrap.h"\nint wrapped(int x) { return try_lock(x); }\n',
    "macro.c": '#include "wrap.h"\nint macro(int x) { return TRY(x); }\n',
    "limit.c": '#include "lock.h"\nint limit(void) { return LOCK_MAX; }\n',
    "below.c": '#include "lock.h"\nint under(int x) { return below(x); }\n',
    "slow.c": '#include "wrap.h"\nint slow(int x) { return lock_slow(x); }\n',
}
ALL = {name.replace(".c", ".o") for name in SOURCES}


def spared(new: str, **more: str) -> set[str]:
    """The objects that an edit of lock.h to `new` leaves as they are."""
    sources = SOURCES | {f"{name}.c": text for name, text in more.items()}
    texts = {"lock.h": new, "wrap.h": WRAP, **sources}
    made_of = {
        name.replace(".c", ".o"): {name, "lock.h"} | ({"wrap.h"} if "wrap.h" in text else set())
        for name, text in sources.items()
    }
    return unreached({"lock.h": (LOCK, new)}, made_of, texts)


def edit(old: str, new: str) -> str:
    assert old in LOCK
    return LOCK.replace(old, new)


def test_a_comment_at_the_end_of_a_line_reaches_nobody() -> None:
    assert spared(edit("#define LOCK_MAX 4", "#define LOCK_MAX 4 /* four */")) == ALL


def test_an_inline_function_reaches_who_names_it_and_who_names_who_does() -> None:
    assert spared(edit("x && 1", "x && 2")) == {"none.o", "limit.o", "below.o", "slow.o"}


def test_a_macro_reaches_who_names_it() -> None:
    assert spared(edit("LOCK_MAX 4", "LOCK_MAX 5")) == ALL - {"limit.o"}


def test_a_declaration_reaches_who_calls_it() -> None:
    same = spared(edit("int lock_slow(int x);", "long lock_slow(int x);"))
    assert same == {"none.o", "direct.o", "limit.o", "below.o"}


def test_an_inline_function_that_moved_has_other_lines() -> None:
    assert spared(edit("#define LOCK_MAX 4", "\n#define LOCK_MAX 4")) == ALL - {"below.o"}
    assert spared(edit("return x + 1;", "/* one more */\n\treturn x + 1;")) == ALL - {"below.o"}


def test_something_new_reaches_who_had_that_name() -> None:
    new = edit("#define LOCK_MAX", "int fresh(int x);\n#define LOCK_MAX")
    assert spared(new) == ALL - {"below.o"}
    user = '#include "lock.h"\nint user(int fresh) { return fresh; }\n'
    assert spared(new, user=user) == ALL - {"below.o"}
    key = edit("int lock_slow", "DECLARE_STATIC_KEY_FALSE(locks_on);\nint lock_slow")
    assert spared(key) == ALL - {"below.o"}


@pytest.mark.parametrize(
    "new",
    [
        edit("#define LOCK_MAX 4", "struct lock { int x; };"),
        edit("#define LOCK_MAX 4", "#include <linux/mutex.h>"),
        edit("#ifndef LOCK_H", "#if 1"),
        edit("static inline int below", "static int below"),
        edit("#define LOCK_MAX 4", "#undef LOCK_MAX"),
        edit("return x && 1;\n}", "return x && 1;"),
        # what generates code moves, and nobody can tell what it is called
        LOCK.replace("#define LOCK_MAX", "DEFINE_GUARD(a, int, b(_T), c(_T));\n#define LOCK_MAX"),
    ],
)
def test_what_may_do_anything_reaches_everybody(new: str) -> None:
    assert spared(new) == set()


def test_a_condition_that_asks_for_a_macro_may_decide_anything() -> None:
    """Who includes wrap.h is reached: it asks whether can_lock is there."""
    assert spared(edit("#define can_lock can_lock\n", "\n")) == {"limit.o", "below.o"}
    # one that is the same macro with another function behind it is as much there as before
    assert "none.o" in spared(edit("x && 1", "x && 2"))


@pytest.mark.parametrize(
    "body",
    [
        "static int times; return times++;",
        "return ONCE(x);",
        "return OUTER(x);",
    ],
)
def test_code_that_counts_through_a_file_reaches_everybody(body: str) -> None:
    """Numbers in the names of what follows would be others."""
    defines = (
        "#define ONCE(x) ({ static int __done; __done++; })\n"
        "#define INNER(x) (x + __COUNTER__)\n#define OUTER(x) INNER(x)\n"
    )
    user = f'{defines}#include "lock.h"\n'
    assert spared(edit("return x && 1;", body), user=user) == set()
    harmless = "#define ONCE(x) (x)\n#define OUTER(x) (x)\n"
    if "static" not in body:
        assert spared(edit("return x && 1;", body), user=harmless) != set()


def test_a_name_that_a_macro_could_glue_reaches_everybody() -> None:
    new = edit("x && 1", "x && 2")
    glue = "#define CALL(what) ca##what(1)\nint n_lock;\n"
    assert spared(new, user=glue) == set()
    # of words that are there
    assert spared(new, user=glue.replace("int n_lock;", "int n_lorry;")) != set()
    both = "#define GLUE(a, b) a##b\nint can_l(int ock);\n"
    assert spared(new, user=both) == set()
    three = "#define GLUE(a, b) a##_##b##k\nint can(int loc);\n"
    assert spared(new, user=three) == set()


def test_parameters_of_macros_are_no_words() -> None:
    defines = Defines(["#define CALL(lock) can_##lock(1)\n#define B(ock) ock\n"])
    assert not defines.makes("can_lock")
    assert Defines(["#define CALL(x) can_##x(1)\nint lock;\n"]).makes("can_lock")


def test_an_edit_that_is_none_touches_no_name() -> None:
    names = edited_names(LOCK, LOCK)
    assert names is not None
    assert names.all == set()


EDITS = {
    "body": edit("x && 1", "x > 3"),
    "macro": edit("LOCK_MAX 4", "LOCK_MAX 7"),
    "type": edit("int lock_slow(int x);", "short lock_slow(int x);"),
    "gone": edit("#define can_lock can_lock\n", "\n"),
    "below": edit("x + 1", "x + 2"),
}


@pytest.mark.parametrize("name", EDITS)
def test_a_compiler_says_the_same(name: str, tmp_path: Path) -> None:
    """Every object that is spared is the same; and of the others some is not."""
    (tmp_path / "wrap.h").write_text(WRAP)
    for source, text in SOURCES.items():
        (tmp_path / source).write_text(text)

    def compiled(header: str) -> dict[str, bytes]:
        (tmp_path / "lock.h").write_text(header)
        # one after the other in one process; a definition that came twice is no matter here
        done = proc.run(("gcc", "-O2", "-w", "-c", *SOURCES), cwd=tmp_path)
        assert done.returncode == 0, done.stderr.decode()
        return {o: (tmp_path / o).read_bytes() for o in ALL}

    before = compiled(LOCK)
    wrapped = EDITS[name]
    if name == "gone":  # two functions of one name: only where the fallback is not reached
        wrapped = wrapped.replace("static inline int can_lock", "static inline int had_lock")
    after = compiled(wrapped)
    same = spared(wrapped)
    changed = {o for o in ALL if before[o] != after[o]}
    assert changed
    assert not changed & same


def test_what_is_too_long_to_compare_reaches_everybody() -> None:
    assert spared(LOCK + "int x(void);\n" * 6000) == set()
    # and nothing takes the square of its length to read
    assert edited_names(LOCK, LOCK + "/* " * 200_000) is not None
    assert not Defines([f"#define a {'x' * 200_000} ## b\n"]).makes("can_lock")
