# SPDX-License-Identifier: GPL-2.0-only
"""What goes between the host that asks for boots and the workers, through a scheduler.

Plain data and small: files go through the store (`kvet/artifact_store.py`).
"""

from __future__ import annotations

import logging
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import urlopen

from kvet.boot_host import BootHost
from kvet.build.builder import BuildFailure
from kvet.build.request import BuildRequest
from kvet.build.toolchain import Toolchain
from kvet.errors import InfraError
from kvet.guest.boot import Boot, BootRequest
from kvet.model import Config, Machine

# what QEMU needs beside the guest's memory
QEMU_MIB = 256


@dataclass(frozen=True, slots=True)
class BootTask:
    """One boot for a worker: image and layers by digest in the store at `store`.

    The paths of `request` are those of the host that asks. `qemu` is the version to boot with;
    what the boot leaves is packed and sent under the name `pack`.
    """

    request: BootRequest
    image: str
    initrd: tuple[str, ...]
    store: str
    pack: str
    qemu: str


@dataclass(frozen=True, slots=True)
class BootDone:
    """What came of a task: the boot and the digest of its pack, or why there was none."""

    boot: Boot | None = None
    digest: str = ""
    fault: str = ""


@dataclass(frozen=True, slots=True)
class BuildTask:
    """One build for a worker. The paths of `request` are those of the host that asks.

    By digest in the store at `store`: `source`, the pack of its base tree, `series`, that of what
    the series adds ('' for nothing), and `files`, those of `files_of(request.config)`.
    """

    request: BuildRequest
    source: str
    series: str
    files: tuple[str, ...]
    store: str


@dataclass(frozen=True, slots=True)
class BuildDone:
    """What came of it: digest and mode of each file by its path in the directory of the build,
    or how it failed, with the digest of its log, or why there was none."""

    files: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    failure: BuildFailure | None = None
    log: str = ""
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Offer:
    """What a worker says of itself: its host, once for each accelerator it has, and its room.

    `builders` are what `builder_kind` says of its compilers, where it builds.
    """

    hosts: tuple[BootHost, ...]
    boot: int
    build: int
    cores: int
    mem_mib: int
    builders: tuple[str, ...] = ()

    @property
    def resources(self) -> dict[str, float]:
        """The same in the scheduler's form: amounts by name."""
        amounts = {
            "boot": self.boot,
            "build": self.build,
            "cores": self.cores,
            "mem_mib": self.mem_mib,
        }
        kinds = {kind(host): self.boot for host in self.hosts}
        return {**amounts, **kinds, **dict.fromkeys(self.builders, self.build)}


def kind(host: BootHost) -> str:
    """What must be the same on all hosts of a run: boots of two kinds are not compared."""
    return f"{host.arch} {host.accel}, QEMU {host.qemu}, kvet {host.kvet}"


def needs(machine: Machine, host: BootHost, most_cores: int) -> Mapping[str, float]:
    """What one boot of `machine` takes of a worker of the kind of `host`.

    A guest with more vCPUs than any worker has cores (`most_cores`) has a worker to itself.
    """
    memory = max(machine.mem_mib, machine.maxmem_mib) + QEMU_MIB
    cores = max(1, min(machine.cores, most_cores))
    return {"boot": 1, "cores": cores, "mem_mib": memory, kind(host): 1}


def builder_kind(toolchain: Toolchain, kvet: str) -> str:
    """What must be the same of who builds: then a build has the same key, here and there."""
    return f"{toolchain.version} ({toolchain.id}), kvet {kvet}"


def build_needs(builder: str, cores: int) -> Mapping[str, float]:
    """What one build takes of a worker: all its cores, for boots that race share none."""
    return {"build": 1, "cores": cores, builder: 1}


def files_of(config: Config) -> tuple[Path, ...]:
    """The files that a config is made of."""
    return (*config.fragments, *config.races)


def quieten() -> None:
    """Keep what distributed logs of its troubles to `--verbose`: they are told in our words."""
    if logging.getLogger().isEnabledFor(logging.DEBUG):
        return
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] == "distributed":  # several have a level of their own
            logging.getLogger(name).setLevel(logging.CRITICAL)


def dashboard(url: str, services: Mapping[str, int]) -> str:
    """The page that shows what the scheduler at `url` does; empty where it has none."""
    host = url.partition("://")[2].rpartition(":")[0]
    link = f"http://{host}:{services.get('dashboard', 0)}/status"
    try:
        with urlopen(link, timeout=5):
            return link
    except (OSError, ValueError):
        return ""


def pack(folder: Path, archive: Path) -> None:
    """Pack the files of an attempt's directory; sockets stay."""
    with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
        for path in sorted(folder.iterdir()):
            if path.is_file():
                tar.add(path, arcname=path.name)


def unpack(archive: Path, folder: Path) -> None:
    """Unpack into `folder`, whatever names the archive has for its files."""
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                source = tar.extractfile(member) if member.isreg() else None
                if source is not None:
                    (folder / Path(member.name).name).write_bytes(source.read())
    except (tarfile.TarError, EOFError) as error:
        raise InfraError(f"what a worker sent cannot be unpacked: {error}") from error
