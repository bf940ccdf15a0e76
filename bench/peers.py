# SPDX-License-Identifier: GPL-2.0-only
"""Builds against tuxmake, boots against a bare QEMU: ratios of one run on one host.

    python -m pip install tuxmake
    python bench/peers.py [--fresh N] [--boots N] VARIANT...

With a cache of its own, which borrows the unpacked sources of the real one, it
- has the harness judge the VARIANTs from nothing, and again each with a word that no tree had,
- has tuxmake build the first N of them from nothing, then all in one tree and build directory,
  with the same .config, compiler and number of jobs,
- boots a kernel N times by turns: the harness's recorded command line run bare, and the harness.

tuxmake boots nothing: builds are compared with builds, and beside them with whole runs of the
harness. What was built fresh by fewer than all is multiplied, and said so. Takes half an hour for
six variants on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from overhead import overheads

from kvet.run.export import relative_argv

PROJECT = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("KVET_CACHE", Path.home() / ".cache" / "kvet"))
INIT_STAGE = b"stage init"


@dataclass(frozen=True)
class Run:
    """What the harness wrote of one run."""

    folder: Path

    @property
    def cells(self) -> list[dict[str, Any]]:
        record = json.loads((self.folder / "results.json").read_text(encoding="utf-8"))
        return list(record["cells"])

    @property
    def events(self) -> list[dict[str, Any]]:
        lines = (self.folder / "events.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]

    @property
    def built(self) -> float:
        """Seconds in all builds, that of the kernel without patches included."""
        ends = [e for e in self.events if e["stage"] == "build" and e["kind"] == "end"]
        return float(sum(e["seconds"] for e in ends))

    @property
    def whole(self) -> float:
        """Seconds of the whole run, boots and all."""
        times = [e["time"] for e in self.events]
        return float(max(times) - min(times))


def judge(scratch: Path, name: str, variants: Sequence[str], *more: str) -> Run:
    """`harness.py run` of `variants`, the race alone, with the cache below `scratch`."""
    words = [sys.executable, "harness.py", "run", "--plain", "--out", str(scratch / name), *more]
    words += ["--workload", "ptdump-race"]
    for variant in variants:
        words += ["--variant", variant]
    env = {**os.environ, "KVET_CACHE": str(scratch / "cache")}
    done = subprocess.run(words, cwd=PROJECT, env=env, capture_output=True, text=True, check=False)
    folders = [p.parent for p in (scratch / name).glob("*/results.json")]
    if not folders:
        sys.exit(done.stderr)
    return Run(folders[0])


def with_a_word(folder: Path, variant: str) -> Path:
    """A copy of a variant that changes one more line of one .c file: never built before."""
    own = folder / f"{variant}-again"
    shutil.copytree(PROJECT / "patches" / variant, own)
    (own / "9999-bench.patch").write_text(
        "Subject: [PATCH] mm/vmalloc: a word that no tree had before\n---\n"
        "--- a/mm/vmalloc.c\n+++ b/mm/vmalloc.c\n@@ -1,3 +1,4 @@\n"
        f"+/* {time.time_ns()} */\n // SPDX-License-Identifier: GPL-2.0-only\n /*\n"
        "  *  Copyright (C) 1993  Linus Torvalds\n",
        encoding="utf-8",
    )
    return own


def check_out(tree: Path, variant: str) -> None:
    """Make `tree` the base with the patches of `variant`; what stays the same keeps its time."""
    git = ("git", "-C", str(tree))
    subprocess.run((*git, "checkout", "-q", "-f", "HEAD"), check=True)
    subprocess.run((*git, "clean", "-q", "-fd"), check=True)
    for patch in sorted((PROJECT / "patches" / variant).glob("*.patch")):
        subprocess.run((*git, "apply", str(patch)), check=True)


def tuxmake(tree: Path, config: Path, build: Path | None, out: Path) -> float:
    """Seconds of one build by tuxmake, in `build` or in a directory of its own."""
    words = [shutil.which("tuxmake") or str(Path(sys.executable).with_name("tuxmake"))]
    words += ["-C", str(tree), "-a", "arm64", "-t", "gcc", "-k", str(config), "-o", str(out)]
    words += ["-j", str(os.cpu_count() or 1), "-z", "none"]
    if build is not None:
        words += ["-b", str(build)]
    started = time.monotonic()
    done = subprocess.run([*words, "kernel"], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(words)}\n{done.stderr[-2000:]}")
    shutil.rmtree(out)
    return time.monotonic() - started


def bare_boot(bundle: Path, argv: Sequence[str]) -> float:
    """Seconds from the start of QEMU to the guest's init, by the file behind its report port."""
    report = bundle / "report.ktap"
    report.unlink(missing_ok=True)
    started = time.monotonic()
    with subprocess.Popen(
        argv,
        cwd=bundle,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        process_group=0,
    ) as child:
        while not (report.exists() and INIT_STAGE in report.read_bytes()):
            if child.poll() is not None or time.monotonic() - started > 60:
                sys.exit(f"no init in {bundle}")
            time.sleep(0.002)
        seconds = time.monotonic() - started
        child.kill()
    return seconds


def unpack(scratch: Path, run: Run, cell: str) -> Path:
    """The kernel and initramfs of a boot of `run`, as `harness.py export` packs them."""
    packed = scratch / "boot.tar.gz"
    words = [sys.executable, "harness.py", "export", f"{run.folder.name}/{cell}"]
    words += ["--out", str(run.folder.parent), "-o", str(packed)]
    env = {**os.environ, "KVET_CACHE": str(scratch / "cache")}
    subprocess.run(words, cwd=PROJECT, env=env, check=True, stdout=subprocess.DEVNULL)
    with tarfile.open(packed) as tar:
        tar.extractall(scratch / "boot", filter="data")
    return next((scratch / "boot").iterdir())


def compare_builds(scratch: Path, variants: Sequence[str], fresh: int) -> Run:
    """Print what the builds took; the harness's run from nothing."""
    cold = judge(scratch, "cold", variants, "--attempts", "1")
    again = [str(with_a_word(scratch / "again", v)) for v in variants]
    warm = judge(scratch, "warm", again, "--attempts", "1")
    folders = (CACHE / "sources").glob("linux-source-6.12-*/")
    source = next(path for path in folders if path.is_dir())
    tree = scratch / "tree"
    subprocess.run(("git", "clone", "-q", "-s", str(source), str(tree)), check=True)
    key = next(c["build"]["key"] for c in cold.cells if c["variant"] == variants[0])
    config = scratch / "cache" / "builds" / key / ".config"
    some = []
    for variant in variants[:fresh]:
        check_out(tree, variant)
        some.append(tuxmake(tree, config, None, scratch / "out"))
    theirs_fresh = sum(some) / len(some) * len(variants)
    kept = []
    for variant in variants:
        check_out(tree, variant)
        kept.append(tuxmake(tree, config, scratch / "kept", scratch / "out"))
    said = f"{len(some)} of {len(variants)} built, times {len(variants) / len(some):.1f}"
    print(f"builds of {', '.join(variants)}; ratio is tuxmake / kvet")
    print(f"  tuxmake, each from nothing      {theirs_fresh:7.0f} s  ({said})")
    print(f"  tuxmake, one tree and directory {sum(kept):7.0f} s  of which the first {kept[0]:.0f}")
    rows = {
        "from nothing, stock too": cold.built,
        "the same with all boots": cold.whole,
        "a word changed": warm.built,
        "the same, with boots": warm.whole,
    }
    for what, seconds in rows.items():
        ratios = f"x{theirs_fresh / seconds:.1f} fresh, x{sum(kept) / seconds:.1f} one tree"
        print(f"  kvet, {what:<25} {seconds:7.0f} s  {ratios}")
    return cold


def compare_boots(scratch: Path, cold: Run, variant: str, boots: int) -> None:
    """Print what the way to init took, bare and in the harness, and the harness's own time."""
    cell = next(c for c in cold.cells if c["variant"] == variant)
    argv = cell["attempts"][0]["provenance"]["argv"]
    bundle = unpack(scratch, cold, cell["id"])
    bare, ours, own = [], [], []
    for number in range(boots):
        bare.append(bare_boot(bundle, [argv[0], *relative_argv(argv)]))
        run = judge(
            scratch, f"boot{number}", [variant], "--attempts", "2", "--seed", str(number + 1)
        )
        booted = next(c for c in run.cells if c["variant"] == variant)["attempts"]
        ours += [a["boot_seconds"] for a in booted]
        own += overheads(run.events)
    theirs, mine = statistics.median(bare), statistics.median(ours)
    print(f"boot of {variant} to its init, medians of {len(bare)} and {len(ours)}")
    print(f"  bare QEMU {theirs:.2f} s, kvet {mine:.2f} s: x{mine / theirs:.2f}")
    if own:
        print(f"  an attempt less its QEMU: {statistics.median(own):.3f} s")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("variants", nargs="+", metavar="VARIANT")
    parser.add_argument("--fresh", type=int, default=1, metavar="N")
    parser.add_argument("--boots", type=int, default=5, metavar="N")
    args = parser.parse_args()
    if not (CACHE / "sources").is_dir():
        sys.exit(f"{CACHE}: no sources yet; run `make smoke` once")
    with tempfile.TemporaryDirectory(prefix="peers-", dir=CACHE.parent) as name:
        scratch = Path(name)
        (scratch / "again").mkdir()
        (scratch / "cache").mkdir()
        for folder in ("sources", "apt", "rootfs"):
            words = ("cp", "-a", "-l", str(CACHE / folder), str(scratch / "cache" / folder))
            subprocess.run(words, check=True)
        cold = compare_builds(scratch, args.variants, max(1, args.fresh))
        compare_boots(scratch, cold, args.variants[0], args.boots)


if __name__ == "__main__":
    main()
