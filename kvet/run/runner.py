# SPDX-License-Identifier: GPL-2.0-only
"""Many cells: sources, series, builds and attempts, in the order that wastes least.

Attempts go to a `concurrent.futures.Executor`. Every attempt is on disk when it ends, so
an interrupted run goes on where it was.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Executor, Future, as_completed
from contextlib import closing
from dataclasses import replace
from itertools import count, groupby, islice
from pathlib import Path

from kvet import proc
from kvet.build.builder import Builder, BuildFailure, how
from kvet.build.patch_lines import PatchLines, patch_lines
from kvet.build.request import BuildRequest
from kvet.build.sandbox import require_sandbox
from kvet.build.toolchain import find_toolchain
from kvet.errors import HostsLost, KvetError, UserError
from kvet.events import Ended, Event, Events
from kvet.guest import initramfs
from kvet.guest.machine import qemu_version, resolve_accel
from kvet.guest.qemu_bugs import faults_on
from kvet.model import COUNTED_STATUSES, Attempt, Build, Cell, Provenance, Role, SourceTree, Status
from kvet.results.changes import ChangeRecord
from kvet.results.code_record import CodeRecord
from kvet.results.prefixes import PrefixRecord
from kvet.results.record import HostRecord, KernelRecord, PlanRecord, RunRecord, write_record
from kvet.run import references
from kvet.run.ahead import built_ahead
from kvet.run.attempt import AttemptRequest, run_attempt, seed_for
from kvet.run.cell_run import CellRun, measured_pairs, needs_more, open_runs
from kvet.run.each_patch import prefix_request, try_prefixes
from kvet.run.executor import Builders, builders_of, local_threads, open_executor, places_of
from kvet.run.guest_layers import guest_layers
from kvet.run.order import batches, built_waves
from kvet.run.plan import Plan, boots_at_once, jobs_of, spec_of
from kvet.run.proofs import prove_runs
from kvet.run.recording import Circumstances, run_record, this_host
from kvet.run.versions import find_twins, share_attempts, version_changes
from kvet.source import fetch
from kvet.source.series import AppliedSeries, apply_series
from kvet.store import read_as, sweep

Wave = list[tuple[list[CellRun], Build | None]]


class Runner:
    """Carries out one plan; `record()` is what `results.json` holds at any time."""

    def __init__(self, plan: Plan, *, cache: Path, events: Events) -> None:
        self.plan = plan
        self.cache = cache
        self.events = events
        self.toolchain = find_toolchain(plan.toolchain)
        self.builder = Builder(cache, on_object=self._on_object)
        self._builders = Builders(1, self.builder.build)
        self.runs = open_runs(plan, plan.cells)
        self.trees: dict[str, SourceTree] = {}
        self.layers: tuple[Path, ...] = ()
        self._building = ""
        self._host = HostRecord()
        self._code: tuple[CodeRecord, ...] = ()
        self._changes: tuple[ChangeRecord, ...] = ()
        self._prefixes: tuple[PrefixRecord, ...] = ()

    def run(self) -> RunRecord:
        """Run everything that is not done yet and return the record of the run.

        Results so far are written whatever ends it, Ctrl-C included.
        """
        require_sandbox()
        proc.begin_anew()
        self._host = self._describe_host()
        self.plan.out.mkdir(parents=True, exist_ok=True)
        self._load_finished()
        self._prepare()
        for run in self.runs:
            wanted = 0 if run.reused else run.wanted
            self.events.emit(
                Event("plan", "run", run.cell.id, total=wanted, jobs=jobs_of(self.plan))
            )
        try:
            with open_executor(places_of(self.plan), self.events.note) as executor:
                self._builders = builders_of(executor, self.builder, self.toolchain)
                with closing(self._waves()) as each:
                    for wave in each:
                        self._run_wave(wave, executor)
                self._prefixes = tuple(self._each_patch(executor))
            self._code = self._compare_code()
            prove_runs(self.runs, self.trees, self.cache)
            repo = self.builder.repo
            self._changes = version_changes(self.runs, self.trees, repo, self.plan.given)
        finally:
            record = self.save()
        return record

    def save(self) -> RunRecord:
        """Write results.json from what is known now."""
        record = self.record()
        write_record(self.plan.out / "results.json", record)
        return record

    def record(self) -> RunRecord:
        """The run as one value."""
        plan = PlanRecord(**spec_of(self.plan))
        about = Circumstances(
            run=self.plan.run_id,
            host=self._host,
            plan=plan,
            code=self._code,
            given=self.plan.given,
            changes=self._changes,
            prefixes=self._prefixes,
        )
        return run_record(about, self.runs)

    def _describe_host(self) -> HostRecord:
        machines = {c.machine.name: c.machine for c in self.plan.cells}.values()
        qemus = {qemu_version(m) for m in machines} - {""}
        accels = {resolve_accel(m.accel) for m in machines}
        return replace(
            this_host(),
            qemu=", ".join(sorted(qemus)),
            accel=", ".join(sorted(accels)),
            compiler=self.toolchain.version,
            linker=self.toolchain.linker,
        )

    def _prepare(self) -> None:
        """Sources, initramfs and all series: a patch that does not apply fails before any build."""
        kernels: dict[str, KernelRecord] = {}
        for kernel in {r.cell.kernel.name: r.cell.kernel for r in self.runs}.values():
            tree = fetch.open_source(kernel, self.cache, events=self.events)
            self.trees[kernel.name] = tree
            kernels[kernel.name] = KernelRecord(
                version=tree.version,
                origin=tree.origin,
                base_commit=tree.base_commit,
                tree=tree.tree_id,
                sha256=tree.sha256,
                kind=kernel.kind,
            )
            self._host = replace(self._host, kernels=dict(kernels))
        self.layers = initramfs.base_layers(self.cache, events=self.events)
        applied: dict[tuple[str, str], AppliedSeries] = {}
        for run in self.runs:
            key = (run.cell.kernel.name, run.cell.variant.name)
            if key not in applied:
                applied[key] = self._apply(run.cell)
            run.series = applied[key]
            self._reuse(run)

    def _reuse(self, run: CellRun) -> None:
        """Take the attempts of a reference cell from the last run that made them.

        Not of a board: what is at its address now may be another machine.
        """
        if run.cell.id in self.plan.references and not run.cell.machine.board:
            found = references.load(self.cache, self._evidence_key(run))
            if found is not None:
                run.attempts, run.reused = found
                run.wanted = len(run.attempts)

    def _evidence_key(self, run: CellRun) -> str:
        qemu = qemu_version(run.cell.machine)
        return references.key(run.cell, self._request(run).key, self.layers, qemu)

    def _apply(self, cell: Cell) -> AppliedSeries:
        tree = self.trees[cell.kernel.name]
        repo = self.builder.repo(tree)
        return apply_series(repo, tree.tree_id, cell.variant.patches_for(cell.kernel.name))

    def _request(self, run: CellRun) -> BuildRequest:
        assert run.series is not None
        cell = run.cell
        return BuildRequest(
            source=self.trees[cell.kernel.name],
            series=run.series,
            config=cell.config,
            page_kib=cell.machine.page_kib,
            toolchain=self.toolchain,
            foreign=cell.variant.foreign,
        )

    def _is_built(self, batch: Sequence[CellRun]) -> bool:
        return self.builder.find(self._request(batch[0]).key) is not None

    def _waves(self) -> Generator[Wave]:
        """Batches with their builds, as they are booted together."""
        each = batches(self.runs, self._request, self.builder)
        if self.plan.executor:  # boots leave this host's cores alone
            by = self._builders
            return built_ahead(each, self._build, at_once=by.at_once, cancel=by.cancel)
        return built_waves(each, self._is_built, self._build)

    def _run_wave(self, wave: Wave, executor: Executor) -> None:
        """Boot the cells of all builds until each is settled."""
        built = [(batch, build) for batch, build in wave if build]
        boots = [r for batch, _ in built for r in batch]
        find_twins(boots, self.runs, self.plan.given, self.events)
        while round_ := [r for b, build in built for run in b for r in self._requests(run, build)]:
            self._boot(round_, executor)
        for batch, build in built:
            self._doubt(batch, build, executor)
        for run in (run for batch, _ in wave for run in batch):
            share_attempts(run, self.runs)
            self.events.emit(Event("settled", "run", run.cell.id))
            if run.role is not Role.CANDIDATE and not run.reused:
                references.save(self.cache, self._evidence_key(run), self.plan.run_id, run.attempts)
        self.save()

    def _doubt(self, batch: Sequence[CellRun], build: Build, executor: Executor) -> None:
        """Run failures that may be the emulator's own again, where it cannot lie."""
        for run in batch:
            failed = [a for a in run.attempts if a.status is Status.FAIL]
            machine = run.cell.machine
            series = run.cell.variant.patches_for(run.cell.kernel.name)
            run.faults = faults_on(machine, series)
            if not run.faults or not failed or run.reused or run.twin:
                continue
            self.events.note(
                f"{run.cell.id}: {', '.join(f.name for f in run.faults)} may be to blame; "
                "again with one emulator thread"
            )
            safe = replace(run.cell, machine=replace(machine, thread="single"))
            requests = [self._request_attempt(run, build, a.n) for a in failed[:3]]
            again = [
                replace(r, cell=safe, folder=r.folder.with_name(f"again-{r.n}")) for r in requests
            ]
            self._boot_all(again, executor, run.take_again)

    def _build(self, batch: Sequence[CellRun]) -> Build | None:
        run = batch[0]
        assert run.series is not None
        name = run.cell.cell_id.build
        started = time.monotonic()
        built: Build | BuildFailure | None = None
        error = ""
        with self.events.step("build", name) as step:
            self._building = name
            try:
                built = self._builders.build(self._request(run))
                step.say(how(built))
            except UserError:
                raise
            except KvetError as trouble:
                error = f"{trouble.message} ({trouble.hint})" if trouble.hint else trouble.message
                step.say("error")
        if proc.all_killed():  # while another thread booted: nothing is known of this build
            return None
        seconds = round(time.monotonic() - started, 2)
        for each in batch:
            each.build_seconds, each.error = seconds, error
            if isinstance(built, BuildFailure):
                each.build_finding, each.build_log = built.finding, str(built.log)
            elif built is not None:
                each.build = built
                each.lines = self._patch_lines(each, built)
        return built if isinstance(built, Build) else None

    def _patch_lines(self, run: CellRun, build: Build) -> PatchLines | None:
        """The series' lines with code."""
        assert run.series is not None
        repo = self.builder.repo(self.trees[run.cell.kernel.name])
        return patch_lines(build.folder, repo, run.series)

    def _compare_code(self) -> tuple[CodeRecord, ...]:
        """Builds that were measured against their baseline's, as code."""
        if not any(run.cell.workload.measures for run in self.runs):
            return ()
        # half a second to import: only who measures pays
        from kvet.cost.code import code_record

        with self.events.step("code", "builds against their baseline"):
            return code_record(measured_pairs(self.runs))

    def _each_patch(self, executor: Executor) -> Iterator[PrefixRecord]:
        """The prefixes of every judged series, where they are asked for."""
        # of the workloads that judge a build together, the one asked for comes last
        builds = {r.cell.cell_id.build: r for r in self.runs} if self.plan.each_patch else {}
        for run in builds.values():
            if run.role is Role.CANDIDATE:
                request = prefix_request(run, self.runs, self._request(run), self.plan, self.layers)
                yield from try_prefixes(request, self.builder, executor, self.events)

    def _on_object(self, done: int, total: int) -> None:
        self.events.emit(Event("progress", "build", self._building, done=done, total=total))

    def _requests(self, run: CellRun, build: Build) -> list[AttemptRequest]:
        """The attempts that `run` still needs."""
        if run.reused or run.twin:
            return []
        more = needs_more(run, most=self.plan.most, fixed=self.plan.fixed)
        taken = {a.n for a in run.attempts}
        free = (n for n in count(1) if n not in taken)
        return [self._request_attempt(run, build, n) for n in islice(free, more)]

    def _request_attempt(self, run: CellRun, build: Build, n: int) -> AttemptRequest:
        """Attempt `n` of a cell."""
        tree = self.trees[run.cell.kernel.name]
        return AttemptRequest(
            cell=run.cell,
            build=build,
            initrd=guest_layers(run.cell, build, self.layers, tree.path, run.diff),
            folder=self._folder(run.cell) / f"attempt-{n}",
            n=n,
            seed=seed_for(self.plan.seed, run.cell.id, n),
            source=tree.path,
            provenance=Provenance(build=build.key, base_commit=tree.base_commit),
            lines=run.lines,
            dumps=self.plan.out,
        )

    def _boot(self, requests: Sequence[AttemptRequest], executor: Executor) -> None:
        """Boot those of few host cores first, as many at a time as there are cores for."""
        runs = {run.cell.id: run for run in self.runs}

        def take(cell_id: str, attempt: Attempt) -> None:
            runs[cell_id].add(attempt)

        if self.plan.executor:
            self._boot_all(requests, executor, take)
            return
        by_cores = sorted(requests, key=_cores)
        for cores, group in groupby(by_cores, key=_cores):
            with local_threads(boots_at_once(self.plan.jobs, cores)) as pool:
                self._boot_all(list(group), pool, take)

    def _boot_all(
        self,
        requests: Sequence[AttemptRequest],
        executor: Executor,
        take: Callable[[str, Attempt], None],
    ) -> None:
        """Carry out `requests`; `take` gets cell id and attempt as each ends.

        An interrupt ends the guests at once, and so does the loss of all workers.
        """
        futures: dict[Future[Attempt], AttemptRequest] = {}
        for request in requests:
            self.events.emit(Event("start", "boot", request.cell.id, f"attempt {request.n}"))
            futures[executor.submit(run_attempt, request)] = request
        try:
            for future in as_completed(futures):
                request = futures[future]
                attempt = self._outcome(future, request)
                take(request.cell.id, attempt)
                self._tell(request.cell.id, attempt)
        except (KeyboardInterrupt, HostsLost):
            for future in futures:
                future.cancel()
            proc.kill_all()
            raise

    def _outcome(self, future: Future[Attempt], request: AttemptRequest) -> Attempt:
        """The attempt, or an ERROR with its traceback saved: a bug of ours blames no kernel."""
        try:
            return future.result()
        except HostsLost:
            raise
        except Exception as error:  # a worker may raise anything; here alone it is caught
            request.folder.mkdir(parents=True, exist_ok=True)
            trace = request.folder / "traceback.txt"
            trace.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
            return Attempt(n=request.n, seed=request.seed, detail=f"harness: {error!r}; {trace}")

    def _tell(self, cell_id: str, attempt: Attempt) -> None:
        quiet = attempt.exposed or attempt.status is Status.DONE
        unexposed = "" if quiet else "race not exercised"
        title = attempt.findings[0].title if attempt.findings else attempt.detail or unexposed
        ended = Ended(attempt.n, attempt.status, attempt.ending, title)
        self.events.emit(Event("attempt", "boot", cell_id, seconds=attempt.seconds, attempt=ended))

    def _folder(self, cell: Cell) -> Path:
        return self.plan.out / cell.id

    def _load_finished(self) -> None:
        """Attempts of an earlier, interrupted go at this run; invalid ones are run again."""
        sweep(self.plan.out)
        for run in self.runs:
            paths = sorted(self._folder(run.cell).glob("attempt-*/attempt.json"))
            for path in paths:
                try:
                    attempt = read_as(path, Attempt)
                except KvetError as error:  # it has to be run again, no more is lost
                    self.events.note(error.message)
                    continue
                if attempt.status in COUNTED_STATUSES:
                    run.add(attempt)


def _cores(request: AttemptRequest) -> int:
    return request.cell.machine.cores
