# SPDX-License-Identifier: GPL-2.0-only
"""Runs the tests of a design: the model, the deadlock search and the binding to a build."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from kvet.errors import InfraError, UserError
from kvet.prove.bind import Binder, Binding
from kvet.prove.bindfile import FILE, LitmusSpec, ThreadSpec, read_bind
from kvet.prove.deadlock import MODES, find_deadlock, sleeping_readers
from kvet.prove.drawing import choose
from kvet.prove.herd import INSTALL, Herd
from kvet.prove.image import read_image
from kvet.prove.litmus import Litmus, Thread, conjunction, reached
from kvet.prove.mutants import bare
from kvet.prove.statement import Judged, Statement, Word, judge, worst
from kvet.prove.tests import read_test
from kvet.store import plain, write_text

MODEL = "Linux kernel memory model of {version}"
NO_TEST = "not proved: no litmus test came with it (docs/prove.md)"
CODE = tuple(sorted(Path(__file__).parent.glob("*.py")))


@dataclass(frozen=True, slots=True)
class Subject:
    """What is spoken of: a variant's directory, the build of it, the tree it was made from."""

    variant: str
    folder: Path
    kernel: str
    config: str
    version: str
    tree: Path
    key: str
    build: Path


class Prover:
    """Makes statements; what was said of a build and its tests once is kept in `cache`.

    Without `herd` nothing is run, and the statement says which command installs it.
    """

    def __init__(self, herd: Herd | None, cache: Path) -> None:
        self.herd = herd
        self.cache = cache

    def state(self, subject: Subject) -> Statement:
        """The statement about one design."""
        path = subject.folder / FILE
        if not path.exists():
            return _said(subject, Word.NOT_RUN, NO_TEST)
        tests = read_bind(path)
        if self.herd is None:
            return _said(subject, Word.NOT_RUN, f"herd7 is not installed: {INSTALL}")
        note = self.cache / "prove" / "statements" / f"{self._digest(subject, tests)}.json"
        if note.exists():
            return read_statement(note)
        statement = self._state(subject, tests)
        write_statement(note, statement)
        return statement

    def _digest(self, subject: Subject, tests: Sequence[LitmusSpec]) -> str:
        """Everything that the statement rests on."""
        assert self.herd is not None
        digest = hashlib.sha256(f"{subject.key} {self.herd.tool.version}".encode())
        digest.update(repr(tests).encode())
        for path in (*CODE, *(test.path for test in tests)):
            digest.update(path.read_bytes())
        return digest.hexdigest()[:24]

    def _state(self, subject: Subject, tests: Sequence[LitmusSpec]) -> Statement:
        binder = Binder(read_image(subject.build / "vmlinux"), source_folders(subject))
        litmus = {test.name: read_test(test) for test in tests}
        with ThreadPoolExecutor(2) as pool:
            # herd7 is a process of its own: it runs while the binding is worked out here
            answers = {t.name: pool.submit(self._ask, litmus[t.name], t) for t in tests}
            bindings = {t.name: bind_all(binder, litmus[t.name], t) for t in tests}
            results = []
            for test in tests:
                told = replace(answers[test.name].result(), bindings=bindings[test.name])
                results.append(self._judged(told, litmus[test.name], test, subject))
        word = worst([r.word for r in results])
        deciding = next((r for r in results if r.word is word), None)
        reason = f"{deciding.name}: {deciding.reason}" if deciding else "bind.yaml names no test"
        if word is Word.PROVED:
            steps = sum(len(b.steps) for r in results for b in r.bindings)
            reason = f"{len(results)} tests, {steps} steps bound"
        return Statement(
            variant=subject.variant,
            kernel=subject.kernel,
            config=subject.config,
            build=subject.key,
            word=word,
            reason=reason,
            tests=tuple(results),
        )

    def _ask(self, test: Litmus, spec: LitmusSpec) -> Judged:
        """What the model says, with the reachability tests read off the same run."""
        assert self.herd is not None
        wanted = [conjunction(text) for text in spec.reach]
        places = dict.fromkeys(name for values in wanted for name in values)
        try:
            answer = self.herd.ask(test.text(tuple(places)))
        except UserError as error:
            raise UserError(error.reason, path=spec.path) from error
        possible = answer.observation != "Never" or self._is_possible(test)
        held = [reached(answer.states, values) for values in wanted]
        return Judged(
            name=spec.name,
            says=spec.says,
            word=Word.NOT_RUN,
            reason="",
            answer=answer,
            reached=sum(held),
            unreached=tuple(t for t, ok in zip(spec.reach, held, strict=True) if not ok),
            possible=possible,
            assumes=spec.assumes,
        )

    def _is_possible(self, test: Litmus) -> bool:
        assert self.herd is not None
        return self.herd.ask(bare(test).text()).observation != "Never"

    def _judged(self, result: Judged, test: Litmus, spec: LitmusSpec, subject: Subject) -> Judged:
        modes = [lock_modes(t, spec.threads[f"P{n}"]) for n, t in enumerate(test.threads)]
        result = replace(
            result,
            deadlock=find_deadlock(test, modes),
            model=MODEL.format(version=subject.version),
        )
        word, reason = judge(result, sleeping_readers(test))
        drawn = None
        if word is Word.REFUTED and result.deadlock is None and self.herd is not None:
            drawn = choose(self.herd.drawings(test.text()), test)
        return replace(result, word=word, reason=reason, execution=drawn)


def source_folders(subject: Subject) -> tuple[Path, ...]:
    """Where the sources of a build are: what its series changed, then the tree."""
    return (subject.build / "patched", subject.tree)


def bind_all(binder: Binder, test: Litmus, spec: LitmusSpec) -> tuple[Binding, ...]:
    """Every thread of a test on each of its roots."""
    return tuple(
        binding
        for number, thread in enumerate(test.threads)
        for binding in binder.bind(f"P{number}", thread, spec.threads[f"P{number}"])
    )


def lock_modes(thread: Thread, spec: ThreadSpec) -> dict[str, str]:
    """How each lock step takes its lock, by the function that it is bound to."""
    calls = {s.label: spec.steps[s.label].what for s in thread.steps if s.label in spec.steps}
    return {label: MODES[what] for label, what in calls.items() if what in MODES}


def _said(subject: Subject, word: Word, reason: str) -> Statement:
    return Statement(
        variant=subject.variant,
        kernel=subject.kernel,
        config=subject.config,
        build=subject.key,
        word=word,
        reason=reason,
    )


def not_built(subject: Subject, reason: str) -> Statement:
    """The statement about a design that does not compile."""
    return _said(subject, Word.NOT_RUN, reason)


def write_statement(path: Path, statement: Statement) -> None:
    """Keep a statement."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, msgspec.json.encode(plain(statement)).decode() + "\n")


def read_statement(path: Path) -> Statement:
    """A statement that was kept."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Statement)
    except (OSError, msgspec.MsgspecError) as error:
        raise InfraError(f"{path}: not a statement that this kvet reads: {error}") from error


def as_json(statements: Iterable[Statement]) -> list[Mapping[str, object]]:
    """Statements as they go into a record."""
    return [plain(s) for s in statements]
