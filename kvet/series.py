# SPDX-License-Identifier: GPL-2.0-only
"""Reads a patch series and applies it, patch by patch, with git's own machinery.

Patches are applied to an index, not to files: the source tree stays clean
whatever happens, and every patch has a tree id of its own.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from kvet import proc
from kvet.config import patch_files
from kvet.errors import UserError
from kvet.git import Repo
from kvet.model import Role, Variant

PATCH_FAILED = re.compile(r"^error: patch failed: (.+):(\d+)$", re.MULTILINE)
HUNK = re.compile(r"^@@ -(\d+)")
MOST_DIFF = 200_000
NEW_FILE = re.compile(r"^\+\+\+ (?:b/)?([^\t\n]+)")


@dataclass(frozen=True, slots=True)
class AppliedPatch:
    """One patch as applied: `tree_id` is the tree after it."""

    path: Path
    subject: str
    message_id: str
    sha256: str
    tree_id: str


@dataclass(frozen=True, slots=True)
class AppliedSeries:
    """A series on its base: the resulting tree and which files differ from the base.

    `series_id` is KCIDB's patchset_hash: the sha256 over the newline-terminated
    sha256 of each patch in order (kcidb-io schema v5.3). `diff` is the whole
    series as one unified diff, the first files of it where it is very long.
    """

    base_tree: str
    tree_id: str
    series_id: str
    patches: tuple[AppliedPatch, ...]
    changed: Mapping[str, str]
    diff: str = ""


def apply_series(repo: Repo, base_tree: str, patches: Sequence[Path]) -> AppliedSeries:
    """Apply `patches` in order to `base_tree`; nothing but objects is written.

    Raises UserError that names the patch, the file and the hunk that failed.
    """
    applied: list[AppliedPatch] = []
    tree = base_tree
    with tempfile.TemporaryDirectory(prefix="kvet-series-") as scratch:
        index = Path(scratch) / "index"
        repo.output("read-tree", base_tree, index=index)
        for path in patches:
            patch = _read_patch(path, Path(scratch))
            tree, before = _apply(repo, index, path, patch.diff), tree
            if tree == before:
                raise UserError("is already applied: it changes nothing here", path=path)
            applied.append(AppliedPatch(path, patch.subject, patch.message_id, patch.sha256, tree))
    digest = hashlib.sha256("".join(f"{p.sha256}\n" for p in applied).encode())
    return AppliedSeries(
        base_tree=base_tree,
        tree_id=tree,
        series_id=digest.hexdigest(),
        patches=tuple(applied),
        changed=repo.changed(base_tree, tree),
        diff=_whole_files(repo.diff(base_tree, tree)),
    )


def _whole_files(diff: str) -> str:
    """As many whole files of `diff` as are at most `MOST_DIFF` characters."""
    if len(diff) <= MOST_DIFF:
        return diff
    return diff[: max(0, diff.rfind("\ndiff --git ", 0, MOST_DIFF) + 1)]


@dataclass(frozen=True, slots=True)
class _Patch:
    subject: str
    message_id: str
    sha256: str
    diff: bytes


def _read_patch(path: Path, scratch: Path) -> _Patch:
    """Undo the mail's transfer encoding; refuse what can only fail later with a riddle."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", path=path) from error
    body = scratch / "body"
    done = proc.run(
        ("git", "mailinfo", "--no-scissors", str(scratch / "message"), str(body)), stdin=raw
    )
    diff = body.read_bytes() if done.returncode == 0 and body.exists() else b""
    diff = diff if b"diff --git" in diff or b"\n+++ " in b"\n" + diff else raw
    headers = done.stdout.decode(errors="replace")
    subject = next((x[9:] for x in headers.splitlines() if x.startswith("Subject: ")), path.stem)
    found = re.search(rb"^Message-ID:\s*<([^>\s]+)>", raw, re.MULTILINE | re.IGNORECASE)
    message_id = found.group(1).decode(errors="replace") if found else ""
    _refuse(path, raw, diff)
    return _Patch(subject, message_id, hashlib.sha256(raw).hexdigest(), diff)


def _refuse(path: Path, raw: bytes, diff: bytes) -> None:
    """Raise UserError for a patch that is empty, binary, CRLF or that leaves the tree."""
    if b"\n@@ " not in diff and b"GIT binary patch" not in diff and not _only_metadata(diff):
        raise UserError("holds no patch: no diff was found in it", path=path)
    if b"GIT binary patch" in diff or b"\nBinary files " in diff:
        raise UserError(
            "holds a binary patch, which a kernel series must not",
            path=path,
            where=_line_of(raw, rb"^(GIT binary patch|Binary files )"),
        )
    lines = [x for x in diff.split(b"\n") if x[:1] in (b"+", b"-", b" ", b"@")]
    if lines and sum(x.endswith(b"\r") for x in lines) * 2 > len(lines):
        raise UserError(
            "has CRLF line ends, which no kernel file has",
            path=path,
            hint=f"strip them: sed -i 's/\\r$//' {path}",
        )
    for line in diff.decode(errors="replace").splitlines():
        if line.startswith(("--- ", "+++ ", "rename to ", "copy to ")):
            name = line.split(" ", 2 if line[0] in "rc" else 1)[-1].split("\t")[0]
            if name != "/dev/null" and _escapes(name):
                raise UserError(
                    f"names {name}, a path outside the source tree",
                    path=path,
                    where=_line_of(raw, re.escape(line[:40]).encode()),
                )


def _only_metadata(diff: bytes) -> bool:
    """A diff of renames or modes has no hunk."""
    return b"\nrename to " in diff or b"\nnew mode " in diff or b"\ndeleted file mode " in diff


def _escapes(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return name.startswith("/") or ".." in parts or ".git" in parts


def _line_of(raw: bytes, pattern: bytes) -> str:
    found = re.search(pattern, raw, re.MULTILINE)
    if found is None:
        return ""
    line = raw.count(b"\n", 0, found.start()) + 1
    return f"line {line}"


def _apply(repo: Repo, index: Path, path: Path, diff: bytes) -> str:
    """Apply one diff to `index` and return the tree id it makes."""
    done = repo.run("apply", "--cached", "--3way", "-", index=index, stdin=diff)
    if done.returncode == 0 and not repo.output("ls-files", "--unmerged", index=index):
        return repo.output("write-tree", index=index).decode().strip()
    raise _why_not(repo, index, path, diff)


def _why_not(repo: Repo, index: Path, path: Path, diff: bytes) -> UserError:
    """The reason why `diff` did not apply, as an error that shows the first rejected hunk."""
    repo.run("reset", "-q", "--mixed", index=index)
    reverse = repo.run("apply", "--cached", "--check", "-R", "-", index=index, stdin=diff)
    if reverse.returncode == 0:
        return UserError("is already applied: the tree holds every line of it", path=path)
    check = repo.run("apply", "--cached", "--check", "-", index=index, stdin=diff)
    stderr = check.stderr.decode(errors="replace").strip()
    failed = PATCH_FAILED.search(stderr)
    if failed is None:
        reason = (
            stderr.splitlines()[0].removeprefix("error: ") if stderr else "3-way merge conflict"
        )
        return UserError(f"does not apply: {reason}", path=path)
    file, line = failed.group(1), int(failed.group(2))
    number, hunk = find_hunk(diff.decode(errors="replace"), file, line)
    return UserError(
        f"does not apply: {file}, hunk {number} at line {line} is rejected:\n{hunk}",
        path=path,
        hint="the source tree is untouched; rebase the series or choose its base with --kernel",
    )


def find_hunk(diff: str, file: str, line: int, *, most: int = 25) -> tuple[int, str]:
    """Number (from 1) and text (at most `most` lines) of the hunk of `file` at old `line`."""
    inside, number = False, 0
    taken: list[str] = []
    for text in diff.splitlines():
        if named := NEW_FILE.match(text):
            if taken:
                break
            inside, number = named.group(1) == file, 0
        elif text.startswith(("diff --git", "--- ")) and taken:
            break
        elif inside and (start := HUNK.match(text)):
            if taken:
                break
            number += 1
            if int(start.group(1)) == line:
                taken.append(text)
        elif taken:
            taken.append(text)
    cut = taken[:most] + (["  ..."] if len(taken) > most else [])
    return number, "\n".join(f"    {x}" for x in cut)


def series_variant(spec: str, folder: Path) -> Variant:
    """The variant that a `--series` argument means; its patches are copied to `folder`.

    `spec` is an mbox, a .patch file, a quilt directory or `GITDIR:BASE..TIP`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = Path(spec)
    if path.is_dir():
        patches = patch_files(path)
        name = path.resolve().name
    elif path.is_file():
        patches = _split_mailbox(path, folder)
        name = path.stem
    elif ":" in spec and ".." in spec:
        patches = _format_range(spec, folder)
        name = Path(spec.split(":", 1)[0]).resolve().name
    else:
        raise UserError(
            f"--series {spec}: there is no such file or folder",
            hint="give an mbox, a .patch, a quilt directory or GITDIR:BASE..TIP",
        )
    if not patches:
        raise UserError(f"--series {spec}: holds no patches")
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "series"
    return Variant(
        name=safe, title=f"series {spec}", role=Role.CANDIDATE, patches=patches, foreign=True
    )


def _split_mailbox(path: Path, folder: Path) -> tuple[Path, ...]:
    """Split an mbox into its mails; leave out those without a diff (the cover letter)."""
    if not re.search(rb"^From \S", path.read_bytes()[:8192], re.MULTILINE):
        return (path,)
    done = proc.run(("git", "mailsplit", "--keep-cr", f"-o{folder}", str(path)))
    if done.returncode:
        raise UserError(f"is not a mailbox: {done.stderr.decode(errors='replace')}", path=path)
    mails = sorted(p for p in folder.iterdir() if p.name.isdigit())
    orders = {p: _mail_order(p) for p in mails}
    patches = sorted((p for p in mails if orders[p] != 0), key=lambda p: (orders[p] or 0, p.name))
    if len(mails) == 1 and patches:
        return (path,)
    return tuple(_named(mail, number) for number, mail in enumerate(patches, start=1))


def _named(mail: Path, number: int) -> Path:
    """Give a split mail the name that format-patch would have given it."""
    head = mail.read_bytes().split(b"\n\n", 1)[0].decode(errors="replace")
    found = re.search(r"^Subject:\s*(?:\[[^\]]*\]\s*)?(.*)$", head, re.MULTILINE)
    words = re.sub(r"[^A-Za-z0-9._]+", "-", found.group(1) if found else "patch").strip("-.")
    return mail.rename(mail.with_name(f"{number:04d}-{words[:52] or 'patch'}.patch"))


def _mail_order(mail: Path) -> int | None:
    """N of `[PATCH N/M]`; 0 for a cover letter or a mail without a diff; None without a number."""
    text = mail.read_bytes()
    head = text.split(b"\n\n", 1)[0].decode(errors="replace")
    numbered = re.search(r"^Subject:.*?\[[^\]]*?(\d+)/\d+\]", head, re.MULTILINE | re.IGNORECASE)
    plain = b"\n@@ " in text or b"base64" in text.lower() or b"\nrename to" in text
    if not plain:
        return 0
    return int(numbered.group(1)) if numbered else None


def _format_range(spec: str, folder: Path) -> tuple[Path, ...]:
    gitdir, commits = spec.split(":", 1)
    done = proc.run(
        ("git", "-C", gitdir, "format-patch", "-q", "--no-signature", "-o", str(folder), commits)
    )
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().removeprefix("fatal: ")
        raise UserError(f"--series {spec}: {reason}")
    return tuple(sorted(folder.glob("*.patch")))
