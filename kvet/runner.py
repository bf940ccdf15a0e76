# SPDX-License-Identifier: GPL-2.0-only
"""Many cells: sources, series, builds and attempts, in the order that wastes least.

Attempts go to a `concurrent.futures.Executor`: local threads, or the executor
of a dask.distributed scheduler. Every attempt is on disk when it ends, so an
interrupted run goes on where it was.
"""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, as_completed
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from kvet import evidence, proc, rootfs, source
from kvet.build import Builder, BuildFailure
from kvet.buildkey import BuildRequest
from kvet.coverage import PatchLines, patch_lines
from kvet.emulator import faults_of
from kvet.errors import KvetError, UserError
from kvet.events import Event, Events
from kvet.executor import open_executor
from kvet.lane import cheapest_first, open_lanes
from kvet.machine import find_qemu, resolve_accel
from kvet.model import Attempt, Build, Cell, Role, SourceTree, Status
from kvet.pipeline import AttemptRequest, run_attempt, seed_for
from kvet.records import attempt_from
from kvet.results import CellRun, host_record, needs_more, results_record
from kvet.sandbox import require_sandbox
from kvet.series import AppliedSeries, apply_series
from kvet.store import read_json, write_json
from kvet.toolchain import find_toolchain
from kvet.verdict import COUNTED


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run: `fixed` attempts for each cell, or from `attempts` up to `most`."""

    name: str
    cells: tuple[Cell, ...]
    out: Path
    attempts: int = 3
    most: int = 3
    fixed: bool = True
    jobs: int = 0
    toolchain: str = "gcc"
    seed: int = 1
    executor: str = ""
    command: tuple[str, ...] = ()
    references: frozenset[str] = frozenset()

    @property
    def run_id(self) -> str:
        return self.out.name


class Runner:
    """Carries out one plan; `record()` is what `results.json` holds at any time."""

    def __init__(self, plan: Plan, *, cache: Path, events: Events) -> None:
        self.plan = plan
        self.cache = cache
        self.events = events
        self.toolchain = find_toolchain(plan.toolchain)
        self.builder = Builder(cache, on_object=self._on_object)
        self.runs = [CellRun(cell, plan.attempts) for cell in plan.cells]
        self.trees: dict[str, SourceTree] = {}
        self.layers: tuple[Path, ...] = ()
        self._building = ""
        self._host: dict[str, Any] = {}
        self._code: list[dict[str, Any]] = []

    def run(self) -> dict[str, Any]:
        """Run everything that is not done yet and return the record of the run.

        Results so far are written whatever ends it, Ctrl-C included.
        """
        require_sandbox()
        self._host = self._describe_host()
        self.plan.out.mkdir(parents=True, exist_ok=True)
        self._load_finished()
        self._prepare()
        for run in self.runs:
            wanted = 0 if run.reused else run.wanted
            self.events.emit(Event("plan", "run", run.cell.id, done=self._jobs(), total=wanted))
        try:
            with open_executor(self.plan.executor, self._jobs()) as executor:
                for batch in self._batches():
                    self._run_batch(batch, executor)
            self._code = self._compare_code()
        finally:
            record = self.save()
        return record

    def save(self) -> dict[str, Any]:
        """Write results.json from what is known now."""
        record = self.record()
        write_json(self.plan.out / "results.json", record)
        return record

    def record(self) -> dict[str, Any]:
        """The run as one value."""
        plan = {
            "name": self.plan.name,
            "attempts": self.plan.attempts,
            "most": self.plan.most,
            "fixed": self.plan.fixed,
            "seed": self.plan.seed,
            "toolchain": self.plan.toolchain,
            "command": list(self.plan.command),
        }
        return results_record(
            self.plan.run_id, self.runs, host=self._host, plan=plan, code=self._code
        )

    def _describe_host(self) -> dict[str, Any]:
        machines = {c.machine.name: c.machine for c in self.plan.cells}.values()
        qemus = {find_qemu(m.qemu).version for m in machines}
        accels = {resolve_accel(m.accel) for m in machines}
        return host_record(
            {
                "qemu": ", ".join(sorted(qemus)),
                "accel": ", ".join(sorted(accels)),
                "compiler": self.toolchain.version,
                "linker": self.toolchain.linker,
            }
        )

    def _prepare(self) -> None:
        """Sources, initramfs and all series: a patch that does not apply fails before any build."""
        for kernel in {r.cell.kernel.name: r.cell.kernel for r in self.runs}.values():
            tree = source.open_source(kernel, self.cache, events=self.events)
            self.trees[kernel.name] = tree
            self._host.setdefault("kernels", {})[kernel.name] = {
                "version": tree.version,
                "origin": tree.origin,
                "base_commit": tree.base_commit,
                "tree": tree.tree_id,
                "sha256": tree.sha256,
            }
        self.layers = rootfs.base_layers(self.cache, events=self.events)
        applied: dict[tuple[str, str], AppliedSeries] = {}
        for run in self.runs:
            key = (run.cell.kernel.name, run.cell.variant.name)
            if key not in applied:
                applied[key] = self._apply(run.cell)
            run.series = applied[key]
            self._reuse(run)

    def _reuse(self, run: CellRun) -> None:
        """Take the attempts of a reference cell from the last run that made them."""
        if run.cell.id in self.plan.references:
            found = evidence.load(self.cache, self._evidence_key(run))
            if found is not None:
                run.attempts, run.reused = found
                run.wanted = len(run.attempts)

    def _evidence_key(self, run: CellRun) -> str:
        qemu = find_qemu(run.cell.machine.qemu).version
        return evidence.key(run.cell, self._request(run).key, self.layers, qemu)

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

    def _batches(self) -> Iterator[list[CellRun]]:
        """Cells that share one build, cheapest flip of the build tree first."""

        def lane_group(run: CellRun) -> tuple[str, str, int]:
            return (run.cell.kernel.name, run.cell.config.name, run.cell.machine.page_kib)

        for _, group in groupby(sorted(self.runs, key=lane_group), key=lane_group):
            left: dict[str, list[CellRun]] = {}
            for run in sorted(group, key=lambda r: r.role is not Role.BASELINE):
                left.setdefault(self._request(run).key, []).append(run)
            while left:
                yield left.pop(self._next_build(left))

    def _next_build(self, left: dict[str, list[CellRun]]) -> str:
        """The key to build next: one that is in the cache, else the nearest to a lane's state."""
        requests = {key: self._request(runs[0]) for key, runs in left.items()}
        for key in requests:
            if self.builder.find(key):
                return key
        first = next(iter(requests.values()))
        lanes = open_lanes(self.builder.lanes(first))
        by_tree = {r.series.tree_id: key for key, r in requests.items()}
        return by_tree[cheapest_first(lanes, self.builder.repo(first.source), by_tree)[0]]

    def _run_batch(self, batch: Sequence[CellRun], executor: Executor) -> None:
        """Build once, then boot every cell of the batch until each is settled."""
        build = self._build(batch)
        if build is not None:
            while round_ := [r for run in batch for r in self._requests(run, build)]:
                self._boot(round_, executor)
            self._doubt(batch, build, executor)
        for run in batch:
            self.events.emit(Event("settled", "run", run.cell.id))
            if run.role is not Role.CANDIDATE and not run.reused:
                evidence.save(self.cache, self._evidence_key(run), self.plan.run_id, run.attempts)
        self.save()

    def _doubt(self, batch: Sequence[CellRun], build: Build, executor: Executor) -> None:
        """Run failures that may be the emulator's own again, where it cannot lie."""
        for run in batch:
            failed = [a for a in run.attempts if a.status is Status.FAIL]
            machine = run.cell.machine
            run.faults = faults_of(
                find_qemu(machine.qemu),
                resolve_accel(machine.accel),
                machine.thread,
                run.cell.variant.patches_for(run.cell.kernel.name),
            )
            if not run.faults or not failed or run.reused:
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
        name = f"{run.cell.kernel.name}+{run.cell.variant.name}+{run.cell.config.name}"
        started = time.monotonic()
        built: Build | BuildFailure | None = None
        error = ""
        with self.events.step("build", name) as step:
            self._building = name
            try:
                built = self.builder.build(self._request(run))
                step.say("cached" if isinstance(built, Build) and built.cached else "built")
            except UserError:
                raise
            except KvetError as trouble:
                error = f"{trouble.message} ({trouble.hint})" if trouble.hint else trouble.message
                step.say("error")
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

    def _compare_code(self) -> list[dict[str, Any]]:
        """Builds that were measured against their baseline's, as code."""
        if not any(run.cell.workload.measures for run in self.runs):
            return []
        from kvet.codesize import code_record

        with self.events.step("code", "builds against their baseline"):
            return code_record(self.runs)

    def _on_object(self, done: int, total: int) -> None:
        self.events.emit(Event("progress", "build", self._building, done=done, total=total))

    def _requests(self, run: CellRun, build: Build) -> list[AttemptRequest]:
        """The attempts that `run` still needs."""
        if run.reused:
            return []
        more = needs_more(run, most=self.plan.most, fixed=self.plan.fixed)
        first = max((a.n for a in run.attempts), default=0) + 1
        return [self._request_attempt(run, build, n) for n in range(first, first + more)]

    def _request_attempt(self, run: CellRun, build: Build, n: int) -> AttemptRequest:
        """Attempt `n` of a cell."""
        tree = self.trees[run.cell.kernel.name]
        return AttemptRequest(
            cell=run.cell,
            build=build,
            initrd=(*self.layers, rootfs.modules_layer(build)),
            folder=self._folder(run.cell) / f"attempt-{n}",
            n=n,
            seed=seed_for(self.plan.seed, run.cell.id, n),
            source=tree.path,
            provenance={"build": build.key, "base_commit": tree.base_commit},
            lines=run.lines,
            dumps=self.plan.out,
        )

    def _boot(self, requests: Sequence[AttemptRequest], executor: Executor) -> None:
        runs = {run.cell.id: run for run in self.runs}
        self._boot_all(requests, executor, lambda cell_id, attempt: runs[cell_id].add(attempt))

    def _boot_all(
        self,
        requests: Sequence[AttemptRequest],
        executor: Executor,
        take: Callable[[str, Attempt], None],
    ) -> None:
        """Carry out `requests`; `take` gets cell id and attempt as each ends.

        An interrupt ends the guests at once.
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
        except KeyboardInterrupt:
            for future in futures:
                future.cancel()
            proc.kill_all()
            raise

    def _outcome(self, future: Future[Attempt], request: AttemptRequest) -> Attempt:
        """The attempt, or an ERROR with its traceback saved: a bug of ours blames no kernel."""
        try:
            return future.result()
        except Exception as error:  # a worker may raise anything; here alone it is caught
            request.folder.mkdir(parents=True, exist_ok=True)
            trace = request.folder / "traceback.txt"
            trace.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
            return Attempt(n=request.n, seed=request.seed, detail=f"harness: {error!r}; {trace}")

    def _tell(self, cell_id: str, attempt: Attempt) -> None:
        ending = attempt.ending.value if attempt.ending else "no boot"
        quiet = attempt.exposed or attempt.status is Status.DONE
        unexposed = "" if quiet else "race not exercised"
        title = attempt.findings[0].title if attempt.findings else attempt.detail or unexposed
        text = f"attempt {attempt.n}: {attempt.status.value} {ending}" + (
            f": {title}" if title else ""
        )
        self.events.emit(Event("attempt", "boot", cell_id, text, seconds=attempt.seconds))

    def _folder(self, cell: Cell) -> Path:
        return self.plan.out / cell.id

    def _load_finished(self) -> None:
        """Attempts of an earlier, interrupted go at this run; spoilt ones are run again."""
        for run in self.runs:
            paths = sorted(self._folder(run.cell).glob("attempt-*/attempt.json"))
            found = [attempt_from(read_json(p)) for p in paths]
            for attempt in found:
                if attempt.status in COUNTED:
                    run.add(attempt)

    def _jobs(self) -> int:
        """How many boots run at a time."""
        vcpus = max(cell.machine.vcpus for cell in self.plan.cells)
        return self.plan.jobs or max(1, (os.cpu_count() or 1) // vcpus)
