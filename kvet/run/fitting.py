# SPDX-License-Identifier: GPL-2.0-only
"""Which workload judges a series for which nobody named one, and what to say where none fits.

A workload is about source files: those that its `about` names, or those that the variants in its
directory change. That it runs a function is not enough to judge a change of it: nearly all run
the locks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from unidiff.errors import UnidiffParseError
from unidiff.patch import PatchSet

from kvet.errors import KvetError
from kvet.model import Kernel, Variant, Workload
from kvet.paths import PROJECT
from kvet.plan.library import Library, load_workload, own_variants
from kvet.plan.loads import FILE
from kvet.plan.reach import read_reach
from kvet.run.base import source_of
from kvet.run.judged import Judged
from kvet.source.functions import Touched, touched_functions
from kvet.source.patchfile import read_raw
from kvet.source.series import apply_series

# workloads that are shipped, but are no names for `--workload`
ELSEWHERE = ("races", "examples/workloads")
# what starts a workload for which part of the kernel; sides are for all others
KINDS = (("kernel/locking/", "locktorture"), ("kernel/rcu/", "rcutorture"), ("lib/", "kunit"))
OTHERS = "sides"
MOST = 6  # functions, and workloads of one, that are named


@dataclass(frozen=True, slots=True)
class Fit:
    """The workload that judges, and what is to be said of it before all else.

    `unfit` says in one line what no workload is about, '' where one is.
    """

    workload: str
    lines: tuple[str, ...] = ()
    unfit: str = ""


def fit(
    default: str, judged: Sequence[tuple[Judged, Kernel]], library: Library, cache: Path
) -> Fit:
    """What judges the series among `judged`: the `default`, if it is about one of them.

    Else the first workload by name that is; else the default, with a word on what is possible.
    """
    series = [(one.variant, kernel) for one, kernel in judged if one.given]
    files = sorted({file for variant, _ in series for file in changed_files(variant)})
    known = library.workloads()
    if not files or any(_is_about(known[default], file) for file in files):
        return Fit(default)
    named = [w.name for w in known.values() if w.load and _about_any(w, files)]
    elsewhere = [place for place, w in _elsewhere() if _about_any(w, files)]
    if named:
        others = [f"  also about it: --workload {place}" for place in (*named[1:], *elsewhere)]
        line = f"judged by {named[0]}, which is about {_shown(files)}, and not by {default}"
        return Fit(named[0], (line, *others))
    specs = " ".join(f"--series {one.given.spec}" for one, _ in judged if one.given)
    unfit = f"{default} is not about {_shown(files)} and says nothing of a race there"
    lines = (
        f"no workload fits: {unfit}",
        *_reached(_touched(series, cache)),
        *(f"  about it: ./harness.py run --workload {place} {specs}" for place in elsewhere),
        f"  start one: ./harness.py init --workload {_kind(files)} ./my-race (docs/workloads.md)",
        f"  and then:  ./harness.py run --workload ./my-race/ {specs}",
    )
    return Fit(default, lines, unfit)


def changed_files(variant: Variant) -> Iterator[str]:
    """The files that the patches of a variant are about, as they say themselves."""
    for patch in variant.patches:
        try:
            yield from (file.path for file in PatchSet(read_raw(patch).decode(errors="replace")))
        except UnidiffParseError:
            continue


def _about_any(workload: Workload, files: Iterable[str]) -> bool:
    return any(_is_about(workload, file) for file in files)


def _is_about(workload: Workload, file: str) -> bool:
    own = (f for v in own_variants(workload).values() for f in changed_files(v))
    return any(fnmatchcase(file, glob) for glob in (*workload.about, *own))


def _elsewhere() -> Iterator[tuple[str, Workload]]:
    """Shipped workloads that are directories of other places, as `--workload` takes them."""
    for place in ELSEWHERE:
        for path in sorted((PROJECT / place).glob(f"*/{FILE}")):
            yield f"./{place}/{path.parent.name}/", load_workload(path)


def _touched(series: Iterable[tuple[Variant, Kernel]], cache: Path) -> list[Touched]:
    """The functions that the series touch, where their source is at hand and takes them."""
    found: dict[Touched, None] = {}
    for variant, kernel in series:
        source = source_of(kernel, cache)
        if source is None:
            continue
        repo, tree = source
        try:
            applied = apply_series(repo, tree, variant.patches_for(kernel.name))
        except KvetError:  # it is told of when it is tried
            continue
        found |= dict.fromkeys(touched_functions(repo, applied))
    return list(found)


def _reached(touched: Sequence[Touched]) -> Iterator[str]:
    """The functions that a series touches, each with the workloads that run it all the same."""
    reach = read_reach()
    for one in touched[:MOST]:
        reaching = reach.reaching(one.file, one.function)
        told = _shown(reaching) if reaching else "no shipped workload"
        yield f"  {one.function} ({one.file}) is reached by {told}"
    if len(touched) > MOST:
        yield f"  and {len(touched) - MOST} more functions"


def _kind(files: Sequence[str]) -> str:
    """The kind of workload to begin with, for the part of the kernel that a series is about."""
    return next((kind for start, kind in KINDS if files[0].startswith(start)), OTHERS)


def _shown(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST} more" if len(names) > MOST else ""
    return f"{', '.join(names[:MOST])}{more}"
