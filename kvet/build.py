# SPDX-License-Identifier: GPL-2.0-only
"""Cross-builds one variant in a lane and keeps the artifacts under its key."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from kvet.buildkey import RECIPE, BuildRequest, module_digest
from kvet.cache import beside, locked, need_free
from kvet.coverage import patch_lines
from kvet.git import Repo
from kvet.lane import Lane, borrow_lane, choose_lane
from kvet.make import Make, module_folder
from kvet.model import Build, Finding, SourceTree
from kvet.sandbox import require_sandbox
from kvet.store import read_json, write_json


@dataclass(frozen=True, slots=True)
class BuildFailure:
    """The variant does not compile: blames the kernel; `log` is kept."""

    finding: Finding
    log: Path
    seconds: float


class Builder:
    """Builds kernels below one cache folder, one at a time for each lane group.

    `on_object(done, total)` is called as objects are compiled; total may be 0.
    """

    def __init__(
        self, root: Path, *, jobs: int = 0, on_object: Callable[[int, int], None] | None = None
    ) -> None:
        self.root = root
        self.jobs = jobs or os.cpu_count() or 1
        self.on_object = on_object or (lambda done, total: None)

    def find(self, key: str) -> Build | None:
        """The finished build of `key`, if it is in the cache."""
        folder = self.root / "builds" / key
        meta = folder / "build.json"
        if not meta.exists():
            return None
        record = read_json(meta)
        os.utime(folder)
        return Build(
            key=key,
            folder=folder,
            release=record["release"],
            seconds=record["seconds"],
            cached=True,
            warnings=tuple(record["warnings"]),
        )

    def build(self, request: BuildRequest) -> Build | BuildFailure:
        """The build of `request`, from the cache or made now."""
        found = self.find(request.key)
        if found is not None:
            return found
        require_sandbox()
        need_free(self.root, 3000)
        group = self.lanes(request)
        with locked(beside(group, ".lock")):
            return self.find(request.key) or self._build(request, group)

    def repo(self, source: SourceTree) -> Repo:
        """The object store that series on `source` are applied in."""
        return Repo(source.path, self.root / "objects" / source.tree_id[:16])

    def lanes(self, request: BuildRequest) -> Path:
        """The folder of the lanes that can build `request`."""
        options = hashlib.sha256("\n".join(sorted(map(str, request.options()))).encode())
        name = "-".join(
            (
                request.source.version,
                request.source.tree_id[:8],
                request.config.name,
                options.hexdigest()[:8],
                request.toolchain.name,
                request.toolchain.id,
            )
        )
        return self.root / "lanes" / name

    def _build(self, request: BuildRequest, group: Path) -> Build | BuildFailure:
        started = time.monotonic()
        repo = self.repo(request.source)
        tree = request.series.tree_id
        base = request.source.tree_id
        lane = choose_lane(group, repo, request.source.path, base, tree, fork=not request.foreign)
        if request.foreign:
            # what foreign code leaves behind goes with the copy
            lane = borrow_lane(lane, group / f"foreign-{os.getpid()}", repo, tree)
        try:
            lane.sync(repo, tree)
            run = Make(request, lane, self.root, self.jobs, self.on_object)
            run.configure()
            failure = run.compile()
            if failure is not None:
                seconds = round(time.monotonic() - started, 2)
                return BuildFailure(failure, self._keep_log(request, lane), seconds)
            with ThreadPoolExecutor(1) as other:
                # one processor each: the guest's modules, and what is read off the kernel
                modules = other.submit(run.build_modules)
                partial = self._collect_kernel(request, lane)
                patch_lines(partial, repo, request.series)
                modules.result()
            seconds = round(time.monotonic() - started, 2)
            return self._finish(request, lane, partial, run.warnings(), seconds)
        finally:
            if request.foreign:
                shutil.rmtree(lane.folder, ignore_errors=True)

    def _keep_log(self, request: BuildRequest, lane: Lane) -> Path:
        log = self.root / "builds" / f"{request.key}.failed.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(lane.folder / "build.log", log)
        return log

    def _collect_kernel(self, request: BuildRequest, lane: Lane) -> Path:
        """Copy the kernel and the changed sources out of the lane; the folder, not yet in place."""
        partial = beside(self.root / "builds" / request.key, ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        (partial / "modules").mkdir(parents=True)
        out = lane.out
        for name in ("arch/arm64/boot/Image", "vmlinux", "System.map", ".config"):
            shutil.copyfile(out / name, partial / Path(name).name)
        for path, status in request.series.changed.items():
            if status != "D":
                (partial / "patched" / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(lane.source(path), partial / "patched" / path)
        return partial

    def _finish(
        self,
        request: BuildRequest,
        lane: Lane,
        partial: Path,
        warnings: Sequence[str],
        seconds: float,
    ) -> Build:
        """Add modules, log and record to a collected kernel and rename it into place."""
        folder = self.root / "builds" / request.key
        out = lane.out
        for module in (*out.glob("lib/*.ko"), *module_folder(lane).glob("*/*.ko")):
            shutil.copyfile(module, partial / "modules" / module.name)
        shutil.copyfile(lane.folder / "build.log", partial / "build.log")
        release = (out / "include/config/kernel.release").read_text(encoding="utf-8").strip()
        write_json(
            partial / "build.json",
            {
                "key": request.key,
                "release": release,
                "seconds": seconds,
                "warnings": warnings,
                "base_tree": request.series.base_tree,
                "tree": request.series.tree_id,
                "series": request.series.series_id,
                "kernel": request.source.version,
                "base_commit": request.source.base_commit,
                "config": request.config.name,
                "toolchain": request.toolchain.version,
                "linker": request.toolchain.linker,
                "module": module_digest(),
                "recipe": RECIPE,
            },
        )
        partial.rename(folder)
        return Build(request.key, folder, release, seconds, False, tuple(warnings))
