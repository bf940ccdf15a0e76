# SPDX-License-Identifier: GPL-2.0-only
"""A living guest for programs instead of a person: booted to its shell, reached over ssh."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pexpect

from kvet.errors import InfraError
from kvet.guest.boot import BootRequest
from kvet.guest.machine import qemu_argv, resolve_accel, write_initrd
from kvet.guest.qemu import end, spawn
from kvet.guest.ssh import GuestSsh, free_port, ssh_layers

PROMPT = b"kvet# "
# dropbear makes its host key when it is first called, which takes an emulated guest seconds
SSH_S = 60.0
POWEROFF_S = 20.0


@contextmanager
def living_guest(request: BootRequest) -> Iterator[GuestSsh]:
    """A guest that has booted to its shell, with an ssh connection; it powers off at the end.

    `console.log` in `request.folder` has its console. Raises InfraError when there is no
    shell within the boot's limit, or ssh does not answer.
    """
    port = free_port()
    write_initrd((*request.initrd, *ssh_layers(request.folder)), request.folder)
    argv = qemu_argv(request, accel=resolve_accel(request.machine.accel), port=port)
    child = spawn(argv, request.folder)
    with (request.folder / "console.log").open("wb") as log:
        try:
            child.logfile_read = log
            _await_shell(child, request)
            child.sendline(b"start-ssh &")
            reader = _Reader(child)
            with GuestSsh(request.folder, port, timeout_s=SSH_S) as guest:
                yield guest
            with suppress(OSError):  # a guest that is gone needs no power-off
                child.sendline(b"exit")
            reader.thread.join(POWEROFF_S)
        finally:
            end(child)
            (request.folder / "initrd.img").unlink(missing_ok=True)


def _await_shell(child: pexpect.spawn[bytes], request: BootRequest) -> None:
    """Wait for the prompt of the guest's shell."""
    limit = request.limits.boot_s + request.limits.silence_s
    try:
        child.expect_exact(PROMPT, timeout=limit)
    except (pexpect.TIMEOUT, pexpect.EOF) as error:
        what = "ended" if isinstance(error, pexpect.EOF) else f"gave no shell within {limit:.0f} s"
        raise InfraError(
            f"the guest {what}", hint=f"its console: {request.folder / 'console.log'}"
        ) from error


class _Reader:
    """Reads the console on a thread: a guest whose console nobody reads stands still."""

    def __init__(self, child: pexpect.spawn[bytes]) -> None:
        self.thread = threading.Thread(target=self._read, args=(child,), daemon=True)
        self.thread.start()

    @staticmethod
    def _read(child: pexpect.spawn[bytes]) -> None:
        while True:
            try:
                child.read_nonblocking(1 << 16, timeout=1)
            except pexpect.TIMEOUT:
                continue
            except (pexpect.EOF, OSError, ValueError):
                return  # the guest is gone, or its log is closed


def fetch_file(guest: GuestSsh, remote: str, local: Path) -> int:
    """Copy the guest's file `remote` to the new file `local`; its size in bytes.

    Raises InfraError when the guest cannot read it, and leaves nothing then.
    """
    with local.open("xb") as out:
        try:
            guest.pull(remote, out)
            return out.tell()
        except InfraError:
            local.unlink()
            raise
