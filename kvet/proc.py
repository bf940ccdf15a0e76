# SPDX-License-Identifier: GPL-2.0-only
"""Starts host processes; only guests are started elsewhere (`guest/qemu.py`, on a terminal).

Always a list argv, never a shell; every wait has a deadline; a child lives in
a process group of its own and dies with the harness, also on SIGKILL.
"""

from __future__ import annotations

import ctypes
import logging
import os
import shlex
import shutil
import signal
import subprocess
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from kvet.errors import InfraError, MissingTool

LOGGER = logging.getLogger(__name__)

PR_SET_PDEATHSIG = 1  # linux/prctl.h
_children: weakref.WeakSet[subprocess.Popen[bytes]] = weakref.WeakSet()
_adopted: set[int] = set()
_all_killed = threading.Event()
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Completed:
    """A finished process; `stdout` holds both streams when they were sent to a log."""

    argv: tuple[str, ...]
    returncode: int
    stdout: bytes
    stderr: bytes
    seconds: float


def die_with_parent() -> None:
    """In the child before exec: be killed when the thread that started us is gone."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def run(
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    timeout_s: float = 120.0,
    log: Path | None = None,
    on_line: Callable[[str], None] | None = None,
    on_start: Callable[[int], None] | None = None,
    brief: bool = False,
) -> Completed:
    """Run `argv` to its end and return what it printed; the return code is the caller's to judge.

    With `log` or `on_line` stdout and stderr are one stream, appended to `log`
    and handed on line by line. `on_start` is told the process id; `brief` is as for `start`. Raises
    MissingTool when the program is not there and InfraError when it is not
    done after `timeout_s` seconds.
    """
    started = time.monotonic()
    merged = log is not None or on_line is not None
    child = start(
        argv,
        cwd=cwd,
        env=env,
        stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if merged else subprocess.PIPE,
        brief=brief,
    )
    watchdog = threading.Timer(timeout_s, kill_group, (child.pid,))
    watchdog.start()
    if on_start is not None:
        on_start(child.pid)
    try:
        if merged:
            out, err = _tee(child, log, on_line), b""
        else:
            out, err = child.communicate(stdin)
        child.wait()
    finally:
        expired = not watchdog.is_alive()
        watchdog.cancel()
        kill_group(child.pid)
        child.wait()
    if expired:
        raise InfraError(f"{argv[0]} was not done after {timeout_s:.0f} s: {shlex.join(argv)}")
    seconds = time.monotonic() - started
    return Completed(tuple(argv), child.returncode, out, err, seconds)


def start(
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: int | IO[bytes] = subprocess.DEVNULL,
    stdout: int | IO[bytes] = subprocess.DEVNULL,
    stderr: int | IO[bytes] = subprocess.DEVNULL,
    pass_fds: Sequence[int] = (),
    brief: bool = False,
) -> subprocess.Popen[bytes]:
    """Start `argv` in a process group of its own that dies with the harness.

    What is `brief` ends by itself within seconds and is not told to die. The rest is told by
    setpriv: code of ours between fork and exec would cost a copy of this process's page tables
    and a fault for every page touched afterwards (10 to 25 ms for 200 MB, against 2).
    """
    _debug(argv)
    words = list(argv) if brief else _until_parent_ends(argv, cwd, env)
    try:
        child = subprocess.Popen(
            words,
            cwd=cwd,
            env=dict(env) if env is not None else None,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            pass_fds=tuple(pass_fds),
            process_group=0,
        )
    except FileNotFoundError as error:
        if cwd is not None and not cwd.is_dir():
            raise InfraError(f"{cwd}: no such directory") from error
        raise MissingTool(argv[0], hint="harness.py doctor --install") from error
    except OSError as error:
        raise InfraError(f"cannot start {argv[0]}: {error.strerror}") from error
    _children.add(child)
    return child


def _until_parent_ends(
    argv: Sequence[str], cwd: Path | None, env: Mapping[str, str] | None
) -> list[str]:
    """The command line of `argv` that is killed when the thread that starts it is gone.

    A program that cannot be started stays as it is, for the kernel to say why: setpriv would
    say so in an exit code that may be the program's own.
    """
    program = str((cwd or Path()) / argv[0]) if "/" in argv[0] else argv[0]
    if shutil.which(program, path=(os.environ if env is None else env).get("PATH")) is None:
        return list(argv)
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise MissingTool("setpriv", hint="harness.py doctor --install")
    return [setpriv, "--pdeathsig", "KILL", "--", *argv]


def adopt(pid: int) -> None:
    """Have `kill_all` end the process group of `pid`, too, which another library started."""
    _adopted.add(pid)


def disown(pid: int) -> None:
    """`pid` has been reaped; its number may be somebody else's by now."""
    _adopted.discard(pid)


def kill_all() -> None:
    """Kill every process group that is still running; used when the user interrupts."""
    _all_killed.set()
    for child in list(_children):
        if child.poll() is None:
            kill_group(child.pid)
    for pid in list(_adopted):
        kill_group(pid)


def all_killed() -> bool:
    """Whether `kill_all` was called: what ended since may not have ended by itself."""
    return _all_killed.is_set()


def begin_anew() -> None:
    """Another run begins in this process: forget that the last one was interrupted."""
    _all_killed.clear()


def _debug(argv: Sequence[str]) -> None:
    LOGGER.debug("%s", shlex.join(argv))


def _tee(
    child: subprocess.Popen[bytes], log: Path | None, on_line: Callable[[str], None] | None
) -> bytes:
    """Copy the child's output to `log` as it comes; returns its last 64 KiB."""
    assert child.stdout is not None
    tail = bytearray()
    with open(log if log is not None else os.devnull, "ab") as file:
        for line in child.stdout:
            file.write(line)
            tail = (tail + line)[-65536:]
            if on_line is not None:
                on_line(line.decode(errors="replace").rstrip("\n"))
    return bytes(tail)


def kill_group(pid: int) -> None:
    """Kill the process group that `start` made for `pid`; gone already is fine."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
