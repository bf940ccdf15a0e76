# SPDX-License-Identifier: GPL-2.0-only
"""Starts a matrix for one's own series: its patches as a variant, and a matrix to judge it in.

Nothing that is there is overwritten; everything is checked before anything is written.
"""

from __future__ import annotations

import email
import email.policy
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from kvet import proc
from kvet.errors import InfraError, UserError
from kvet.model import Workload
from kvet.plan.library import Library, pick
from kvet.source.given import open_series
from kvet.store import write_text
from kvet.text import MESSAGE_ID, one_line

NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
HEAD = "# SPDX-License-Identifier: GPL-2.0-only\n"
DEFAULT_CONFIGS = ("debug", "kasan")
TAG = re.compile(r"^\s*(?:\[[^\]]*\]\s*)+")


@dataclass(frozen=True, slots=True)
class InitRequest:
    """A matrix to start for the series `series`; '' and () where nothing was asked for."""

    name: str
    series: str
    kernel: str = ""
    base: str = ""
    onto: str = ""
    configs: tuple[str, ...] = ()
    workload: str = "ptdump-race"
    machine: str = "virt"


@dataclass(frozen=True, slots=True)
class Start:
    """What is to be written: file below the project to its text, and the series' patches.

    `notes` say what was inferred about the series, or left out of what was given.
    """

    name: str
    files: Mapping[str, str]
    patches: tuple[Path, ...]
    notes: tuple[str, ...] = ()

    def targets(self, root: Path) -> list[Path]:
        """Every file and directory that is made."""
        return [root / "patches" / self.name, *(root / name for name in self.files)]


def start_matrix(request: InitRequest) -> int:
    """Write variant and matrix for a series, and say what to do next."""
    library = Library()
    with tempfile.TemporaryDirectory(prefix="kvet-init-") as scratch:
        start = plan_start(request, library, Path(scratch))
        _refuse_taken(start, library.root)
        _write(start, library.root)
    for note in start.notes:
        print(one_line(note))
    for path in start.targets(library.root):
        print(path.relative_to(library.root))
    print(
        f"\nwhat is expected of it, and why, belongs into patches/{start.name}/variant.yaml; then:"
    )
    print(f"  ./harness.py lint configs/{start.name}.yaml patches/{start.name}/variant.yaml")
    print(f"  ./harness.py run-matrix configs/{start.name}.yaml")
    return 0


def plan_start(request: InitRequest, library: Library, scratch: Path) -> Start:
    """What `init` is to write; its patches are in `scratch` or where the series lies.

    Raises UserError for a name, kernel, config, workload or series that cannot be.
    """
    name = request.name
    if not NAME.match(name):
        raise UserError(f"{name!r} is no name: letters, digits, dot, dash and underscore")
    spec, kernel_file = request.series, ""
    if request.base:
        spec, commit = _based(request.series, request.base)
        if not request.kernel:
            title = f"{request.base}, which the series {name} is made on"
            url = Path(request.series.partition(":")[0]).expanduser().resolve()
            kernel_file = _text({"title": title, "kind": "git", "url": str(url), "ref": commit})
    if request.kernel:
        pick("kernel", library.kernels(), [request.kernel], path=None)
    configs = request.configs or DEFAULT_CONFIGS
    pick("config", library.configs(), configs, path=None)
    if request.onto:
        pick("variant", library.variants(), [request.onto], path=None)
    pick("machine", library.machines(), [request.machine], path=None)
    workload = pick("workload", library.workloads(), [request.workload], path=None)[0]
    given = open_series(spec, scratch)
    patches = given.variant.patches
    files = {f"kernels/{name}.yaml": kernel_file} if kernel_file else {}
    own = name if kernel_file else request.kernel or "linux-6.12"
    files[f"patches/{name}/variant.yaml"] = _text(_variant(name, request, patches))
    files[f"configs/{name}.yaml"] = _text(_matrix(name, own, workload, request))
    return Start(name, files, patches, given.notes)


def _based(series: str, base: str) -> tuple[str, str]:
    """`GITDIR:BASE..HEAD` for a series that is a repository, and the id of its base commit."""
    gitdir, _, commits = series.partition(":")
    if not Path(gitdir).expanduser().is_dir() or ".." in commits:
        raise UserError(
            f"--base {base}: goes with a --series that is a git repository (GITDIR or GITDIR:TIP)"
        )
    folder = str(Path(gitdir).expanduser())
    done = proc.run(("git", "-C", folder, "rev-parse", "--verify", "-q", f"{base}^{{commit}}"))
    if done.returncode:
        raise UserError(f"--base {base}: {folder} has no such commit")
    commit = done.stdout.decode().strip()
    return f"{folder}:{commit}..{commits or 'HEAD'}", commit


def _variant(name: str, request: InitRequest, patches: Sequence[Path]) -> dict[str, Any]:
    """variant.yaml: title and links are what the mails themselves say."""
    heads = [_head(path) for path in patches]
    subjects = [subject for subject, _ in heads if subject]
    links = [message_id for _, message_id in heads if MESSAGE_ID.match(message_id)]
    spec: dict[str, Any] = {"title": subjects[0] if subjects else name, "role": "candidate"}
    if request.onto:
        spec["onto"] = request.onto
    return {**spec, **({"links": links} if links else {})}


def _head(path: Path) -> tuple[str, str]:
    """Subject without its tags, and message id, of one patch; '' for what it has not."""
    try:
        mail = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
        subject, message_id = mail["Subject"], mail["Message-ID"]
    except (OSError, ValueError, IndexError) as error:
        raise UserError(f"cannot be read: {error}", path=path) from error
    return TAG.sub("", one_line(subject or "")), str(message_id or "").strip().strip("<>")


def _matrix(name: str, kernel: str, workload: Workload, request: InitRequest) -> dict[str, Any]:
    """configs/NAME.yaml: the series beside what its workload is judged by."""
    beside = [v for v in (workload.baseline, workload.control) if v]
    return {
        "title": f"{name} beside {' and '.join(beside) or 'nothing'}",
        "kernels": [kernel],
        "variants": [*beside, name],
        "configs": list(request.configs or DEFAULT_CONFIGS),
        "machines": [request.machine],
        "workloads": [request.workload],
        "attempts": 5,
        "max_attempts": 10,
    }


def _text(spec: Mapping[str, Any]) -> str:
    """A mapping as YAML below the licence line."""
    return HEAD + yaml.safe_dump(dict(spec), sort_keys=False, allow_unicode=True, width=96)


def _refuse_taken(start: Start, root: Path) -> None:
    for path in start.targets(root):
        if path.exists() or path.is_symlink():
            raise UserError(
                f"{path.relative_to(root)} is there already, and nothing is overwritten",
                hint="choose another NAME, or remove it",
            )


def _write(start: Start, root: Path) -> None:
    """Write everything; a directory that is half made is removed again."""
    folder = root / "patches" / start.name
    try:
        folder.mkdir(parents=True)
        for number, patch in enumerate(start.patches, start=1):
            stem = re.sub(r"^\d+-", "", patch.name).removesuffix(".patch")
            shutil.copyfile(patch, folder / f"{number:04d}-{stem}.patch")
        for name, text in start.files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            write_text(root / name, text)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise InfraError(f"cannot write {folder}: {error.strerror}") from error
