# SPDX-License-Identifier: GPL-2.0-only
"""The make runs of one build, inside the sandbox: configure, compile, and what make said."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from kvet import proc
from kvet.build.diagnostics import blamed, errors
from kvet.build.guard import Allowance, Guard
from kvet.build.kconfig import check_final, read_config
from kvet.build.release import COMMON
from kvet.build.request import MODULES, BuildRequest
from kvet.build.sandbox import OUTSIDE, Mount, confine
from kvet.build.worktree import Lane
from kvet.errors import InfraError, UserError
from kvet.loads import Option
from kvet.model import Finding

CCACHE = Path(__file__).with_name("ccache.sh")
RACE = "kvet_given"  # the module of a race that a workload brings
WARNING = re.compile(r"^(?P<file>[^\s:]+):\d+:(?:\d+:)? warning: (?P<text>.*)$")
COMPILED = re.compile(r"^\s+(?:CC|AS|LD|AR|HOSTCC)\s+(?:\[M\]\s+)?(?P<target>\S+)$")
OBJECTS_WORTH_INDEXING = 50


class Make:
    """The make runs of one build in one lane, inside the sandbox.

    Where it may `depend` on the compiler's own list of files, ccache does (kvet/build/depend.py).
    """

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
        self.depend = False
        self.objects = int(lane.dependents().get("*", 0))
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
        roots = self.lane.kconfig_roots()
        try:
            check_final(read_config(final.read_text(encoding="utf-8")), options, roots)
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
        """Build Image and modules; a Finding when the kernel does not compile."""
        log = self.lane.folder / "build.log"
        log.unlink(missing_ok=True)
        done = self._make("Image", "modules", log=log)
        self._remember_warnings()
        if len(self.compiled) >= OBJECTS_WORTH_INDEXING and not self.request.foreign:
            self.lane.index_dependents()
        return self._blame(log) if done.returncode else None

    def build_modules(self) -> None:
        """Build the guest modules; that one does not compile is the harness's own fault."""
        log = self.lane.folder / "build.log"
        folder = module_folder(self.lane)
        shutil.rmtree(folder, ignore_errors=True)
        for source in MODULES:
            shutil.copytree(source, folder / source.name)
        given = [_copy_race(race, folder) for race in self.request.config.races]
        # one make for all of them: starting one takes as long as compiling a module
        names = " ".join(f"{name}/" for name in (*(s.name for s in MODULES), *given))
        (folder / "Kbuild").write_text(f"obj-m := {names}\n", encoding="ascii")
        done = self._make("M=/kvet/rootfs", "modules", log=log)
        if done.returncode:
            said = (error.title for error in errors(self.tail))
            first = next(said, self.tail[-1] if self.tail else "")
            for race in self.request.config.races:
                if any(f"{RACE}/{race.name}:" in line for line in self.tail):
                    raise UserError(f"does not build against this kernel: {first}", path=race)
            raise InfraError(f"rootfs/ does not build against this kernel: {first}")

    def _make(self, *targets: str, log: Path | None = None) -> proc.Completed:
        return self.run(*self.of_kernel(*targets), log=log)

    def of_kernel(self, *targets: str) -> tuple[str, ...]:
        """The command line that makes targets of the kernel's own Makefile."""
        return (
            "make",
            "-C",
            "/kvet/src",
            "O=/kvet/out",
            "ARCH=arm64",
            *self.request.toolchain.make_args,
            f"LOCALVERSION={COMMON}",
            f"-j{self.jobs}",
            *targets,
        )

    def run(self, *argv: str, log: Path | None = None) -> proc.Completed:
        """Run one command on the lane's source, in the sandbox."""
        modules, selftests = module_folder(self.lane), self.lane.folder / "selftests"
        for folder in (modules, selftests):
            folder.mkdir(exist_ok=True)
        self.ccache.mkdir(parents=True, exist_ok=True)
        mounts = (
            *self.lane.mounts(),
            Mount(modules, "/kvet/rootfs", writable=True),
            Mount(selftests, "/kvet/selftests", writable=True),
            Mount(CCACHE, "/kvet/bin/ccache"),
            # a foreign series must not plant objects that later builds would trust
            Mount(self.ccache, "/kvet/ccache", writable=not self.request.foreign),
        )
        confined = confine(argv, mounts=mounts, chdir="/kvet/out", env=self._env())
        guard = Guard(Allowance(self.lane.folder))
        try:
            return proc.run(
                confined,
                env=OUTSIDE,
                timeout_s=7200,
                log=log,
                on_line=self._on_line,
                on_start=guard.watch,
            )
        finally:
            guard.stop()
            if guard.reason:
                raise InfraError(f"the build was ended: {guard.reason}")

    def _env(self) -> Mapping[str, str]:
        """Environment of make: nothing of the user's, and nothing that changes with time."""
        env = {
            "PATH": "/kvet/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "HOME": "/tmp",
            "LC_ALL": "C.UTF-8",
            "CCACHE_DIR": "/kvet/ccache",
            "CCACHE_MAXSIZE": "5G",
            "KBUILD_BUILD_TIMESTAMP": "2025-01-01",
            "KBUILD_BUILD_USER": "kvet",
            "KBUILD_BUILD_HOST": "kvet",
            "KBUILD_BUILD_VERSION": "1",
        }
        # a cache that may only be read needs another place for what the compiler pipes
        foreign = {"CCACHE_READONLY": "1", "CCACHE_TEMPDIR": "/tmp"}
        env |= {"KVET_DEPEND": "1"} if self.depend else {}
        return env | (foreign if self.request.foreign else {})

    def _on_line(self, line: str) -> None:
        line = line.replace("/kvet/src/", "")
        self.tail = [*self.tail[-400:], line]
        if found := COMPILED.match(line):
            self.compiled.add(found["target"])
            self.on_object(len(self.compiled), self.objects)
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
        if not done.returncode:
            return
        # kbuild frames what the user must know, like a compiler that is too old, in stars
        framed = [x.strip("* ").rstrip(".") for x in self.tail if x.startswith("***")]
        if text := ", ".join(" ".join(x.split()) for x in framed if x):
            version = self.request.toolchain.version
            hint = f"{version} is used; --toolchain {{gcc,clang}}-N takes version N"
            raise InfraError(f"this tree cannot be configured: {text}", hint=hint)
        raise InfraError("make failed while configuring:\n" + "\n".join(self.tail[-15:]))

    def _blame(self, log: Path) -> Finding:
        """What the compiler said; trouble of the host is an InfraError instead."""
        text = log.read_text(encoding="utf-8", errors="replace")
        finding = blamed(text.replace("/kvet/src/", "").splitlines())
        if finding is None:
            raise InfraError("make failed without a compiler error:\n" + "\n".join(self.tail[-15:]))
        return finding


def _copy_race(race: Path, folder: Path) -> str:
    """Make a module of a race's C file, next to the engine; the directory's name."""
    home = folder / RACE
    home.mkdir()
    shutil.copyfile(race, home / race.name)
    rule = f"obj-m := {RACE}.o\n{RACE}-y := {race.stem}.o\nccflags-y += -I$(src)/../engine\n"
    (home / "Kbuild").write_text(rule, encoding="ascii")
    return RACE


def module_folder(lane: Lane) -> Path:
    """Where the guest modules are built: a copy of each directory of `MODULES`."""
    return lane.folder / "modules"
