# SPDX-License-Identifier: GPL-2.0-only
"""Runs inside gdb: adds the symbols of a guest module when the kernel has loaded it.

`gdb-modules.json` (kvet/guest/gdb_script.py) tells, for each module and section, a
symbol and its offset. The kernel's own symbol table of the module says where
that symbol is, and so where the section went.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path

import gdb

SYMBOL_BYTES = 24  # Elf64_Sym
given = json.loads(Path("gdb-modules.json").read_text(encoding="utf-8"))

gdb.execute(f"add-symbol-file {given['types']} 0", to_string=True)
MODULE = gdb.lookup_type("struct module").pointer()
gdb.execute("remove-symbol-file -a 0", to_string=True)


def addresses(module: gdb.Value) -> dict[str, int]:
    """Symbol name to address of a loaded module."""
    table = module["kallsyms"]
    count, strings = int(table["num_symtab"]), int(table["strtab"])
    memory = gdb.selected_inferior()
    symbols = bytes(memory.read_memory(int(table["symtab"]), count * SYMBOL_BYTES))
    found: dict[str, int] = {}
    for number in range(count):
        name, _, _, _, value, _ = struct.unpack_from("<IBBHQQ", symbols, number * SYMBOL_BYTES)
        text = bytes(memory.read_memory(strings + name, 64)).split(b"\0")[0]
        found[text.decode("ascii", "replace")] = value
    return found


class Loaded(gdb.Breakpoint):
    """Where the kernel is about to run a module's init; nobody is stopped there."""

    def stop(self) -> bool:
        """Add the symbols; False lets the guest go on."""
        module = gdb.parse_and_eval("$x0").cast(MODULE).dereference()
        known = given["modules"].get(module["name"].string())
        if known is None:
            return False
        where = addresses(module)
        places = {
            section: where[symbol] - offset
            for section, (symbol, offset) in known["marks"].items()
            if symbol in where
        }
        sections = " ".join(f"-s {name} {place:#x}" for name, place in places.items())
        gdb.execute(f"add-symbol-file {known['path']} {sections}", to_string=True)
        print(f"kvet: symbols of {module['name'].string()} added")
        return False


Loaded("do_init_module", type=gdb.BP_HARDWARE_BREAKPOINT, internal=True)
