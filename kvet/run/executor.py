# SPDX-License-Identifier: GPL-2.0-only
"""Where boots run: in local threads, or on the workers of a dask.distributed scheduler."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kvet.build.builder import Builder, BuildFailure
from kvet.build.request import BuildRequest
from kvet.build.toolchain import Toolchain
from kvet.cache import cache_root
from kvet.errors import InfraError
from kvet.model import Build, Machine
from kvet.run.plan import Plan, jobs_of

if TYPE_CHECKING:
    from kvet.run.cluster import Cluster

# attempts that are handed out at a time: each is a thread that waits for its boot
MOST_THREADS = 4096


@dataclass(frozen=True, slots=True)
class Builders:
    """Who makes the builds of a run: `at_once` of them at a time, with `build`.

    `cancel` gives up what runs elsewhere; what runs on this host dies by `proc.kill_all`.
    """

    at_once: int
    build: Callable[[BuildRequest], Build | BuildFailure]
    cancel: Callable[[], None] = lambda: None


@dataclass(frozen=True, slots=True)
class Places:
    """Where the guests of `run` boot: `jobs` at a time on this host.

    With `executor` (tcp://...) on the workers behind it that can play `machines`; files go
    through the store at `store`, '' for a directory of the cache.
    """

    run: str
    machines: Sequence[Machine]
    jobs: int
    executor: str = ""
    store: str = ""


def places_of(plan: Plan) -> Places:
    """Where the boots of a plan run."""
    machines = {cell.machine.name: cell.machine for cell in plan.cells}
    jobs = 0 if plan.executor else jobs_of(plan)
    return Places(plan.run_id, tuple(machines.values()), jobs, plan.executor, plan.store)


@contextmanager
def open_executor(places: Places, say: Callable[[str], None]) -> Iterator[Executor]:
    """Threads of this host, or the workers of a scheduler.

    Raises InfraError when dask.distributed is not installed, or nobody is there.
    """
    if places.executor:
        with _workers(places, say) as executor:
            yield executor
        return
    with local_threads(places.jobs) as executor:
        yield executor


def boots_of(executor: Executor, places: Places) -> int:
    """How many boots `executor` has room for at a time."""
    if isinstance(executor, _Attempts):
        return executor.cluster.boots_at_once(places.machines)
    return places.jobs


def local_threads(jobs: int) -> Executor:
    """`jobs` boots at a time on this host."""
    return ThreadPoolExecutor(jobs, thread_name_prefix="boot")


@contextmanager
def _workers(places: Places, say: Callable[[str], None]) -> Iterator[Executor]:
    try:
        from kvet.run.cluster import Cluster, ClusterRequest
    except ModuleNotFoundError as error:
        raise InfraError(
            f"--executor needs {error.name}", hint=".venv/bin/pip install -e '.[executor]'"
        ) from error
    store = places.store or str(cache_root() / "store")
    cluster = Cluster(ClusterRequest(places.executor, store, places.run), say)
    try:
        cluster.wait_for_workers(places.machines)
        with _Attempts(cluster) as executor:
            try:
                yield executor
            finally:
                cluster.cancel()  # its threads wait for boots that nobody wants any more
    finally:
        cluster.close()


def builders_of(executor: Executor, builder: Builder, toolchain: Toolchain) -> Builders:
    """The workers of `executor` that offer to build, else this host's `builder`."""
    if isinstance(executor, _Attempts):
        cluster = executor.cluster
        if count := cluster.builds_at_once(toolchain):
            return Builders(count, lambda request: cluster.build(request, builder), cluster.cancel)
    return Builders(1, builder.build)


class _Attempts(ThreadPoolExecutor):
    """Threads whose attempts boot on the workers of a cluster."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(MOST_THREADS, thread_name_prefix="attempt")
        self.cluster = cluster

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """As every executor's; what is submitted takes a `boot_with`."""
        return super().submit(fn, *args, boot_with=self.cluster.boot, **kwargs)
