# SPDX-License-Identifier: GPL-2.0-only
"""Commits of a repository as plain patch files, whatever the user's own git is set to."""

from __future__ import annotations

from pathlib import Path

from kvet import proc
from kvet.errors import UserError

# with a/ and b/ before each path, as a mail of its own
PLAIN = ("diff.noprefix=false", "diff.mnemonicPrefix=false", "format.attach=false")


def format_range(spec: str, folder: Path) -> list[Path]:
    """The commits of `spec`, a `GITDIR:BASE..TIP`, as patches in `folder`, in order.

    Raises UserError for what is no commit and for a range that holds merges.
    """
    place, _, commits = spec.rpartition(":")
    gitdir = Path(place).expanduser()
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
    return sorted(folder.glob("*.patch"))


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
