# SPDX-License-Identifier: GPL-2.0-only
"""Where the probes of a workload go in a built kernel; what it does not have is an error.

Asked before the boot: a counter of nothing would read as a race that was not run.
"""

from __future__ import annotations

import bisect
import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from kvet.build.patch_lines import addresses_of_lines
from kvet.build.symbolize import addr2line
from kvet.build.worktree import SOURCE
from kvet.errors import Place, UserError
from kvet.loads import Probe
from kvet.model import Build

TEXT_SYMBOL = re.compile(r"^([0-9a-f]+) [TtWw] (\S+)$", re.MULTILINE)
TEXT_START = "_stext"
CALLER = "count one of its callers"
DEPENDS = re.compile(rb"\0depends=([^\0]*)\0")


@lru_cache(maxsize=4)
def functions(system_map: Path) -> Mapping[str, Sequence[int]]:
    """The functions of a kernel by name, with the address of each that has it: System.map."""
    text = system_map.read_text(encoding="ascii", errors="replace")
    found: dict[str, list[int]] = {}
    for address, name in TEXT_SYMBOL.findall(text):
        found.setdefault(name, []).append(int(address, 16))
    return found


@dataclass(frozen=True, slots=True)
class _Asked:
    """A probe of the workload file `file`, to be put into `build`."""

    probe: Probe
    file: Path
    build: Build

    @property
    def known(self) -> Mapping[str, Sequence[int]]:
        return functions(self.build.folder / "System.map")

    def error(self, message: str, hint: str = "") -> UserError:
        """A fault of the key that asks for it."""
        where = Place(line=self.probe.line, key=self.probe.key)
        return UserError(message, path=self.file, where=where, hint=hint)


def located(
    probe: Probe, file: Path, build: Build, source: Path | None, diff: str
) -> tuple[str, ...]:
    """The places that kvet_count watches for `probe`, in its words.

    Empty when the series `diff` took the function away. Raises UserError for a function
    or line that this kernel does not have, and for a name that several of its functions have.
    """
    asked = _Asked(probe, file, build)
    if probe.file:
        return tuple(_line(asked, source))
    places: dict[str, tuple[str, ...]] = {}
    for name in probe.functions:
        places[name] = _places(name, probe.home if name == probe.func else "", asked)
        if not places[name] and re.search(rf"\b{re.escape(name)}\b", diff):
            return ()
        if not places[name]:
            raise _unknown(name, asked)
    # one that is open is known by its name alone
    opened = places[probe.during][0] if probe.during else ""
    if "+" in opened:
        raise asked.error(f"several functions of this kernel are called {probe.during}", CALLER)
    if probe.contended:
        return (f"?{opened}",)
    return tuple(f"{place}@{opened}" if opened else place for place in places[probe.func])


def _places(name: str, home: str, asked: _Asked) -> tuple[str, ...]:
    """Where the function `name` of the source file `home` is; one place for each copy of it.

    The compiler may have put .isra.0 or .constprop.0 behind a name. One that several
    functions have is given as an address: the kernel would take the first of that name.
    """
    known = asked.known
    whole = [s for s in known if s.startswith(f"{name}.") and not s.endswith(".cold")]
    symbols = [name] if name in known else whole
    found = [(address, symbol) for symbol in symbols for address in known[symbol]]
    if found and (home or len(found) > 1):
        homes = _homes(asked.build.vmlinux, [address for address, _ in found])
        if home and home not in homes:
            raise asked.error(f"{name} is a function of {', '.join(homes)}, not of {home}")
        if not home and len(set(homes)) > 1:
            raise asked.error(
                f"{name} is the name of functions in {' and '.join(sorted(set(homes)))}",
                f"write which: {name} in {sorted(set(homes))[0]}",
            )
        found = [place for place, own in zip(found, homes, strict=True) if own == (home or own)]
    return tuple(_word(address, symbol, known) for address, symbol in found)


def _homes(vmlinux: Path, addresses: Sequence[int]) -> list[str]:
    """The source file of the function at each address."""
    lines = [places[-1][1].rpartition(":")[0] for places in addr2line(vmlinux, addresses)]
    return [line.removeprefix(f"{SOURCE}/").removeprefix("./") for line in lines]


def _word(address: int, symbol: str, known: Mapping[str, Sequence[int]], offset: int = 0) -> str:
    """A place as kvet_count takes it: SYMBOL+OFFSET, from the start of text for a shared name."""
    if len(known[symbol]) > 1:
        symbol, offset = TEXT_START, address + offset - known[TEXT_START][0]
    return f"{symbol}+{offset:#x}" if offset else symbol


def _unknown(name: str, asked: _Asked) -> UserError:
    close = difflib.get_close_matches(name, asked.known, n=1)
    return asked.error(
        f"this kernel has no function {name}" + (f"; did you mean {close[0]}?" if close else ""),
        f"a static function may have been inlined into its callers: {CALLER}; "
        "one of a module cannot be counted",
    )


def _line(asked: _Asked, source: Path | None) -> Iterator[str]:
    """FUNC+OFFSET of the first instruction of a source line, in each function that holds it."""
    probe, build = asked.probe, asked.build
    places = [build.patched / probe.file, *([source / probe.file] if source else [])]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise asked.error(f"this kernel has no file {probe.file}")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    numbers = [n for n, line in enumerate(lines, start=1) if probe.text in line]
    if not numbers:
        raise asked.error(f"no line of {probe.file} holds {probe.text!r}")
    found = addresses_of_lines(build.vmlinux, probe.file, numbers)
    if not found:
        raise asked.error(
            f"{probe.file}:{numbers[0]} has no code of its own in this build",
            "name the first statement of the branch",
        )
    yield from _entries(found, asked.known)


def _entries(addresses: Sequence[int], known: Mapping[str, Sequence[int]]) -> Iterator[str]:
    """The lowest address in each function, as FUNC+OFFSET."""
    ordered = sorted((address, name) for name, all_of in known.items() for address in all_of)
    starts = [address for address, _ in ordered]
    seen: set[int] = set()
    for address in sorted(addresses):
        at = bisect.bisect_right(starts, address) - 1
        if at >= 0 and at not in seen:
            seen.add(at)
            start, name = ordered[at]
            yield _word(start, name, known, address - start)


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
