# SPDX-License-Identifier: GPL-2.0-only
"""Carries out a bisection: builds and boots the points that the search asks for.

Every attempt and every step is on disk when it ends, so an interrupted bisection goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from kvet.build.builder import Builder, BuildFailure
from kvet.build.request import BuildRequest
from kvet.build.sandbox import require_sandbox
from kvet.build.toolchain import find_toolchain
from kvet.errors import KvetError, UserError
from kvet.events import Ended, Event, Events
from kvet.guest import initramfs
from kvet.model import Attempt, Build, Cell, SourceTree
from kvet.run.attempt import AttemptRequest, run_attempt, seed_for
from kvet.run.bisecting import (
    ENOUGH_HITS,
    MOST_AT_BAD,
    Outcome,
    Rate,
    Search,
    Step,
    Wanted,
    clean,
    decide,
    most_common,
)
from kvet.run.executor import Places, boots_of, open_executor
from kvet.run.guest_layers import guest_layers
from kvet.run.plan import boots_at_once
from kvet.source.git import Repo
from kvet.source.series import AppliedSeries
from kvet.store import read_as, write_json

# boots that the host spoils, or that end with another finding, before a step is given up
MOST_SPOILT = 6


@dataclass(frozen=True, slots=True)
class Point:
    """One place between good and bad: what it is called, its subject, the id of its tree."""

    name: str
    subject: str
    tree: str


@dataclass(frozen=True, slots=True)
class Bisection:
    """What is bisected: `points` from the good end to the bad one, as `cell` is run.

    `title` narrows what counts as the finding; `foreign` says that the code is not the user's.
    With `executor` the workers behind it boot, and this host builds.
    """

    points: Sequence[Point]
    cell: Cell
    source: SourceTree
    repo: Repo
    out: Path
    title: str = ""
    toolchain: str = "gcc"
    seed: int = 1
    jobs: int = 0
    executor: str = ""
    store: str = ""
    foreign: bool = False


@dataclass(frozen=True, slots=True)
class State:
    """bisect.json: what was decided so far."""

    wanted: Wanted | None = None
    rate: Rate | None = None
    steps: dict[int, Step] = field(default_factory=dict)
    builds: int = 0
    names: tuple[str, ...] = ()


class _Builder(Builder):
    """Builds trees of a repository that is not the source's own."""

    def __init__(self, root: Path, repo: Repo) -> None:
        super().__init__(root)
        self._repo = repo

    def repo(self, source: SourceTree) -> Repo:
        """The object store that holds the trees of all points."""
        return self._repo


class Bisector:
    """Carries out one bisection; `state` is what it knows."""

    def __init__(self, bisection: Bisection, *, cache: Path, events: Events) -> None:
        self.of = bisection
        self.events = events
        self.builder = _Builder(cache, bisection.repo)
        self.toolchain = find_toolchain(bisection.toolchain)
        self.layers = initramfs.base_layers(cache, events=events)
        machine = bisection.cell.machine
        self.places = Places(
            bisection.out.name,
            (machine,),
            boots_at_once(bisection.jobs, machine.vcpus),
            bisection.executor,
            bisection.store,
        )
        names = tuple(point.name for point in bisection.points)
        path = bisection.out / "bisect.json"
        self.state: State = read_as(path, State) if path.exists() else State(names=names)
        if self.state.names != names:
            raise UserError("what is bisected has changed since", path=path)

    @property
    def search(self) -> Search:
        """Where the search stands."""
        return Search(len(self.of.points) - 1, self.state.steps)

    def run(self) -> State:
        """Bisect to the end. Raises UserError when the bad end does not show the finding."""
        require_sandbox()
        with open_executor(self.places, self.events.note) as self.executor:
            self.jobs = boots_of(self.executor, self.places)
            if self.state.rate is None:
                self._see_bad_end()
            while (number := self.search.next()) is not None:
                step = self._try(number)
                self._keep(replace(self.state, steps={**self.state.steps, number: step}))
                self.events.note(self.told(step))
        return self.state

    def told(self, step: Step) -> str:
        """One step in a line."""
        point = self.of.points[step.number]
        boots = f", {step.hits} of {step.boots} boots show it" if step.boots else ""
        why = f": {step.why}" if step.why else ""
        return f"{step.outcome.value:<4} {point.name} {point.subject!r}{boots}{why}"

    def _keep(self, state: State) -> None:
        self.state = state
        write_json(self.of.out / "bisect.json", state)

    def _see_bad_end(self) -> None:
        """Boot the bad end until the rate of its finding is known."""
        number = len(self.of.points) - 1
        build = self._build(number)
        if isinstance(build, str):
            raise UserError(f"the bad end does not build: {build}")
        attempts = self._kept(number)
        wanted: Wanted | None = None
        while len(attempts) < MOST_AT_BAD:
            wanted = most_common(attempts, self.of.title)
            if wanted and sum(wanted.shown(a) for a in attempts) >= ENOUGH_HITS:
                break
            attempts = self._more(number, build, attempts, self.jobs)
        if wanted is None:
            what = f"a finding like {self.of.title!r}" if self.of.title else "any finding"
            raise UserError(
                f"the bad end does not show {what} in {len(attempts)} boots",
                hint="choose a config, machine or workload that shows it (--config, --workload)",
            )
        hits = sum(wanted.shown(a) for a in attempts)
        rate = Rate(hits, hits + len(clean(attempts)))
        self._keep(replace(self.state, wanted=wanted, rate=rate))
        self.events.note(
            f"bad  {self.of.points[number].name}: {wanted.title} in {hits} of {rate.boots} boots; "
            f"a step is good after {rate.wanted} boots without it"
        )

    def _try(self, number: int) -> Step:
        """Build and boot one point until it is decided."""
        wanted, rate = self.state.wanted, self.state.rate
        assert wanted is not None and rate is not None
        build = self._build(number)
        if isinstance(build, str):
            return Step(number, Outcome.SKIP, why=build)
        attempts = self._kept(number)
        while (outcome := decide(attempts, wanted, rate)) is None:
            done = clean(attempts)
            spoilt = [a for a in attempts if a not in done]
            if len(spoilt) > MOST_SPOILT:
                return Step(number, Outcome.SKIP, why=f"no boot counts: {_why(spoilt)}")
            left = rate.wanted - len(done)
            attempts = self._more(number, build, attempts, min(self.jobs, left))
        hits = sum(wanted.shown(a) for a in attempts)
        return Step(number, outcome, hits + len(clean(attempts)), hits)

    def _build(self, number: int) -> Build | str:
        """The build of a point, or why there is none."""
        point = self.of.points[number]
        source, repo = self.of.source, self.of.repo
        changed = repo.changed(source.tree_id, point.tree)
        request = BuildRequest(
            source=source,
            series=AppliedSeries(source.tree_id, point.tree, point.name, (), changed),
            config=self.of.cell.config,
            page_kib=self.of.cell.machine.page_kib,
            toolchain=self.toolchain,
            foreign=self.of.foreign,
        )
        with self.events.step("build", point.name) as step:
            known = self.builder.find(request.key) is not None
            try:
                built = self.builder.build(request)
            except UserError:
                raise
            except KvetError as error:
                step.say("error")
                return error.message
            failed = isinstance(built, BuildFailure)
            step.say("failed" if failed else "cached" if known else "built")
        self._keep(replace(self.state, builds=self.state.builds + (not known)))
        return (
            f"does not build: {built.finding.title}" if isinstance(built, BuildFailure) else built
        )

    def _folder(self, number: int) -> Path:
        return self.of.out / f"step-{number:04d}"

    def _kept(self, number: int) -> list[Attempt]:
        """The attempts of an interrupted go at this step."""
        paths = sorted(self._folder(number).glob("attempt-*/attempt.json"))
        return [read_as(path, Attempt) for path in paths]

    def _more(
        self, number: int, build: Build, attempts: Sequence[Attempt], boots: int
    ) -> list[Attempt]:
        """The attempts and as many fresh ones as `boots`, at one time."""
        first = max((a.n for a in attempts), default=0) + 1
        requests = [self._request(number, build, n) for n in range(first, first + max(1, boots))]
        made = list(self.executor.map(run_attempt, requests))
        for attempt in made:
            title = attempt.findings[0].title if attempt.findings else attempt.detail
            ended = Ended(attempt.n, attempt.status, attempt.ending, title)
            name = self.of.points[number].name
            self.events.emit(Event("attempt", "boot", name, attempt=ended, seconds=attempt.seconds))
        return [*attempts, *made]

    def _request(self, number: int, build: Build, n: int) -> AttemptRequest:
        return AttemptRequest(
            cell=self.of.cell,
            build=build,
            initrd=guest_layers(self.of.cell, build, self.layers, self.of.source.path),
            folder=self._folder(number) / f"attempt-{n}",
            n=n,
            seed=seed_for(self.of.seed, self.of.points[number].name, n),
            source=self.of.source.path,
        )


def _why(attempts: Sequence[Attempt]) -> str:
    last = attempts[-1]
    return last.findings[0].title if last.findings else last.detail
