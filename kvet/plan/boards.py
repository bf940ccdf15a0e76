# SPDX-License-Identifier: GPL-2.0-only
"""Reads the keys of a machine of `kind: ssh`: a board or a remote machine."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kvet.boards import BOARD, LOAD, START, WORDS, Board
from kvet.errors import Place, UserError
from kvet.model import Machine

# keys that describe the machine, not the way to it
OF_MACHINE = ("kind", "title", "vcpus", "page_kib", "boot_args")
# what has no use where a command of this host starts the kernel
OF_SSH = ("address", "port", "user", "key", "host_key", "known_hosts", "directory", "load", "start")
BRACES = re.compile(r"\{([^{}]*)\}")


def board_machine(spec: Mapping[str, Any], path: Path) -> Machine:
    """A machine that is reached over ssh, or started by a command of this host."""
    return Machine(
        name=path.stem,
        title=spec.get("title", ""),
        vcpus=spec["vcpus"],
        mem_mib=0,
        page_kib=spec.get("page_kib", 4),
        accel=BOARD,
        boot_args=spec["boot_args"],
        qemu="",
        board=read_board(spec, path),
    )


def read_board(spec: Mapping[str, Any], path: Path) -> Board:
    """The board that a checked machine file describes. Raises UserError for what cannot work."""
    for key, reason in _faults(spec):
        raise UserError(reason, path=path, where=Place(key=key))
    own = {key: value for key, value in spec.items() if key not in OF_MACHINE}
    given: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in own.items()}
    return Board(**given)


def _faults(spec: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Key and reason of everything that the schema cannot say."""
    if "boot" in spec:
        for key in (key for key in OF_SSH if key in spec):
            yield key, "has no use beside boot, which starts the kernel from this host"
    elif "address" not in spec:
        yield "kind", "needs the key address (it is started over ssh) or boot (a command does it)"
    if "host_key" in spec and "known_hosts" in spec:
        yield "known_hosts", "stands beside host_key: one of them is enough"
    if "host_key" in spec and not _is_key(spec["host_key"]):
        yield "host_key", "is no public key as ssh-keyscan prints it: TYPE BASE64"
    if not any(word.startswith("console=") for word in " ".join(spec["boot_args"]).split()):
        yield "boot_args", "names no console of the kernel (console=ttyS0,115200)"
    yield from _placeholders(spec)


def _placeholders(spec: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is wrong with the words in braces of the commands that start a kernel."""
    commands = {"boot": spec["boot"]} if "boot" in spec else {}
    if not commands:
        commands = {"load": spec.get("load", LOAD), "start": spec.get("start", START)}
    used = set()
    for key, argv in commands.items():
        for number, word in enumerate(argv):
            names = set(BRACES.findall(word))
            used |= names
            for name in sorted(names - {*WORDS}):
                yield f"{key}.{number}", f"{{{name}}} is none of {{image}}, {{initrd}}, {{cmdline}}"
    for name in WORDS:
        if name not in used:
            yield next(iter(commands)), f"never names {{{name}}}"


def _is_key(text: str) -> bool:
    """Whether `text` is the type of a key and the key, which begins with its type."""
    name, _, data = text.partition(" ")
    try:
        return base64.b64decode(data, validate=True)[4:].startswith(name.encode())
    except binascii.Error:
        return False
