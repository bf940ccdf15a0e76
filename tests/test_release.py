# SPDX-License-Identifier: GPL-2.0-only
"""The build key is written into a finished kernel, which is compiled without it."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvet.build.release import COMMON, put_key
from kvet.errors import InfraError

MADE = f"6.12.117{COMMON}"
KEY = "0123456789abcdef"
OWN = f"6.12.117-kvet-{KEY}"


def finished(folder: Path, image: bytes) -> Path:
    """A build's directory with that Image, and a module as modpost leaves it."""
    (folder / "modules").mkdir()
    (folder / "Image").write_bytes(image)
    (folder / "vmlinux").write_bytes(b"\x7fELF" + image)
    (folder / "modules" / "a.ko").write_bytes(f"vermagic={MADE} SMP\0".encode())
    return folder


def test_kernel_and_modules_get_the_release_of_their_key(tmp_path: Path) -> None:
    image = f"\0{MADE}\0Linux version {MADE} (kvet@kvet)\0other-kvet-00\0".encode()
    folder = finished(tmp_path, image)
    assert put_key(MADE, KEY, folder) == OWN
    wanted = f"\0{OWN}\0Linux version {OWN} (kvet@kvet)\0other-kvet-00\0".encode()
    assert (folder / "Image").read_bytes() == wanted
    assert (folder / "vmlinux").read_bytes() == b"\x7fELF" + wanted
    assert (folder / "modules" / "a.ko").read_bytes() == f"vermagic={OWN} SMP\0".encode()


def test_a_kernel_that_names_itself_otherwise_is_not_taken(tmp_path: Path) -> None:
    folder = finished(tmp_path, b"Linux version 6.12.117-custom")
    with pytest.raises(InfraError, match="does not hold its release, 6.12.117-kvet-"):
        put_key(MADE, KEY, folder)
