# SPDX-License-Identifier: GPL-2.0-only
"""Reaches a living guest over ssh: paramiko, a loopback port, a key for one attempt."""

from __future__ import annotations

import io
import shlex
import shutil
import socket
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import paramiko

from kvet.cache import cache_root
from kvet.errors import InfraError
from kvet.events import Events
from kvet.guest import initramfs


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ssh_layers(folder: Path) -> tuple[Path, ...]:
    """The ssh layer and one that holds a key made for this attempt, kept in `folder`."""
    key = paramiko.ECDSAKey.generate()
    private = folder / "id_ecdsa"
    key.write_private_key_file(str(private))
    private.chmod(0o600)
    public = f"{key.get_name()} {key.get_base64()} kvet"
    base = initramfs.build_layer("ssh", cache_root(), events=Events())
    return (base, initramfs.key_layer(public, folder))


class GuestSsh:
    """An ssh connection into a guest, used as a context manager."""

    def __init__(self, folder: Path, port: int, *, timeout_s: float = 30) -> None:
        self.folder = folder
        self.port = port
        self.timeout_s = timeout_s
        self.client = paramiko.SSHClient()
        # the guest makes its host key at boot; the port leads to no other machine
        self.client.set_missing_host_key_policy(paramiko.AutoAddPolicy())

    def __enter__(self) -> GuestSsh:
        deadline = time.monotonic() + self.timeout_s
        while True:
            try:
                self.client.connect(
                    "127.0.0.1",
                    port=self.port,
                    username="root",
                    timeout=5,
                    banner_timeout=15,
                    key_filename=str(self.folder / "id_ecdsa"),
                    allow_agent=False,
                    look_for_keys=False,
                )
                return self
            except (OSError, EOFError, paramiko.SSHException) as error:
                if time.monotonic() > deadline:
                    raise InfraError(f"the guest's ssh does not answer: {error}") from error
                time.sleep(0.2)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.client.close()

    def run(self, command: str, out: BinaryIO, err: BinaryIO) -> int:
        """Run `command` in the guest's shell, its output and errors as they come; its exit code.

        Raises InfraError when the connection ends before the command.
        """
        try:
            _, stdout, stderr = self.client.exec_command(command)
            # two pipes: one that nobody reads would stop the command
            errors = threading.Thread(target=shutil.copyfileobj, args=(stderr, err), daemon=True)
            errors.start()
            shutil.copyfileobj(stdout, out)
            errors.join()
            code = stdout.channel.recv_exit_status()
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise InfraError(f"the guest went away while it ran: {command}: {error}") from error
        if code < 0:
            raise InfraError(f"the guest went away while it ran: {command}")
        return code

    def pull(self, remote: str, out: BinaryIO) -> None:
        """Copy a file of the guest; /proc and debugfs files included, whatever their size says."""
        said = io.BytesIO()
        if self.run(f"cat -- {shlex.quote(remote)}", out, said):
            reason = said.getvalue().decode(errors="replace").strip().removeprefix("cat: ")
            raise InfraError(f"the guest cannot read {remote}: {reason}")
