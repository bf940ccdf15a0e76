# SPDX-License-Identifier: GPL-2.0-only
"""Cross-builds one variant in a lane and keeps the artifacts under its key."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from kvet import lease
from kvet.build.artifacts import digests, is_whole
from kvet.build.depend import may_depend
from kvet.build.influence import runs_something
from kvet.build.lanes import choose_lane
from kvet.build.make import Make, module_folder
from kvet.build.patch_lines import patch_lines
from kvet.build.release import put_key
from kvet.build.request import RECIPE, BuildRequest, module_digest
from kvet.build.sandbox import require_sandbox
from kvet.build.selftests import build_selftests, built_selftests
from kvet.build.spare import spare, unchanged
from kvet.build.worktree import Lane, borrow_lane, open_lanes
from kvet.cache import beside, locked, need_free
from kvet.errors import InfraError, KvetError
from kvet.model import Build, Finding, SourceTree
from kvet.source.fetch import mend_source
from kvet.source.git import Repo
from kvet.store import read_json, write_json, write_text


@dataclass(frozen=True, slots=True)
class BuildFailure:
    """The variant does not compile: blames the kernel; `log` is kept."""

    finding: Finding
    log: Path
    seconds: float


@dataclass(frozen=True, slots=True)
class Compiled:
    """What compiling a kernel came to."""

    warnings: tuple[str, ...]
    seconds: float
    spared: int


class Builder:
    """Builds kernels below one cache directory, one at a time for each lane group.

    `on_object(done, total)` is called as objects are compiled; total may be 0. Without `sparing`
    an edit of a header compiles all that includes it.
    """

    def __init__(
        self,
        root: Path,
        *,
        jobs: int = 0,
        on_object: Callable[[int, int], None] | None = None,
        sparing: bool = True,
    ) -> None:
        self.root = root
        self.sparing = sparing
        # one more than processors: a compiler also waits for files
        self.jobs = jobs or (os.cpu_count() or 1) + 1
        self.on_object = on_object or (lambda done, total: None)
        self._whole: set[str] = set()

    def find(self, key: str) -> Build | None:
        """The finished build of `key`, if it is in the cache and as it was put there."""
        folder = self.root / "builds" / key
        meta = folder / "build.json"
        with lease.using(self.root):
            if not meta.exists():
                return None
            lease.renew(folder)
        try:
            record = read_json(meta)
            if key in self._whole or is_whole(folder, record["files"]):
                self._whole.add(key)
                return Build(
                    key=key,
                    folder=folder,
                    release=record["release"],
                    seconds=record["seconds"],
                    cached=True,
                    warnings=tuple(record["warnings"]),
                    spared=record.get("spared", 0),
                )
        except (KvetError, KeyError, TypeError, AttributeError):
            pass  # damaged, or of a version of kvet that kept other things
        # out of the way at once: another run may look for it as well
        damaged = beside(folder, f".damaged-{os.getpid()}")
        with suppress(FileNotFoundError):  # that other run may have been first
            folder.rename(damaged)
        shutil.rmtree(damaged, ignore_errors=True)
        return None

    def build(self, request: BuildRequest) -> Build | BuildFailure:
        """The build of `request`, from the cache or made now."""
        found = self.find(request.key)
        if found is not None:
            return found
        require_sandbox()
        need_free(self.root, 3000)
        group = self.lanes(request)
        with lease.using(self.root):
            lease.renew(group)
        with locked(beside(group, ".lock")):
            return self.find(request.key) or self._build(request, group)

    def take_in(self, key: str, fill: Callable[[Path], None]) -> Build:
        """A build that was made elsewhere: `fill` puts its files into a directory.

        Raises InfraError when they are not what the build of `key` was.
        """
        folder = self.root / "builds" / key
        partial = beside(folder, f".{os.getpid()}-{threading.get_ident()}.partial")
        try:
            partial.mkdir(parents=True)
            fill(partial)
            with suppress(OSError):  # another run had it made, too
                partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        found = self.find(key)
        if found is None:
            raise InfraError(f"the build {key} came damaged")
        return replace(found, cached=False)

    def repo(self, source: SourceTree) -> Repo:
        """The object store that series on `source` are applied in."""
        objects = self.root / "objects" / source.tree_id[:16]
        with lease.using(self.root):
            lease.renew(objects)
            lease.renew(source.path)
        return Repo(source.path, objects)

    def lanes(self, request: BuildRequest) -> Path:
        """The directory of the lanes that can build `request`."""
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
        _keep_in_step(group, request.source.path)
        tree = request.series.tree_id
        request = _trusted(request, group)
        lane = choose_lane(group, repo, request.source, tree, fork=not request.foreign)
        if request.foreign:
            # what foreign code leaves behind goes with the copy
            lane = borrow_lane(lane, group / f"foreign-{os.getpid()}", repo, tree)
        try:
            same = unchanged(lane, repo, tree) if self.sparing else frozenset()
            lane.sync(repo, tree)
            lane.built = ""
            spare(same)
            run = Make(request, lane, self.root, self.jobs, self.on_object)
            run.depend = may_depend(repo, request.series)
            run.configure()
            failure = run.compile()
            if failure is not None:
                seconds = round(time.monotonic() - started, 2)
                return BuildFailure(failure, self._keep_log(request, lane), seconds)
            lane.built = tree
            build_selftests(run)
            with ThreadPoolExecutor(1) as other:
                # one processor each: the guest's modules, and what is read off the kernel
                modules = other.submit(run.build_modules)
                partial = self._collect_kernel(request, lane)
                patch_lines(partial, repo, request.series)
                modules.result()
            seconds = round(time.monotonic() - started, 2)
            done = Compiled(run.warnings(), seconds, len(same))
            return self._finish(request, lane, partial, done)
        finally:
            if request.foreign:
                shutil.rmtree(lane.folder, ignore_errors=True)

    def _keep_log(self, request: BuildRequest, lane: Lane) -> Path:
        log = self.root / "builds" / f"{request.key}.failed.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(lane.folder / "build.log", log)
        return log

    def _collect_kernel(self, request: BuildRequest, lane: Lane) -> Path:
        """Copy kernel and changed sources out of the lane; the directory, not yet in place."""
        partial = beside(self.root / "builds" / request.key, ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        (partial / "modules").mkdir(parents=True)
        out = lane.out
        for name in ("arch/arm64/boot/Image", "vmlinux", "System.map", ".config"):
            shutil.copyfile(lane.own(out / name), partial / Path(name).name)
        for path, status in request.series.changed.items():
            if status != "D":
                (partial / "patched" / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(lane.own(lane.source(path)), partial / "patched" / path)
        return partial

    def _finish(
        self,
        request: BuildRequest,
        lane: Lane,
        partial: Path,
        done: Compiled,
    ) -> Build:
        """Add modules, log and record to a collected kernel and rename it into place."""
        folder = self.root / "builds" / request.key
        out = lane.out
        for module in (*modules_of(out), *module_folder(lane).glob("*/*.ko")):
            shutil.copyfile(lane.own(module), partial / "modules" / module.name)
        for program in built_selftests(lane, request.config):
            (partial / "selftests").mkdir(exist_ok=True)
            shutil.copy(lane.own(program), partial / "selftests" / program.name)
        shutil.copyfile(lane.folder / "build.log", partial / "build.log")
        made_as = lane.own(out / "include/config/kernel.release").read_text("utf-8").strip()
        release = put_key(made_as, request.key, partial)
        write_json(
            partial / "build.json",
            {
                "key": request.key,
                "release": release,
                "seconds": done.seconds,
                "warnings": done.warnings,
                "spared": done.spared,
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
                "files": digests(partial),
            },
        )
        partial.rename(folder)
        return Build(request.key, folder, release, done.seconds, False, done.warnings, done.spared)


def _trusted(request: BuildRequest, group: Path) -> BuildRequest:
    """A foreign series that no build runs anything of is as good as one of the user's own."""
    lanes = open_lanes(group) if request.foreign else ()
    if not lanes or runs_something(request.series.changed, lanes[0]):
        return request
    return replace(request, foreign=False)


def modules_of(out: Path) -> list[Path]:
    """The kernel's own modules that the last make built in an O= tree."""
    order = out / "modules.order"
    if not order.exists():
        return sorted(out.glob("lib/*.ko"))
    names = (Path(line).with_suffix(".ko") for line in order.read_text("utf-8").splitlines())
    return [path for name in names if (path := out / name).exists()]


def _keep_in_step(group: Path, source: Path) -> None:
    """Mend the pristine source; lanes whose files were damaged with it are given up."""
    state, mended = group / "source-mended", mend_source(source)
    if group.exists() and (state.read_text() if state.exists() else "") != mended:
        shutil.rmtree(group)
    if mended:
        group.mkdir(parents=True, exist_ok=True)
        write_text(state, mended)


def how(built: Build | BuildFailure) -> str:
    """What a build step came to, in a word."""
    if isinstance(built, BuildFailure):
        return "failed"
    if built.cached:
        return "cached"
    return f"built ({built.spared} objects spared)" if built.spared else "built"
