# SPDX-License-Identifier: GPL-2.0-only
"""Records which functions of the kernel workloads run: configs/workloads/reach.txt.

    python bench/reach.py RUN/CELL...        stock cells of earlier runs, or DIR/RUN/CELL

Each cell is booted once more; from the start of its workload QEMU logs what it translates, with
blocks unchained, so that what ran before as well is translated again. What others ran stays.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from kvet.build.symbolize import addr2line
from kvet.build.worktree import SOURCE
from kvet.cache import cache_root
from kvet.errors import InfraError
from kvet.events import Events
from kvet.guest import qmp
from kvet.guest.qemu import run_boot
from kvet.paths import PROJECT, RESULTS
from kvet.plan.library import Library
from kvet.plan.reach import FILE, Reach, read_reach, write_reach
from kvet.run.attempt import boot_request
from kvet.run.reproduce import open_recorded
from kvet.run.requests import ReproduceRequest
from kvet.source.fetch import cached_source

ADDRESS = re.compile(rb"^0x(ffff8000[0-9a-f]+):", re.MULTILINE)
AT_ONCE = 20_000


def ran(target: str) -> tuple[str, str, set[tuple[str, str]]]:
    """Workload, version of the kernel, and file and function of what ran in it."""
    path = Path(target)
    results = path.parents[1] if path.is_dir() else RESULTS
    request = ReproduceRequest("/".join(path.parts[-2:]), results)
    ready = open_recorded(request, Library(), Events()).request
    with tempfile.TemporaryDirectory(prefix="kvet-reach-") as scratch:
        folder = Path(scratch)

        def listen(stage: str, _: float) -> None:
            if stage == "start":
                qmp.monitor(folder, "logfile reach.log")
                qmp.monitor(folder, "log in_asm,nochain")

        boot = run_boot(replace(boot_request(replace(ready, folder=folder)), trace=()),
                        on_stage=listen)  # fmt: skip
        log = folder / "reach.log"
        if not log.exists():
            raise InfraError(f"{target}: nothing was logged ({boot.ending}: {boot.detail})")
        addresses = sorted({int(a, 16) for a in ADDRESS.findall(log.read_bytes())})
    tree = cached_source(ready.cell.kernel, cache_root())
    found = set(_places(ready.build.vmlinux, addresses))
    return _name(ready.cell.workload), tree.version if tree else "", found


def _name(workload: object) -> str:
    """A workload as it is given to `run --workload`."""
    load = getattr(workload, "load", None)
    name = str(getattr(workload, "name", ""))
    for place in ("races", "examples/workloads"):
        if load is not None and (PROJECT / place / name / "workload.yaml").exists():
            return f"./{place}/{name}/"
    return name


def _places(vmlinux: Path, addresses: list[int]) -> Iterator[tuple[str, str]]:
    for start in range(0, len(addresses), AT_ONCE):
        for places in addr2line(vmlinux, addresses[start : start + AT_ONCE]):
            for function, place in places:
                file = place.rpartition(":")[0].removeprefix(f"{SOURCE}/")
                if file.endswith(".c"):
                    yield file, function


def main() -> None:
    """Boot each cell and add what it ran to the record."""
    for target in sys.argv[1:]:
        name, kernel, found = ran(target)
        known = read_reach(FILE)
        names = known.workloads if name in known.workloads else (*known.workloads, name)
        bit = 1 << names.index(name)
        functions = {key: bits & ~bit for key, bits in known.functions.items()}
        for key in found:
            functions[key] = functions.get(key, 0) | bit
        functions = {key: bits for key, bits in functions.items() if bits}
        write_reach(FILE, Reach(kernel, names, functions))
        print(f"{name}: {len(found)} functions")


if __name__ == "__main__":
    main()
