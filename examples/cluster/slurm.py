# SPDX-License-Identifier: GPL-2.0-only
"""Start a scheduler here and workers as jobs of Slurm, and keep them until Ctrl-C.

    pip install dask-jobqueue
    python examples/cluster/slurm.py 20

asks for 20 jobs. Run it on a host that the nodes can connect to. The nodes see this checkout at
KVET, and STORE; each job has a cache of its own on its node.
"""

import signal
import sys

from dask_jobqueue import SLURMCluster

KVET = "/shared/kvet"  # the checkout, as the nodes see it, with ./bootstrap done
STORE = "/shared/kvet-store"
BOOTS = 4  # guests at a time in each job
HOST, PORT = None, 8786  # None: the address of this host


def open_cluster() -> SLURMCluster:
    """The scheduler, and the recipe of a job."""
    return SLURMCluster(
        cores=BOOTS,
        processes=1,
        job_cpu=2 * BOOTS,  # most machines have two vCPUs
        memory="8 GiB",
        walltime="04:00:00",
        nanny=False,
        python=f"{KVET}/.venv/bin/python",
        worker_extra_args=["--worker-class", "kvet.run.worker.BootWorker"],
        job_script_prologue=[
            'export KVET_CACHE="${TMPDIR:-/tmp}/kvet-$SLURM_JOB_ID"',
            "trap 'rm -rf \"$KVET_CACHE\"' EXIT",
        ],
        scheduler_options={"host": HOST, "port": PORT},
    )


def main() -> None:
    """Start all of it, say how to use it, wait."""
    with open_cluster() as cluster:
        cluster.scale(jobs=int(sys.argv[1]))
        print(f"run-matrix --executor {cluster.scheduler_address} --store {STORE}", flush=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    main()
