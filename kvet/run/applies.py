# SPDX-License-Identifier: GPL-2.0-only
"""Whether a series applies, before anything is built; and if not, which kernel takes it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kvet.build.builder import Builder
from kvet.errors import UserError
from kvet.model import Kernel, Variant
from kvet.run.base import source_of
from kvet.source.fetch import cached_source
from kvet.source.given import GivenSeries
from kvet.source.rejected import AlreadyMerged, DoesNotApply
from kvet.source.series import apply_series
from kvet.text import one_line


@dataclass(frozen=True, slots=True)
class Trial:
    """A variant that is to be put on `kernel`; `others` are the kernels that could take it, too.

    `given` is what the user gave as `--series`, None for a variant of the library; `why` it is
    put on that kernel.
    """

    variant: Variant
    kernel: Kernel
    others: Sequence[Kernel]
    cache: Path
    given: GivenSeries | None = None
    why: str = ""


def try_series(trial: Trial) -> str:
    """One line that says what the series was tried on.

    Nothing is fetched: where the source is not in the cache the line says so.
    Raises UserError, with the kernel that takes the series in its hint.
    """
    kernel = trial.kernel
    found = source_of(kernel, trial.cache)
    if found is None:
        return f"not tried: the source of {kernel.name} is not in the cache yet"
    patches = trial.variant.patches_for(kernel.name)
    try:
        apply_series(*found, patches)
    except UserError as error:
        raise advised(error, trial) from error
    count = f"{len(patches)} patch{'' if len(patches) == 1 else 'es'}"
    version = tree.version if (tree := cached_source(kernel, trial.cache)) else "a commit"
    return f"{count} applied to {kernel.name} ({version})"


def advised(error: UserError, trial: Trial) -> UserError:
    """`error` in the words of who gave the series, with a kernel that takes it."""
    message = error.message
    if trial.given and error.path in trial.variant.patches and str(error.path) != trial.given.spec:
        # the user knows what was given, not where its parts were unpacked
        message = message.replace(str(error.path), f"{trial.given.spec}: {error.path.name}", 1)
    if not isinstance(error, DoesNotApply | AlreadyMerged):
        return UserError(message, hint=error.hint)
    takers = list(_takers(trial))
    message += f"\n  tried on {trial.kernel.name}"
    if trial.given and (base := base_line(trial.given)):
        message += f"; {base}"
    tried = [k.name for k in trial.others if cached_source(k, trial.cache)]
    if not takers and len(tried) > 1:
        message += f"\n  none of the kernels in the cache takes it: {', '.join(tried)}"
    name = takers[0].split()[0] if takers else ""
    hint = f"{takers[0]} takes it: --kernel {name}" if takers else error.hint
    return type(error)(message, hint=hint)


def _takers(trial: Trial) -> Iterator[str]:
    """Other kernels, of those whose source is in the cache, that the series applies to."""
    for kernel in trial.others:
        tree = cached_source(kernel, trial.cache)
        if kernel.name == trial.kernel.name or tree is None:
            continue
        try:
            patches = trial.variant.patches_for(kernel.name)
            apply_series(Builder(trial.cache).repo(tree), tree.tree_id, patches)
        except UserError:
            continue
        yield f"{kernel.name} ({tree.version})"


def base_line(given: GivenSeries) -> str:
    """What the series says that it is made on; '' when it does not say."""
    says = [f"base-commit {given.base.commit}"] if given.base.commit else []
    says += [f'"{one_line(given.base.words)}"'] if given.base.words else []
    return f"it says of its base: {', '.join(says)}" if says else ""


def series_lines(given: GivenSeries) -> Iterable[str]:
    """What was taken, by whom it is, its base, and what was inferred or left out."""
    count = len(given.variant.patches)
    subject = f"{one_line(given.subject)!r}" if given.subject else given.spec
    author = f" by {one_line(given.author)}" if given.author else ""
    yield f"{given.label}: {subject}{author}, {count} patch{'' if count == 1 else 'es'}"
    if base := base_line(given):
        yield base
    yield from (one_line(note) for note in given.notes)
