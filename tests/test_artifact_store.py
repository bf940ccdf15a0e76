# SPDX-License-Identifier: GPL-2.0-only
"""The store that hosts share: by digest, once, and never something else than was put there."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import fsspec
import pytest

from kvet.artifact_store import ArtifactStore
from kvet.cache import cache_root, file_digest
from kvet.errors import InfraError


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "Image"
    path.write_bytes(b"MZ" + bytes(5000))
    return path


def stored(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize("url", ["{tmp}/store", "file://{tmp}/store", "memory://{tmp}/store"])
def test_what_is_put_comes_out_again(url: str, tmp_path: Path, image: Path) -> None:
    store = ArtifactStore(url.format(tmp=tmp_path))
    digest = store.put(image)
    assert digest == file_digest(image)
    found = store.get(digest)
    assert found == cache_root() / "artifacts" / digest
    assert found.read_bytes() == image.read_bytes()


def test_what_is_there_is_not_sent_again(
    tmp_path: Path, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = ArtifactStore(f"{tmp_path}/store").put(image)
    store = ArtifactStore(f"{tmp_path}/store")
    monkeypatch.setattr(store, "_write", lambda path, place: pytest.fail("sent again"))
    assert store.put(image) == digest


def test_a_worker_fetches_once(
    tmp_path: Path, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = ArtifactStore(f"{tmp_path}/store").put(image)
    first = ArtifactStore(f"{tmp_path}/store").get(digest)
    again = ArtifactStore(f"{tmp_path}/store")
    monkeypatch.setattr(again, "fetch", lambda *words: pytest.fail("fetched again"))
    assert again.get(digest) == first


def test_a_file_that_changed_is_another_artifact(tmp_path: Path, image: Path) -> None:
    store = ArtifactStore(f"{tmp_path}/store")
    first = store.put(image)
    image.write_bytes(b"another kernel")
    assert store.put(image) != first
    assert len(stored(tmp_path / "store")) == 2


def test_a_half_written_artifact_is_put_again(tmp_path: Path, image: Path) -> None:
    digest = ArtifactStore(f"{tmp_path}/store").put(image)
    (kept,) = stored(tmp_path / "store")
    kept.write_bytes(b"MZ")
    store = ArtifactStore(f"{tmp_path}/store")
    assert store.put(image) == digest
    assert store.get(digest).read_bytes() == image.read_bytes()


def test_a_damaged_artifact_is_refused_and_leaves_nothing(tmp_path: Path, image: Path) -> None:
    store = ArtifactStore(f"{tmp_path}/store")
    digest = store.put(image)
    (kept,) = stored(tmp_path / "store")
    kept.write_bytes(b"X" + image.read_bytes()[1:])
    with pytest.raises(InfraError, match=f"{kept} is damaged") as told:
        store.get(digest)
    assert "remove that file" in told.value.hint
    assert stored(cache_root() / "artifacts") == [cache_root() / "artifacts" / f"{digest}.lock"]


def test_a_cached_artifact_that_was_damaged_is_fetched_again(tmp_path: Path, image: Path) -> None:
    digest = ArtifactStore(f"{tmp_path}/store").put(image)
    ArtifactStore(f"{tmp_path}/store").get(digest).write_bytes(b"rot")
    assert ArtifactStore(f"{tmp_path}/store").get(digest).read_bytes() == image.read_bytes()


def test_a_packed_attempt_is_gone_when_it_is_taken(tmp_path: Path, image: Path) -> None:
    store = ArtifactStore(f"{tmp_path}/store")
    digest = store.send(image, "run/one.tar.gz")
    store.send(image, "run/of-a-lost-worker.tar.gz")
    store.take("run/one.tar.gz", digest, tmp_path / "taken")
    assert (tmp_path / "taken").read_bytes() == image.read_bytes()
    assert [p.name for p in stored(tmp_path / "store")] == ["of-a-lost-worker.tar.gz"]
    store.forget("run")
    store.forget("run")
    assert stored(tmp_path / "store") == []


@pytest.mark.parametrize(
    "url, words",
    [
        ("nosuch://bucket", "store nosuch://bucket cannot be opened: .*nosuch"),
        ("/proc/nowhere", "store /proc/nowhere cannot take Image"),
    ],
)
def test_trouble_names_the_store(url: str, words: str, image: Path) -> None:
    with pytest.raises(InfraError, match=words) as told:
        ArtifactStore(url).put(image)
    assert "--store" in told.value.hint


def test_errors_of_a_stores_own_library_are_trouble_too(
    tmp_path: Path, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S3's are no OSError; the library is not loaded before there is such a store."""

    class EndpointError(Exception):
        pass

    library = SimpleNamespace(BotoCoreError=EndpointError, ClientError=EndpointError)
    monkeypatch.setitem(sys.modules, "botocore.exceptions", library)
    store = ArtifactStore(f"{tmp_path}/store")

    def refuse(path: Path, place: str) -> None:
        raise EndpointError("no such endpoint")

    monkeypatch.setattr(store, "_write", refuse)
    with pytest.raises(InfraError, match="cannot take Image: no such endpoint"):
        store.put(image)


def test_what_was_never_put_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InfraError, match="lacks something that was put there"):
        ArtifactStore(f"{tmp_path}/store").get("0" * 64)


def test_an_object_store_is_written_in_one_step(image: Path, tmp_path: Path) -> None:
    store = ArtifactStore(f"memory://{tmp_path}/one-step")
    assert not store._in_two_steps
    assert ArtifactStore(f"{tmp_path}/store")._in_two_steps
    digest = store.put(image)
    names = fsspec.filesystem("memory").find(f"{tmp_path}/one-step")
    assert [name.rpartition("/")[2] for name in names] == [digest]
