# SPDX-License-Identifier: GPL-2.0-only
"""Which kernel each series is put on, and why: said in one line, never silent.

`--kernel` decides; else the commit that the series names, in a repository that is at hand;
else the newest kernel in the cache that takes it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kvet.build.builder import Builder
from kvet.errors import UserError
from kvet.model import Kernel, SourceTree, Variant
from kvet.plan.library import Library, pick_one
from kvet.run.judged import Judged
from kvet.source.fetch import cached_source
from kvet.source.git import Repo
from kvet.source.place import Place, open_place
from kvet.source.series import apply_series

DEFAULT_KERNEL = "linux-6.12"


@dataclass(frozen=True, slots=True)
class Chosen:
    """The kernel that something is put on, and why in a few words."""

    kernel: Kernel
    why: str


@dataclass(frozen=True, slots=True)
class Choice:
    """Where a base is looked for: `kernel` and `tree` are what the user named, '' for nothing."""

    library: Library
    cache: Path
    kernel: str = ""
    tree: str = ""

    def choose(self, judged: Sequence[Judged]) -> list[Chosen]:
        """A base for each of `judged`; those that name none share one where one takes them all."""
        fixed = self._by_name() if self.kernel else None
        if fixed is not None:
            return [fixed] * len(judged)
        found = [self._named(one) for one in judged]
        # a variant of the library goes where the series go, and says itself whether it fits
        left = [one for one, chosen in zip(judged, found, strict=True) if not chosen]
        series = [one for one in left if one.given]
        shared = self._newest(series) if series else self._shared(found)
        return [
            chosen or shared or self._newest([one]) or self._default(one)
            for one, chosen in zip(judged, found, strict=True)
        ]

    def _by_name(self) -> Chosen:
        """What `--kernel` names: a kernel that a file defines, or a commit of `--tree`."""
        known = self.library.kernels()
        if self.kernel in known or not self.tree:
            return Chosen(pick_one("kernel", known, self.kernel), "--kernel")
        place = open_place(Path(self.tree))
        commit = place.commit(self.kernel)
        if not commit:
            raise UserError(f"--kernel {self.kernel}: no kernel is called so, and {self.tree} "
                            "has no such commit", hint="harness.py list kernels")  # fmt: skip
        return Chosen(self._kernel(place, commit), f"--kernel, {self.kernel} of {self.tree}")

    def _kernel(self, place: Place, commit: str) -> Kernel:
        if not place.is_kernel(commit):
            raise UserError(f"{place.path}: {commit[:12]} holds no kernel source (no Makefile)")
        return place.kernel(commit, self.library.root / "kernels")

    def _named(self, one: Judged) -> Chosen | None:
        """The commit that a series says it is made on, where a repository has it."""
        if one.given is None:
            return None
        if own := self._of_range(one.given.spec):
            return own
        base = one.given.base
        for place in self._places():
            commit = place.commit(base.commit)
            if base.prerequisites and (above := place.with_patches(base.prerequisites, commit)):
                why = f"the prerequisite patches of the series, found in {place.path}"
                return Chosen(self._kernel(place, above), why)
            if commit:
                lacks = " (its prerequisite patches are not there)" if base.prerequisites else ""
                why = f"base-commit of the series, found in {place.path}{lacks}"
                return Chosen(self._kernel(place, commit), why)
        return None

    def _of_range(self, spec: str) -> Chosen | None:
        """The commit below `GITDIR:BASE..TIP`."""
        gitdir, _, commits = spec.rpartition(":")
        base, dots, tip = commits.partition("..")
        place = Place(Path(gitdir or "."))
        if not dots or Path(spec).expanduser().exists() or not place.path.expanduser().is_dir():
            return None
        commit = place.merge_base(place.commit(base), place.commit(tip or "HEAD"))
        if not commit or not place.is_kernel(commit):
            return None
        return Chosen(self._kernel(place, commit), f"{base} of {gitdir}, which the commits are on")

    def _places(self) -> Iterator[Place]:
        """`--tree`, then the repositories of this machine that kernels/ names."""
        if self.tree:
            yield open_place(Path(self.tree))
        for kernel in self.library.kernels().values():
            if kernel.kind != "git" or "://" in (url := str(kernel.spec["url"])):
                continue
            path = Path(url).expanduser()
            path = path if path.is_absolute() else kernel.path.parent / path
            if path.is_dir():
                yield Place(path)

    def _shared(self, found: Sequence[Chosen | None]) -> Chosen | None:
        first = next((chosen for chosen in found if chosen), None)
        return first and Chosen(first.kernel, "where the series beside it is")

    def _newest(self, judged: Sequence[Judged]) -> Chosen | None:
        """HEAD of `--tree`, else the newest kernel in the cache, that takes all of `judged`."""
        if not judged or not any(one.given for one in judged):
            return None
        if self.tree:
            place = open_place(Path(self.tree))
            head = place.commit("HEAD")
            if head and place.is_kernel(head) and self._take(place.kernel(head, Path()), judged):
                return Chosen(self._kernel(place, head), f"HEAD of {self.tree}; {_no_base(judged)}")
        for kernel, tree in self._cached():
            if self._take(kernel, judged):
                why = f"the newest kernel in the cache that takes it; {_no_base(judged)}"
                return Chosen(kernel, f"{tree.version}, {why}")
        return None

    def _cached(self) -> list[tuple[Kernel, SourceTree]]:
        """The defined kernels whose source is in the cache, newest version first."""
        trees = ((k, cached_source(k, self.cache)) for k in self.library.kernels().values())
        found = [(kernel, tree) for kernel, tree in trees if tree]
        return sorted(found, key=lambda pair: _numbers(pair[1].version), reverse=True)

    def _take(self, kernel: Kernel, judged: Sequence[Judged]) -> bool:
        return all(takes(kernel, one.variant, self.cache) for one in judged)

    def _default(self, one: Judged) -> Chosen:
        known = self.library.kernels()
        name = DEFAULT_KERNEL if DEFAULT_KERNEL in known else next(iter(known), DEFAULT_KERNEL)
        kernel = pick_one("kernel", known, name)
        if one.given is None:
            return Chosen(kernel, "the default")
        cached = cached_source(kernel, self.cache)
        why = "no kernel in the cache takes it" if cached else "no source is in the cache yet"
        return Chosen(kernel, f"the default; {why}; {_no_base([one])}")


def takes(kernel: Kernel, variant: Variant, cache: Path) -> bool:
    """Whether the patches of `variant` apply to `kernel`; False when its source is not at hand."""
    found = source_of(kernel, cache)
    if found is None:
        return False
    repo, tree = found
    try:
        apply_series(repo, tree, variant.patches_for(kernel.name), explain=False)
    except UserError:
        return False
    return True


def source_of(kernel: Kernel, cache: Path) -> tuple[Repo, str] | None:
    """Where series on `kernel` can be tried, and its tree id; None where nothing is at hand."""
    tree = cached_source(kernel, cache)
    if tree is not None:
        return Builder(cache).repo(tree), tree.tree_id
    if kernel.kind != "git" or not Path(str(kernel.spec["url"])).is_dir():
        return None
    # a commit of a repository of this machine: nothing needs to be unpacked
    place = Place(Path(str(kernel.spec["url"])))
    tree_id = place.tree(str(kernel.spec["ref"]))
    # apart from what is built of: objects that the repository has are not written here
    tried = cache / "objects" / f"{tree_id[:16]}-tried"
    return (Repo(place.path, tried), tree_id) if tree_id else None


def fitted(variant: Variant, kernel: Kernel, library: Library, cache: Path) -> Variant | None:
    """The rendition of a variant of the library that `kernel` takes; None when none does.

    Only for a kernel that no file defines: a variant names the defined ones it is for.
    """
    if kernel.name in library.kernels():
        return variant if not variant.kernels or kernel.name in variant.kernels else None
    if not variant.patches and not variant.by_kernel:
        return replace(variant, kernels=())
    for patches in (variant.patches, *variant.by_kernel.values()):
        made = replace(variant, patches=patches, by_kernel={}, kernels=())
        if takes(kernel, made, cache):
            return made
    return None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", version.partition("-")[0]))


def _no_base(judged: Sequence[Judged]) -> str:
    """Why the series' own words did not decide."""
    commits = [one.given.base.commit for one in judged if one.given and one.given.base.commit]
    if commits:
        return f"base-commit {commits[0][:12]} is in no repository at hand (--tree GITDIR)"
    return "the series names no base-commit"
