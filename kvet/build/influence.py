# SPDX-License-Identifier: GPL-2.0-only
"""Whether a series can have the build run something of its own, by what it changes.

A build runs make, scripts and programs that it compiles for the host. A series that changes
none of these, and nothing that they are made of, is compiled for arm64 and no more: compilers
read it, and nobody runs it before the guest does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from posixpath import normpath

from kvet.build.worktree import DEPENDENCY, Lane

# what cross compiler, assembler and linker read, and prose; Kconfig, Makefiles, scripts, tables
# and everything without a suffix may be run or decide what is run
READ = frozenset((".c", ".h", ".S", ".rst", ".txt"))
PROSE = ("MAINTAINERS", "CREDITS")
# sources of programs for the host, also of those that this config does not build
HOST_FOLDERS = ("scripts", "tools", "usr", "certs")
# the first line of what kbuild keeps of a target: savedcmd_NAME := COMMAND (6.1: cmd_NAME)
COMMAND = re.compile(rb"(?:saved)?cmd_\S+ := (\S+)")
INCLUDES = re.compile(rb"-I ?/kvet/src/(\S+)")
HOST_COMPILERS = frozenset((b"gcc", b"g++", b"cc", b"clang", b"clang++"))


@dataclass(frozen=True, slots=True)
class HostPrograms:
    """What programs for the host were made of, and folders in which they look for headers."""

    files: frozenset[str]
    folders: frozenset[str]

    def read(self, path: PurePosixPath) -> bool:
        """Whether one of them reads `path`, or would if it were there."""
        # a header that lies beside a source is found before that of any folder
        beside = {str(PurePosixPath(file).parent) for file in self.files if file.endswith(".c")}
        if path.suffix == ".h" and str(path.parent) in beside:
            return True
        return str(path) in self.files or any(str(p) in self.folders for p in path.parents)


def runs_something(paths: Iterable[str], lane: Lane) -> str:
    """The first of `paths` by which a series could have a build run code; '' for none.

    `lane` has been built: what its programs for the host are made of is read off it. One that
    has not says nothing, and every path is suspected.
    """
    host = host_programs(lane.out)
    for path in sorted(paths):
        name = PurePosixPath(path)
        known = path in PROSE or (name.suffix in READ and name.parts[0] not in HOST_FOLDERS)
        if not known or not host.files or host.read(name):
            return path
    return ""


def host_programs(out: Path) -> HostPrograms:
    """The programs for the host that lie in an O= tree, by what kbuild keeps of each."""
    files: set[str] = set()
    folders: set[str] = set()
    for cmd in out.rglob(".*.cmd"):
        text = cmd.read_bytes()
        command = COMMAND.match(text)
        # the cross compiler goes through ccache
        if command and command[1].rpartition(b"/")[2] in HOST_COMPILERS:
            files.update(normpath(match[1].decode()) for match in DEPENDENCY.finditer(text))
            folders.update(normpath(match[1].decode()) for match in INCLUDES.finditer(text))
    return HostPrograms(frozenset(files), frozenset(folders))
