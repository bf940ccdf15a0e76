# SPDX-License-Identifier: GPL-2.0-only
"""The workers of a scheduler, seen from the host that carries out a run.

Sources and verdicts stay on that host. A worker gets the Image and the initramfs layers
through the store, boots, and sends back what the guest left. One that offers to build gets the
source and what the series adds to it, and sends back the files of the build. Nobody but a worker of
this host's kind (`kvet.run.remote.kind`, `builder_kind`) is given anything.
"""

from __future__ import annotations

import pickle
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from distributed import CancelledError, Client, Future, KilledWorker

from kvet.artifact_store import ArtifactStore
from kvet.boot_host import BootHost
from kvet.build.builder import Builder, BuildFailure
from kvet.build.request import BuildRequest
from kvet.build.toolchain import Toolchain
from kvet.errors import HostsLost, InfraError
from kvet.guest.boot import Boot, BootRequest
from kvet.guest.machine import boot_host, find_qemu
from kvet.model import Build, Machine
from kvet.run.remote import (
    BootDone,
    BootTask,
    BuildDone,
    Offer,
    build_needs,
    builder_kind,
    dashboard,
    kind,
    needs,
    quieten,
    unpack,
)
from kvet.run.sent_build import send_build, take_build
from kvet.run.worker import boot_here, build_here, offered
from kvet.version import kvet_version

CONNECT_S = 20.0
# how long a run waits for a first worker, and for another one when the last is gone
PATIENCE_S = 60.0
LOOK_S = 5.0
AGAIN = "go on with run-matrix --resume when it is back"


@dataclass(frozen=True, slots=True)
class ClusterRequest:
    """The scheduler at `url` for the run `run`; files go through the store at `store`."""

    url: str
    store: str
    run: str


class Cluster:
    """An open connection to a scheduler; `boot` may be called from many threads."""

    def __init__(self, request: ClusterRequest, say: Callable[[str], None]) -> None:
        self.request = request
        self.store = ArtifactStore(request.store)
        self._say = say
        self._futures: set[Future] = set()
        self._lock, self._looking = threading.Lock(), threading.Lock()
        self._closed = False
        self._looked_at = 0.0
        self._offers: tuple[Offer, ...] = ()
        quieten()
        try:
            _knock(request.url)
            self.client = _Client(request.url, timeout=CONNECT_S, set_as_default=False)
        except (OSError, ValueError) as error:
            raise InfraError(
                f"no scheduler answers at {request.url}: {error}",
                hint="start one with: dask scheduler --host ADDRESS",
            ) from error
        if link := dashboard(request.url, self.client.scheduler_info()["services"]):
            say(f"dashboard: {link}")

    def wait_for_workers(self, machines: Iterable[Machine]) -> None:
        """Wait until every machine has a worker of this host's kind; say who is left out.

        Raises InfraError when there is none in time.
        """
        wanted = [boot_host(machine) for machine in machines]
        deadline = time.monotonic() + PATIENCE_S
        while missing := [h for h in wanted if not any(_fits(o, h) for o in self._look())]:
            if time.monotonic() > deadline:
                raise InfraError(self._no_worker(missing[0]), hint=_start(self.request.url))
            time.sleep(1)
        fit = [o for o in self._offers if any(_fits(o, host) for host in wanted)]
        builds = sum(o.build for o in fit)
        also = f" and {builds} builds" if builds else ""
        self._say(f"{len(fit)} workers, {sum(o.boot for o in fit)} boots{also} at a time")
        out = Counter(_why_not(o, wanted[0]) for o in self._offers if o not in fit)
        for why, count in sorted(out.items()):
            self._say(f"{count} workers are left out: {why}")

    def boot(self, request: BootRequest) -> Boot:
        """Boot on a worker; what the guest left is in the directory of `request` afterwards.

        Raises InfraError when no worker could, HostsLost when there is nobody left to ask.
        """
        host = boot_host(request.machine)
        task = BootTask(
            request=replace(request, machine=replace(request.machine, accel=host.accel)),
            image=self.store.put(request.image),
            initrd=tuple(self.store.put(layer) for layer in request.initrd),
            store=self.request.store,
            pack=f"{self.request.run}/{uuid4().hex}.tar.gz",
            qemu=find_qemu(request.machine.qemu).version,
        )
        resources = needs(task.request.machine, host, self._most_cores(host))
        self._check_room(resources, host)
        call = _Call("boot", boot_here, task)
        done: BootDone = self._ask(call, resources, lambda offer: _fits(offer, host))
        if done.boot is None:
            raise InfraError(done.fault)
        return self._taken(done.boot, done.digest, task.pack, request.folder)

    def boots_at_once(self, machines: Iterable[Machine]) -> int:
        """How many boots of these machines the workers offer at a time."""
        hosts = [boot_host(machine) for machine in machines]
        fit = [o for o in self._look() if any(_fits(o, host) for host in hosts)]
        return max(1, sum(o.boot for o in fit))

    def builds_at_once(self, toolchain: Toolchain) -> int:
        """How many builds with that compiler the workers offer to make at a time."""
        return sum(o.build for o in self._look() if _builder(toolchain) in o.builders)

    def build(self, request: BuildRequest, builder: Builder) -> Build | BuildFailure:
        """Build on a worker; the files are in the cache of `builder` afterwards.

        Raises what that builder does: what no worker could build is built here.
        """
        found = builder.find(request.key)
        if found is not None:
            return found
        kind_of_it = _builder(request.toolchain)
        cores = min((o.cores for o in self._offers if kind_of_it in o.builders), default=1)
        try:
            call = _Call("build", build_here, send_build(request, builder, self.store))
            needed = build_needs(kind_of_it, cores)
            done: BuildDone = self._ask(call, needed, lambda offer: kind_of_it in offer.builders)
            if not done.fault:
                return take_build(done, request, builder, self.store)
            fault = done.fault
        except InfraError as error:
            if self._closed:
                raise
            fault = error.message
        self._say(f"{fault}; built on this host instead")
        return builder.build(request)

    def _ask(
        self, call: _Call, resources: Mapping[str, float], fits: Callable[[Offer], bool]
    ) -> Any:
        """Have one of the workers that `fits` carry out `call`; what that gives."""
        with self._lock:
            if self._closed:
                raise InfraError("interrupted")
            future = self.client.submit(
                pickle.loads,
                pickle.dumps(call),
                key=f"{call.name}-{uuid4().hex}",
                resources=resources,
                pure=False,
            )
            self._futures.add(future)
        try:
            return self._result(future, fits)
        finally:
            with self._lock:
                self._futures.discard(future)

    def _result(self, future: Future, fits: Callable[[Offer], bool]) -> Any:
        lonely_since = 0.0
        while True:
            try:
                return future.result(timeout=LOOK_S)
            except TimeoutError:
                if future.done():
                    raise
            except KilledWorker as error:
                count = error.allowed_failures + 1
                raise InfraError(f"{count} workers were lost while they ran it") from error
            except CancelledError as error:
                raise self._gone("the scheduler is gone") from error
            except OSError as error:
                raise self._gone(f"the scheduler does not answer: {error}") from error
            if any(fits(offer) for offer in self._look()):
                lonely_since = 0.0
            elif not lonely_since:
                lonely_since = time.monotonic()
            elif time.monotonic() - lonely_since > PATIENCE_S:
                raise self._gone("no worker is left")

    def _gone(self, what: str) -> InfraError:
        """What to raise when a boot is not carried out, by whether that was asked for."""
        if self._closed:
            return InfraError("interrupted")
        return HostsLost(f"{self.request.url}: {what}", hint=AGAIN)

    def _taken(self, boot: Boot, digest: str, name: str, folder: Path) -> Boot:
        """The boot with its files in `folder`."""
        archive = folder / "attempt.tar.gz"
        self.store.take(name, digest, archive)
        unpack(archive, folder)
        archive.unlink()
        console, report = folder / boot.console.name, folder / boot.report.name
        return replace(boot, console=console, report=report)

    def _look(self) -> tuple[Offer, ...]:
        """What the workers offer now; asked anew every few seconds at the most."""
        fresh = self._offers and time.monotonic() - self._looked_at < LOOK_S
        if not fresh and self._looking.acquire(blocking=False):
            try:
                said = self.client.run(offered, on_error="return")
                self._offers = tuple(o for o in said.values() if isinstance(o, Offer))
                self._looked_at = time.monotonic()
            except OSError:  # the boots that wait notice, too, and say so
                self._offers = ()
            finally:
                self._looking.release()
        return self._offers

    def _most_cores(self, host: BootHost) -> int:
        return max((o.cores for o in self._offers if _fits(o, host)), default=1)

    def _check_room(self, resources: Mapping[str, float], host: BootHost) -> None:
        fit = [o for o in self._look() if _fits(o, host)]
        if fit and not any(_has_room(o, resources) for o in fit):
            raise InfraError(
                f"no worker has {resources['mem_mib']:.0f} MiB for a guest",
                hint="start a worker with a larger --memory",
            )

    def _no_worker(self, host: BootHost) -> str:
        text = f"{self.request.url} has no worker for {kind(host)}"
        others = sorted({_why_not(offer, host) for offer in self._offers})
        return f"{text}; there are: {'; '.join(others)}" if others else text

    def cancel(self) -> None:
        """Give up everything that was asked for; workers end such guests at once."""
        with self._lock:
            self._closed = True
            futures = list(self._futures)
        if futures:
            self.client.cancel(futures)

    def close(self) -> None:
        """End the connection and remove what nobody took from the store."""
        self.cancel()
        with suppress(TimeoutError):  # what hangs in it ends with this process
            self.client.close(timeout=LOOK_S)
        self.store.forget(self.request.run)


class _Client(Client):  # type: ignore[misc]  # distributed is not typed
    """A client that is closed by `close` alone.

    One that Ctrl-C found amid its connecting cannot be closed any more, and a client of distributed
    tries just that for twice CONNECT_S when it is collected.
    """

    def __del__(self) -> None:
        return


def _knock(url: str) -> None:
    """Connect once: the client of distributed tries a closed port again until its time is out."""
    host, _, port = url.partition("://")[2].rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S).close()


class _Call:
    """What begins when it is unpickled: a scheduler need not know kvet to pass it on."""

    def __init__(self, name: str, function: Callable[[Any], Any], task: object) -> None:
        self.name, self.function, self.task = name, function, task

    def __reduce__(self) -> tuple[Callable[[Any], Any], tuple[object]]:
        return self.function, (self.task,)


def _builder(toolchain: Toolchain) -> str:
    return builder_kind(toolchain, kvet_version())


def _fits(offer: Offer, host: BootHost) -> bool:
    return kind(host) in map(kind, offer.hosts)


def _has_room(offer: Offer, resources: Mapping[str, float]) -> bool:
    return all(offer.resources.get(name, 0) >= amount for name, amount in resources.items())


def _why_not(offer: Offer, host: BootHost) -> str:
    """In what a worker differs from this host."""
    have = [kind(other) for other in offer.hosts]
    return f"{' and '.join(have)}, not {kind(host)}"


def _start(url: str) -> str:
    return f"on each host, from this same checkout: harness.py worker --scheduler {url} --boot 2"
