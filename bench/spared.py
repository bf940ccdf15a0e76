# SPDX-License-Identifier: GPL-2.0-only
"""Builds that spare objects against builds that do not: the same kernel, and sooner?

    python bench/spared.py [VARIANT...] [--kernel linux-6.12] [--config debug]

Builds each variant twice, one after the other: in a build tree where an edit of a header spares
the objects that are proven to be the same after it, and in one where make compiles all that
include it. Compares Image, System.map and the line table of vmlinux, byte by byte; exit code 1
when any differs. Both trees are new, and begin with stock; the ccache is the user's.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from kvet.build.builder import Builder, BuildFailure
from kvet.build.request import BuildRequest
from kvet.build.toolchain import find_toolchain
from kvet.cache import cache_root
from kvet.events import Events
from kvet.model import Variant
from kvet.plan.library import Library
from kvet.source.fetch import open_source
from kvet.source.series import apply_series

COMPARED = ("Image", "System.map", "line table")


@dataclass
class Tree:
    """Build trees below a directory of their own, and what they come to."""

    root: Path
    sparing: bool
    compiled: int = field(default=0, init=False)

    def build(self, request: BuildRequest) -> tuple[Path, float, int]:
        """The directory of the build, its seconds, and how many targets make made."""

        def on_object(done: int, total: int) -> None:
            self.compiled = done

        self.compiled = 0
        builder = Builder(self.root, on_object=on_object, sparing=self.sparing)
        started = time.monotonic()
        built = builder.build(request)
        if isinstance(built, BuildFailure):
            sys.exit(f"does not compile: {built.finding.title}")
        return built.folder, time.monotonic() - started, self.compiled


def prints_of(build: Path) -> dict[str, str]:
    """A digest of each thing that is compared."""
    with tempfile.NamedTemporaryFile() as lines:
        section = "--only-section=.debug_line"
        command = ["aarch64-linux-gnu-objcopy", "-O", "binary", section, "--set-section-flags"]
        command += [".debug_line=alloc", str(build / "vmlinux"), lines.name]
        subprocess.run(command, check=True)
        files = (build / "Image", build / "System.map", Path(lines.name))
        digests = (hashlib.sha256(file.read_bytes()).hexdigest() for file in files)
        return dict(zip(COMPARED, digests, strict=True))


def compare(variants: list[Variant], kernel: str, config: str) -> bool:
    """Build and compare all; whether every one is the same."""
    library, cache, same = Library(), cache_root(), True
    source = open_source(library.kernels()[kernel], cache, events=Events())
    scratch = Path(tempfile.mkdtemp(prefix="spared-", dir=cache))
    try:
        trees = [Tree(scratch / name, name == "spared") for name in ("spared", "whole")]
        for tree in trees:
            tree.root.mkdir()
            (tree.root / "ccache").symlink_to(cache / "ccache")
        print(f"{'variant':<24}{'spared':>20}{'whole':>20}   differs")
        for variant in variants:
            cells, prints = [], []
            for tree in trees:
                repo = Builder(tree.root).repo(source)
                request = BuildRequest(
                    source=source,
                    series=apply_series(repo, source.tree_id, variant.patches_for(kernel)),
                    config=library.configs()[config],
                    page_kib=4,
                    toolchain=find_toolchain("gcc"),
                )
                folder, seconds, made = tree.build(request)
                cells.append(f"{made:6} made {seconds:6.1f} s")
                prints.append(prints_of(folder))
            differs = [name for name in COMPARED if prints[0][name] != prints[1][name]]
            same = same and not differs
            said = ", ".join(differs) or "nothing"
            print(f"{variant.name:<24}{cells[0]:>20}{cells[1]:>20}   {said}", flush=True)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return same


def main() -> int:
    """Compare the variants that are named, or all that are shipped."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("variants", nargs="*", metavar="VARIANT")
    parser.add_argument("--kernel", default="linux-6.12")
    parser.add_argument("--config", default="debug")
    args = parser.parse_args()
    library = Library()
    names = args.variants or [n for n in library.variants() if n != "stock"]
    variants = [library.variant(name) for name in ("stock", *names)]
    return 0 if compare(variants, args.kernel, args.config) else 1


if __name__ == "__main__":
    sys.exit(main())
