# SPDX-License-Identifier: GPL-2.0-only
"""Cross-builds one variant in a lane and keeps the artifacts under a key.

The key is a digest of the patched tree's git id (base and series in one), the
requested options, the toolchain, the workload module and this recipe. What has
a key is never built twice.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kvet import proc
from kvet.cache import beside, locked, need_free
from kvet.errors import InfraError, UserError
from kvet.git import Repo
from kvet.kconfig import Option, check_final, merge, read_config
from kvet.lane import Lane, choose_lane, fork_lane
from kvet.model import Build, Config, Finding, SourceTree
from kvet.sandbox import Mount, confine, require_sandbox
from kvet.series import AppliedSeries
from kvet.store import read_json, write_json
from kvet.toolchain import Toolchain

RECIPE = "1"  # raise it when a change here makes old artifacts wrong
ROOTFS = Path(__file__).resolve().parent.parent / "rootfs"
# folders of guest modules, built against every variant
MODULES = (ROOTFS / "module", ROOTFS / "cost", ROOTFS / "provoke")
ERROR = re.compile(r"^(?P<file>[^\s:]+):(?P<line>\d+):(?:\d+:)? (?:fatal )?error: (?P<text>.*)$")
# errors that stand at no source line: of the linker, of modpost, of a compiler's options
LINK_ERROR = re.compile(
    r"undefined reference to|multiple definition of|^ERROR: modpost|ld\.lld: error"
    r"|^(?:cc1\S*|\S*gcc|\S*clang[\d.-]*): (?:fatal )?error: "
)
WARNING = re.compile(r"^(?P<file>[^\s:]+):\d+:(?:\d+:)? warning: (?P<text>.*)$")
COMPILED = re.compile(r"^\s+(?:CC|AS|LD|AR|HOSTCC)\s+(?:\[M\]\s+)?(?P<target>\S+)$")
HOST_TROUBLE = re.compile(
    r"No space left on device|Killed signal terminated program|cannot execute"
)
OBJECTS_WORTH_INDEXING = 50


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """One kernel to build: a series on its source, a config, page size and toolchain."""

    source: SourceTree
    series: AppliedSeries
    config: Config
    page_kib: int
    toolchain: Toolchain
    foreign: bool = False

    def options(self) -> tuple[Option, ...]:
        """All requested options, the page size included."""
        page = Option(f"CONFIG_ARM64_{self.page_kib}K_PAGES", "y", self.config.fragments[0], 0)
        return (*merge(self.config.fragments), page)

    @property
    def key(self) -> str:
        """The build key, 16 hex digits."""
        parts = [RECIPE, self.series.tree_id, self.config.base, self.toolchain.id, module_digest()]
        parts += sorted(str(o) for o in self.options())
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class BuildFailure:
    """The variant does not compile: blames the kernel; `log` is kept."""

    finding: Finding
    log: Path
    seconds: float


def module_digest() -> str:
    """Digest of the guest modules' sources: they are built against each variant."""
    digest = hashlib.sha256()
    for folder in MODULES:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            if path.suffix in (".c", ".h", ".S") or path.name in ("Kbuild", "Makefile"):
                name = str(path.relative_to(folder.parent))
                digest.update(name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


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
        lane = choose_lane(group, repo, request.source.path, request.source.tree_id, tree)
        if request.foreign:
            lane = _throwaway(lane, group)
        try:
            lane.sync(repo, tree)
            run = _Make(request, lane, self.root, self.jobs, self.on_object)
            run.configure()
            failure = run.compile()
            seconds = round(time.monotonic() - started, 2)
            if failure is not None:
                return BuildFailure(failure, self._keep_log(request, lane), seconds)
            return self._collect(request, lane, run.warnings(), seconds)
        finally:
            if request.foreign:
                shutil.rmtree(lane.folder, ignore_errors=True)

    def _keep_log(self, request: BuildRequest, lane: Lane) -> Path:
        log = self.root / "builds" / f"{request.key}.failed.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(lane.folder / "build.log", log)
        return log

    def _collect(
        self, request: BuildRequest, lane: Lane, warnings: Sequence[str], seconds: float
    ) -> Build:
        """Copy the artifacts out of the lane and rename them into place."""
        folder = self.root / "builds" / request.key
        partial = beside(folder, ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        (partial / "modules").mkdir(parents=True)
        out = lane.out
        for name in ("arch/arm64/boot/Image", "vmlinux", "System.map", ".config"):
            shutil.copyfile(out / name, partial / Path(name).name)
        for module in (*out.glob("lib/*.ko"), *_module_folder(lane).glob("*/*.ko")):
            shutil.copyfile(module, partial / "modules" / module.name)
        for path, status in request.series.changed.items():
            if status != "D":
                (partial / "patched" / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(lane.src / path, partial / "patched" / path)
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


def _module_folder(lane: Lane) -> Path:
    """Where the guest modules are built: a copy of each folder of `MODULES`."""
    return lane.folder / "modules"


def _throwaway(lane: Lane, group: Path) -> Lane:
    """A copy of `lane` for code that is not ours: what it leaves behind goes with it."""
    return fork_lane(lane, group / f"foreign-{os.getpid()}")


class _Make:
    """The make runs of one build in one lane, inside the sandbox."""

    def __init__(
        self,
        request: BuildRequest,
        lane: Lane,
        root: Path,
        jobs: int,
        on_object: Callable[[int, int], None],
    ) -> None:
        self.request = request
        self.lane = lane
        self.jobs = jobs
        self.ccache = root / "ccache"
        self.on_object = on_object
        self.compiled: set[str] = set()
        self.seen: dict[str, set[str]] = {}
        self.tail: list[str] = []

    def configure(self) -> None:
        """Make `.config` from the fragments and check that nothing asked for got lost."""
        options = self.request.options()
        stamp = self._config_stamp(options)
        final = self.lane.out / ".config"
        if self.lane.state.get("config") != stamp or not final.exists():
            self._require(self._make(self.request.config.base))
            with final.open("a", encoding="utf-8") as file:
                file.writelines(f"{option}\n" for option in options)
            self._require(self._make("olddefconfig"))
            self.lane.state["config"] = stamp
            self.lane.save()
        try:
            check_final(read_config(final.read_text(encoding="utf-8")), options, self.lane.src)
        except UserError as error:
            if not self._kconfig():
                raise
            # not the user's fault: other variants of this config are built all the same
            files = ", ".join(self._kconfig())
            raise InfraError(f"the series changes {files}: {error.message}") from error

    def _kconfig(self) -> list[str]:
        """The series' own Kconfig changes."""
        return [p for p in self.request.series.changed if Path(p).name.startswith("Kconfig")]

    def _config_stamp(self, options: Sequence[Option]) -> str:
        """What `.config` is made of: the options and the series' own Kconfig changes."""
        tree = self.request.series.tree_id if self._kconfig() else ""
        return hashlib.sha256("\n".join([tree, *map(str, options)]).encode()).hexdigest()

    def compile(self) -> Finding | None:
        """Build Image and modules, then the guest modules; a Finding when it does not compile."""
        log = self.lane.folder / "build.log"
        log.unlink(missing_ok=True)
        done = self._make("Image", "modules", log=log)
        self._remember_warnings()
        if len(self.compiled) >= OBJECTS_WORTH_INDEXING:
            self.lane.index_dependents()
        if done.returncode:
            return self._blame(log)
        self._build_modules(log)
        return None

    def _build_modules(self, log: Path) -> None:
        """Build the guest modules; that one does not compile is the harness's own fault."""
        folder = _module_folder(self.lane)
        shutil.rmtree(folder, ignore_errors=True)
        for source in MODULES:
            shutil.copytree(source, folder / source.name)
        # one make for all of them: starting one takes as long as compiling a module
        names = " ".join(f"{source.name}/" for source in MODULES)
        (folder / "Kbuild").write_text(f"obj-m := {names}\n", encoding="ascii")
        done = self._make("M=/kvet/rootfs", "modules", log=log)
        if done.returncode:
            blamed = (x for x in self.tail if ERROR.match(x) or LINK_ERROR.search(x))
            first = next(blamed, self.tail[-1] if self.tail else "")
            raise InfraError(f"rootfs/ does not build against this kernel: {first}")

    def _make(self, *targets: str, log: Path | None = None) -> proc.Completed:
        argv = (
            "make",
            "-C",
            "/kvet/src",
            "O=/kvet/out",
            "ARCH=arm64",
            *self.request.toolchain.make_args,
            f"LOCALVERSION=-kvet-{self.request.key}",
            f"-j{self.jobs}",
            *targets,
        )
        modules = _module_folder(self.lane)
        modules.mkdir(exist_ok=True)
        self.ccache.mkdir(parents=True, exist_ok=True)
        mounts = (
            Mount(self.lane.src, "/kvet/src"),
            Mount(self.lane.out, "/kvet/out", writable=True),
            Mount(modules, "/kvet/rootfs", writable=True),
            # a foreign series must not plant objects that later builds would trust
            Mount(self.ccache, "/kvet/ccache", writable=not self.request.foreign),
        )
        confined = confine(argv, mounts=mounts, chdir="/kvet/out", env=self._env())
        return proc.run(confined, timeout_s=7200, log=log, on_line=self._on_line)

    def _env(self) -> Mapping[str, str]:
        """Environment of make: nothing of the user's, and nothing that changes with time."""
        env = {
            "PATH": "/usr/bin:/bin:/usr/sbin:/sbin",
            "HOME": "/tmp",
            "LC_ALL": "C.UTF-8",
            "CCACHE_DIR": "/kvet/ccache",
            "CCACHE_MAXSIZE": "5G",
            "KBUILD_BUILD_TIMESTAMP": "2025-01-01",
            "KBUILD_BUILD_USER": "kvet",
            "KBUILD_BUILD_HOST": "kvet",
        }
        # a cache that may only be read needs another place for what the compiler pipes
        foreign = {"CCACHE_READONLY": "1", "CCACHE_TEMPDIR": "/tmp"}
        return env | (foreign if self.request.foreign else {})

    def _on_line(self, line: str) -> None:
        line = line.replace("/kvet/src/", "")
        self.tail = [*self.tail[-400:], line]
        if found := COMPILED.match(line):
            self.compiled.add(found["target"])
            self.on_object(len(self.compiled), int(self.lane.dependents().get("*", 0)))
        elif found := WARNING.match(line):
            self.seen.setdefault(found["file"], set()).add(f"{found['file']}: {found['text']}")

    def _remember_warnings(self) -> None:
        """Update the lane's warnings: those of recompiled files are replaced."""
        known: dict[str, list[str]] = self.lane.state.setdefault("warnings", {})
        recompiled = {target.rsplit(".", 1)[0] for target in self.compiled}
        for file in [f for f in known if f.rsplit(".", 1)[0] in recompiled]:
            del known[file]
        known.update({file: sorted(texts) for file, texts in self.seen.items()})
        self.lane.save()

    def warnings(self) -> tuple[str, ...]:
        """All warnings that a full build of this tree gives, without line numbers."""
        known: dict[str, list[str]] = self.lane.state.get("warnings", {})
        return tuple(sorted(text for texts in known.values() for text in texts))

    def _require(self, done: proc.Completed) -> None:
        if done.returncode:
            raise InfraError("make failed while configuring:\n" + "\n".join(self.tail[-15:]))

    def _blame(self, log: Path) -> Finding:
        """The compiler's first error; trouble of the host is an InfraError instead."""
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        for number, raw in enumerate(lines, start=1):
            line = raw.replace("/kvet/src/", "")
            if HOST_TROUBLE.search(line):
                raise InfraError(f"the build failed for want of resources: {line}")
            if found := ERROR.match(line):
                title = f"{found['file']}:{found['line']}: {found['text']}"
                return _build_finding(title, number, lines)
            if LINK_ERROR.search(line):
                return _build_finding(line.strip(), number, lines)
        raise InfraError("make failed without a compiler error:\n" + "\n".join(self.tail[-15:]))


def _build_finding(title: str, line: int, lines: Sequence[str]) -> Finding:
    excerpt = tuple(x.replace("/kvet/src/", "") for x in lines[line - 1 : line + 6])
    return Finding(
        kind="build",
        title=f"build: {title}",
        first_line=line,
        last_line=line,
        family="build",
        origin="build",
        excerpt=excerpt,
    )
