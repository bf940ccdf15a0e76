# SPDX-License-Identifier: GPL-2.0-only
"""A guest machine as a QEMU command line: a pure function, plus what must be asked of the host."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from kvet import proc
from kvet.boot_host import BootHost
from kvet.errors import InfraError, UserError
from kvet.guest.boot import BootRequest
from kvet.model import Machine
from kvet.version import kvet_version

# QEMU before 8.1 runs stale translations after live code patching under
# multi-threaded TCG; "always lock pages before translation", deba78709ae8
OLDEST_QEMU = (8, 1)

# what every boot of the harness needs on the kernel command line; nothing here
# may lower the console log level below 5, or WARN and lockdep lines are lost
COMMON_ARGS = ("loglevel=7", "oops=panic", "panic=-1", "rdinit=/init")
KERNEL_ARGS = ("console=ttyAMA0", "earlycon", *COMMON_ARGS)

# one instruction is one nanosecond, an idle guest waits for nobody, and the
# guest's clock begins where it always does
INSTRUCTION_CLOCK = ("-icount", "shift=0,sleep=off", "-rtc", "base=2025-01-01,clock=vm")


@dataclass(frozen=True, slots=True)
class Qemu:
    """An installed QEMU."""

    path: str
    version: str

    @property
    def number(self) -> tuple[int, ...]:
        """Version as numbers, for comparing."""
        return tuple(int(part) for part in self.version.split(".")[:3])


@cache
def find_qemu(name: str) -> Qemu:
    """Ask the QEMU called `name` for its version; MissingTool when it is not installed."""
    done = proc.run((name, "--version"), timeout_s=30, brief=True)
    found = re.search(r"version (\d+\.\d+(?:\.\d+)?)", done.stdout.decode(errors="replace"))
    if found is None:
        said = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
        raise InfraError(
            f"{name} --version does not tell a version{': ' + said[0] if said else ''}",
            hint="harness.py doctor --install",
        )
    return Qemu(name, found.group(1))


def qemu_version(machine: Machine) -> str:
    """Version of the machine's QEMU; '' for a board, which has none."""
    return "" if machine.board else find_qemu(machine.qemu).version


@cache
def resolve_accel(accel: str) -> str:
    """`auto` as kvm where an arm64 host has it, else tcg; a kvm that is not there is an error."""
    can = platform.machine() == "aarch64" and os.access("/dev/kvm", os.R_OK | os.W_OK)
    if accel == "kvm" and not can:
        raise InfraError("accel kvm needs an arm64 host with a usable /dev/kvm; use accel tcg")
    return ("kvm" if can else "tcg") if accel == "auto" else accel


def boot_host(machine: Machine) -> BootHost:
    """This host, as one that boots `machine`."""
    return BootHost(
        name=platform.node(),
        arch=platform.machine(),
        qemu=qemu_version(machine),
        accel=resolve_accel(machine.accel),
        kvet=kvet_version(),
    )


def qemu_argv(request: BootRequest, *, accel: str, port: int = 0) -> tuple[str, ...]:
    """The QEMU command line of one boot, to be run in `request.folder`.

    Paths of the directory are relative to it: a unix socket's name may have no
    more than 108 bytes. `port` is the loopback port that leads to the guest's
    ssh, 0 for no network at all.
    """
    machine = request.machine
    _check_icount(machine, accel)
    memory = f"{machine.mem_mib}M"
    if machine.maxmem_mib:
        memory += f",slots=4,maxmem={machine.maxmem_mib}M"
    return (
        machine.qemu,
        *("-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"),
        *("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"),
        *("-M", "virt,gic-version=3" + (",dtb-randomness=off" if machine.icount else "")),
        *("-accel", f"tcg,thread={machine.thread}" if accel == "tcg" else accel),
        *(INSTRUCTION_CLOCK if machine.icount else ()),
        *("-cpu", machine.cpu if accel == "tcg" else "host"),
        *("-smp", str(machine.vcpus), "-m", memory, "-seed", str(request.seed)),
        *("-kernel", str(request.image), "-initrd", "initrd.img"),
        *("-append", " ".join((*KERNEL_ARGS, *machine.boot_args, *request.args))),
        *("-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"),
        *("-global", "virtio-mmio.force-legacy=false", "-device", "virtio-serial-device"),
        *("-chardev", "file,id=report,path=report.ktap"),
        *("-device", "virtserialport,chardev=report,name=kvet.report"),
        *("-qmp", "unix:qmp.sock,server=on,wait=off"),
        *_network(port),
        *_trace(request.trace, accel),
        *(("-S", "-gdb", "unix:gdb.sock,server=on,wait=off") if request.gdb else ()),
    )


def _check_icount(machine: Machine, accel: str) -> None:
    """QEMU counts instructions only where one thread of it translates them."""
    if machine.icount and (accel != "tcg" or machine.thread != "single"):
        raise UserError(f"machine {machine.name}: icount needs accel tcg and thread single")


def _network(port: int) -> tuple[str, ...]:
    """User-mode networking that leads nowhere but from loopback to the guest's ssh."""
    if not port:
        return ("-nic", "none")
    netdev = f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:22"
    return ("-netdev", netdev, "-device", "virtio-net-device,netdev=net")


def _trace(ranges: tuple[tuple[int, int], ...], accel: str) -> tuple[str, ...]:
    """Log the guest code of `ranges` as it is first translated; hardware translates nothing."""
    if not ranges or accel != "tcg":
        return ()
    wanted = ",".join(f"{start:#x}+{length:#x}" for start, length in ranges)
    return ("-d", "in_asm", "-dfilter", wanted, "-D", "asm.log")


def write_initrd(layers: tuple[Path, ...], folder: Path) -> Path:
    """Concatenate initramfs layers: the kernel unpacks one archive after the other."""
    path = folder / "initrd.img"
    with path.open("wb") as out:
        for layer in layers:
            data = layer.read_bytes()
            out.write(data + b"\0" * (-len(data) % 4))
    return path
