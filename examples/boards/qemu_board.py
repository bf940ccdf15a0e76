# SPDX-License-Identifier: GPL-2.0-only
"""A QEMU guest that plays an arm64 board, for the machine `board` (docs/boards.md).

It runs the distribution's own kernel, with sshd and kexec and a serial console on a loopback
port, and comes back to that kernel whenever it resets, as a board does.

    .venv/bin/python examples/boards/qemu_board.py start     boot it, and wait for its ssh
    python3 examples/boards/qemu_board.py console            its serial console, until it closes
    python3 examples/boards/qemu_board.py reset              what a reset button does
    python3 examples/boards/qemu_board.py stop
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import paramiko

    from kvet.guest.cpio import Archive

HOME = Path("~/.local/state/kvet-board").expanduser()
SSH_PORT, CONSOLE_PORT = 2222, 7001
# what leads from virtio-mmio to a network, in the order they need each other
MODULES = ("failover", "net_failover", "virtio_ring", "virtio", "virtio_mmio", "virtio_net")
UP_S = 120.0

INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
mkdir -p /proc /sys /dev /tmp /run /var/log /own/.ssh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts
mount -t devpts devpts /dev/pts
for module in {modules}; do insmod /modules/$module.ko; done
ip link set lo up
ip link set eth0 up
ip addr add 10.0.2.15/24 dev eth0
chmod 700 / /own /own/.ssh
chmod 600 /own/.ssh/authorized_keys /etc/dropbear/host
echo "board: its own system is up"
exec dropbear -s -r /etc/dropbear/host -E -F -p 22
"""
PASSWD = "root:x:0:0:root:/own:/bin/sh\n"


def start(home: Path, thread: str) -> None:
    """Boot the board in the background; returns when its ssh answers."""
    home.mkdir(parents=True, exist_ok=True)
    image = make_system(home)
    network = f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{SSH_PORT}-:22"
    argv = (
        *("qemu-system-aarch64", "-nodefaults", "-no-user-config", "-display", "none"),
        # with an ITS a kernel that is started by kexec finds LPIs enabled, and warns of it
        *("-M", "virt,gic-version=3,its=off", "-cpu", "max,pauth-impdef=on"),
        *(
            "-accel",
            f"tcg,thread={thread}",
            "-smp",
            "2",
            "-m",
            "1024M",
            "-kernel",
            str(image),
            "-initrd",
            str(home / "own.img"),
        ),
        *("-append", "console=ttyAMA0 panic=-1"),
        *("-chardev", f"socket,id=c,host=127.0.0.1,port={CONSOLE_PORT},server=on,wait=off"),
        *("-serial", "chardev:c", "-global", "virtio-mmio.force-legacy=false"),
        *("-netdev", network, "-device", "virtio-net-device,netdev=net"),
        *("-qmp", f"unix:{home / 'qmp.sock'},server=on,wait=off"),
        *("-daemonize", "-pidfile", str(home / "pid")),
    )
    subprocess.run(argv, check=True)
    deadline = time.monotonic() + UP_S
    while not answers():
        if time.monotonic() > deadline:
            sys.exit(f"the board's ssh does not answer after {UP_S:.0f} s; see its console")
        time.sleep(0.5)
    print(f"the board is up: ssh -p {SSH_PORT} -i {home / 'id'} root@127.0.0.1")


def answers() -> bool:
    """Whether the board's ssh says hello."""
    try:
        with socket.create_connection(("127.0.0.1", SSH_PORT), timeout=5) as link:
            return link.recv(4) == b"SSH-"
    except OSError:
        return False


def make_system(home: Path) -> Path:
    """Make keys and the initramfs `own.img` of the board in `home`; returns its kernel."""
    import tempfile

    from kvet.cache import cache_root
    from kvet.guest.cpio import Archive
    from kvet.guest.packages import add_packages
    from kvet.source.apt import PrivateApt, fetch_debs, unpack_deb

    cache = cache_root()
    apt = PrivateApt(cache, arch="arm64")
    apt.refresh()
    package = next(
        name for name in apt.depends("linux-image-cloud-arm64") if name.startswith("linux-image-")
    )
    system = home / package
    if not system.exists():
        (deb,) = fetch_debs([package], arch="arm64", dest=home, root=cache)
        unpack_deb(deb.path, system)
        deb.path.unlink()
    archive = Archive()
    archive.node("/dev/console", 5, 1)
    with tempfile.TemporaryDirectory() as scratch:
        wanted = ("busybox-static", "dropbear-bin", "kexec-tools")
        add_packages(wanted, archive, cache, Path(scratch))
    for name in MODULES:
        (module,) = system.rglob(f"{name}.ko")
        archive.file(f"/modules/{name}.ko", module.read_bytes())
    archive.file("/init", INIT.format(modules=" ".join(MODULES)).encode(), mode=0o755)
    archive.file("/etc/passwd", PASSWD.encode())
    make_keys(home, archive)
    (home / "own.img").write_bytes(archive.close())
    return next((system / "boot").glob("vmlinuz-*"))


def make_keys(home: Path, archive: Archive) -> None:
    """The board's host key, and the key that it lets in: `known_hosts` and `id` in `home`."""
    import paramiko

    host, user = paramiko.ECDSAKey.generate(), paramiko.ECDSAKey.generate()
    (home / "id").unlink(missing_ok=True)
    user.write_private_key_file(str(home / "id"))
    archive.file("/own/.ssh/authorized_keys", public(user), mode=0o600)
    archive.file("/etc/dropbear/host", dropbear_key(host), mode=0o600)
    (home / "known_hosts").write_bytes(f"[127.0.0.1]:{SSH_PORT} ".encode() + public(host))


def public(key: paramiko.PKey) -> bytes:
    """A public key as a line of authorized_keys."""
    return f"{key.get_name()} {key.get_base64()}\n".encode()


def dropbear_key(key: paramiko.ECDSAKey) -> bytes:
    """A private key as dropbear keeps it: the public key of RFC 5656, then the secret number."""
    from paramiko import Message

    message = Message()
    message.add_bytes(key.asbytes())
    message.add_mpint(key.signing_key.private_numbers().private_value)  # type: ignore[union-attr]
    return message.asbytes()


def console() -> None:
    """Copy the serial console to stdout; ends when the board closes it."""
    with socket.create_connection(("127.0.0.1", CONSOLE_PORT)) as line:
        while data := line.recv(1 << 16):
            os.write(1, data)


def reset(home: Path) -> None:
    """What a reset button does."""
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(10)
        link.connect(str(home / "qmp.sock"))
        answers = link.makefile("r")
        answers.readline()  # QEMU's greeting
        for command in ("qmp_capabilities", "system_reset"):
            link.sendall(json.dumps({"execute": command}).encode() + b"\n")
            while "return" not in (answer := json.loads(answers.readline())):
                if "error" in answer:
                    sys.exit(f"{command}: {answer['error']['desc']}")


def stop(home: Path) -> None:
    """Switch the board off, if the process that the pid file names is this board."""
    text = (home / "pid").read_text() if (home / "pid").exists() else ""
    if not re.fullmatch(r"\d+\s*", text):
        sys.exit("the board does not run")
    pid = int(text)
    if str(home).encode() not in Path(f"/proc/{pid}/cmdline").read_bytes():
        sys.exit(f"process {pid} is not the board")
    os.kill(pid, signal.SIGTERM)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("do", choices=("start", "console", "reset", "stop"))
    parser.add_argument("--home", type=Path, default=HOME, help=f"its files (default: {HOME})")
    parser.add_argument("--thread", choices=("multi", "single"), default="multi", help="of QEMU")
    options = parser.parse_args()
    home = options.home.resolve()
    if options.do == "start":
        start(home, options.thread)
    elif options.do == "console":
        console()
    else:
        {"reset": reset, "stop": stop}[options.do](home)


if __name__ == "__main__":
    main()
