# SPDX-License-Identifier: GPL-2.0-only
"""The files that start workers on many hosts say what kvet and dask understand."""

from __future__ import annotations

import importlib.util
import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from kvet.cli.main import build_parser
from kvet.paths import PROJECT

CLUSTER = PROJECT / "examples" / "cluster"


def kubernetes() -> dict[str, dict[str, Any]]:
    """The objects of the file, by kind and name."""
    text = (CLUSTER / "kubernetes.yaml").read_text(encoding="utf-8")
    return {f"{o['kind']} {o['metadata']['name']}": o for o in yaml.safe_load_all(text)}


def container(name: str) -> dict[str, Any]:
    """The only container of a deployment."""
    (one,) = kubernetes()[f"Deployment {name}"]["spec"]["template"]["spec"]["containers"]
    assert isinstance(one, dict)
    return one


def test_kubernetes_starts_workers_that_kvet_understands() -> None:
    worker = container("kvet-worker")
    options = build_parser().parse_args(worker["args"])
    service = kubernetes()["Service kvet-scheduler"]
    (port,) = service["spec"]["ports"]
    assert options.scheduler == f"tcp://{service['metadata']['name']}:{port['port']}"
    assert str(port["targetPort"]) in container("kvet-scheduler")["command"]
    # what the guests may have fits into what the pod may have
    gib = int(worker["resources"]["limits"]["memory"].removesuffix("Gi"))
    assert options.memory <= (gib - 1) * 1024
    assert [m["mountPath"] for m in worker["volumeMounts"]] == ["/cache"]
    assert "KVET_CACHE=/cache" in (CLUSTER / "Dockerfile").read_text(encoding="utf-8")


def test_kubernetes_labels_meet_their_selectors() -> None:
    for name in ("kvet-scheduler", "kvet-worker"):
        spec = kubernetes()[f"Deployment {name}"]["spec"]
        assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]
    labels = kubernetes()["Deployment kvet-scheduler"]["spec"]["template"]["metadata"]["labels"]
    assert kubernetes()["Service kvet-scheduler"]["spec"]["selector"] == labels


def test_the_image_has_what_it_copies() -> None:
    text = (CLUSTER / "Dockerfile").read_text(encoding="utf-8")
    names = [word for line in re.findall(r"^COPY (.*) \S+$", text, re.M) for word in line.split()]
    assert names
    assert [name for name in names if not (PROJECT / name).exists()] == []


@pytest.mark.parametrize("script", ["ssh.py", "slurm.py"])
def test_dask_is_told_a_class_that_there_is(script: str) -> None:
    pytest.importorskip("distributed")
    (name,) = set(re.findall(r"kvet\.run\.\w+\.\w+", (CLUSTER / script).read_text("utf-8")))
    module, _, attribute = name.rpartition(".")
    assert isinstance(pkgutil.resolve_name(f"{module}:{attribute}"), type)


def test_a_job_of_slurm_starts_a_worker_of_ours(tmp_path: Path) -> None:
    if importlib.util.find_spec("dask_jobqueue") is None:
        pytest.skip("dask-jobqueue is not installed")
    code = (
        f"import sys; sys.path.insert(0, {str(CLUSTER)!r}); import slurm; "
        "slurm.HOST, slurm.PORT = '127.0.0.1', 0; print(slurm.open_cluster().job_script())"
    )
    env = {**os.environ, "DASK_DISTRIBUTED__SCHEDULER__DASHBOARD__STATUS": "127.0.0.1:0"}
    done = subprocess.run(
        (sys.executable, "-c", code), capture_output=True, text=True, cwd=tmp_path, env=env
    )
    assert done.returncode == 0, done.stderr
    assert "--no-nanny" in done.stdout
    assert "--nthreads 4" in done.stdout
    assert "--worker-class kvet.run.worker.BootWorker" in done.stdout
    assert done.stdout.index("export KVET_CACHE=") < done.stdout.index("distributed.cli")
    assert "trap 'rm -rf \"$KVET_CACHE\"' EXIT" in done.stdout
