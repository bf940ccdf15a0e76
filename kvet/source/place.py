# SPDX-License-Identifier: GPL-2.0-only
"""Finds in somebody's git repository what a series says it is made on; nothing is checked out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kvet import proc
from kvet.errors import UserError
from kvet.model import Kernel

MOST_COMMITS = 2000  # how far back prerequisite patches are looked for


@dataclass(frozen=True, slots=True)
class Place:
    """A git repository of a user; `path` is what the user called it."""

    path: Path

    @property
    def name(self) -> str:
        """What a kernel of it is called: the directory's name without what git adds."""
        name = self.path.expanduser().resolve().name.removesuffix(".git")
        return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "tree"

    def commit(self, name: str) -> str:
        """The full id of the commit `name`; '' when there is none here."""
        if not name or name.startswith("-"):
            return ""
        return self._said("rev-parse", "--verify", "-q", f"{name}^{{commit}}")

    def tree(self, commit: str) -> str:
        """The id of the tree of a commit."""
        return self._said("rev-parse", "--verify", "-q", f"{commit}^{{tree}}")

    def is_kernel(self, commit: str) -> bool:
        """Whether a commit holds a kernel, by its top Makefile."""
        text = self._said("show", f"{commit}:Makefile")
        return re.search(r"^VERSION *=", text, re.MULTILINE) is not None

    def merge_base(self, one: str, other: str) -> str:
        """Where two commits part; '' when they have nothing in common."""
        return self._said("merge-base", one, other)

    def branches(self) -> list[tuple[str, str]]:
        """Name and tip of every local branch."""
        text = self._said("for-each-ref", "--format=%(refname:short)%00%(objectname)", "refs/heads")
        found = [line.split("\0") for line in text.splitlines()]
        return [(name, tip) for name, tip in found]

    def is_below(self, one: str, other: str) -> bool:
        """Whether the commit `one` is an ancestor of `other`."""
        return self._run("merge-base", "--is-ancestor", one, other).returncode == 0

    def first_parents(self, good: str, bad: str) -> list[tuple[str, str, str]]:
        """Commit, tree and subject of what is above `good` up to `bad`, the oldest first."""
        form = "--format=%H%x00%T%x00%s"
        text = self._said("log", "--first-parent", "--reverse", form, f"{good}..{bad}")
        found = [line.split("\0") for line in text.splitlines()]
        return [(commit, tree, subject) for commit, tree, subject in found]

    def with_patches(self, patch_ids: Sequence[str], after: str) -> str:
        """The commit that has the last of these patches, all others below it; '' for none.

        Looks at the newest commits of all branches, those after the commit `after` where it
        is given.
        """
        since = ("--not", after) if after else ()
        limit = f"-n{MOST_COMMITS}"
        log = self._run("log", "-p", "--no-merges", limit, "--branches", "--remotes", *since)
        ids = proc.run(("git", "patch-id", "--stable"), stdin=log.stdout, timeout_s=600)
        lines = ids.stdout.decode(errors="replace").splitlines()
        found = dict(line.split()[:2] for line in lines)  # the oldest of alike ones comes last
        if not all(one in found for one in patch_ids):
            return ""
        commits = [found[one] for one in patch_ids]
        last = commits[-1]
        below = all(self._run("merge-base", "--is-ancestor", c, last).returncode == 0
                    for c in commits)  # fmt: skip
        return last if below else ""

    def kernel(self, commit: str, folder: Path) -> Kernel:
        """A kernel that no file defines; its file would be in `folder`."""
        name = f"{self.name}-{commit[:12]}"
        spec = {"url": str(self.path.expanduser().resolve()), "ref": commit}
        return Kernel(name=name, kind="git", spec=spec, path=folder / f"{name}.yaml")

    def _said(self, *args: str) -> str:
        done = self._run(*args)
        return done.stdout.decode(errors="replace").strip() if done.returncode == 0 else ""

    def _run(self, *args: str) -> proc.Completed:
        return proc.run(("git", "-C", str(self.path.expanduser()), *args), timeout_s=600)


def open_place(path: Path) -> Place:
    """The repository at `path`; raises UserError when it is none."""
    place = Place(path)
    if not path.expanduser().is_dir() or not place._said("rev-parse", "--git-dir"):
        raise UserError(f"--tree {path}: is no git repository")
    return place
