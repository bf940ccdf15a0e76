# SPDX-License-Identifier: GPL-2.0-only
"""Runs a command without network, home or keys, seeing only the directories given to it.

A series is untrusted code and its Makefiles run in the build. bubblewrap gives
it /usr read-only, empty /tmp and the mounts of one build. Directories appear under
fixed names (`/kvet/src`), which also makes build trees relocatable.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from kvet import proc
from kvet.errors import InfraError, MissingTool

# the parts of the host a compiler needs; absent ones are left out
HOST_FOLDERS = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc/alternatives", "/etc/ld.so.cache")

OUTSIDE = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin"}
TMP_BYTES = str(2 << 30)  # of memory, which is where /tmp is


@dataclass(frozen=True, slots=True)
class Mount:
    """A host directory and the name it has inside."""

    host: Path
    inside: str
    writable: bool = False


def confine(
    argv: Sequence[str], *, mounts: Sequence[Mount], chdir: str, env: Mapping[str, str]
) -> tuple[str, ...]:
    """The bubblewrap command line that runs `argv` with nothing but `mounts` and `env`.

    It must be started with OUTSIDE as its environment: the first process in the
    sandbox is bubblewrap's own, and whoever is inside may read what it was given.
    """
    words = ["bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--clearenv"]
    # root would keep what it takes to make a read-only mount writable again
    words += ["--cap-drop", "ALL"]
    for folder in HOST_FOLDERS:
        path = Path(folder)
        if path.is_symlink():
            words += ["--symlink", os.readlink(path), folder]
        elif path.exists():
            words += ["--ro-bind", folder, folder]
    words += ["--proc", "/proc", "--dev", "/dev", "--size", TMP_BYTES, "--tmpfs", "/tmp"]
    for mount in mounts:
        words += ["--bind" if mount.writable else "--ro-bind", str(mount.host), mount.inside]
    for name, value in sorted(env.items()):
        words += ["--setenv", name, value]
    return (*words, "--chdir", chdir, "--", *argv)


@cache
def require_sandbox() -> None:
    """Raise MissingTool or InfraError unless bubblewrap is there and may make namespaces."""
    if shutil.which("bwrap") is None:
        raise MissingTool("bubblewrap (bwrap)", hint="harness.py doctor --install")
    probe = confine(("true",), mounts=(), chdir="/", env={"PATH": "/usr/bin:/bin"})
    done = proc.run(probe, env=OUTSIDE, timeout_s=20)
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip()
        raise InfraError(
            f"bubblewrap cannot make a sandbox here: {reason}",
            hint="a series must not run outside one: allow unprivileged user namespaces, "
            "or run as root on a machine (not in a container without CAP_SYS_ADMIN)",
        )
