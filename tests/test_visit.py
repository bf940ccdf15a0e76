# SPDX-License-Identifier: GPL-2.0-only
"""`reproduce --run` and `--get`: a real ssh connection, a guest that is played, what is refused."""

from __future__ import annotations

import io
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import paramiko
import pytest
from paramiko.common import AUTH_FAILED, AUTH_SUCCESSFUL, OPEN_SUCCEEDED

from kvet.errors import InfraError, UserError
from kvet.guest import visit
from kvet.guest.boot import BootRequest, Limits
from kvet.guest.ssh import GuestSsh
from kvet.guest.visit import fetch_file, living_guest
from kvet.model import Machine
from tests.more import go

TARGET = "r/linux-6.12+nolock+debug+virt+ptdump-race/1"


class _Shell(paramiko.ServerInterface):
    """Runs what it is asked for in this host's sh, for one known key."""

    def __init__(self, key: paramiko.PKey, home: Path) -> None:
        self.key, self.home = key, home

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return OPEN_SUCCEEDED

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        known = username == "root" and key == self.key
        return AUTH_SUCCESSFUL if known else AUTH_FAILED

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        transport: Any = channel.get_transport()
        send, replied = transport._send_user_message, threading.Event()

        def tell(message: paramiko.Message) -> None:
            send(message)
            replied.set()

        # a channel that is closed before the reply to this request is no reply to the client
        transport._send_user_message = tell
        work = threading.Thread(target=self._serve, args=(channel, command, replied), daemon=True)
        work.start()
        return True

    def _serve(self, channel: paramiko.Channel, command: bytes, replied: threading.Event) -> None:
        assert replied.wait(30)
        if command == b"vanish":
            channel.get_transport().close()
            return
        words = ("sh", "-c", command.decode())
        done = subprocess.run(words, capture_output=True, cwd=self.home, check=False)
        channel.sendall(done.stdout)
        channel.sendall_stderr(done.stderr)
        channel.send_exit_status(done.returncode)
        channel.close()


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[GuestSsh]:
    """A connection to an ssh server whose root directory is `tmp_path/guest`."""
    key = paramiko.ECDSAKey.generate()
    key.write_private_key_file(str(tmp_path / "id_ecdsa"))
    home = tmp_path / "guest"
    home.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as server:
        transports: list[paramiko.Transport] = []

        def accept() -> None:
            transport = paramiko.Transport(server.accept()[0])
            transport.add_server_key(paramiko.ECDSAKey.generate())
            transports.append(transport)
            # does not wait here until the client is in: that one may be gone again by then
            transport.start_server(event=threading.Event(), server=_Shell(key, home))

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        with GuestSsh(tmp_path, server.getsockname()[1]) as connected:
            yield connected
        thread.join()
        transports[0].close()


def test_a_command_gives_its_output_errors_and_exit_code(guest: GuestSsh) -> None:
    out, err = io.BytesIO(), io.BytesIO()
    assert guest.run("echo one; echo two >&2; exit 7", out, err) == 7
    assert (out.getvalue(), err.getvalue()) == (b"one\n", b"two\n")
    assert guest.run("head -c 3000000 /dev/zero", out, io.BytesIO()) == 0
    assert len(out.getvalue()) == 3_000_000 + len("one\n")


def test_a_guest_that_goes_away_under_a_command_is_told(guest: GuestSsh) -> None:
    with pytest.raises(InfraError, match="went away while it ran: vanish"):
        guest.run("vanish", io.BytesIO(), io.BytesIO())


@pytest.mark.parametrize("name", ["plain", "two words", "it's; touch x", "$(touch x)", "-n"])
def test_a_file_is_fetched_whatever_its_name(guest: GuestSsh, tmp_path: Path, name: str) -> None:
    (tmp_path / "guest" / name).write_bytes(b"\0content\n")
    assert fetch_file(guest, name, tmp_path / "got") == 9
    assert (tmp_path / "got").read_bytes() == b"\0content\n"
    assert not (tmp_path / "guest/x").exists()


def test_a_file_that_cannot_be_read_leaves_nothing(guest: GuestSsh, tmp_path: Path) -> None:
    with pytest.raises(InfraError, match="cannot read /no/such: .*No such file"):
        fetch_file(guest, "/no/such", tmp_path / "got")
    assert not (tmp_path / "got").exists()
    (tmp_path / "got").write_text("mine")
    with pytest.raises(FileExistsError):
        fetch_file(guest, "/etc/hostname", tmp_path / "got")
    assert (tmp_path / "got").read_text() == "mine"


class _Connected:
    """Stands in for the ssh connection into a played guest."""

    def __init__(self, folder: Path, port: int, *, timeout_s: float) -> None:
        self.port = port

    def __enter__(self) -> _Connected:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None


GUEST = """\
#!/bin/sh
[ "$1" = --version ] && echo 'QEMU emulator version 10.0.2 (fake)' && exit
printf 'booting\\n%s'
read -r line; printf 'got %%s\\nkvet# ' "$line"
yes 'the console goes on' | head -n 20000
read -r line; printf 'got %%s\\n' "$line"
"""


def play(monkeypatch: pytest.MonkeyPatch, folder: Path, prompt: str) -> BootRequest:
    """A boot of a guest that is a shell script, which shows `prompt`."""
    program = folder / "qemu"
    program.write_text(GUEST % prompt)
    program.chmod(0o755)
    monkeypatch.setattr(visit, "GuestSsh", _Connected)
    monkeypatch.setattr(visit, "ssh_layers", lambda folder: ())
    return BootRequest(
        image=folder / "Image",
        initrd=(),
        machine=Machine(name="m", vcpus=1, mem_mib=64, qemu=str(program)),
        folder=folder,
        limits=Limits(boot_s=0.5, run_s=1, silence_s=0.5),
        seed=1,
    )


def test_a_guest_is_booted_reached_and_powered_off(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    request = play(monkeypatch, tmp_path, "kvet# ")
    with living_guest(request) as connected:
        assert isinstance(connected, _Connected)
    console = (tmp_path / "console.log").read_text()
    assert "got start-ssh &" in console
    # it was read while nobody typed: a full pseudo-terminal would have stopped the guest
    assert console.count("the console goes on") == 20000
    assert "got exit" in console
    assert not (tmp_path / "initrd.img").exists()


def test_a_guest_without_a_shell_is_an_error_of_the_host(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    request = play(monkeypatch, tmp_path, "nothing")
    with (
        pytest.raises(InfraError, match="gave no shell within 1 s") as caught,
        living_guest(request),
    ):
        pass
    assert "console.log" in caught.value.hint


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--get", "/proc/taken"), "taken exists and is not overwritten"),
        (("--get", "/proc/version", "-o", "taken"), "taken exists and is not overwritten"),
        (("--get", "/proc/version", "-o", "no/such"), "no is not a directory"),
        (("--get", "/"), "names no file"),
        (("-o", "new"), "-o goes with --get"),
        (("--run", "id", "-o", "new"), "-o goes with --get"),
        (("--run", "id", "--boot-shell"), "--run and --get go without"),
        (("--get", "/proc/version", "--drgn"), "--run and --get go without"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_built(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: tuple[str, ...], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").touch()

    def never(*args: Any) -> None:
        raise AssertionError("it went on")

    monkeypatch.setattr("kvet.run.reproduce.open_recorded", never)
    with pytest.raises(UserError, match=says):
        go("reproduce", TARGET, *words)
