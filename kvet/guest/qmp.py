# SPDX-License-Identifier: GPL-2.0-only
"""Asks a running QEMU over its QMP socket: registers, a memory dump, the end."""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from qemu.qmp import QMPClient
from qemu.qmp.error import QMPError
from qemu.qmp.qmp_client import ExecuteError

from kvet.errors import InfraError

LOGGER = logging.getLogger(__name__)


def execute(folder: Path, *commands: tuple[str, dict[str, Any]], timeout_s: float = 5) -> list[Any]:
    """Run QMP commands in order on the QEMU that lives in `folder`; returns their results."""
    return asyncio.run(_execute(folder, commands, timeout_s))


async def _execute(
    folder: Path, commands: tuple[tuple[str, dict[str, Any]], ...], timeout_s: float
) -> list[Any]:
    # a QEMU that goes while it is asked leaves a task behind; it is no news to the user
    asyncio.get_running_loop().set_exception_handler(
        lambda _, context: LOGGER.debug("%s", context.get("message"))
    )
    # the socket is named through a file descriptor: its path may be too long for connect()
    handle = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    client = QMPClient("kvet")
    try:
        async with asyncio.timeout(timeout_s):
            await client.connect(f"/proc/self/fd/{handle}/qmp.sock")
            results = [await client.execute(name, args) for name, args in commands]
            # a QEMU that was told to quit may be gone before it says goodbye
            with suppress(OSError, EOFError, QMPError):
                await client.disconnect()
            return results
    except (OSError, EOFError, TimeoutError, QMPError, ExecuteError) as error:
        raise InfraError(f"{folder}: QEMU does not answer: {error}") from error
    finally:
        os.close(handle)


def monitor(folder: Path, command: str) -> str:
    """Output of one human monitor command (`info registers -a`)."""
    result = execute(folder, ("human-monitor-command", {"command-line": command}))
    return str(result[0])
