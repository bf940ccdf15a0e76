# SPDX-License-Identifier: GPL-2.0-only
"""What prove does with its options: sources, builds, statements, and the questions about them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kvet.build.builder import Builder, BuildFailure
from kvet.build.request import BuildRequest
from kvet.build.toolchain import find_toolchain
from kvet.cache import cache_root
from kvet.errors import InfraError, UserError
from kvet.events import Events
from kvet.model import Kernel, SourceTree, Variant
from kvet.paths import RESULTS
from kvet.plan.library import VARIANT, Library, pick_one
from kvet.prove.herd import Herd, need_tool
from kvet.prove.proof import Prover, Subject, not_built
from kvet.prove.statement import Statement
from kvet.prove.told import details, exit_code, line
from kvet.run.judged import judged_of
from kvet.run.requests import Effort, RunRequest
from kvet.source.fetch import open_source
from kvet.source.series import apply_series
from kvet.store import plain

PAGE_KIB = 4


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which designs, on which kernel and config; none named means all that are for the kernel.

    `proofs` are the directories of the tests of `series`.
    """

    kernel: str
    config: str
    variants: tuple[str, ...] = ()
    series: tuple[str, ...] = ()
    proofs: tuple[Path, ...] = ()

    @property
    def names_some(self) -> bool:
        """Whether few designs are asked for, of which more is told."""
        return bool(self.variants or self.series)


class Work:
    """One call of prove; patches of series go to `scratch`."""

    def __init__(self, wanted: Wanted, scratch: Path) -> None:
        self.wanted = wanted
        self.library = Library()
        self.cache = cache_root()
        self.kernel: Kernel = pick_one("kernel", self.library.kernels(), wanted.kernel)
        self.config = pick_one("config", self.library.configs(), wanted.config)
        self.variants = [*self._series(scratch), *self._variants()]
        self.tree: SourceTree = open_source(self.kernel, self.cache, events=Events())

    def _series(self, scratch: Path) -> list[Variant]:
        wanted = self.wanted
        effort = Effort(RESULTS)
        asked = RunRequest(effort, "", series=wanted.series, proofs=wanted.proofs)
        return [one.variant for one in judged_of(asked, self.library, scratch)]

    def _variants(self) -> Iterator[Variant]:
        for word in self.wanted.variants:
            yield self.library.variant(word)
        if not self.wanted.names_some:
            for variant in self.library.variants().values():
                if not variant.kernels or self.kernel.name in variant.kernels:
                    yield variant

    def herd(self) -> Herd:
        """herd7 with the model of the tree; fetched now if there is none."""
        return Herd(need_tool(self.cache), self.tree.path, self.cache)

    def _herd_if_any(self) -> Herd | None:
        """herd7, or None with a word on why: each statement then says that it was not run."""
        try:
            return self.herd()
        except InfraError as error:
            print(f"kvet: {error.message}", file=sys.stderr)
            return None

    def subject(self, variant: Variant) -> Subject | Statement:
        """The variant with its build, made now if it is not in the cache."""
        builder = Builder(self.cache)
        patches = variant.patches_for(self.kernel.name)
        series = apply_series(builder.repo(self.tree), self.tree.tree_id, patches)
        request = BuildRequest(
            source=self.tree,
            series=series,
            config=self.config,
            page_kib=PAGE_KIB,
            toolchain=find_toolchain("gcc"),
            foreign=variant.foreign,
        )
        built = builder.build(request)
        subject = Subject(
            variant=variant.name,
            folder=self.folder(variant),
            kernel=self.kernel.name,
            config=self.config.name,
            version=self.tree.version,
            tree=self.tree.path,
            key=request.key,
            build=Path() if isinstance(built, BuildFailure) else built.folder,
        )
        if isinstance(built, BuildFailure):
            return not_built(subject, f"does not compile: {built.finding.title}")
        return subject

    def folder(self, variant: Variant) -> Path:
        """Where the tests of a variant are; a series that brought none has its patches alone."""
        if variant.foreign:
            return variant.proof or variant.patches[0].parent
        for name in self.wanted.variants:
            if "/" in name and self.library.variant(name) == variant:
                path = Path(name).expanduser().resolve()
                return path.parent if path.name == VARIANT else path
        return self.library.root / "patches" / variant.name

    def subjects(self) -> Iterator[Subject]:
        """All that were built; one that was not is an error here."""
        for variant in self.variants:
            subject = self.subject(variant)
            if isinstance(subject, Statement):
                raise UserError(f"{variant.name}: {subject.reason}")
            yield subject

    def statements(self, *, json_output: bool) -> int:
        """A line for each design, and what stands behind it where few were asked for."""
        prover = Prover(self._herd_if_any(), self.cache)
        made: list[Statement] = []
        for variant in self.variants:
            subject = self.subject(variant)
            made.append(prover.state(subject) if isinstance(subject, Subject) else subject)
            if not json_output:
                print(line(made[-1]), flush=True)
        if json_output:
            print(json.dumps(plain(made), indent=1, ensure_ascii=False))
        elif self.wanted.names_some:
            for statement in made:
                print("\n" + "\n".join(details(statement)))
        return exit_code(made)

    def model(self) -> int:
        """The litmus tests of the tree itself, against what their comments say."""
        from kvet.prove.model_tests import told_results

        lines, wrong = told_results(self.herd(), self.tree.path)
        print("\n".join(lines))
        return 3 if wrong else 0

    def posted(self) -> int:
        """The test of the merged commit, and what it cannot see."""
        from kvet.prove.posted import blind_spots, told_versions

        folder = self.library.root / "patches" / "static-key-barrier"
        print("\n".join(told_versions(blind_spots(self.herd(), folder))))
        return 0

    def mutants(self) -> int:
        """Mutants of the tests and of the built functions, design by design."""
        from kvet.prove.trial import Trial, summary

        trials = [Trial(self.herd(), subject).run() for subject in self.subjects()]
        print("\n".join(summary(trials)))
        return 0 if all(trial.explained for trial in trials) else 4

    def extract(self, functions: Sequence[str]) -> int:
        """Columns of the built functions, to start a test from."""
        from kvet.prove.extract import column
        from kvet.prove.image import read_image
        from kvet.prove.proof import source_folders

        for subject in self.subjects():
            image = read_image(subject.build / "vmlinux")
            print("\n".join(column(image, source_folders(subject), functions)))
        return 0

    def klitmus(self, folder: Path) -> int:
        """Kernel modules of the tests, for real hardware."""
        from kvet.prove.klitmus import export_modules

        for variant in self.variants:
            for path in export_modules(need_tool(self.cache), self.folder(variant), folder):
                print(path)
        return 0
