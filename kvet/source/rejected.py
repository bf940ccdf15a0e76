# SPDX-License-Identifier: GPL-2.0-only
"""Says why a patch did not apply: the hunk that is rejected, or that the tree has it already."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from kvet import proc
from kvet.errors import UserError
from kvet.source.diff import marked_lines
from kvet.source.git import Repo
from kvet.source.patchfile import Patch

PATCH_FAILED = re.compile(r"^error: patch failed: (.+):(\d+)$", re.MULTILINE)
HUNK = re.compile(r"^@@ -(\d+)")
NEW_FILE = re.compile(r"^\+\+\+ (?:b/)?([^\t\n]+)")


class DoesNotApply(UserError):
    """A patch that the tree does not take, and that is not in it either."""


class AlreadyMerged(UserError):
    """A series of which the tree holds some patches or all."""


def why_not(repo: Repo, index: Path, patch: Patch, tree: str) -> UserError:
    """The reason why `patch` did not apply to `tree`, showing the first rejected hunk."""
    path, diff = patch.path, patch.diff

    def check(*options: str) -> proc.Completed:
        return repo.run("apply", "--cached", "--check", *options, "-", index=index, stdin=diff)

    repo.output("read-tree", tree, index=index)
    if check("-R").returncode == 0:
        return AlreadyMerged("is already applied: the tree holds every line of it", path=path)
    stderr = check().stderr.decode(errors="replace").strip()
    failed = PATCH_FAILED.search(stderr)
    if failed is None:
        levels = [n for n in (0, 2, 3) if check(f"-p{n}").returncode == 0]
        return _not_even_tried(path, stderr, levels)
    file, line = failed.group(1), int(failed.group(2))
    number, hunk = find_hunk(diff, file, line)
    return DoesNotApply(
        f"does not apply: {file}, hunk {number} at line {line} is rejected:\n{hunk}",
        path=path,
        hint="the source tree is untouched; rebase the series or choose its base with --kernel",
    )


def _not_even_tried(path: Path, stderr: str, levels: Sequence[int]) -> UserError:
    """The error for a patch of which git looked at no hunk; `levels` would make its paths fit."""
    reason = stderr.splitlines()[0].removeprefix("error: ") if stderr else "3-way merge conflict"
    if levels:
        return DoesNotApply(
            f"does not apply: its paths fit with -p{levels[0]} alone, and a kernel patch has "
            "one directory (a/ and b/) before each path",
            path=path,
            hint="make it again with git format-patch, or quilt refresh -p1",
        )
    hint = ""
    if reason.startswith("corrupt patch"):
        # the diff begins below the mail's headers, and git counts from there
        reason += " of its diff"
        hint = "a line was cut, wrapped or edited; take the patch as it was sent, in mbox form"
    return DoesNotApply(f"does not apply: {reason}", path=path, hint=hint)


def find_hunk(diff: bytes, file: str, line: int, *, most: int = 25) -> tuple[int, str]:
    """Number (from 1) and text (at most `most` lines) of the hunk of `file` at old `line`.

    A hunk ends where its own counts say: a mail's signature below it is not shown.
    """
    current, number = False, 0
    taken: list[str] = []
    for inside, raw in marked_lines(diff):
        text = raw.decode(errors="replace")
        if inside and taken:
            taken.append(text)
        elif inside:
            continue
        elif taken:
            break
        elif named := NEW_FILE.match(text):
            current, number = named.group(1) == file, 0
        elif current and (start := HUNK.match(text)):
            number += 1
            if int(start.group(1)) == line:
                taken.append(text)
    cut = taken[:most] + (["  ..."] if len(taken) > most else [])
    return number, "\n".join(f"    {x}" for x in cut)


def already_merged(
    repo: Repo, index: Path, patches: Sequence[Patch], tree: str
) -> AlreadyMerged | None:
    """The error for a series of which `tree` holds patches already; None when it holds none."""
    found = _merged(repo, index, patches, tree)
    if not found:
        return None
    first = patches[found[0] - 1]
    if len(patches) == 1:
        return AlreadyMerged(
            f"is merged already: this tree holds every line of {first.subject!r}", path=first.path
        )
    names = ", ".join(f"{n} ({patches[n - 1].subject!r})" for n in found)
    if len(found) == len(patches):
        return AlreadyMerged(
            f"the series is merged already: this tree holds all {len(patches)} patches: {names}",
            path=first.path,
        )
    rest = [n for n in range(1, len(patches) + 1) if n not in found]
    left = ", ".join(str(n) for n in rest)
    return AlreadyMerged(
        f"the series is merged in part: of {len(patches)} patches this tree holds {names}, "
        f"and does not hold {left}",
        path=first.path,
        hint="judge the others alone (a directory with a `series` file that names them), or the "
        "whole on an older base with --kernel",
    )


def _merged(repo: Repo, index: Path, patches: Sequence[Patch], tree: str) -> list[int]:
    """Numbers of the patches that can be taken out of `tree` again, the last one first."""
    repo.output("read-tree", tree, index=index)
    found = []
    for number, patch in reversed(list(enumerate(patches, start=1))):
        # where lines are added they tell; then a line of context is enough on each side
        loose = [("-C1",)] if re.search(rb"^\+(?!\+\+ )", patch.diff, re.MULTILINE) else []
        for context in ((), *loose):
            done = repo.run("apply", "--cached", "-R", *context, "-", index=index, stdin=patch.diff)
            if done.returncode == 0:
                found.append(number)
                break
    return sorted(found)
