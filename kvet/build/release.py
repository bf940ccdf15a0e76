# SPDX-License-Identifier: GPL-2.0-only
"""The release of a kernel, which carries its build key: a console proves by it what booted.

While it is compiled every kernel of a lane has one and the same release: a string of its own would
have the next variant compile whatever holds it again, `kernel/module/main.o` among the slowest. The
key is written into the finished files instead, over as many bytes.
"""

from __future__ import annotations

from pathlib import Path

from kvet.errors import InfraError

COMMON = f"-kvet-{'0' * 16}"  # LOCALVERSION while it is compiled


def put_key(release: str, key: str, folder: Path) -> str:
    """Give the kernel and the modules in `folder` the release of the build `key`; that release.

    `release` is what make was told. Raises InfraError for a kernel that does not hold it.
    """
    own = release.replace(COMMON, f"-kvet-{key}")
    image = folder / "Image"
    for path in (image, folder / "vmlinux", *(folder / "modules").glob("*.ko")):
        data = path.read_bytes()
        named = data.replace(release.encode(), own.encode())
        if path == image and named == data:
            raise InfraError(f"the Image does not hold its release, {release}")
        path.write_bytes(named)
    return own
