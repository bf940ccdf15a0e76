# SPDX-License-Identifier: GPL-2.0-only
"""Where boots run: local threads, or the executor of a dask.distributed scheduler."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager

from kvet.errors import InfraError


@contextmanager
def open_executor(url: str, jobs: int) -> Iterator[Executor]:
    """`jobs` local threads, or with a `url` (tcp://...) the scheduler behind it.

    Raises InfraError when dask.distributed is not installed.
    """
    if url:
        yield _dask_executor(url)
        return
    with ThreadPoolExecutor(jobs, thread_name_prefix="boot") as executor:
        yield executor


def _dask_executor(url: str) -> Executor:
    try:
        from distributed import Client
    except ImportError as error:
        raise InfraError(
            "--executor needs dask.distributed", hint=".venv/bin/pip install 'kvet[executor]'"
        ) from error
    executor: Executor = Client(url, timeout=30).get_executor()
    return executor
