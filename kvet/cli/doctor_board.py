# SPDX-License-Identifier: GPL-2.0-only
"""`doctor --machine NAME`: whether a board can be reached and start kernels, booting none."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterator
from contextlib import closing

from kvet.boards import Board
from kvet.cli.doctor import Check
from kvet.errors import InfraError, UserError
from kvet.guest.board_ssh import BoardSsh, open_ssh
from kvet.paths import PROJECT
from kvet.plan.library import Library, pick_one

# a board that is up answers in a moment; a run waits for `up_s`
ANSWER_S = 10.0


def named_board(name: str) -> Board:
    """The board of the machine called `name`. Raises UserError for one that is no board."""
    machine = pick_one("machine", Library().machines(), name)
    if machine.board is None:
        raise UserError(
            f"machine {name} is a guest of QEMU, not a board",
            hint="harness.py doctor checks what guests need",
        )
    return machine.board


def check_board(board: Board) -> Iterator[Check]:
    """What a run on the board needs: ssh, kexec, a place to put kernels, commands of this host."""
    if board.boot:
        yield _command("boot", board.boot)
    else:
        yield from _own_system(board)
    yield _command("console", board.console)
    if board.reset:
        yield _command("reset", board.reset)
    else:
        text = "none: a board that hangs stays away, and a hang is an ERROR"
        yield Check("reset", False, text, "give the machine a `reset` command", optional=True)


def _own_system(board: Board) -> Iterator[Check]:
    try:
        with closing(open_ssh(board, ANSWER_S)) as ssh:
            code, said = ssh.run("uname -srm")
            system = said.decode(errors="replace").strip()
            yield Check("ssh", not code, f"{board.place}: {system}")
            yield from _on_board(board, ssh)
    except InfraError as error:
        yield Check("ssh", False, error.message, error.hint)


def _on_board(board: Board, ssh: BoardSsh) -> Iterator[Check]:
    """What the board's own system must have."""
    for key, tool in (("load", board.load[0]), ("start", board.start[0])):
        yield _tool(ssh, key, tool)
    yield _tool(ssh, "sha256sum", "sha256sum")
    code, said = ssh.run("cat /proc/sys/kernel/kexec_load_disabled")
    if "kexec" in board.load and (code or said.strip() != b"0"):
        text = "its kernel has no kexec" if code else "kexec is disabled until it boots again"
        mend = "boot it with a kernel with CONFIG_KEXEC and without kernel.kexec_load_disabled=1"
        yield Check("kexec", False, text, mend)
    code, said = ssh.run(f"mkdir -p {board.directory} && test -w {board.directory}")
    why = said.decode(errors="replace").strip() or "cannot be written to"
    text = f"{board.directory}: {why}" if code else f"{board.directory} can be written to"
    yield Check("directory", not code, text, "name another `directory`")


def _tool(ssh: BoardSsh, key: str, name: str) -> Check:
    code, said = ssh.run(f"command -v {shlex.quote(name)}")
    where = said.decode(errors="replace").strip()
    text = where if not code else f"the board has no {name}"
    return Check(key, not code, text, f"install {name} on the board")


def _command(key: str, argv: tuple[str, ...]) -> Check:
    """A command that runs on this host, in the project's directory."""
    found = shutil.which(argv[0], path=os.environ.get("PATH"))
    local = PROJECT / argv[0]
    ok = found is not None or ("/" in argv[0] and os.access(local, os.X_OK))
    text = found or (str(local) if ok else f"there is no command {argv[0]} on this host")
    return Check(key, ok, text, f"install {argv[0]}, or name another command")
