# SPDX-License-Identifier: GPL-2.0-only
"""A build on another host: what it needs goes there through the store, and comes back as files.

`python -m kvet.run.sent_build TASK ANSWER` carries one out, as a process that can be ended.
"""

from __future__ import annotations

import pickle
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path, PurePosixPath

from kvet import lease
from kvet.artifact_store import ArtifactStore
from kvet.build.builder import Builder, BuildFailure
from kvet.build.request import BuildRequest
from kvet.build.toolchain import find_toolchain
from kvet.cache import cache_root
from kvet.errors import InfraError, KvetError
from kvet.model import Build
from kvet.run.remote import BuildDone, BuildTask, files_of
from kvet.source.share import add_objects, pack_series, pack_source, source_of_pack


def send_build(request: BuildRequest, builder: Builder, store: ArtifactStore) -> BuildTask:
    """Put what `request` needs into the store."""
    repo, series = builder.repo(request.source), request.series
    sent = ""
    if series.tree_id != series.base_tree:
        trees = dict.fromkeys((*(patch.tree_id for patch in series.patches), series.tree_id))
        with tempfile.TemporaryDirectory() as scratch:
            sent = store.put(pack_series(repo, series.base_tree, trees, Path(scratch)))
    return BuildTask(
        request=request,
        source=store.put(pack_source(repo, request.source.tree_id)),
        series=sent,
        files=tuple(store.put(path) for path in files_of(request.config)),
        store=store.url,
    )


def take_build(
    done: BuildDone, request: BuildRequest, builder: Builder, store: ArtifactStore
) -> Build | BuildFailure:
    """What a worker made, in this host's cache. Raises InfraError when it is damaged."""
    if done.failure is not None:
        log = builder.root / "builds" / f"{request.key}.failed.log"
        store.copy(done.log, log)
        return replace(done.failure, log=log)

    def fill(folder: Path) -> None:
        for name, (digest, mode) in done.files.items():
            inside = PurePosixPath(name)
            if inside.is_absolute() or ".." in inside.parts:
                raise InfraError(f"a worker sent a file called {name}")
            store.copy(digest, folder / inside)
            (folder / inside).chmod(0o755 if mode & 0o100 else 0o644)

    return builder.take_in(request.key, fill)


def carry_out(task: BuildTask, scratch: Path) -> BuildDone:
    """Build here, with this host's cache; what goes wrong is told, not raised."""
    cache = cache_root()
    try:
        with lease.using(cache):
            store, builder = ArtifactStore(task.store), Builder(cache)
            built = builder.build(_received(task, store, builder, scratch))
            if isinstance(built, BuildFailure):
                return BuildDone(failure=built, log=store.put(built.log))
            files = (path for path in sorted(built.folder.rglob("*")) if path.is_file())
            return BuildDone(
                files={
                    str(path.relative_to(built.folder)): (store.put(path), path.stat().st_mode)
                    for path in files
                }
            )
    except KvetError as error:
        return BuildDone(fault=error.message)


def _received(
    task: BuildTask, store: ArtifactStore, builder: Builder, scratch: Path
) -> BuildRequest:
    """The request with this host's paths, its objects in this host's cache."""
    asked = task.request
    toolchain = find_toolchain(asked.toolchain.name)
    root = builder.root / "sources"
    source = source_of_pack(store.get(task.source), asked.source, root)
    if task.series:
        add_objects(store.get(task.series), builder.repo(source))
    files = []
    for number, (path, digest) in enumerate(zip(files_of(asked.config), task.files, strict=True)):
        own = scratch / str(number) / path.name
        own.parent.mkdir(parents=True)
        shutil.copyfile(store.get(digest), own)
        files.append(own)
    count = len(asked.config.fragments)
    config = replace(asked.config, fragments=tuple(files[:count]), races=tuple(files[count:]))
    made = replace(asked, source=source, config=config, toolchain=toolchain)
    if made.key != asked.key:
        raise InfraError(f"here it would be the build {made.key}, not {asked.key}")
    return made


def main() -> None:
    """Read a task, build, write what came of it."""
    task, answer = map(Path, sys.argv[1:])
    done = carry_out(pickle.loads(task.read_bytes()), task.parent)
    half = answer.with_suffix(".partial")
    half.write_bytes(pickle.dumps(done))
    half.rename(answer)


if __name__ == "__main__":
    main()
