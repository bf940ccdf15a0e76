# SPDX-License-Identifier: GPL-2.0-only
"""Whether what the cache holds is still what was put there: digests of a build's files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kvet.cache import file_digest

# a boot or a report would go wrong without saying so if one of these had changed
KEPT = ("Image", "vmlinux", "System.map", ".config", "modules/*.ko", "selftests/*")


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of each file of a build that is used again, by its path below `folder`."""
    found = sorted(path for pattern in KEPT for path in folder.glob(pattern))
    return {str(path.relative_to(folder)): file_digest(path) for path in found}


def is_whole(folder: Path, known: Mapping[str, str]) -> bool:
    """Whether every file of `known` has its digest still."""
    try:
        return all(file_digest(folder / name) == digest for name, digest in known.items())
    except OSError:
        return False
