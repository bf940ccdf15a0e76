# SPDX-License-Identifier: GPL-2.0-only
"""A project of fakes: a kernel tree with a real Makefile, and a QEMU that plays a scenario."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from kvet.guest import initramfs, machine
from kvet.guest.boot import Limits
from kvet.model import SourceTree
from kvet.plan.library import Library
from kvet.results.record import CellRecord, RunRecord
from tests.conftest import git

DATA = Path(__file__).parent / "data"
FILES = {
    "configs/kconfig/small.yaml": "title: small\nfragments: [small.config]\n",
    "configs/kconfig/small.config": "# why\nCONFIG_ARM64_4K_PAGES=y\n",
    "configs/machines/tiny.yaml": "vcpus: 1\nmem_mib: 64\naccel: tcg\n",
    "configs/workloads/race.yaml": (
        "title: race\nseconds: 1\nfloor: {overlaps: 20}\nfloor_reason: met\n"
        "baseline: stock\ncontrol: broken\n"
    ),
    "configs/m.yaml": (
        "title: m\nkernels: [fake]\nvariants: [stock, broken, good]\nconfigs: [small]\n"
        "machines: [tiny]\nworkloads: [race]\nattempts: 2\n"
    ),
    "kernels/fake.yaml": "kind: directory\npath: ../tree\n",
}


class FakeProject:
    """A directory laid out as the project is, with variants that differ in their scenario."""

    def __init__(self, root: Path) -> None:
        self.root = root
        shutil.copytree(DATA / "fake-kernel", root / "tree")
        for name, text in FILES.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        # a repository beside the tree, to make patches with
        shutil.copytree(root / "tree", root / "work")
        git(root / "work", "init", "-q")
        git(root / "work", "add", "-A", "-f")
        git(root / "work", "commit", "-q", "-m", "base")

    @property
    def library(self) -> Library:
        """What the directory defines."""
        return Library(self.root)

    def variant(
        self, name: str, role: str, scenario: str = "", edit: tuple[str, str, str] | None = None
    ) -> None:
        """Add a variant whose guest plays `scenario` and whose source has `edit` made."""
        folder = self.root / "patches" / name
        folder.mkdir(parents=True)
        (folder / "variant.yaml").write_text(f"title: {name}\nrole: {role}\n", encoding="utf-8")
        work = self.root / "work"
        if scenario:
            (work / "scenario").write_text(f"{scenario}\n", encoding="utf-8")
        if edit:
            file, old, new = edit
            text = (work / file).read_text(encoding="utf-8")
            (work / file).write_text(text.replace(old, new), encoding="utf-8")
        if scenario or edit:
            git(work, "commit", "-q", "-a", "-m", f"mm: {name}")
            git(work, "format-patch", "-q", "-1", "--no-signature", "-o", str(folder))
            git(work, "reset", "-q", "--hard", "HEAD~1")


def tree_of(project: FakeProject) -> SourceTree:
    """The fake kernel as a committed source tree."""
    work = project.root / "work"
    return SourceTree(
        path=work,
        base_commit=git(work, "rev-parse", "HEAD"),
        tree_id=git(work, "rev-parse", "HEAD^{tree}"),
        version="6.12.99",
        origin="test",
    )


def put_fake_qemu(folder: Path) -> None:
    """The fake QEMU as a program of `folder`, run by this Python without its site packages.

    `python3` may be a script that looks for a Python, and takes longer than the boot.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = (DATA / "fake-qemu").read_text(encoding="utf-8").partition("\n")[2]
    program = folder / "qemu-system-aarch64"
    program.write_text(f"#!{sys.executable} -IS\n{text}", encoding="utf-8")
    program.chmod(0o755)


def put_fake_qemu_on_path(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Make `qemu-system-aarch64` mean the fake one, and boots need no initramfs of ours."""
    put_fake_qemu(folder)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    machine.find_qemu.cache_clear()
    layer = folder / "layer.cpio"
    layer.write_bytes(b"")
    monkeypatch.setattr(initramfs, "base_layers", lambda cache, events: (layer,))


def set_limits(monkeypatch: pytest.MonkeyPatch, boot_s: float = 5, silence_s: float = 4) -> None:
    """Deadlines long enough for a busy host; a guest that will stay silent needs no long ones."""
    limits = Limits(boot_s=boot_s, run_s=6, silence_s=silence_s)
    monkeypatch.setattr("kvet.run.attempt.limits_for", lambda cell: limits)


def cell(record: RunRecord, variant: str) -> CellRecord:
    return next(c for c in record.cells if c.variant == variant)
