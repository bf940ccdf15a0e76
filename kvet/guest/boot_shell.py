# SPDX-License-Identifier: GPL-2.0-only
"""A shell in the guest: the kernel and initramfs of an attempt, a person at the console."""

from __future__ import annotations

import sys
import termios
from collections.abc import Iterator
from pathlib import Path

from kvet.guest.boot import BootRequest
from kvet.guest.gdb_script import write_gdb_commands
from kvet.guest.machine import qemu_argv, resolve_accel, write_initrd
from kvet.guest.qemu import end, spawn
from kvet.guest.ssh import free_port, ssh_layers
from kvet.model import Build
from kvet.text import Say

ESCAPE = "\x18"  # Ctrl-X, as the second half of Ctrl-A X would be


def boot_shell(request: BootRequest, *, build: Build, say: Say, source: Path | None = None) -> int:
    """Hand the terminal to the guest until it powers off or the escape is typed.

    What to type is told to `say` first.

    The terminal is put back as it was whatever ends the session.
    """
    port = free_port() if request.ssh else 0
    layers = (*request.initrd, *(ssh_layers(request.folder) if request.ssh else ()))
    write_initrd(layers, request.folder)
    argv = qemu_argv(request, accel=resolve_accel(request.machine.accel), port=port)
    for line in _introduction(request, build, source, port):
        say(line)
    saved = termios.tcgetattr(sys.stdin)
    child = spawn(argv, request.folder)
    try:
        child.interact(escape_character=ESCAPE)
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, saved)
        end(child)
        (request.folder / "initrd.img").unlink(missing_ok=True)
        say("\r")
    return 0


def _introduction(
    request: BootRequest, build: Build, source: Path | None, port: int
) -> Iterator[str]:
    """What to type, before the kernel begins to talk."""
    yield "Ctrl-X ends the guest; `stress` starts the workload; `poweroff` or `exit` stops it."
    if port:
        key = request.folder / "id_ecdsa"
        yield f"After `start-ssh &`: ssh -i {key} -p {port} root@127.0.0.1"
    if request.gdb:
        script = request.folder / "gdb.cmd"
        write_gdb_commands(script, build, source)
        yield f"The guest is stopped. In another terminal: gdb-multiarch -x {script}"
