# SPDX-License-Identifier: GPL-2.0-only
"""Puts tests and binding of a design on trial: mutants that must be noticed.

A mutant of a test is noticed when it is no longer "Never", or has a deadlock; a
mutant of a function when the binding has a problem. Others need a reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatchcase

from kvet.errors import UserError
from kvet.prove.binary_mutants import binary_mutants
from kvet.prove.bind import Binder
from kvet.prove.bindfile import FILE, LitmusSpec, read_bind
from kvet.prove.deadlock import find_deadlock, sleeping_readers
from kvet.prove.herd import Herd
from kvet.prove.image import read_image
from kvet.prove.litmus import Litmus, read_litmus
from kvet.prove.mutants import Mutant, mutants
from kvet.prove.proof import Subject, lock_modes, source_folders

MOST_UNNOTICED = 0.15


@dataclass(frozen=True, slots=True)
class Outcome:
    """One mutant: of a test or of a function (`binary`), and the reason if it may live."""

    test: str
    name: str
    binary: bool
    noticed: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Tried:
    """All mutants of one design."""

    variant: str
    outcomes: tuple[Outcome, ...]

    @property
    def explained(self) -> bool:
        """Whether each mutant that was not noticed has a reason."""
        return all(o.noticed or o.reason for o in self.outcomes)


class Trial:
    """The trial of one design."""

    def __init__(self, herd: Herd, subject: Subject) -> None:
        self.herd, self.subject = herd, subject
        if not (subject.folder / FILE).exists():
            raise UserError("has no tests to mutate", path=subject.folder / FILE)

    def run(self) -> Tried:
        specs = read_bind(self.subject.folder / FILE)
        outcomes: list[Outcome] = []
        for spec in specs:
            outcomes += self._test(spec, read_litmus(spec.path))
        if specs:
            outcomes += self._binary(specs[0], read_litmus(specs[0].path))
        return Tried(self.subject.variant, tuple(outcomes))

    def _test(self, spec: LitmusSpec, test: Litmus) -> list[Outcome]:
        """Mutants of a test that is "Never"; of another there is nothing to notice."""
        answer = self.herd.ask(test.text())
        if answer.observation != "Never" or answer.negative < 2:
            return []
        chosen = [m for m in mutants(test) if _is_asked(m, spec)]
        with ThreadPoolExecutor(2) as pool:
            noticed = list(pool.map(lambda m: self._noticed(m, spec), chosen))
        return [
            Outcome(spec.name, m.name, False, seen, "" if seen else _reason(spec, m.name))
            for m, seen in zip(chosen, noticed, strict=True)
        ]

    def _noticed(self, mutant: Mutant, spec: LitmusSpec) -> bool:
        modes = [lock_modes(t, spec.threads[f"P{n}"]) for n, t in enumerate(mutant.test.threads)]
        if sleeping_readers(mutant.test) or find_deadlock(mutant.test, modes) is not None:
            return True
        return self.herd.ask(mutant.test.text()).observation != "Never"

    def _binary(self, spec: LitmusSpec, test: Litmus) -> Iterator[Outcome]:
        """Mutants of the functions that the first test is bound to, each thread on one root."""
        image = read_image(self.subject.build / "vmlinux")
        folders = source_folders(self.subject)
        for number, thread in enumerate(test.threads):
            name, threads = f"P{number}", spec.threads[f"P{number}"]
            whole = Binder(image, folders).bind(name, thread, threads)[0]
            if whole.problems:
                continue
            for mutant in binary_mutants(image, whole):
                binder = Binder(image.patched(mutant.patches), folders)
                bound = binder.bind(name, thread, threads)[0]
                seen = bool(bound.problems)
                reason = "" if seen else _reason(spec, f"binary {mutant.name}")
                yield Outcome(spec.name, mutant.name, True, seen, reason)


def _is_asked(mutant: Mutant, spec: LitmusSpec) -> bool:
    return not spec.mutate or any(fnmatchcase(mutant.name, glob) for glob in spec.mutate)


def _reason(spec: LitmusSpec, name: str) -> str:
    return next((why for glob, why in spec.survivors.items() if fnmatchcase(name, glob)), "")


def summary(trials: Sequence[Tried]) -> list[str]:
    """A line for each design, each mutant that lives with its reason, and the sums."""
    lines = []
    for trial in trials:
        lines.append(f"{trial.variant:<20} {_counted(trial.outcomes)}")
        for outcome in trial.outcomes:
            if not outcome.noticed:
                kind = "binary " if outcome.binary else ""
                why = outcome.reason or "NO REASON GIVEN"
                lines.append(f"  {outcome.test}: {kind}{outcome.name}: {why}")
    every = [outcome for trial in trials for outcome in trial.outcomes]
    lines.append(f"{'all':<20} {_counted(every)}")
    return lines


def _counted(outcomes: Sequence[Outcome]) -> str:
    kinds: list[tuple[str, Callable[[Outcome], bool]]] = [
        ("tests", lambda o: not o.binary),
        ("binary", lambda o: o.binary),
    ]
    told = []
    for name, is_kind in kinds:
        own = [o for o in outcomes if is_kind(o)]
        live = sum(not o.noticed for o in own)
        share = f" ({100 * live / len(own):.0f} %)" if own else ""
        told.append(f"{name}: {len(own)} mutants, {live} not noticed{share}")
    return "; ".join(told)
