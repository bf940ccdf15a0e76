# SPDX-License-Identifier: GPL-2.0-only
"""Fetches the thread of a message id or an archive's URL with b4, which is optional."""

from __future__ import annotations

import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from kvet import proc
from kvet.errors import InfraError, MissingTool, UserError
from kvet.paths import PROJECT

# neither an option, nor a path, nor a GITDIR:BASE..TIP
MESSAGE_ID = re.compile(r"^<?([^\s<>@:/.~-][^\s<>@:]*@[^\s<>@:/]+)>?$")


@dataclass(frozen=True, slots=True)
class Fetched:
    """A thread in a file, and the words for who fetched it."""

    path: Path
    message_id: str
    tool: str


def message_id_of(spec: str) -> str:
    """The message id that `spec` is, or that an archive's URL holds; '' when there is none."""
    if found := MESSAGE_ID.match(spec):
        return found[1]
    if not spec.startswith(("http://", "https://")):
        return ""
    parts = [unquote(part) for part in urlsplit(spec).path.split("/")]
    return next((found[1] for part in parts if (found := MESSAGE_ID.match(part))), "")


def fetch_thread(spec: str, folder: Path) -> Fetched:
    """Have b4 fetch the whole thread that `spec` names into `folder`.

    Raises UserError for a URL without a message id, MissingTool where there is no
    b4, and InfraError with b4's own words when the thread cannot be had.
    """
    message_id = message_id_of(spec)
    if not message_id:
        raise UserError(
            f"--series {spec}: there is no message id in this address",
            hint="give the address of one mail: https://lore.kernel.org/all/MESSAGE-ID/",
        )
    b4 = find_b4()
    place = folder / "b4"
    place.mkdir(parents=True, exist_ok=True)
    done = proc.run((b4, "mbox", "-o", str(place), "-n", "thread.mbx", message_id), timeout_s=600)
    files = sorted(place.iterdir())  # not every b4 takes the name as it is given
    if done.returncode or not files:
        told = (done.stdout + b"\n" + done.stderr).decode(errors="replace").strip().splitlines()
        reason = told[-1] if told else f"exit code {done.returncode}"
        raise InfraError(f"b4 cannot fetch {message_id}: {reason}")
    return Fetched(files[0], message_id, f"b4 {version_of(b4)}".strip())


def version_of(b4: str) -> str:
    """`0.16.0`."""
    return proc.run((b4, "--version")).stdout.decode(errors="replace").strip()


def find_b4() -> str:
    """The b4 on PATH, beside this Python, or in the .venv of the checkout."""
    for place in (None, Path(sys.executable).parent, PROJECT / ".venv/bin"):
        if found := shutil.which("b4", path=str(place) if place else None):
            return found
    raise MissingTool("b4, which fetches message ids and addresses,", hint=install_command())


def install_command() -> str:
    """The command that installs b4 where `find_b4` looks."""
    python = PROJECT / ".venv/bin/python"
    return f"{python if python.exists() else sys.executable} -m pip install b4"
