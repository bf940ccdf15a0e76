# SPDX-License-Identifier: GPL-2.0-only
"""`worker`: this host boots what a scheduler hands it."""

from __future__ import annotations

import argparse

from kvet.cli.options import Commands, Spelling, add_command, positive, whole
from kvet.errors import InfraError


def add_worker(commands: Commands) -> None:
    """worker --scheduler tcp://... [--boot N] [--build N] [--memory MIB] [--name NAME]"""
    parser = add_command(
        commands,
        "worker",
        "boot, and with --build build, on this host what a scheduler hands out, until Ctrl-C",
        "  dask scheduler --host 10.0.0.1                                on one host\n"
        "  harness.py worker --scheduler tcp://10.0.0.1:8786 --boot 4 --build 1    on each host\n"
        "  harness.py run-matrix --executor tcp://10.0.0.1:8786 --store sftp://10.0.0.1/srv/kvet\n",
    )
    parser.add_argument(
        "--scheduler",
        type=Spelling(r"(tcp|tls)://\S+:\d+", ("tcp://HOST:8786",)),
        required=True,
        metavar="URL",
        help="of dask.distributed: tcp://HOST:8786",
    )
    parser.add_argument(
        "--boot", type=positive, default=1, metavar="N", help="guests at a time (default: 1)"
    )
    parser.add_argument(
        "--build",
        type=whole,
        default=0,
        metavar="N",
        help="kernels to build at a time, in build trees of this host's cache (default: 0)",
    )
    parser.add_argument(
        "--memory",
        type=positive,
        default=0,
        metavar="MIB",
        help="of all its guests together (default: the host's without 1 GiB)",
    )
    parser.add_argument("--name", default="", help="in the scheduler's pages")
    parser.set_defaults(command=worker_command)


def worker_command(options: argparse.Namespace) -> int:
    """Serve until a signal comes."""
    try:
        from kvet.run.worker import WorkerRequest, serve
    except ModuleNotFoundError as error:
        raise InfraError(
            f"worker needs {error.name}", hint=".venv/bin/pip install -e '.[executor]'"
        ) from error
    request = WorkerRequest(
        scheduler=options.scheduler,
        boot=options.boot,
        build=options.build,
        mem_mib=options.memory,
        name=options.name,
    )
    serve(request, lambda text: print(text, flush=True))
    return 0
