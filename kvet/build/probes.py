# SPDX-License-Identifier: GPL-2.0-only
"""Where the probes of a workload go in a built kernel; what it does not have is an error.

Asked before the boot: a counter of nothing would read as a race that was not run.
"""

from __future__ import annotations

import bisect
import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from kvet.build.patch_lines import addresses_of_lines
from kvet.errors import Place, UserError
from kvet.loads import Probe
from kvet.model import Build

TEXT_SYMBOL = re.compile(r"^([0-9a-f]+) [TtWw] (\S+)$", re.MULTILINE)
DEPENDS = re.compile(rb"\0depends=([^\0]*)\0")


@lru_cache(maxsize=4)
def functions(system_map: Path) -> Mapping[str, int]:
    """The functions of a kernel with their addresses, from its System.map."""
    text = system_map.read_text(encoding="ascii", errors="replace")
    return {name: int(address, 16) for address, name in TEXT_SYMBOL.findall(text)}


def located(
    probe: Probe, file: Path, build: Build, source: Path | None, diff: str
) -> tuple[str, ...]:
    """The places that kvet_count watches for `probe`, in its words.

    Empty when the series `diff` took the function away. Raises UserError for a function
    or line that this kernel does not have.
    """
    known = functions(build.folder / "System.map")
    if probe.file:
        return tuple(_line(probe, file, build, source))
    names: dict[str, str] = {}
    for name in probe.functions:
        found = _spelled(name, known)
        if not found and re.search(rf"\b{re.escape(name)}\b", diff):
            return ()
        if not found:
            raise _unknown(name, probe, file, known)
        names[name] = found
    if probe.contended:
        return (f"?{names.get(probe.during, '')}",)
    during = f"@{names[probe.during]}" if probe.during else ""
    return (f"{names[probe.func]}{during}",)


def _spelled(name: str, known: Mapping[str, int]) -> str:
    """The symbol of a function: the compiler may have put .isra.0 or .constprop.0 behind it."""
    if name in known:
        return name
    return next((other for other in known if other.startswith(f"{name}.")), "")


def _unknown(name: str, probe: Probe, file: Path, known: Mapping[str, int]) -> UserError:
    close = difflib.get_close_matches(name, known, n=1)
    return UserError(
        f"this kernel has no function {name}" + (f"; did you mean {close[0]}?" if close else ""),
        path=file,
        where=Place(line=probe.line, key=probe.key),
        hint="a static function may have been inlined into its callers: count one of these; "
        "one of a module cannot be counted",
    )


def _line(probe: Probe, file: Path, build: Build, source: Path | None) -> Iterator[str]:
    """FUNC+OFFSET of the first instruction of a source line, in each function that holds it."""
    where = Place(line=probe.line, key=probe.key)
    places = [build.patched / probe.file, *([source / probe.file] if source else [])]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise UserError(f"this kernel has no file {probe.file}", path=file, where=where)
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    numbers = [n for n, line in enumerate(lines, start=1) if probe.text in line]
    if not numbers:
        raise UserError(f"no line of {probe.file} holds {probe.text!r}", path=file, where=where)
    found = addresses_of_lines(build.vmlinux, probe.file, numbers)
    if not found:
        raise UserError(
            f"{probe.file}:{numbers[0]} has no code of its own in this build",
            path=file,
            where=where,
            hint="name the first statement of the branch",
        )
    yield from _entries(found, functions(build.folder / "System.map"))


def _entries(addresses: Sequence[int], known: Mapping[str, int]) -> Iterator[str]:
    """The lowest address in each function, as FUNC+OFFSET."""
    ordered = sorted((address, name) for name, address in known.items())
    starts = [address for address, _ in ordered]
    seen: set[str] = set()
    for address in sorted(addresses):
        at = bisect.bisect_right(starts, address) - 1
        if at >= 0 and (name := ordered[at][1]) not in seen:
            seen.add(name)
            yield f"{name}+{address - starts[at]:#x}"


def modules_needed(names: Sequence[str], build: Build, file: Path) -> list[str]:
    """The modules that those called `names` need, each behind what it needs itself.

    Raises UserError for a module that the build does not have.
    """
    found: dict[str, None] = {}

    def need(name: str) -> None:
        path = build.modules / f"{name}.ko"
        if not path.exists():
            have = ", ".join(sorted(p.stem for p in build.modules.glob("*.ko"))) or "none"
            raise UserError(
                f"this build has no module {name} (there are: {have})",
                path=file,
                hint="ask for its option as a module in `config`: CONFIG_X=m",
            )
        depends = DEPENDS.search(path.read_bytes())
        for other in (depends.group(1).decode() if depends else "").split(","):
            if other and other not in found:
                need(other.replace("-", "_"))
                found[other.replace("-", "_")] = None

    for name in names:
        need(name)
    return list(found)
