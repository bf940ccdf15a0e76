# SPDX-License-Identifier: GPL-2.0-only
"""A board or remote machine that boots kernels for us: how it is reached, started and reset.

Data alone, made from `configs/machines/NAME.yaml` by kvet/plan/boards.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# the accelerator of a machine that emulates nothing here
BOARD = "board"
# what the commands that start a kernel may name
WORDS = ("image", "initrd", "cmdline")
LOAD = ("kexec", "-l", "{image}", "--initrd={initrd}", "--command-line={cmdline}")
START = ("kexec", "-e")


@dataclass(frozen=True, slots=True)
class Board:
    """How one board is used; every command is an argument list.

    `load` and `start` run on the board, on its own system, reached over ssh. With `boot`
    there is no ssh: that command, run on this host, starts the kernel. `console` prints the
    board's console until it is ended, `reset` brings the board back to its own system; both
    run on this host. `key` '' is the user's agent; `host_key` '' is looked up in `known_hosts`.
    `up_s` is how long the board's own system may take to answer ssh, `boot_s` how long a
    kernel may take to its banner, and again to init.
    """

    console: tuple[str, ...]
    address: str = ""
    port: int = 22
    user: str = "root"
    key: str = ""
    host_key: str = ""
    known_hosts: str = "~/.ssh/known_hosts"
    directory: str = "/tmp/kvet"
    load: tuple[str, ...] = LOAD
    start: tuple[str, ...] = START
    boot: tuple[str, ...] = ()
    reset: tuple[str, ...] = ()
    up_s: float = 180.0
    boot_s: float = 60.0

    @property
    def place(self) -> str:
        """Where it is, in a word."""
        return f"{self.user}@{self.address}:{self.port}" if self.address else self.boot[0]


def filled(argv: Sequence[str], words: Mapping[str, str]) -> tuple[str, ...]:
    """`argv` with `{image}`, `{initrd}` and `{cmdline}` replaced; nothing else has a meaning."""
    done = []
    for word in argv:
        for name in WORDS:
            word = word.replace(f"{{{name}}}", words[name])
        done.append(word)
    return tuple(done)
