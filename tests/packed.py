# SPDX-License-Identifier: GPL-2.0-only
"""Archives as people send them, made of files by name."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Mapping


def tar(files: Mapping[str, bytes]) -> bytes:
    """A tar archive, not compressed."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def zipped(files: Mapping[str, bytes]) -> bytes:
    """A zip archive, its files compressed."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()
