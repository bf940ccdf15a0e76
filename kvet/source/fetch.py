# SPDX-License-Identifier: GPL-2.0-only
"""Brings a kernel source to disk once and keeps it as a clean git checkout.

A package or tarball is unpacked and committed to a repository of its own, so
that git's machinery applies series to it; its tree id depends on the content
alone and is the same on every machine.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from kvet import proc
from kvet.cache import beside, file_digest, locked, need_free
from kvet.errors import InfraError, UserError
from kvet.events import Events
from kvet.model import Kernel, SourceTree
from kvet.source.apt import Package, fetch_debs, host_architecture
from kvet.source.first_commit import commit_all
from kvet.store import read_json, write_json, write_text

# unpacked source 1.7 GB, its objects 0.4 GB, the download 0.2 GB
NEEDED_MIB = 3500
LOCK_HEAD = """\
# SPDX-License-Identifier: GPL-2.0-only
# Which source each kernel was; written on first use, a drift is reported.
"""


@dataclass(frozen=True, slots=True)
class Origin:
    """What a source was made from: `id` names its place in the cache."""

    id: str
    text: str
    sha256: str = ""


def open_source(kernel: Kernel, cache: Path, *, events: Events) -> SourceTree:
    """The source of `kernel`, fetched and unpacked if it is not in `cache` yet.

    Records it in `kernels/lock.yaml`, or says in one line when it drifted from there.
    """
    root = cache / "sources"
    with locked(root / f"{kernel.name}.lock"):
        tree = KINDS[kernel.kind](kernel, root, events)
    _check_lock(kernel, tree, events)
    return tree


def mend_source(folder: Path) -> str:
    """Put back what was changed in an unpacked source; when that was last done, '' for never.

    Lanes share files with it, so that whoever keeps lanes compares the answer.
    """
    stamp = beside(folder, ".mended")
    # a link from a lane changes a file's ctime, and nothing else of it
    git = ("git", "-C", str(folder), "-c", "core.trustctime=false")
    changed = proc.run((*git, "diff-files", "--name-only", "-z"), brief=True).stdout
    if changed:
        for name in changed.split(b"\0")[:-1]:
            (folder / os.fsdecode(name)).unlink(missing_ok=True)
        _must((*git, "checkout-index", "-q", "-f", "-u", "-a"))
        write_text(stamp, f"{time.time_ns()}\n")
    return stamp.read_text(encoding="utf-8") if stamp.exists() else ""


def cached_source(kernel: Kernel, cache: Path) -> SourceTree | None:
    """The newest source of `kernel` that lies unpacked in `cache`; nothing is fetched."""
    root = cache / "sources"
    if kernel.kind == "git":
        return _cached_git(kernel, root)
    name = str(kernel.spec["package"]) if kernel.kind == "package" else kernel.name
    own = re.compile(re.escape(name) + r"-[0-9a-f]{12}\.json")
    notes = [p for p in root.glob("*.json") if own.fullmatch(p.name) and p.with_suffix("").is_dir()]
    if not notes:
        return None
    note = max(notes, key=lambda p: p.stat().st_mtime)
    known = read_json(note)
    return SourceTree(
        path=note.with_suffix(""),
        base_commit=known["base_commit"],
        tree_id=known["tree"],
        version=known["version"],
        origin=name,
    )


def _cached_git(kernel: Kernel, root: Path) -> SourceTree | None:
    url = str(kernel.spec["url"])
    name = hashlib.sha256(url.encode()).hexdigest()[:12]
    ref = str(kernel.spec["ref"])
    commit = ref[:12] if re.fullmatch(r"[0-9a-f]{40}", ref) else "*"
    found = [p for p in root.glob(f"git-{name}-{commit}") if (p / "Makefile").exists()]
    if not found:
        return None
    folder = max(found, key=lambda p: p.stat().st_mtime)
    return SourceTree(
        path=folder,
        base_commit=_out(folder, "rev-parse", "HEAD"),
        tree_id=_out(folder, "rev-parse", "HEAD^{tree}"),
        version=kernel_version(folder),
        origin=f"{url} {kernel.spec['ref']}",
    )


def _from_package(kernel: Kernel, root: Path, events: Events) -> SourceTree:
    package = str(kernel.spec["package"])
    with events.step("fetch", package) as step:
        deb, suite = _fetch_package(package, kernel.spec.get("suite", ""), root)
        step.say(f"{deb.version}{' from ' + suite if suite else ''}")
    digest = sha256_of(deb.path)
    origin = Origin(f"{package}-{digest[:12]}", f"{package} {deb.version}", digest)
    return _unpacked(origin, root, events, lambda folder: _unpack_source_deb(deb.path, folder))


def _fetch_package(package: str, suites: str | Sequence[str], root: Path) -> tuple[Package, str]:
    """The package from the first of `suites` that has it ('' is the release itself)."""
    names = [suites] if isinstance(suites, str) else list(suites)
    troubles = []
    for suite in names:
        try:
            found = fetch_debs(
                [package],
                arch=host_architecture(),
                dest=root / "debs",
                root=root.parent,
                suite=suite,
            )
            return found[0], suite
        except InfraError as error:
            troubles.append(error.message)
    raise InfraError("; ".join(troubles), hint="see which suites carry it: harness.py list kernels")


def _unpack_source_deb(deb: Path, folder: Path) -> None:
    """A linux-source package holds one tarball of the tree."""
    scratch = beside(folder, ".deb")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    try:
        _must(("dpkg-deb", "-x", str(deb), str(scratch)))
        tarballs = sorted(scratch.glob("usr/src/*.tar.*"))
        if not tarballs:
            raise InfraError(f"{deb.name} holds no kernel tarball")
        _unpack_tarball(tarballs[0], folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _unpack_tarball(tarball: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    _must(
        (
            "tar",
            "-x",
            "-f",
            str(tarball),
            "-C",
            str(folder),
            "--strip-components=1",
            "--no-same-owner",
            "--no-same-permissions",
        )
    )


def _from_tarball(kernel: Kernel, root: Path, events: Events) -> SourceTree:
    url, wanted = str(kernel.spec["url"]), str(kernel.spec.get("sha256", ""))
    tarball = _local_path(url, kernel)
    if tarball is None:
        if not wanted:
            raise UserError("a tarball from the network needs its sha256", path=kernel.path)
        tarball = root / "tarballs" / wanted
        if not tarball.exists():
            with events.step("fetch", url):
                _download(url, tarball)
    digest = sha256_of(tarball)
    if wanted and digest != wanted:
        raise UserError(f"sha256 of {tarball} is {digest}, not {wanted}", path=kernel.path)
    origin = Origin(f"{kernel.name}-{digest[:12]}", url, digest)
    return _unpacked(origin, root, events, lambda folder: _unpack_tarball(tarball, folder))


def _local_path(url: str, kernel: Kernel) -> Path | None:
    """`url` as a path when it is one; relative ones start at the kernel's file."""
    if "://" in url and not url.startswith("file://"):
        return None
    path = Path(url.removeprefix("file://")).expanduser()
    path = path if path.is_absolute() else kernel.path.parent / path
    if not path.exists():
        raise UserError(f"{path} does not exist", path=kernel.path)
    return path


def _download(url: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = beside(target, ".partial")
    try:
        with urllib.request.urlopen(url, timeout=60) as reply, partial.open("wb") as file:
            shutil.copyfileobj(reply, file)
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise InfraError(f"cannot fetch {url}: {error}") from error
    partial.rename(target)


def _unpacked(
    origin: Origin, root: Path, events: Events, unpack: Callable[[Path], None]
) -> SourceTree:
    """The tree of `origin`, unpacked and committed once."""
    folder = root / origin.id
    meta = beside(folder, ".json")
    if not meta.exists():
        need_free(root, NEEDED_MIB)
        shutil.rmtree(folder, ignore_errors=True)
        with events.step("unpack", origin.id):
            unpack(folder)
        with events.step("commit", origin.id):
            commit_all(folder)
        base = _out(folder, "rev-parse", "HEAD")
        tree = _out(folder, "rev-parse", "HEAD^{tree}")
        write_json(meta, {"base_commit": base, "tree": tree, "version": kernel_version(folder)})
    known = read_json(meta)
    return SourceTree(
        path=folder,
        base_commit=known["base_commit"],
        tree_id=known["tree"],
        version=known["version"],
        origin=origin.text,
        sha256=origin.sha256,
    )


def _from_directory(kernel: Kernel, root: Path, events: Events) -> SourceTree:
    """A copy of a directory as it is now; a change in it is a new source."""
    path = Path(str(kernel.spec["path"])).expanduser()
    path = path if path.is_absolute() else kernel.path.parent / path
    if not (path / "Makefile").exists():
        raise UserError(f"{path} holds no kernel source (no Makefile)", path=kernel.path)
    digest = _directory_digest(path)

    def copy(folder: Path) -> None:
        _must(("cp", "-a", "--reflink=auto", str(path), str(folder)))
        shutil.rmtree(folder / ".git", ignore_errors=True)

    return _unpacked(Origin(f"{kernel.name}-{digest[:12]}", str(path)), root, events, copy)


def _directory_digest(path: Path) -> str:
    """Digest of names, sizes and times of all files below `path` (not of their contents)."""
    digest = hashlib.sha256()
    for folder, folders, files in os.walk(path):
        folders[:] = sorted(f for f in folders if f != ".git")
        for name in sorted(files):
            stat = os.lstat(os.path.join(folder, name))
            digest.update(f"{folder}/{name} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _from_git(kernel: Kernel, root: Path, events: Events) -> SourceTree:
    """A commit of a git repository, checked out into a worktree of a bare mirror."""
    url, ref = str(kernel.spec["url"]), str(kernel.spec["ref"])
    local = _local_path(url, kernel)
    name = hashlib.sha256(url.encode()).hexdigest()[:12]
    mirror = root / f"git-{name}.git"
    place = str(local or url)
    with events.step("fetch", f"{place} {ref}"):
        if not mirror.exists():
            _must(("git", "init", "-q", "--bare", str(mirror)))
        try:
            _must(("git", "-C", str(mirror), "fetch", "-q", "--depth=1", "--", place, ref))
        except InfraError as error:
            raise UserError(
                f"cannot fetch {ref} of {place}: {error.message}", path=kernel.path
            ) from error
        commit = _out(mirror, "rev-parse", "FETCH_HEAD^{commit}")
    folder = root / f"git-{name}-{commit[:12]}"
    if not (folder / "Makefile").exists():
        need_free(root, NEEDED_MIB)
        with events.step("unpack", f"{ref} ({commit[:12]})"):
            shutil.rmtree(folder, ignore_errors=True)
            _must(("git", "-C", str(mirror), "worktree", "prune"))
            _must(
                ("git", "-C", str(mirror), "worktree", "add", "-q", "--detach", str(folder), commit)
            )
    return SourceTree(
        path=folder,
        base_commit=commit,
        tree_id=_out(mirror, "rev-parse", f"{commit}^{{tree}}"),
        version=kernel_version(folder),
        origin=f"{place} {ref}",
    )


KINDS: dict[str, Callable[[Kernel, Path, Events], SourceTree]] = {
    "package": _from_package,
    "tarball": _from_tarball,
    "directory": _from_directory,
    "git": _from_git,
}


def kernel_version(folder: Path) -> str:
    """The version that the tree's own Makefile gives (`6.12.117`)."""
    makefile = folder / "Makefile"
    if not makefile.exists():
        raise UserError(f"{folder} holds no kernel source (no Makefile)")
    text = makefile.read_text(encoding="utf-8", errors="replace")
    pattern = r"^(VERSION|PATCHLEVEL|SUBLEVEL|EXTRAVERSION) *= *(\S*)"
    fields: dict[str, str] = dict(re.findall(pattern, text, re.MULTILINE))
    if "VERSION" not in fields:
        raise UserError(f"{makefile} is not the top Makefile of a kernel")
    numbers = [fields.get(k, "0") for k in ("VERSION", "PATCHLEVEL", "SUBLEVEL")]
    return ".".join(numbers) + fields.get("EXTRAVERSION", "")


def sha256_of(path: Path) -> str:
    """sha256 of a file, read once: the digest is kept beside it with its size and time."""
    stat = path.stat()
    stamp = f"{stat.st_size} {stat.st_mtime_ns}"
    note = path.with_name(path.name + ".sha256")
    if note.exists():
        digest, _, known = note.read_text(encoding="ascii").partition(" ")
        if known == stamp:
            return digest
    digest = file_digest(path)
    if os.access(path.parent, os.W_OK):
        note.write_text(f"{digest} {stamp}", encoding="ascii")
    return digest


def _check_lock(kernel: Kernel, tree: SourceTree, events: Events) -> None:
    """Record a source in `kernels/lock.yaml`; one line when it is not the recorded one."""
    # a directory changes whenever its owner works in it; a commit that was named is itself
    if kernel.kind == "directory" or not kernel.path.exists():
        return
    lock = kernel.path.parent / "lock.yaml"
    text = lock.read_text(encoding="utf-8") if lock.exists() else LOCK_HEAD
    known = yaml.safe_load(text) or {}
    recorded = known.get(kernel.name)
    if recorded is None:
        entry = {"origin": tree.origin, "sha256": tree.sha256, "tree": tree.tree_id}
        added = yaml.safe_dump({kernel.name: {k: v for k, v in entry.items() if v}})
        if os.access(lock.parent, os.W_OK):
            write_text(lock, text + added)
    elif recorded["tree"] != tree.tree_id:
        events.note(
            f"{kernel.name}: source drifted from {recorded['origin']} to {tree.origin}; to accept "
            "it, remove its entry from kernels/lock.yaml"
        )


def _must(argv: tuple[str, ...]) -> None:
    env = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null"}
    done = proc.run(argv, env=env, timeout_s=3600)
    if done.returncode:
        raise InfraError(f"{argv[0]} failed: {done.stderr.decode(errors='replace').strip()}")


def _out(folder: Path, *args: str) -> str:
    done = proc.run(("git", "-C", str(folder), *args), brief=True)
    if done.returncode:
        raise InfraError(f"git {args[0]} failed: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout.decode().strip()
