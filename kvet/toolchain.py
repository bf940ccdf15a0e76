# SPDX-License-Identifier: GPL-2.0-only
"""The cross compiler: gcc with the aarch64 prefix, or clang with LLVM=1."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from functools import cache

from kvet import proc
from kvet.errors import MissingTool, UserError

CROSS_COMPILE = "aarch64-linux-gnu-"


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
    """The toolchain called `name` (gcc or clang); MissingTool when it is not installed."""
    if name == "gcc":
        compiler, linker = f"{CROSS_COMPILE}gcc", f"{CROSS_COMPILE}ld"
        args: tuple[str, ...] = (f"CROSS_COMPILE={CROSS_COMPILE}", f"CC=ccache {compiler}")
    elif name == "clang":
        compiler, linker = "clang", "ld.lld"
        args = ("LLVM=1", "CC=ccache clang")
    else:
        raise UserError(f"no toolchain is called {name!r} (there are: gcc, clang)")
    for tool in (compiler, linker, "ccache", "make"):
        if shutil.which(tool) is None:
            raise MissingTool(tool, hint="harness.py doctor --install")
    return Toolchain(name, args, _version(compiler), _version(linker))


def _version(tool: str) -> str:
    done = proc.run((tool, "--version"), timeout_s=30)
    return done.stdout.decode(errors="replace").splitlines()[0]
