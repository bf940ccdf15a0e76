# SPDX-License-Identifier: GPL-2.0-only
"""A worker: boots what the scheduler hands it, with a cache of its own and the store alone.

Its guests die with it, however it ends (`kvet/proc.py`). A boot that nobody waits for any more,
since it was cancelled, its client is gone or it was given to another worker, is ended.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import pickle
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from dask.system import CPU_COUNT
from dask.utils import parse_bytes
from distributed import Reschedule, Worker, get_worker
from distributed.comm import get_address_host
from distributed.system import MEMORY_LIMIT
from distributed.utils import get_ip

from kvet import lease, proc
from kvet.artifact_store import ArtifactStore
from kvet.boot_host import BootHost
from kvet.build.sandbox import require_sandbox
from kvet.build.toolchain import Toolchain, find_toolchain
from kvet.cache import cache_root, locked
from kvet.errors import InfraError, KvetError, MissingTool
from kvet.guest.machine import boot_host, find_qemu
from kvet.guest.qemu import run_boot
from kvet.model import Machine
from kvet.paths import PROJECT
from kvet.run.remote import (
    BootDone,
    BootTask,
    BuildDone,
    BuildTask,
    Offer,
    builder_kind,
    dashboard,
    pack,
    quieten,
)

CONNECT_S = 30.0
# how often a build is asked whether it is wanted still
LOOK_S = 0.2
# what the host itself and this process need of its memory
HOST_MIB = 1024
# states of a task that the scheduler still wants from this worker
RUNNING = ("executing", "long-running")


@dataclass(frozen=True, slots=True)
class WorkerRequest:
    """A worker for the scheduler at `scheduler`; `mem_mib` 0 is what the host can spare."""

    scheduler: str
    boot: int
    build: int = 0
    mem_mib: int = 0
    name: str = ""


class BootWorker(Worker):  # type: ignore[misc]  # distributed is not typed
    """A worker of dask.distributed that offers `nthreads` boots at a time, and makes them.

    With `build` it offers as many builds besides, in a build tree of its own cache.

    What starts workers by their class (`dask worker --worker-class`, SSHCluster, dask-jobqueue)
    may start this one; its threads, memory and resources say what is set here.
    """

    def __init__(
        self, scheduler: str | None = None, *, build: int = 0, mem_mib: int = 0, **more: Any
    ) -> None:
        cache = cache_root()
        with lease.using(cache):
            pass  # from now on a gc of this cache knows of us
        limit = more.pop("memory_limit", None)  # of who starts a worker by its class
        if limit not in (None, "auto") and not mem_mib:
            mem_mib = parse_bytes(limit) >> 20
        self.offer = offer_of(more.pop("nthreads", None) or 1, build, mem_mib)
        self.stopping = threading.Event()
        self._kept = ExitStack()
        self.folder = self._kept.enter_context(_own_folder(cache / "boots"))
        ours = {
            "nthreads": self.offer.boot + self.offer.build,
            "resources": self.offer.resources,
            "local_directory": str(self.folder),
            "memory_limit": 0,  # the guests' memory is not this process's
            "death_timeout": more.pop("death_timeout", None) or CONNECT_S,
        }
        if scheduler:  # listen where the scheduler can reach us, and nowhere else
            own = get_ip(get_address_host(scheduler))
            ours |= {"host": own, "dashboard_address": f"{own}:0"}
        super().__init__(scheduler, **{**more, **ours})

    async def close(self, *args: Any, **more: Any) -> Any:
        """End the guests, leave the scheduler, and leave nothing of boots in the cache."""
        self.stopping.set()
        with self._kept:
            return await super().close(*args, **more)


def offered(dask_worker: Worker) -> Offer | None:
    """What that worker offers, None when it boots nothing; asked by the host of a run."""
    return dask_worker.offer if isinstance(dask_worker, BootWorker) else None


def boot_here(task: BootTask) -> BootDone:
    """Boot once on this worker; what goes wrong here is told, not raised."""
    worker = get_worker()
    assert isinstance(worker, BootWorker)
    wanted = _wanted_of(worker)
    with tempfile.TemporaryDirectory(dir=worker.folder) as scratch:
        try:
            return _boot(task, Path(scratch), wanted)
        except KvetError as error:
            return BootDone(fault=f"worker {worker.offer.hosts[0].name}: {error.message}")


def build_here(task: BuildTask) -> BuildDone:
    """Build once on this worker, in a process of its own; what goes wrong here is told."""
    worker = get_worker()
    assert isinstance(worker, BootWorker)
    name, wanted = worker.offer.hosts[0].name, _wanted_of(worker)
    with tempfile.TemporaryDirectory(dir=worker.folder) as scratch:
        asked, answer, said = (Path(scratch, word) for word in ("task", "answer", "said"))
        asked.write_bytes(pickle.dumps(task))
        argv = (sys.executable, "-m", "kvet.run.sent_build", str(asked), str(answer))
        with said.open("wb") as log:
            # what it starts dies with it (kvet/proc.py)
            child = proc.start(argv, cwd=PROJECT, stdout=log, stderr=log)
        while child.poll() is None:
            if not wanted():
                proc.kill_group(child.pid)
                child.wait()
                raise Reschedule
            time.sleep(LOOK_S)
        if answer.exists():
            done: BuildDone = pickle.loads(answer.read_bytes())
            return replace(done, fault=f"worker {name}: {done.fault}") if done.fault else done
        lines = said.read_text(encoding="utf-8", errors="replace").splitlines() or ["it was killed"]
        return BuildDone(fault=f"worker {name}: {lines[-1]}")


def _boot(task: BootTask, scratch: Path, wanted: Callable[[], bool]) -> BootDone:
    store, folder = _store(task.store), scratch / "attempt"
    request = replace(
        task.request,
        image=store.get(task.image),
        initrd=tuple(store.get(digest) for digest in task.initrd),
        folder=folder,
        dumps=None,
    )
    found = find_qemu(request.machine.qemu)
    if found.version != task.qemu:
        raise InfraError(f"{found.path} is {found.version}, the run is of {task.qemu}")
    folder.mkdir()
    boot = run_boot(request, wanted=wanted)
    if not wanted():
        raise Reschedule
    archive = scratch / "attempt.tar.gz"
    pack(folder, archive)
    return BootDone(boot, store.send(archive, task.pack))


@cache
def _store(url: str) -> ArtifactStore:
    return ArtifactStore(url)


def _wanted_of(worker: BootWorker) -> Callable[[], bool]:
    """Whether the task that asks is still to be done, here."""
    key = worker.get_current_task()

    def wanted() -> bool:
        state = worker.state.tasks.get(key)
        return state is not None and state.state in RUNNING and not worker.stopping.is_set()

    return wanted


def offer_of(boot: int, build: int, mem_mib: int) -> Offer:
    """What this host can do: emulate, and run guests under KVM where it has that.

    Its cores and memory are those that a container or a batch system lets it have.
    """
    machines = [Machine("any", vcpus=1, mem_mib=1, accel=accel) for accel in ("tcg", "kvm")]
    hosts = [host for machine in machines if (host := _host_for(machine))]
    if build:
        require_sandbox()
    return Offer(
        hosts=tuple(hosts),
        boot=boot,
        build=build,
        cores=CPU_COUNT,
        mem_mib=mem_mib or max(HOST_MIB, (MEMORY_LIMIT >> 20) - HOST_MIB),
        builders=tuple(builder_kind(made, hosts[0].kvet) for made in _toolchains(build)),
    )


def _toolchains(build: int) -> Iterator[Toolchain]:
    """The compilers of this host, where it builds."""
    for name in ("gcc", "clang") if build else ():
        with suppress(MissingTool):
            yield find_toolchain(name)


def _host_for(machine: Machine) -> BootHost | None:
    try:
        return boot_host(machine)
    except InfraError:
        if machine.accel == "tcg":  # then there is no QEMU
            raise
        return None


def serve(request: WorkerRequest, say: Callable[[str], None]) -> None:
    """Be a worker until a signal comes.

    Raises InfraError when there is no scheduler, or none any more.
    """
    try:
        asyncio.run(_serve(request, say))
    finally:
        proc.kill_all()


@contextmanager
def _own_folder(boots: Path) -> Iterator[Path]:
    """A directory for the boots of this process; those that killed workers left are removed."""
    boots.mkdir(parents=True, exist_ok=True)
    with locked(boots.with_name("boots.lock")):
        for old in boots.iterdir():
            if _is_free(old):
                shutil.rmtree(old, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix="worker-", dir=boots))
        held = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        fcntl.flock(held, fcntl.LOCK_EX)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(held)


def _is_free(folder: Path) -> bool:
    file = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(file)
    return True


async def _serve(request: WorkerRequest, say: Callable[[str], None]) -> None:
    quieten()
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, asked.set)
    worker = await _connected(request)
    say(f"worker {worker.name}: {told(worker.offer)}")
    services = (await worker.scheduler.identity())["services"]
    if link := dashboard(request.scheduler, services):
        say(f"dashboard: {link}")
    ends = [asyncio.ensure_future(end) for end in (asked.wait(), worker.finished())]
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    await worker.close()
    for end in ends:
        end.cancel()
    if not asked.is_set():
        raise InfraError(
            f"the scheduler at {request.scheduler} is gone, or has given this worker up",
            hint="start the worker again when the scheduler is back",
        )


async def _connected(request: WorkerRequest) -> BootWorker:
    """A worker that the scheduler knows."""
    try:
        worker = BootWorker(
            request.scheduler,
            name=request.name or None,
            nthreads=request.boot,
            build=request.build,
            mem_mib=request.mem_mib,
        )
        await worker
        return worker
    except (OSError, ValueError, TimeoutError) as error:
        raise InfraError(
            f"no scheduler answers at {request.scheduler}: {error or 'time is out'}",
            hint="start one with: dask scheduler --host ADDRESS",
        ) from error


def told(offer: Offer) -> str:
    """An offer in words."""
    first = offer.hosts[0]
    accels = " and ".join(host.accel for host in offer.hosts)
    builds = f" and {offer.build} builds" if offer.build else ""
    return (
        f"{offer.boot} boots{builds} at a time ({accels} on {first.arch}), {offer.cores} cores, "
        f"{offer.mem_mib} MiB, QEMU {first.qemu}, kvet {first.kvet}"
    )
