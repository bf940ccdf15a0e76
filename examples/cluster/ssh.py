# SPDX-License-Identifier: GPL-2.0-only
"""Start a scheduler and workers over ssh, and keep them until Ctrl-C.

    pip install asyncssh
    python examples/cluster/ssh.py 10.0.0.1 10.0.0.2 10.0.0.3

The first host gets the scheduler, each of the others a worker. Every host has this checkout at
KVET with `./bootstrap` done, and your key. Each keeps a cache of its own in ~/.cache/kvet.
"""

import signal
import sys

from dask.distributed import SSHCluster

KVET = "/srv/kvet"  # the checkout on every host
BOOTS = 4  # guests at a time on each worker
HOST, PORT = sys.argv[1], 8786  # of the scheduler
CONNECT = {"known_hosts": "~/.ssh/known_hosts"}  # options of asyncssh.connect


def main() -> None:
    """Start all of it, say how to use it, wait."""
    with SSHCluster(
        sys.argv[1:],
        connect_options=CONNECT,
        remote_python=f"{KVET}/.venv/bin/python",
        scheduler_options={"host": HOST, "port": PORT, "dashboard_address": f"{HOST}:8787"},
        worker_class="kvet.run.worker.BootWorker",
        worker_options={"nthreads": BOOTS},
    ) as cluster:
        store = f"sftp://{HOST}/srv/kvet-store"
        print(f"run-matrix --executor {cluster.scheduler_address} --store {store}", flush=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    main()
