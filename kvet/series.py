# SPDX-License-Identifier: GPL-2.0-only
"""Reads a patch series and applies it, patch by patch, with git's own machinery.

Patches are applied to an index, not to files: the source tree stays clean
whatever happens, and every patch has a tree id of its own.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from kvet import proc
from kvet.config import patch_files
from kvet.errors import UserError
from kvet.git import Repo
from kvet.mailbox import is_mailbox, split_mailbox
from kvet.model import Role, Variant
from kvet.store import read_json, write_json

PATCH_FAILED = re.compile(r"^error: patch failed: (.+):(\d+)$", re.MULTILINE)
HUNK = re.compile(r"^@@ -(\d+)")
SIZES = re.compile(r"^@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@")
SPECIAL = re.compile(r"^(?:new file mode |new mode |index [0-9a-f]+\.\.[0-9a-f]+ )(120000|160000)$")
# a hunk, or what a diff of names and modes has instead
HOLDS_DIFF = re.compile(
    rb"^(?:@@ -\d|rename to |copy to |new mode |new file mode |deleted file mode )", re.MULTILINE
)
MOST_DIFF = 200_000
RECIPE = "1"  # raise it when a change here makes the notes of applied series wrong
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

    What was applied once is read from a note beside those objects. Raises
    UserError that names the patch, the file and the hunk that failed.
    """
    raw = [hashlib.sha256(_read(path)).hexdigest() for path in patches]
    digest = hashlib.sha256("\n".join([RECIPE, base_tree, *raw]).encode()).hexdigest()
    note = repo.objects / "applied" / f"{digest[:16]}.json"
    if note.exists():
        return _noted(read_json(note), patches)
    series = _apply_all(repo, base_tree, patches)
    write_json(note, series)
    return series


def _noted(note: Mapping[str, Any], patches: Sequence[Path]) -> AppliedSeries:
    """The series of a note; `patches` are where its patches lie today."""
    applied = [
        AppliedPatch(**patch | {"path": path})
        for patch, path in zip(note["patches"], patches, strict=True)
    ]
    return AppliedSeries(**{**note, "patches": tuple(applied)})


def _apply_all(repo: Repo, base_tree: str, patches: Sequence[Path]) -> AppliedSeries:
    applied: list[AppliedPatch] = []
    tree = base_tree
    with tempfile.TemporaryDirectory(prefix="kvet-series-") as scratch:
        index = Path(scratch) / "index"
        repo.output("read-tree", base_tree, index=index)
        for path in patches:
            patch = _read_patch(path, Path(scratch))
            tree, before = _apply(repo, index, path, patch.diff, tree), tree
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
    raw = _read(path)
    body = scratch / "body"
    done = proc.run(
        ("git", "mailinfo", "--no-scissors", str(scratch / "message"), str(body)), stdin=raw
    )
    diff = body.read_bytes() if done.returncode == 0 and body.exists() else b""
    diff = diff if HOLDS_DIFF.search(diff) or b"diff --git" in diff else raw
    headers = done.stdout.decode(errors="replace")
    subject = next((x[9:] for x in headers.splitlines() if x.startswith("Subject: ")), path.stem)
    found = re.search(rb"^Message-ID:\s*<([^>\s]+)>", raw, re.MULTILINE | re.IGNORECASE)
    message_id = found.group(1).decode(errors="replace") if found else ""
    _refuse(path, raw, diff)
    return _Patch(subject, message_id, hashlib.sha256(raw).hexdigest(), diff)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", path=path) from error


def _refuse(path: Path, raw: bytes, diff: bytes) -> None:
    """Raise UserError for a patch that is empty, binary, CRLF or that leaves the tree."""
    if b"GIT binary patch" in diff or re.search(rb"^Binary files .* differ$", diff, re.MULTILINE):
        raise UserError(
            "holds a binary patch, which a kernel series must not",
            path=path,
            where=_line_of(raw, rb"^(GIT binary patch|Binary files )"),
        )
    if raw.startswith(b"\x1f\x8b"):
        raise UserError("is compressed", path=path, hint=f"gunzip -k {path}")
    if not HOLDS_DIFF.search(diff):
        raise UserError("holds no patch: no diff was found in it", path=path)
    lines = [x for x in diff.split(b"\n") if x[:1] in (b"+", b"-", b" ", b"@")]
    if lines and sum(x.endswith(b"\r") for x in lines) * 2 > len(lines):
        raise UserError(
            "has CRLF line ends, which no kernel file has",
            path=path,
            hint="strip them from what was given: sed -i 's/\\r$//' FILE",
        )
    for line in _between_hunks(diff.decode(errors="replace")):
        _refuse_header(path, raw, line)


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


def _between_hunks(diff: str) -> Iterator[str]:
    """The lines of `diff` that are not inside a hunk, where `--- x` may be a removed `-- x`."""
    old = new = 0
    for line in diff.splitlines():
        if old > 0 or new > 0:
            old -= line[:1] in ("-", " ", "")
            new -= line[:1] in ("+", " ", "")
        elif found := SIZES.match(line):
            old, new = (int(count or 1) for count in found.groups())
        else:
            yield line


def _escapes(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return name.startswith("/") or ".." in parts or ".git" in parts


def _line_of(raw: bytes, pattern: bytes) -> str:
    found = re.search(pattern, raw, re.MULTILINE)
    if found is None:
        return ""
    line = raw.count(b"\n", 0, found.start()) + 1
    return f"line {line}"


def _apply(repo: Repo, index: Path, path: Path, diff: bytes, tree: str) -> str:
    """Apply one diff to `index`, which holds `tree`, and return the tree id it makes."""
    done = repo.run("apply", "--cached", "--3way", "-", index=index, stdin=diff)
    if done.returncode == 0 and not repo.output("ls-files", "--unmerged", index=index):
        return repo.output("write-tree", index=index).decode().strip()
    raise _why_not(repo, index, path, diff, tree)


def _why_not(repo: Repo, index: Path, path: Path, diff: bytes, tree: str) -> UserError:
    """The reason why `diff` did not apply to `tree`, showing the first rejected hunk."""

    def check(*options: str) -> proc.Completed:
        return repo.run("apply", "--cached", "--check", *options, "-", index=index, stdin=diff)

    repo.output("read-tree", tree, index=index)
    if check("-R").returncode == 0:
        return UserError("is already applied: the tree holds every line of it", path=path)
    stderr = check().stderr.decode(errors="replace").strip()
    failed = PATCH_FAILED.search(stderr)
    if failed is None:
        levels = [n for n in (0, 2, 3) if check(f"-p{n}").returncode == 0]
        return _not_even_tried(path, stderr, levels)
    file, line = failed.group(1), int(failed.group(2))
    number, hunk = find_hunk(diff.decode(errors="replace"), file, line)
    return UserError(
        f"does not apply: {file}, hunk {number} at line {line} is rejected:\n{hunk}",
        path=path,
        hint="the source tree is untouched; rebase the series or choose its base with --kernel",
    )


def _not_even_tried(path: Path, stderr: str, levels: Sequence[int]) -> UserError:
    """The error for a patch of which git looked at no hunk; `levels` would make its paths fit."""
    reason = stderr.splitlines()[0].removeprefix("error: ") if stderr else "3-way merge conflict"
    if levels:
        return UserError(
            f"does not apply: its paths fit with -p{levels[0]} alone, and a kernel patch has "
            "one folder (a/ and b/) before each path",
            path=path,
            hint="make it again with git format-patch, or quilt refresh -p1",
        )
    hint = ""
    if reason.startswith("corrupt patch"):
        # the diff begins below the mail's headers, and git counts from there
        reason += " of its diff"
        hint = "a line was cut, wrapped or edited; take the patch as it was sent, in mbox form"
    return UserError(f"does not apply: {reason}", path=path, hint=hint)


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
    path = Path(spec).expanduser()
    if path.is_dir() and spec:
        patches = patch_files(path)
        name = path.resolve().name
    elif path.is_file():
        patches = split_mailbox(path, folder) if is_mailbox(path) else (path,)
        name = path.stem
    elif ":" in spec and ".." in spec:
        gitdir, _, commits = spec.rpartition(":")
        patches = _format_range(spec, Path(gitdir).expanduser(), commits, folder)
        name = Path(gitdir).expanduser().resolve().name
    else:
        raise UserError(
            f"--series {spec}: there is no such file or folder",
            hint="give an mbox, a .patch, a quilt directory or GITDIR:BASE..TIP",
        )
    if not patches:
        raise UserError(f"--series {spec}: holds no patches", hint=_where_then(path))
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "series"
    return Variant(
        name=safe, title=f"series {spec}", role=Role.CANDIDATE, patches=patches, foreign=True
    )


def _where_then(path: Path) -> str:
    """What may have been meant by a `--series` in which there are no patches."""
    if (path / "patches").is_dir():
        return f"--series {path / 'patches'}"
    if path.is_dir() and (path / ".git").exists():
        return f"for commits of a repository: --series {path}:BASE..TIP"
    if path.is_dir():
        return "a folder needs *.patch files, or a quilt `series` file that names its patches"
    return "" if path.exists() else "the range is BASE..TIP: what TIP has and BASE has not"


# whatever the user's own git is set to, the patches are plain ones with a/ and b/
PLAIN = ("diff.noprefix=false", "diff.mnemonicPrefix=false", "format.attach=false")


def _format_range(spec: str, gitdir: Path, commits: str, folder: Path) -> tuple[Path, ...]:
    """The commits `BASE..TIP` of a repository as patches in `folder`."""
    base, _, tip = commits.partition("..")
    for name in (base, tip or "HEAD"):
        _resolved(spec, gitdir, name)
    merges = _git(spec, gitdir, "rev-list", "--merges", commits, "--").split()
    if merges:
        raise UserError(
            f"--series {spec}: holds {len(merges)} merge commit{'s' if len(merges) > 1 else ''} "
            f"({merges[0][:12]}), whose own changes patches cannot carry",
            hint="make it linear on a branch of its own: git rebase BASE",
        )
    options = ("-q", "--no-signature", "--no-cover-letter", "--full-index", "--no-ext-diff")
    _git(spec, gitdir, "format-patch", *options, "-o", str(folder.resolve()), commits, "--")
    return tuple(sorted(folder.glob("*.patch")))


def _resolved(spec: str, gitdir: Path, name: str) -> None:
    """Raise UserError unless `name` is a commit; a range with three dots has none."""
    if name.startswith(("-", ".")) or not name:
        raise UserError(f"--series {spec}: {name!r} is no commit; the range is BASE..TIP")
    try:
        _git(spec, gitdir, "rev-parse", "--verify", "-q", f"{name}^{{commit}}")
    except UserError as error:
        if error.message.endswith(": "):
            raise UserError(f"--series {spec}: {gitdir} has no commit {name!r}") from error
        raise


def _git(spec: str, gitdir: Path, *args: str) -> str:
    settings = [word for value in PLAIN for word in ("-c", value)]
    done = proc.run(("git", "-C", str(gitdir), *settings, *args), timeout_s=600)
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().removeprefix("fatal: ")
        raise UserError(f"--series {spec}: {reason}")
    return done.stdout.decode(errors="replace")
