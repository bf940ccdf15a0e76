# SPDX-License-Identifier: GPL-2.0-only
"""Unified diffs as text: what is a header and what a hunk, line ends, direction, path level.

Bytes throughout: a diff may be in any encoding, and in several.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

SIZES = re.compile(rb"^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
# what a mail must hold to be taken for a patch: quoted ones begin with `>`
DIFF = re.compile(
    rb"^(?:diff --git \S|GIT binary patch|Binary files .* differ|--- .*\n\+\+\+ "
    rb"|@@ -\d+(?:,\d+)? \+)",
    re.MULTILINE,
)
# the first line of a diff: what stands above it is prose
START = re.compile(rb"^(?:diff --git |diff -|Index: \S|--- (?:a/|\S.*\n\+\+\+ ))", re.MULTILINE)
SWAPPED = {
    b"rename from ": b"rename to ",
    b"rename to ": b"rename from ",
    b"old mode ": b"new mode ",
    b"new mode ": b"old mode ",
    b"new file mode ": b"deleted file mode ",
    b"deleted file mode ": b"new file mode ",
}
NAMED = (b"--- ", b"+++ ", b"rename from ", b"rename to ", b"copy from ", b"copy to ")


def marked_lines(diff: bytes) -> Iterator[tuple[bool, bytes]]:
    """Each line of `diff` and whether it is inside a hunk, as the hunk's own counts say.

    Inside of one `--- x` is a removed line `-- x`, and what follows the last
    line counted (a mail's signature) is outside.
    """
    old = new = 0
    for line in diff.split(b"\n"):
        if old > 0 or new > 0:
            if not line.startswith(b"\\"):
                old -= line[:1] != b"+"
                new -= line[:1] != b"-"
            yield True, line
        elif found := SIZES.match(line):
            old, new = (int(found[group] or 1) for group in (2, 4))
            yield False, line
        else:
            yield False, line


def holds_diff(body: bytes) -> bool:
    """Whether there is a diff in `body`, one that is not quoted."""
    return DIFF.search(body) is not None


def prose_of(body: bytes) -> bytes:
    """What stands above the first diff of `body`."""
    found = START.search(body)
    return body[: found.start()] if found else body


def without_transport_cr(body: bytes) -> bytes:
    """`body` with plain line ends where its mail or its file brought CRLF.

    The headers of a diff tell: a CR at their end is the transport's, one in a
    hunk alone is the source file's own.
    """
    heads = [x for x in body.split(b"\n") if x.startswith((b"--- ", b"+++ ", b"@@ -", b"diff "))]
    if heads and sum(x.endswith(b"\r") for x in heads) * 2 > len(heads):
        return re.sub(rb"\r+(?=\n|\Z)", b"", body)
    return body


def backwards(diff: bytes) -> bytes:
    """The diff that takes `diff` out again; for text, not for binary patches or copies."""
    out: list[bytes] = []
    for inside, line in marked_lines(diff):
        if inside:
            out.append({b"-": b"+", b"+": b"-"}.get(line[:1], line[:1]) + line[1:])
        elif line.startswith(b"+++ ") and out and out[-1].startswith(b"--- "):
            out[-1:] = [_other_side(line), _other_side(out[-1])]
        else:
            out.append(_header_backwards(line))
    return b"\n".join(out)


def _other_side(line: bytes) -> bytes:
    """`--- a/x` for `+++ b/x`, and the other way round."""
    mark = b"--- " if line.startswith(b"+++ ") else b"+++ "
    side = b"a/" if mark == b"--- " else b"b/"
    name = line[4:]
    return mark + (side + name[2:] if name[:2] in (b"a/", b"b/") else name)


def _header_backwards(line: bytes) -> bytes:
    if found := SIZES.match(line):
        ranges = line[: found.end()].split(b" ")
        ranges[1:3] = [b"-" + ranges[2][1:], b"+" + ranges[1][1:]]
        return b" ".join(ranges) + line[found.end() :]
    if found := re.match(rb"index ([0-9a-f]+)\.\.([0-9a-f]+)(.*)$", line):
        return b"index " + found[2] + b".." + found[1] + found[3]
    for mark, other in SWAPPED.items():
        if line.startswith(mark):
            return other + line[len(mark) :]
    return line


def with_level_one(diff: bytes, level: int) -> bytes:
    """`diff`, whose paths fit with `-p LEVEL`, with one directory (a/ and b/) before each path."""
    if level == 1:
        return diff
    return b"\n".join(
        line if inside else _levelled(line, level) for inside, line in marked_lines(diff)
    )


def _levelled(line: bytes, level: int) -> bytes:
    mark = next((mark for mark in NAMED if line.startswith(mark)), None)
    if mark is not None:
        # the names of renames and copies have no a/ and b/
        side = {b"--- ": b"a/", b"+++ ": b"b/"}.get(mark, b"")
        return mark + _stripped(line[len(mark) :], level if side else level - 1, side)
    words = line.split(b" ")
    if line.startswith(b"diff --git ") and len(words) == 4:
        old, new = _stripped(words[2], level, b"a/"), _stripped(words[3], level, b"b/")
        return b" ".join([b"diff", b"--git", old, new])
    return line


def _stripped(name: bytes, level: int, side: bytes) -> bytes:
    """`name` without its first `level` directories, behind `side`."""
    if name.split(b"\t")[0].strip() == b"/dev/null":
        return name
    # -p0 has no prefix to take off, but a rename of it none either
    return side + b"/".join(name.split(b"/")[max(level, 0) :])
