# SPDX-License-Identifier: GPL-2.0-only
"""Packs one recorded boot so that somebody without kvet can see it: kernel, initramfs, script.

The script `repro.sh` needs a POSIX shell and qemu-system-aarch64. It looks for what
the kernel printed for the recorded titles: titles themselves are kvet's own words.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import math
import os
import re
import shlex
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from kvet import rootfs
from kvet.build import Builder
from kvet.cache import cache_root
from kvet.config import PROJECT
from kvet.errors import InfraError, UserError
from kvet.events import Events
from kvet.formats import Record, clean, one_line
from kvet.history import read_record
from kvet.machine import write_initrd
from kvet.model import Build
from kvet.reproduce import parse_target

# parts of a console line that differ from boot to boot: addresses and numbers
VOLATILE = re.compile(r"0x[0-9a-fA-F]+|\b[0-9a-fA-F]{8,}\b|\d+")
# where a finding that no console line tells stands in the guest's report, by its title
STATES = {
    "kernel tainted": r"kvet state tainted [1-9]",
    "lockdep switched": r"kvet state debug_locks 0",
    "init_mm lock": r"kvet state init_mm_lock held",
    "page tables cut": r"kvet state tables_leaked [1-9]",
    "churn threads": r"kvet state churn_alive ",
    "kernel panic": r"Kernel panic - not syncing",
}
# what to look for in a cell that showed nothing
ANYTHING = (
    r"kvet: BREACH ",
    r"(BUG|WARNING|INFO): ",
    r"Unable to handle kernel ",
    r"Kernel panic - not syncing",
)


@dataclass(frozen=True, slots=True)
class Bundle:
    """What is packed: file name to content, below the folder `name`; `scripts` may be run."""

    name: str
    files: Mapping[str, bytes]
    scripts: frozenset[str] = frozenset({"repro.sh"})


def export_command(options: argparse.Namespace) -> int:
    """Pack `options.what` (RUN/CELL[/ATTEMPT]) into `options.output`; prints where it went."""
    bundle = make_bundle(options.what, options.out or PROJECT / "results")
    path = options.output or Path(f"{bundle.name}.tar.gz")
    write_bundle(bundle, path)
    print(f"{path}: {path.stat().st_size >> 20} MiB; unpack it and run {bundle.name}/repro.sh")
    return 0


def make_bundle(what: str, results: Path) -> Bundle:
    """Everything that the recorded boot `what` needs, read from the run and the cache.

    Raises UserError when it names nothing that booted, InfraError when its build is gone.
    """
    run, cell_id, number = parse_target(what, results)
    record = read_record(run / "results.json")
    cell = next((c for c in record["cells"] if c["id"] == cell_id), None)
    if cell is None:
        raise UserError(f"{run.name} has no cell {cell_id}")
    attempt = _attempt(cell, number)
    build = _build(cell, f"{run.name}/{cell_id}")
    argv = attempt["provenance"]["argv"]
    files = {
        "Image": build.image.read_bytes(),
        "initrd.img": _initrd(build),
        "config": _content(build.folder / ".config"),
        "titles.txt": "".join(f"{p}\n" for p in patterns(cell, attempt)).encode(),
        "seed": f"{attempt['seed']}\n".encode(),
        **_patches(run / "patches" / cell["kernel"] / cell["variant"]),
        **_recorded(run, attempt),
    }
    files["repro.sh"] = _draw("repro.sh.j2", **_script(cell, relative_argv(argv))).encode()
    text = _draw("export.txt.j2", **_facts(record, cell, attempt, build, sorted(files)))
    files["README.txt"] = text.encode()
    files["SHA256SUMS"] = _sums(files)
    return Bundle(f"kvet-{run.name}-{cell['variant']}-{cell['config']}", files)


def _attempt(cell: Record, number: int | None) -> Record:
    """Attempt `number`; without one the first that failed, else the first that booted."""
    booted = [a for a in cell["attempts"] if a["provenance"].get("argv")]
    if number is not None:
        chosen = [a for a in booted if a["n"] == number]
    else:
        chosen = [a for a in booted if a["status"] == "FAIL"] or booted
    if not chosen:
        have = ", ".join(str(a["n"]) for a in booted) or "none"
        which = f"attempt {number} is not" if number is not None else "no attempt is"
        raise UserError(f"{cell['id']}: {which} on record with a boot (there are: {have})")
    attempt: Record = chosen[0]
    return attempt


def _build(cell: Record, what: str) -> Build:
    key = cell["build"]["key"]
    build = Builder(cache_root()).find(key) if key else None
    if build is None:
        raise InfraError(
            f"the build {key or 'of this cell'} is not in the cache",
            hint=f"harness.py reproduce {what} builds it again",
        )
    return build


def _initrd(build: Build) -> bytes:
    """The initramfs as a boot gets it: all layers in one file."""
    layers = (*rootfs.base_layers(cache_root(), events=Events()), rootfs.modules_layer(build))
    with tempfile.TemporaryDirectory(prefix="kvet-export-") as scratch:
        return write_initrd(layers, Path(scratch)).read_bytes()


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InfraError(f"cannot read {path}: {error.strerror}") from error


def _patches(folder: Path) -> dict[str, bytes]:
    return {f"patches/{p.name}": _content(p) for p in sorted(folder.glob("*")) if p.is_file()}


def _recorded(run: Path, attempt: Record) -> dict[str, bytes]:
    """The console of the recorded boot, where the run still has it."""
    console = run / attempt["console"]
    return {"recorded-console.log": _content(console)} if console.is_file() else {}


def relative_argv(argv: Iterable[str]) -> list[str]:
    """The options of a recorded QEMU command line, for the folder that is packed.

    The kernel becomes `Image`; the socket of the harness and the log of translated code
    are left out. The program itself is not among them.
    """
    words = list(argv)[1:]
    kept: list[str] = []
    skip = {"-qmp": 2, "-d": 2, "-dfilter": 2, "-D": 2, "-gdb": 2, "-S": 1}
    while words:
        count = skip.get(words[0], 0)
        if not count:
            kept.append(words[0])
        del words[: count or 1]
    if "-kernel" in kept:
        kept[kept.index("-kernel") + 1] = "Image"
    return kept


def patterns(cell: Record, attempt: Record) -> list[str]:
    """Extended regular expressions, one for each way that the cell's findings show themselves.

    Those of `attempt` come first; a race may show its other faces in a later boot.
    """
    blamed = set(cell["new_titles"])
    attempts = (attempt, *cell["attempts"])
    found = [_pattern(f) for a in attempts for f in a["findings"] if f["title"] in blamed]
    return list(dict.fromkeys(p for p in found if p)) or list(ANYTHING)


def _pattern(finding: Record) -> str:
    """What a finding looks like in console or report; '' when nothing there tells it."""
    title = one_line(finding["title"])
    if finding["origin"] == "harness":
        return next((p for start, p in STATES.items() if title.startswith(start)), "")
    lines = [one_line(line) for line in finding["excerpt"]]
    return _flexible(lines[0] if lines and lines[0] else title)


def _flexible(text: str) -> str:
    """`text` as an extended regular expression that lets addresses and numbers differ."""
    parts, end = [], 0
    for found in VOLATILE.finditer(text):
        run = "[0-9a-fx]+" if len(found.group()) > 7 or "x" in found.group() else "[0-9]+"
        parts += [_escaped(text[end : found.start()]), run]
        end = found.end()
    return "".join((*parts, _escaped(text[end:])))


def _escaped(text: str) -> str:
    """`text` with the special characters of an extended regular expression made plain."""
    return re.sub(r"([][\\.^$*+?(){}|])", r"\\\1", text)


def _script(cell: Record, argv: list[str]) -> dict[str, Any]:
    """What fills repro.sh: QEMU's options, one option and its value a line, and the limits."""
    lines: list[str] = []
    for word in argv:
        quoted = shlex.quote(word)
        if word.startswith("-") or not lines:
            lines.append(quoted)
        else:
            lines[-1] += f" {quoted}"
    longest = max(a["seconds"] for a in cell["attempts"])
    endings = {a["ending"] for a in cell["attempts"]}
    return {
        "cell": cell["id"],
        "argv": [line for line in lines if not line.startswith("-sandbox")],
        "sandbox": next((line for line in lines if line.startswith("-sandbox")), ""),
        "limit": 60 + math.ceil(3 * longest),
        "hang": int("HANG" in endings),
    }


def _facts(
    record: Record, cell: Record, attempt: Record, build: Build, names: list[str]
) -> dict[str, Any]:
    """What fills README.txt."""
    return {
        "record": record,
        "cell": cell,
        "attempt": attempt,
        "release": build.release,
        "kernel": record["host"].get("kernels", {}).get(cell["kernel"], {}),
        "host": record["host"],
        "titles": [one_line(title) for title in cell["new_titles"]],
        "shown": [t for t in cell["new_titles"] if t in {f["title"] for f in attempt["findings"]}],
        "patches": [n for n in names if n.startswith("patches/")],
        "command": f"./harness.py reproduce {record['run']}/{cell['id']}/{attempt['n']}",
    }


@cache
def _templates() -> Environment:
    """Plain text: nothing is escaped, control characters are taken out."""
    return Environment(
        loader=PackageLoader("kvet", "formats"),
        autoescape=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=lambda value: clean(value) if isinstance(value, str) else value,
    )


def _draw(template: str, **values: Any) -> str:
    return _templates().get_template(template).render(values)


def _sums(files: Mapping[str, bytes]) -> bytes:
    """What `sha256sum -c` reads."""
    lines = (f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in _sorted(files))
    return "".join(lines).encode()


def _sorted(files: Mapping[str, bytes]) -> Iterator[tuple[str, bytes]]:
    yield from sorted(files.items())


def write_bundle(bundle: Bundle, path: Path) -> None:
    """Write the archive beside `path` and rename it into place; the same content, the same bytes.

    Raises InfraError when that cannot be written.
    """
    data = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=data, mode="wb", mtime=0, compresslevel=6) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for name, content in _sorted(bundle.files):
            entry = tarfile.TarInfo(f"{bundle.name}/{name}")
            entry.size = len(content)
            entry.mode = 0o755 if name in bundle.scripts else 0o644
            tar.addfile(entry, io.BytesIO(content))
    try:
        with tempfile.NamedTemporaryFile("wb", dir=path.parent, prefix=".", delete=False) as file:
            file.write(data.getbuffer())
        os.chmod(file.name, 0o644)
        os.replace(file.name, path)
    except OSError as error:
        raise InfraError(f"cannot write {path}: {error.strerror}") from error
