# SPDX-License-Identifier: GPL-2.0-only
"""git plumbing on a source tree's object store: no working tree, no user configuration.

New objects go to a private object directory with the source's own as an
alternate, so a series can be applied while others read the same tree.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kvet import proc
from kvet.errors import InfraError


@dataclass(frozen=True, slots=True)
class Edit:
    """How a path differs between two trees: status letter (A M D T), ids of its content."""

    status: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Repo:
    """The repository of one SourceTree plus a private directory for new objects."""

    path: Path
    objects: Path

    def env(self, index: Path | None = None) -> dict[str, str]:
        """Environment for git: private objects and index, nobody's configuration."""
        common = git_common_dir(self.path)
        env = {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "HOME": "/nonexistent",
            "LC_ALL": "C.UTF-8",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_DIR": str(common),
            "GIT_OBJECT_DIRECTORY": str(self.objects),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": _quoted(common / "objects"),
        }
        if index is not None:
            env["GIT_INDEX_FILE"] = str(index)
            # a third smaller: the index of a kernel is read and written for each patch
            env["GIT_INDEX_VERSION"] = "4"
        return env

    def run(
        self, *args: str, index: Path | None = None, stdin: bytes | None = None
    ) -> proc.Completed:
        """Run one git command; the caller looks at its return code."""
        self.objects.mkdir(parents=True, exist_ok=True)
        return proc.run(("git", *args), env=self.env(index), stdin=stdin, timeout_s=600, brief=True)

    def output(self, *args: str, index: Path | None = None) -> bytes:
        """Standard output of a git command that must succeed."""
        done = self.run(*args, index=index)
        if done.returncode:
            raise InfraError(f"git {args[0]} failed: {done.stderr.decode(errors='replace')}")
        return done.stdout

    def changed(self, old: str, new: str) -> Mapping[str, str]:
        """Paths that differ between two trees, each with its status letter (A M D T)."""
        return {path: edit.status for path, edit in self.edits(old, new).items()}

    def edits(self, old: str, new: str) -> Mapping[str, Edit]:
        """Paths that differ between two trees, and what each was and is."""
        out = self.output("diff-tree", "-r", "-z", "--no-renames", "--raw", old, new)
        words = out.decode(errors="surrogateescape").split("\0")[:-1]
        # :MODE MODE ID ID STATUS (git-diff-tree(1), "raw output format")
        fields = (word.split(" ") for word in words[0::2])
        edits = (Edit(status, before, after) for _, _, before, after, status in fields)
        return dict(zip(words[1::2], edits, strict=True))

    def content(self, blob_id: str) -> bytes:
        """The content of a file by its id."""
        return self.output("cat-file", "blob", blob_id)

    def diff(self, old: str, new: str) -> str:
        """The difference of two trees as a unified diff."""
        options = ("-r", "-p", "--no-renames", "--no-color", "--no-ext-diff", "--no-textconv")
        return self.output("diff-tree", *options, old, new).decode(errors="replace")

    def blob(self, tree: str, path: str) -> tuple[bytes, bool]:
        """Content of `path` in `tree`, and whether it is executable."""
        entry = self.output("ls-tree", "-z", tree, "--", path)
        mode, _, rest = entry.partition(b" ")
        blob_id = rest.split(b"\t")[0].split()[1].decode()
        return self.content(blob_id), mode == b"100755"


def _quoted(path: Path) -> str:
    """`path` for a list that git splits at colons unless they are quoted (git(1))."""
    text = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def git_common_dir(path: Path) -> Path:
    """The git directory of a checkout: `.git` itself, or where a worktree's `.git` file points."""
    dot = path / ".git"
    if dot.is_dir():
        return dot
    if not dot.exists():  # a bare repository
        return path
    target = Path(dot.read_text(encoding="utf-8").removeprefix("gitdir:").strip())
    common = target / "commondir"
    return (target / common.read_text(encoding="utf-8").strip()).resolve()
