# SPDX-License-Identifier: GPL-2.0-only
"""Packs one recorded boot so that somebody without kvet can see it: kernel, initramfs, script.

The script `repro.sh` needs a POSIX shell and qemu-system-aarch64. It looks for what
the kernel printed for the recorded titles: titles themselves are kvet's own words.
"""

from __future__ import annotations

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

from kvet.boards import BOARD
from kvet.build.builder import Builder
from kvet.cache import cache_root
from kvet.errors import InfraError, UserError
from kvet.events import Events
from kvet.guest import initramfs
from kvet.guest.load_layers import LoadRequest, load_layers
from kvet.guest.machine import write_initrd
from kvet.model import Attempt, Build, Ending, Finding, Status
from kvet.plan.library import Library, load_workload, pick_one
from kvet.plan.loads import FILE as WORKLOAD_FILE
from kvet.results.folder import parse_target
from kvet.results.record import CellRecord, KernelRecord, RunRecord, read_record
from kvet.run.plan import WORKLOADS
from kvet.source.fetch import open_source
from kvet.text import clean, one_line

# parts of a console line that differ from boot to boot: addresses and numbers
VOLATILE = re.compile(r"0x[0-9a-fA-F]+|\b[0-9a-fA-F]{8,}\b|\d+")
# what the guest's report says for a finding of its state (`Finding.state`)
STATES = {
    "tainted": r"kvet state tainted [1-9]",
    "debug_locks": r"kvet state debug_locks 0",
    "init_mm_lock": r"kvet state init_mm_lock held",
    "tables_leaked": r"kvet state tables_leaked [1-9]",
    "readers_stuck": r"kvet state readers_stuck [1-9]",
}
# a run of schema 1 does not say which state; these kinds have one alone
STATE_OF_KIND = {"taint": "tainted", "lockdep": "debug_locks", "page-table-leak": "tables_leaked"}
# what to look for in a cell that showed nothing
ANYTHING = (
    r"kvet: BREACH ",
    r"(BUG|WARNING|INFO): ",
    r"Unable to handle kernel ",
    r"Kernel panic - not syncing",
)


@dataclass(frozen=True, slots=True)
class Bundle:
    """What is packed: file name to content, below the directory `name`; `scripts` may be run."""

    name: str
    files: Mapping[str, bytes]
    scripts: frozenset[str] = frozenset({"repro.sh"})


def make_bundle(what: str, results: Path) -> Bundle:
    """Everything that the recorded boot `what` needs, read from the run and the cache.

    Raises UserError when it names nothing that booted, InfraError when its build is gone.
    """
    run, cell_id, number = parse_target(what, results)
    record = read_record(run / "results.json")
    cell = record.cell(cell_id)
    attempt = _attempt(cell, number)
    if attempt.provenance.host.accel == BOARD:
        raise UserError(f"{cell.id}: it ran on a board; only boots of QEMU can be packed")
    build = _build(cell, f"{run.name}/{cell_id}")
    argv = attempt.provenance.argv
    files = {
        "Image": build.image.read_bytes(),
        "initrd.img": _initrd(build, _own_layers(run, cell, build)),
        "config": _content(build.folder / ".config"),
        "titles.txt": "".join(f"{p}\n" for p in patterns(cell, attempt)).encode(),
        "seed": f"{attempt.seed}\n".encode(),
        **_patches(run / "patches" / cell.kernel / cell.variant),
        **_recorded(run, attempt),
    }
    files["repro.sh"] = _draw("repro.sh.j2", **_script(cell, relative_argv(argv))).encode()
    text = _draw("export.txt.j2", **_facts(record, cell, attempt, build, sorted(files)))
    files["README.txt"] = text.encode()
    files["SHA256SUMS"] = _sums(files)
    return Bundle(f"kvet-{run.name}-{cell.variant}-{cell.config}", files)


def _attempt(cell: CellRecord, number: int | None) -> Attempt:
    """Attempt `number`; without one the first that failed, else the first that booted."""
    booted = [a for a in cell.attempts if a.provenance.argv]
    if number is not None:
        chosen = [a for a in booted if a.n == number]
    else:
        chosen = [a for a in booted if a.status is Status.FAIL] or booted
    if not chosen:
        have = ", ".join(str(a.n) for a in booted) or "none"
        which = f"attempt {number} is not" if number is not None else "no attempt is"
        raise UserError(f"{cell.id}: {which} on record with a boot (there are: {have})")
    return chosen[0]


def _build(cell: CellRecord, what: str) -> Build:
    key = cell.build.key
    build = Builder(cache_root()).find(key) if key else None
    if build is None:
        raise InfraError(
            f"the build {key or 'of this cell'} is not in the cache",
            hint=f"harness.py reproduce {what} builds it again",
        )
    return build


def _own_layers(run: Path, cell: CellRecord, build: Build) -> tuple[Path, ...]:
    """The layers of a workload that is a directory, from the copy that the run keeps."""
    file = run / WORKLOADS / cell.workload / WORKLOAD_FILE
    load = load_workload(file).load if file.exists() else None
    if load is None:
        return ()
    kernel = pick_one("kernel", Library().kernels(), cell.kernel)
    source = open_source(kernel, cache_root(), events=Events()).path
    return load_layers(LoadRequest(load, build, source, cell.series.diff), cache_root())


def _initrd(build: Build, own: tuple[Path, ...]) -> bytes:
    """The initramfs as a boot gets it: all layers in one file."""
    base = initramfs.base_layers(cache_root(), events=Events())
    layers = (*base, initramfs.modules_layer(build), *own)
    with tempfile.TemporaryDirectory(prefix="kvet-export-") as scratch:
        return write_initrd(layers, Path(scratch)).read_bytes()


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InfraError(f"cannot read {path}: {error.strerror}") from error


def _patches(folder: Path) -> dict[str, bytes]:
    return {f"patches/{p.name}": _content(p) for p in sorted(folder.glob("*")) if p.is_file()}


def _recorded(run: Path, attempt: Attempt) -> dict[str, bytes]:
    """The console of the recorded boot, where the run still has it."""
    console = run / attempt.console
    return {"recorded-console.log": _content(console)} if console.is_file() else {}


def relative_argv(argv: Iterable[str]) -> list[str]:
    """The options of a recorded QEMU command line, for the directory that is packed.

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


def patterns(cell: CellRecord, attempt: Attempt) -> list[str]:
    """Extended regular expressions, one for each way that the cell's findings show themselves.

    Those of `attempt` come first; a race may show its other faces in a later boot.
    """
    blamed = set(cell.new_titles)
    attempts = (attempt, *cell.attempts)
    found = [_pattern(f, a.state) for a in attempts for f in a.findings if f.title in blamed]
    return list(dict.fromkeys(p for p in found if p)) or list(ANYTHING)


def _pattern(finding: Finding, state: Mapping[str, str]) -> str:
    """What a finding looks like in console or report; '' when nothing there tells it."""
    if finding.origin != "harness":
        lines = [one_line(line) for line in finding.excerpt]
        return _flexible(lines[0] if lines and lines[0] else one_line(finding.title))
    if finding.kind == "panic":
        return r"Kernel panic - not syncing"
    name = finding.state or STATE_OF_KIND.get(finding.kind, "")
    if name.endswith("_alive"):
        return _fewer(name, state.get(name, ""))
    return STATES.get(name, "")


def _fewer(name: str, value: str) -> str:
    """Fewer threads came back than there were: `value` is BACK/ALL as the guest said it."""
    everyone = value.partition("/")[2]
    if not everyone.isdecimal() or not 0 < int(everyone) < 100:
        return ""
    return f"kvet state {name} ({'|'.join(map(str, range(int(everyone))))})/{everyone}([^0-9]|$)"


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


def _script(cell: CellRecord, argv: list[str]) -> dict[str, Any]:
    """What fills repro.sh: QEMU's options, one option and its value a line, and the limits."""
    lines: list[str] = []
    for word in argv:
        quoted = shlex.quote(word)
        if word.startswith("-") or not lines:
            lines.append(quoted)
        else:
            lines[-1] += f" {quoted}"
    longest = max(a.seconds for a in cell.attempts)
    endings = {a.ending for a in cell.attempts}
    return {
        "cell": cell.id,
        "argv": [line for line in lines if not line.startswith("-sandbox")],
        "sandbox": next((line for line in lines if line.startswith("-sandbox")), ""),
        "limit": 60 + math.ceil(3 * longest),
        "hang": int(Ending.HANG in endings),
    }


def _facts(
    record: RunRecord, cell: CellRecord, attempt: Attempt, build: Build, names: list[str]
) -> dict[str, Any]:
    """What fills README.txt."""
    return {
        "record": record,
        "cell": cell,
        "attempt": attempt,
        "release": build.release,
        "kernel": record.host.kernels.get(cell.kernel, KernelRecord()),
        "host": record.host,
        "titles": [one_line(title) for title in cell.new_titles],
        "shown": [t for t in cell.new_titles if t in {f.title for f in attempt.findings}],
        "patches": [n for n in names if n.startswith("patches/")],
        "command": f"./harness.py reproduce {record.run}/{cell.id}/{attempt.n}",
    }


@cache
def _templates() -> Environment:
    """Plain text: nothing is escaped, control characters are taken out."""
    return Environment(
        loader=PackageLoader("kvet", "run"),
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
