# SPDX-License-Identifier: GPL-2.0-only
"""What hosts say to each other about boots, without a scheduler."""

from __future__ import annotations

import io
import socket
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from kvet.boot_host import BootHost
from kvet.errors import InfraError
from kvet.model import Machine
from kvet.run.executor import open_executor, places_of
from kvet.run.plan import Plan
from kvet.run.remote import QEMU_MIB, Offer, dashboard, kind, needs, pack, unpack

HOST = BootHost(name="here", arch="x86_64", qemu="10.0.2", accel="tcg", kvet="abc")
VIRT = Machine("virt", vcpus=2, mem_mib=512)


@pytest.mark.parametrize("field", ["arch", "qemu", "accel", "kvet"])
def test_what_differs_in_one_thing_is_of_another_kind(field: str) -> None:
    assert kind(replace(HOST, **{field: "other"})) != kind(HOST)
    assert kind(replace(HOST, name="there")) == kind(HOST)


def test_a_boot_fits_into_what_a_worker_offers() -> None:
    offer = Offer((HOST, replace(HOST, accel="kvm")), boot=4, build=1, cores=8, mem_mib=4096)
    wanted = needs(VIRT, HOST, offer.cores)
    assert wanted == {"boot": 1, "cores": 2, "mem_mib": 512 + QEMU_MIB, kind(HOST): 1}
    assert all(offer.resources[name] >= amount for name, amount in wanted.items())
    other = needs(VIRT, replace(HOST, qemu="9.2.0"), offer.cores)
    assert set(other) - set(offer.resources) == {kind(replace(HOST, qemu="9.2.0"))}


def test_a_guest_with_more_vcpus_than_any_worker_has_cores_gets_one_for_itself() -> None:
    assert needs(replace(VIRT, vcpus=64), HOST, 8)["cores"] == 8
    assert needs(replace(VIRT, thread="single"), HOST, 8)["cores"] == 1
    assert needs(replace(VIRT, maxmem_mib=2048), HOST, 8)["mem_mib"] == 2048 + QEMU_MIB


def test_files_of_an_attempt_come_out_as_they_went_in(tmp_path: Path) -> None:
    folder, taken = tmp_path / "attempt", tmp_path / "taken"
    folder.mkdir()
    taken.mkdir()
    (folder / "console.log").write_bytes(b"\x00\xfflog\n")
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(folder / "qmp.sock"))
        pack(folder, tmp_path / "attempt.tar.gz")
    unpack(tmp_path / "attempt.tar.gz", taken)
    assert {p.name: p.read_bytes() for p in taken.iterdir()} == {"console.log": b"\x00\xfflog\n"}


@pytest.mark.parametrize("name", ["../../escaped", "/escaped", "a/b/escaped"])
def test_a_pack_writes_nowhere_else(name: str, tmp_path: Path) -> None:
    archive, taken = tmp_path / "x.tar", tmp_path / "a" / "b"
    taken.mkdir(parents=True)
    with tarfile.open(archive, "w") as tar:
        member = tarfile.TarInfo(name)
        member.size = 3
        tar.addfile(member, io.BytesIO(b"bad"))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    unpack(archive, taken)
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == ["escaped", "x.tar"]
    assert (taken / "escaped").read_bytes() == b"bad"


def test_what_is_no_pack_is_told(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"no archive")
    with pytest.raises(InfraError, match="what a worker sent cannot be unpacked"):
        unpack(tmp_path / "x", tmp_path)


def test_a_scheduler_without_pages_has_no_link() -> None:
    assert dashboard("tcp://127.0.0.1:1", {}) == ""
    assert dashboard("tcp://127.0.0.1:1", {"dashboard": 9}) == ""


def test_who_has_no_dask_is_told_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.delitem(sys.modules, "kvet.run.cluster", raising=False)
    monkeypatch.delitem(sys.modules, "kvet.run.worker", raising=False)
    plan = Plan(name="m", cells=(), out=tmp_path, executor="tcp://127.0.0.1:1")
    wanted = pytest.raises(InfraError, match="--executor needs distributed")
    with wanted as told, open_executor(places_of(plan), print):
        pytest.fail("there is nobody to boot")
    assert told.value.hint == ".venv/bin/pip install -e '.[executor]'"
