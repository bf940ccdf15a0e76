# SPDX-License-Identifier: GPL-2.0-only
"""Reads one patch file as git reads it, and refuses what must not touch a tree.

A patch is untrusted: no path of it may leave the source tree.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from kvet import proc
from kvet.errors import UserError
from kvet.source.diff import marked_lines, without_transport_cr

SPECIAL = re.compile(r"^(?:new file mode |new mode |index [0-9a-f]+\.\.[0-9a-f]+ )(120000|160000)$")
BINARY = re.compile(rb"^Binary files .* differ$")
# a hunk, or what a diff of names and modes has instead
HOLDS_DIFF = re.compile(
    rb"^(?:@@ -\d|rename to |copy to |new mode |new file mode |deleted file mode )", re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Patch:
    """One patch as git reads it: the diff is plain, whatever its mail was encoded in."""

    path: Path
    subject: str
    author: str
    message_id: str
    sha256: str
    diff: bytes


def read_patch(path: Path, scratch: Path) -> Patch:
    """Undo the mail's transfer encoding; refuse what can only fail later with a riddle."""
    raw = read_raw(path)
    body = scratch / "body"
    done = proc.run(
        ("git", "mailinfo", "--no-scissors", str(scratch / "message"), str(body)),
        stdin=raw,
        brief=True,
    )
    diff = body.read_bytes() if done.returncode == 0 and body.exists() else b""
    diff = diff if HOLDS_DIFF.search(diff) or b"diff --git" in diff else raw
    told = dict(re.findall(r"^(\w+): (.*)$", done.stdout.decode(errors="replace"), re.MULTILINE))
    author = f"{told.get('Author', '')} <{told['Email']}>".strip() if "Email" in told else ""
    heads = re.split(rb"\r?\n\r?\n", raw, maxsplit=1)[0]
    found = re.search(rb"^Message-ID:\s*<([^>\s]+)>", heads, re.MULTILINE | re.IGNORECASE)
    message_id = found.group(1).decode(errors="replace") if found else ""
    _refuse(path, raw, diff)
    digest = hashlib.sha256(raw).hexdigest()
    return Patch(path, told.get("Subject") or path.stem, author, message_id, digest, diff)


def read_raw(path: Path) -> bytes:
    """The content of a patch file as it is."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", path=path) from error


def _refuse(path: Path, raw: bytes, diff: bytes) -> None:
    """Raise UserError for a patch that is empty, binary, CRLF or that leaves the tree."""
    heads = [line for inside, line in marked_lines(diff) if not inside]
    if any(line == b"GIT binary patch" or BINARY.match(line) for line in heads):
        raise UserError(
            "holds a binary patch, which a kernel series must not",
            path=path,
            where=_line_of(raw, rb"^(GIT binary patch|Binary files )"),
        )
    if raw.startswith(b"\x1f\x8b"):
        raise UserError("is compressed", path=path, hint=f"gunzip -k {path}")
    if not HOLDS_DIFF.search(diff):
        raise UserError("holds no patch: no diff was found in it", path=path)
    if without_transport_cr(diff) != diff:
        raise UserError(
            "has CRLF line ends in the headers of its diff",
            path=path,
            hint="strip them from what was given: sed -i 's/\\r$//' FILE",
        )
    for line in heads:
        _refuse_header(path, raw, line.decode(errors="replace"))


def _refuse_header(path: Path, raw: bytes, line: str) -> None:
    """Raise UserError for a header line of a diff that names what a series must not touch."""
    where = _line_of(raw, b"^" + re.escape(line.encode()[:40]))
    if line.startswith(("--- ", "+++ ", "rename ", "copy ")):
        name = line.split(" ", 2 if line[0] in "rc" else 1)[-1].split("\t")[0]
        if name != "/dev/null" and _escapes(name):
            raise UserError(f"names {name}, a path outside the source tree", path=path, where=where)
    if line.startswith("diff --git ") and "/../" in line:
        raise UserError(f"names a path outside the source tree: {line}", path=path, where=where)
    if found := SPECIAL.match(line):
        what = {"120000": "a symbolic link", "160000": "a submodule"}[found.group(1)]
        raise UserError(f"touches {what}, which is not built here", path=path, where=where)


def _escapes(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return name.startswith("/") or ".." in parts or ".git" in parts


def _line_of(raw: bytes, pattern: bytes) -> str:
    found = re.search(pattern, raw, re.MULTILINE)
    if found is None:
        return ""
    line = raw.count(b"\n", 0, found.start()) + 1
    return f"line {line}"
