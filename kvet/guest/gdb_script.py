# SPDX-License-Identifier: GPL-2.0-only
"""The command file for gdb: vmlinux, the sources, and each guest module as it is loaded.

gdb's own Python knows nothing of this package, so what it needs is worked out
here: for each section of a module one symbol that tells where it went.
"""

from __future__ import annotations

from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from kvet.build.worktree import SOURCE
from kvet.model import Build
from kvet.paths import PROJECT
from kvet.store import write_json, write_text

IN_GDB = Path(__file__).with_name("gdb_modules.py")
# brings the types of `struct module`, which vmlinux is built without
TYPES = "kvet_ptdump"
MODULES = "gdb-modules.json"


def write_gdb_commands(path: Path, build: Build, source: Path | None) -> None:
    """Write the file for `gdb -x`, to be used while QEMU waits in `path`'s directory."""
    modules = {ko.stem: {"path": str(ko), "marks": marks(ko)} for ko in build.modules.glob("*.ko")}
    given = {"types": str(build.modules / f"{TYPES}.ko"), "modules": modules}
    lines = [
        "set pagination off",
        f"file {build.vmlinux}",
        *([f"set substitute-path {SOURCE} {source}"] if source else []),
        f"set substitute-path /kvet/rootfs {PROJECT / 'rootfs'}",
        # the socket is named from its directory: gdb takes no name of more than 107 bytes
        f"cd {path.parent}",
        "target remote gdb.sock",
        f"source {IN_GDB}",
        "hbreak start_kernel",
    ]
    write_json(path.with_name(MODULES), given)
    write_text(path, "\n".join(lines) + "\n")


def marks(module: Path) -> dict[str, tuple[str, int]]:
    """For each section that is loaded a symbol name, used once, and its offset in the section."""
    with module.open("rb") as file:
        elf = ELFFile(file)
        table = elf.get_section_by_name(".symtab")
        if not isinstance(table, SymbolTableSection):
            return {}
        symbols = [s for s in table.iter_symbols() if isinstance(s["st_shndx"], int) and s.name]
        names = [s.name for s in symbols]
        found: dict[str, tuple[str, int]] = {}
        for symbol in symbols:
            kind = symbol["st_info"]["type"]
            if kind in ("STT_FUNC", "STT_OBJECT") and names.count(symbol.name) == 1:
                section = elf.get_section(symbol["st_shndx"]).name
                found.setdefault(section, (symbol.name, symbol["st_value"]))
    return found
