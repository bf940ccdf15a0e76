# SPDX-License-Identifier: GPL-2.0-only
"""The cross compiler: gcc with the aarch64 prefix, or clang with LLVM=1; a version may be named."""

from __future__ import annotations

import hashlib
import re
import shutil
from dataclasses import dataclass
from functools import cache

from kvet import proc
from kvet.errors import MissingTool, UserError
from kvet.plan.schemas import TOOLCHAIN

CROSS_COMPILE = "aarch64-linux-gnu-"
INSTALL = "harness.py doctor --install"


@dataclass(frozen=True, slots=True)
class Toolchain:
    """A compiler as make wants it; `version` is its own first line, `id` a short digest of it."""

    name: str
    make_args: tuple[str, ...]
    version: str
    linker: str

    @property
    def id(self) -> str:
        """Digest of everything about the toolchain that may change an object."""
        text = "\n".join((self.name, *self.make_args, self.version, self.linker))
        return hashlib.sha256(text.encode()).hexdigest()[:12]


@cache
def find_toolchain(name: str) -> Toolchain:
    """The toolchain called `name` (TOOLCHAIN); MissingTool when it is not installed."""
    match = re.fullmatch(TOOLCHAIN, name)
    if match is None:
        raise UserError(f"no toolchain is called {name!r} (there are: gcc, clang, clang-19, ...)")
    kind, version = match[1], match[2] or ""
    if kind == "gcc":
        compiler, linker = f"{CROSS_COMPILE}gcc{version}", f"{CROSS_COMPILE}ld"
        args: tuple[str, ...] = (f"CROSS_COMPILE={CROSS_COMPILE}", f"CC=ccache {compiler}")
        tools: tuple[str, ...] = (compiler, linker)
    else:
        # LLVM=-19 makes kbuild take every tool with that suffix: Documentation/kbuild/llvm.rst
        compiler, linker = f"clang{version}", f"ld.lld{version}"
        args = (f"LLVM={version or 1}", f"CC=ccache {compiler}")
        tools = (compiler, linker, f"llvm-ar{version}")
    for tool in (*tools, "ccache", "make"):
        if shutil.which(tool) is None:
            raise MissingTool(tool, hint=packages_hint(name) if tool in tools else INSTALL)
    return Toolchain(name, args, _version(compiler), _version(linker))


def packages_hint(name: str) -> str:
    """The command that installs toolchain `name`; plain gcc comes with everything else."""
    kind, _, version = name.partition("-")
    suffix = f"-{version}" if version else ""
    if kind == "clang":
        return f"sudo apt-get install clang{suffix} lld{suffix} llvm{suffix}"
    return f"sudo apt-get install gcc{suffix}-aarch64-linux-gnu" if suffix else INSTALL


def _version(tool: str) -> str:
    done = proc.run((tool, "--version"), timeout_s=30, brief=True)
    return done.stdout.decode(errors="replace").splitlines()[0]
