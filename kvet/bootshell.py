# SPDX-License-Identifier: GPL-2.0-only
"""A shell in the guest: the kernel and initramfs of an attempt, a person at the console."""

from __future__ import annotations

import sys
import termios
from pathlib import Path

from kvet.errors import UserError
from kvet.gdbscript import write_gdb_commands
from kvet.machine import qemu_argv, resolve_accel, write_initrd
from kvet.model import BootRequest, Build
from kvet.qemu import end, spawn
from kvet.shell import free_port, ssh_layers

ESCAPE = "\x18"  # Ctrl-X, as the second half of Ctrl-A X would be


def boot_shell(request: BootRequest, *, build: Build, source: Path | None = None) -> int:
    """Hand the terminal to the guest until it powers off or the escape is typed.

    The terminal is put back as it was whatever ends the session.
    """
    if not sys.stdin.isatty():
        raise UserError("--boot-shell needs a terminal", hint="run it without a pipe")
    port = free_port() if request.ssh else 0
    layers = (*request.initrd, *(ssh_layers(request.folder) if request.ssh else ()))
    write_initrd(layers, request.folder)
    argv = qemu_argv(request, accel=resolve_accel(request.machine.accel), port=port)
    _introduce(request, build, source, port)
    saved = termios.tcgetattr(sys.stdin)
    child = spawn(argv, request.folder)
    try:
        child.interact(escape_character=ESCAPE)
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, saved)
        end(child)
        (request.folder / "initrd.img").unlink(missing_ok=True)
        print("\r")
    return 0


def _introduce(request: BootRequest, build: Build, source: Path | None, port: int) -> None:
    """What to type, before the kernel begins to talk."""
    print("Ctrl-X ends the guest; `stress` starts the workload; `poweroff` or `exit` stops it.")
    if port:
        key = request.folder / "id_ecdsa"
        print(f"After `start-ssh &`: ssh -i {key} -p {port} root@127.0.0.1")
    if request.gdb:
        script = request.folder / "gdb.cmd"
        write_gdb_commands(script, build, source)
        print(f"The guest is stopped. In another terminal: gdb-multiarch -x {script}")
