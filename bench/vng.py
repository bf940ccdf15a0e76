# SPDX-License-Identifier: GPL-2.0-only
"""Boots by virtme-ng against a bare QEMU: seconds to the first process.

    python -m pip install virtme-ng
    python bench/vng.py [--boots N] [VARIANT]

virtme-ng mounts a directory of the host as the guest's root, which the kernels that are judged
cannot do. So VARIANT is built once more, with 9p, and that Image is booted by turns by `vng`, whose
root is Debian's static bash and busybox for arm64, fetched by apt, and by QEMU alone with the same
root as an initramfs, with the processor of vng and with that of the harness. Each is timed from its
start to the line "Run ... as init process" of the kernel.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from kvet.build.builder import Builder, BuildFailure
from kvet.build.request import BuildRequest
from kvet.build.toolchain import find_toolchain
from kvet.cache import cache_root
from kvet.events import Events
from kvet.loads import Option
from kvet.plan.library import Library
from kvet.source.fetch import open_source
from kvet.source.series import apply_series

KERNEL, CONFIG, VCPUS, MIB = "linux-6.12", "debug", 2, 512
NEEDED = ("NETWORK_FILESYSTEMS", "NET_9P", "NET_9P_VIRTIO", "9P_FS", "TMPFS", "DEVTMPFS")
FIRST = b"as init process"
BUSYBOX = (
    *("cat", "chmod", "chown", "cp", "cut", "date", "dmesg", "env", "find", "grep", "head"),
    *("hostname", "id", "insmod", "ip", "ln", "ls", "mkdir", "mount", "mountpoint", "mv"),
    *("poweroff", "ps", "readlink", "rm", "sed", "setsid", "sh", "sleep", "stat", "stty"),
    *("tail", "touch", "tr", "umount", "uname"),
)


def build(variant: str) -> Path:
    """The Image of `variant` with what virtme-ng's root needs."""
    library, cache = Library(), cache_root()
    source = open_source(library.kernels()[KERNEL], cache, events=Events())
    options = tuple(Option(f"CONFIG_{name}", "y", Path(__file__), 0) for name in NEEDED)
    builder = Builder(cache)
    patches = library.variant(variant).patches_for(KERNEL)
    built = builder.build(
        BuildRequest(
            source=source,
            series=apply_series(builder.repo(source), source.tree_id, patches),
            config=replace(library.configs()[CONFIG], options=options),
            page_kib=4,
            toolchain=find_toolchain("gcc"),
        )
    )
    if isinstance(built, BuildFailure):
        sys.exit(f"does not compile: {built.finding.title}")
    return built.folder / "Image"


def make_root(scratch: Path) -> Path:
    """A root directory for arm64 with a shell and the commands that virtme-init calls."""
    state, debs, root = scratch / "apt", scratch / "debs", scratch / "root"
    for folder in (state / "lists" / "partial", state / "archives" / "partial", debs, root):
        folder.mkdir(parents=True)
    (state / "status").touch()
    apt = ["apt-get", "-qq", "-o", "APT::Architecture=arm64", "-o", "APT::Architectures::=arm64"]
    for name, where in (("State", state), ("Cache", state), ("State::status", state / "status")):
        apt += ["-o", f"Dir::{name}={where}"]
    subprocess.run([*apt, "update"], check=True, stderr=subprocess.DEVNULL)
    words = ["download", "bash-static", "busybox-static"]
    subprocess.run([*apt, *words], cwd=debs, check=True, stderr=subprocess.DEVNULL)
    for deb in debs.glob("*.deb"):
        subprocess.run(["dpkg", "-x", str(deb), str(root)], check=True)
    for name in (
        "dev",
        "proc",
        "sys",
        "run",
        "tmp",
        "etc",
        "root",
        "var",
        "sbin",
        "usr/bin",
        "lib",
    ):
        (root / name).mkdir(parents=True, exist_ok=True)
    for name in BUSYBOX:
        (root / "bin" / name).symlink_to("busybox")
    (root / "bin" / "bash").symlink_to("bash-static")
    (root / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/bash\n", encoding="ascii")
    return root


def initramfs(root: Path, path: Path) -> Path:
    """The same root as an initramfs, whose first process is the shell."""
    (root / "init").symlink_to("bin/bash")
    names = "\n".join(str(p.relative_to(root)) for p in sorted(root.rglob("*")))
    with path.open("wb") as file:
        words = ["cpio", "-o", "-H", "newc", "--quiet"]
        subprocess.run(words, cwd=root, input=names.encode(), stdout=file, check=True)
    return path


def seconds_to_init(argv: Sequence[str], folder: Path) -> float:
    """Seconds from the start of `argv` to the guest's first process, by its console."""
    console = folder / "console.log"
    here = str(Path(sys.executable).parent)  # where vng finds the program that it calls
    env = {**os.environ, "PATH": f"{here}:{os.environ['PATH']}"}
    started = time.monotonic()
    with (
        console.open("wb") as file,
        subprocess.Popen(
            argv,
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        ) as child,
    ):
        while FIRST not in console.read_bytes():
            if child.poll() is not None or time.monotonic() - started > 120:
                sys.exit(f"no init: {argv[0]}\n{console.read_text(errors='replace')[-2000:]}")
            time.sleep(0.002)
        seconds = time.monotonic() - started
        os.killpg(child.pid, 9)
    return seconds


def commands(image: Path, scratch: Path) -> Mapping[str, Sequence[str]]:
    """What is compared, each as a command line."""
    vng = str(Path(sys.executable).with_name("vng"))
    root = make_root(scratch)
    theirs = [vng, "--run", str(image), "--arch", "arm64", "--root", str(root), "--force-9p"]
    theirs += ["--disable-kvm", "--cpus", str(VCPUS), "--memory", f"{MIB}M", "--verbose"]
    packed = initramfs(root, scratch / "initrd")
    bare = ["qemu-system-aarch64", "-nodefaults", "-display", "none", "-serial", "stdio"]
    bare += ["-smp", str(VCPUS), "-m", f"{MIB}M", "-kernel", str(image), "-initrd", str(packed)]
    bare += ["-append", "console=ttyAMA0 earlycon loglevel=7 panic=-1", "-no-reboot"]
    return {
        "vng": [*theirs, "--exec", "true"],
        "bare QEMU, vng's processor": [*bare, "-M", "virt", "-cpu", "cortex-a57"],
        "bare QEMU, the harness's": [
            *bare,
            "-M",
            "virt,gic-version=3",
            "-cpu",
            "max,pauth-impdef=on",
        ],
    }


def main() -> None:
    """Build, boot by turns, print medians and ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("variant", nargs="?", default="nolock", metavar="VARIANT")
    parser.add_argument("--boots", type=int, default=5, metavar="N")
    args = parser.parse_args()
    image = build(args.variant)
    with tempfile.TemporaryDirectory(prefix="vng-") as name:
        scratch = Path(name)
        found: dict[str, list[float]] = {}
        compared = commands(image, scratch)
        for _ in range(args.boots):
            for what, argv in compared.items():
                found.setdefault(what, []).append(seconds_to_init(argv, scratch))
    least = statistics.median(found["bare QEMU, the harness's"])
    print(f"{args.variant} with 9p to its first process, medians of {args.boots}, {VCPUS} vCPUs")
    for what, seconds in found.items():
        median = statistics.median(seconds)
        print(f"  {what:<28}{median:6.2f} s   x{median / least:.2f}")


if __name__ == "__main__":
    main()
