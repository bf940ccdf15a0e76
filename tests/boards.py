# SPDX-License-Identifier: GPL-2.0-only
"""A board made of a real ssh server in this process, a fake kexec and a fake console."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paramiko
import yaml

DATA = Path(__file__).parent / "data"
KEXEC = """#!/bin/sh
if [ "$1" = -l ]; then
    test -e {home}/no-load && {{ echo "kexec: Operation not permitted" >&2; exit 255; }}
    cp "$2" {home}/loaded
else
    test -e {home}/no-start && {{ echo "Nothing has been loaded!" >&2; exit 1; }}
    touch {home}/started
fi
"""


class _Sftp(paramiko.SFTPServerInterface):
    """Takes files that are written."""

    def open(
        self, path: str, flags: int, attr: paramiko.SFTPAttributes
    ) -> paramiko.SFTPHandle | int:
        handle = paramiko.SFTPHandle(flags)
        handle.writefile = Path(path).open("wb")  # type: ignore[attr-defined]  # noqa: SIM115
        return handle

    def stat(self, path: str) -> paramiko.SFTPAttributes | int:
        return paramiko.SFTPAttributes.from_stat(os.stat(path))


@dataclass
class FakeBoard(paramiko.ServerInterface):
    """The board's own system; `home` is its disk, `commands` is what it was told to do.

    The first `breaks` copies end with the connection.
    """

    home: Path
    sftp: bool = False
    host_key: paramiko.ECDSAKey = field(default_factory=paramiko.ECDSAKey.generate)
    user_key: paramiko.ECDSAKey = field(default_factory=paramiko.ECDSAKey.generate)
    commands: list[str] = field(default_factory=list)
    breaks: int = 0
    logins: int = 0
    port: int = 0

    def __post_init__(self) -> None:
        (self.home / "bin").mkdir(parents=True)
        kexec = self.home / "bin/kexec"
        kexec.write_text(KEXEC.format(home=self.home))
        kexec.chmod(0o755)
        self.user_key.write_private_key_file(str(self.home / "id"))

    @property
    def known(self) -> str:
        """Its host key as a machine file gives it."""
        return f"{self.host_key.get_name()} {self.host_key.get_base64()}"

    def machine(self, **more: Any) -> str:
        """The machine file that leads here; a key that is None is left out."""
        spec: dict[str, Any] = {
            "kind": "ssh",
            "vcpus": 1,
            "boot_args": ["console=ttyS0"],
            "address": "127.0.0.1",
            "port": self.port,
            "key": str(self.home / "id"),
            "host_key": self.known,
            "directory": str(self.home / "put"),
            "console": [sys.executable, "-IS", str(DATA / "fake-board-console"), str(self.home)],
            "reset": ["touch", str(self.home / "reset")],
            "up_s": 2,
            "boot_s": 5,
        }
        return yaml.safe_dump({k: v for k, v in {**spec, **more}.items() if v is not None})

    @contextmanager
    def up(self) -> Iterator[FakeBoard]:
        """Let the board answer ssh."""
        with socket.create_server(("127.0.0.1", self.port)) as server:
            self.port = server.getsockname()[1]
            threading.Thread(target=self._serve, args=(server,), daemon=True).start()
            yield self
            with suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)

    def _serve(self, server: socket.socket) -> None:
        with suppress(OSError):
            while True:
                transport = paramiko.Transport(server.accept()[0])
                transport.add_server_key(self.host_key)
                if self.sftp:
                    transport.set_subsystem_handler("sftp", paramiko.SFTPServer, _Sftp)
                with suppress(EOFError, paramiko.SSHException):
                    transport.start_server(server=self)

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        self.logins += 1
        good = key == self.user_key
        return paramiko.common.AUTH_SUCCESSFUL if good else paramiko.common.AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.common.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        self.commands.append(command.decode())
        if command.startswith(b"cat >") and self.breaks:
            self.breaks -= 1
            channel.get_transport().close()
            return False
        threading.Thread(target=self._run, args=(channel, command), daemon=True).start()
        return True

    def _run(self, channel: paramiko.Channel, command: bytes) -> None:
        path = f"{self.home / 'bin'}:{os.environ['PATH']}"
        child = subprocess.Popen(
            ("sh", "-c", command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={"PATH": path},
        )
        assert child.stdin and child.stdout
        # to its end: before that the client has not heard that its command was taken
        while data := channel.recv(1 << 16):
            with suppress(BrokenPipeError):
                child.stdin.write(data)
        child.stdin.close()
        channel.sendall(child.stdout.read())
        channel.send_exit_status(child.wait())
        channel.close()
