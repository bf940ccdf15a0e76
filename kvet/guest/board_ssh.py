# SPDX-License-Identifier: GPL-2.0-only
"""Reaches a board's own system over ssh: its host key is known beforehand, or nothing is sent."""

from __future__ import annotations

import base64
import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import paramiko
from paramiko.pkey import UnknownKeyType

from kvet import proc
from kvet.boards import Board
from kvet.cache import file_digest
from kvet.errors import InfraError

CHUNK = 1 << 16
COMMAND_S = 120.0
RETRY_S = 1.0


class NoAnswer(InfraError):
    """The board's ssh did not answer in time; a reset may help."""


class LostLink(InfraError):
    """The connection broke in the middle of something; another one may hold."""


class _NoStranger(paramiko.MissingHostKeyPolicy):
    """Refuses a host whose key is not known, and says so once."""

    def __init__(self, board: Board) -> None:
        self.board = board

    def missing_host_key(
        self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey
    ) -> None:
        board = self.board
        raise InfraError(
            f"the host key of {hostname} ({_short(key)}) is not known",
            hint=f"compare `ssh-keyscan -p {board.port} {board.address}` with the board's own "
            f"/etc/ssh/ssh_host_*_key.pub, then add it to {board.known_hosts} or as host_key",
        )


def _short(key: paramiko.PKey) -> str:
    """Enough of a key to know it again."""
    return f"{key.get_name()} {key.get_base64()[-24:]}"


def open_ssh(board: Board, within_s: float) -> BoardSsh:
    """Connect to the board's own system.

    Raises NoAnswer when it does not answer within `within_s`, InfraError at once for a host
    key that is not the known one and for a key that the board does not let in.
    """
    key = _key_of(board)
    deadline = time.monotonic() + within_s
    while True:
        client = _client(board)
        try:
            _connect(client, board, key)
            return BoardSsh(board, client)
        except (OSError, EOFError, paramiko.SSHException) as error:
            client.close()
            if time.monotonic() > deadline:
                raise NoAnswer(
                    f"{board.place}: ssh does not answer within {within_s:.0f} s: {error}"
                ) from error
        if proc.all_killed():
            raise InfraError("interrupted")
        time.sleep(min(RETRY_S, within_s))


def _key_of(board: Board) -> paramiko.PKey | None:
    """The key to log in with, None for those of the agent; InfraError when there is none."""
    if board.key:
        try:
            return paramiko.PKey.from_path(Path(board.key).expanduser())
        except paramiko.PasswordRequiredException as error:
            raise InfraError(
                f"the key {board.key} has a passphrase", hint="ssh-add it, and leave `key` out"
            ) from error
        except (OSError, ValueError, UnknownKeyType, paramiko.SSHException) as error:
            raise InfraError(f"the key {board.key} cannot be read: {error}") from error
    if not paramiko.Agent().get_keys():
        raise InfraError(
            f"{board.place}: there is no key to log in with: the ssh agent holds none",
            hint="ssh-add KEY, or name a file with `key` in the machine's file",
        )
    return None


def _client(board: Board) -> paramiko.SSHClient:
    """A client that knows the board's host key and no other policy than that."""
    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(_NoStranger(board))
    if board.host_key:
        name, _, data = board.host_key.partition(" ")
        host = board.address if board.port == 22 else f"[{board.address}]:{board.port}"
        key = paramiko.PKey.from_type_string(name, base64.b64decode(data))
        client.get_host_keys().add(host, name, key)
        return client
    path = Path(board.known_hosts).expanduser()
    if path.exists():
        client.load_host_keys(str(path))
    return client


def _connect(client: paramiko.SSHClient, board: Board, key: paramiko.PKey | None) -> None:
    try:
        client.connect(
            board.address,
            port=board.port,
            username=board.user,
            timeout=5,
            banner_timeout=15,
            auth_timeout=15,
            pkey=key,
            allow_agent=key is None,
            look_for_keys=False,
        )
    except paramiko.BadHostKeyException as error:
        raise InfraError(
            f"{board.place} shows another host key than the known one: {_short(error.key)}",
            hint="find out why before anything is sent there; the known one is in "
            + ("host_key" if board.host_key else board.known_hosts),
        ) from error
    except paramiko.AuthenticationException as error:
        raise InfraError(f"{board.place} does not let the key in: {error}") from error
    transport = client.get_transport()
    if transport is not None:
        transport.set_keepalive(10)  # a board that dies in mid-copy is noticed


class Launch:
    """A command that ends the system it runs on, if it does what it should."""

    def __init__(self, channel: paramiko.Channel, command: str) -> None:
        self.channel = channel
        self.command = command

    def check(self) -> None:
        """Raise InfraError when the command has failed instead."""
        if not self.channel.exit_status_ready():
            return
        code = self.channel.recv_exit_status()
        if code > 0:
            said = self.channel.recv(CHUNK) if self.channel.recv_ready() else b""
            raise InfraError(_failed(self.command, code, said))


class BoardSsh:
    """An ssh connection to a board's own system."""

    def __init__(self, board: Board, client: paramiko.SSHClient) -> None:
        self.board = board
        self.client = client

    def close(self) -> None:
        """End the connection; a command that runs there is not waited for."""
        self.client.close()

    def put(self, local: Path, name: str) -> None:
        """Copy a file into the board's directory, as `name`, unless it is there.

        Raises InfraError when it does not arrive as it is here.
        """
        remote = f"{self.board.directory}/{name}"
        digest = file_digest(local)
        if self._digest(remote) != digest:
            self.check_run(("mkdir", "-p", self.board.directory))
            self._copy(local, remote)
            if (there := self._digest(remote)) != digest:
                why = "it arrived damaged" if there else "it has no sha256sum to check it"
                raise InfraError(f"{self.board.place}: {remote}: {why}")

    def _digest(self, remote: str) -> str:
        """The SHA-256 of a file of the board, '' when there is no such file."""
        code, said = self.run(shlex.join(("sha256sum", remote)))
        return said.split()[0].decode(errors="replace") if not code and said.split() else ""

    def _copy(self, local: Path, remote: str) -> None:
        """By sftp, or through `cat` where the board has none (dropbear alone)."""
        with self._told(f"copying {remote}"):
            try:
                sftp = self.client.open_sftp()
            except (EOFError, paramiko.SSHException):
                sftp = None
            if sftp is not None:
                sftp.put(str(local), remote)
                sftp.close()
                return
        code, said = self.run(f"cat > {shlex.quote(remote)}", stdin=local)
        if code:
            raise InfraError(f"{self.board.place}: {_failed(f'cat > {remote}', code, said)}")

    def check_run(self, argv: Sequence[str]) -> None:
        """Run `argv` on the board. Raises InfraError with what it said when it fails."""
        code, said = self.run(shlex.join(argv))
        if code:
            raise InfraError(f"{self.board.place}: {_failed(shlex.join(argv), code, said)}")

    def run(self, command: str, *, stdin: Path | None = None) -> tuple[int, bytes]:
        """Run `command` in the board's shell; its exit code and what it said on both streams."""
        with self._told(command):
            channel = self._channel(command)
            if stdin is not None:
                with stdin.open("rb") as file:
                    while data := file.read(CHUNK):
                        channel.sendall(data)
            channel.shutdown_write()
            said = b"".join(iter(lambda: channel.recv(CHUNK), b""))
            code = channel.recv_exit_status()
        if code < 0:
            raise LostLink(f"{self.board.place} went away during: {command}")
        return code, said

    def launch(self, argv: Sequence[str]) -> Launch:
        """Start `argv`, which is to end the board's own system."""
        command = shlex.join(argv)
        with self._told(command):
            channel = self._channel(command)
            channel.shutdown_write()
            return Launch(channel, command)

    def _channel(self, command: str) -> paramiko.Channel:
        transport = self.client.get_transport()
        if transport is None:
            raise EOFError("the connection is closed")
        channel = transport.open_session(timeout=COMMAND_S)
        channel.settimeout(COMMAND_S)
        channel.set_combine_stderr(True)
        channel.exec_command(command)
        return channel

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Have what paramiko raises say where it was, and during what."""
        try:
            yield
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise LostLink(f"{self.board.place}: {what}: {error or 'went away'}") from error


def _failed(command: str, code: int, said: bytes) -> str:
    """A failed command as words: its last line tells why."""
    lines = said.decode(errors="replace").strip().splitlines()
    return f"{command}: exit code {code}" + (f": {lines[-1]}" if lines else "")
