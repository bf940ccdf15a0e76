# SPDX-License-Identifier: GPL-2.0-only
"""What one line of a splat is: a frame of a call trace, the start of one, or text."""

from __future__ import annotations

import importlib
import re
from functools import lru_cache
from typing import NamedTuple

from kvet.detectors.table import expand
from kvet.model import Frame

FUNC = expand("{FUNC}")
# Possessive repeats (`*+`) keep every expression linear on hostile lines.
_PC = r"(?:\[<?(?:0x)?[0-9a-f]++>?\] *+)"
_NAME = r"[A-Za-z_$][\w$]*+"
_SYMBOL = (
    rf"\.?(?P<at>{_NAME})(?P<suffix>\.[\w.$]++)?"
    r"(?:\+0x(?P<off>[0-9a-f]++)(?:/0x(?P<size>[0-9a-f]+))?+"
    r"| \((?P<where>[\w./+~@-]+\.[chSrs]+:\d+|\?\?:))"
    r"(?: +\[(?P<module>[\w-]+)[^\]]*\])?"
)
FRAME = re.compile(rf"^ *+(?:<\w++> *+)?\(?{_PC}{{0,2}}+{_SYMBOL}")
"""A line of a call trace; an already decoded one has file:line in place of the offset."""

BARE_FRAME = re.compile(
    r"^ *+(?P<at>[A-Za-z_]\w{2,}+)(?P<suffix>\.[\w.$]++)?(?:\(\))?"
    r"(?P<off>(?!))?(?P<size>(?!))?(?P<where>(?!))?(?: +\[(?P<module>[\w-]+)[^\]]*\])? *$"
)
"""A line of a call trace of which somebody left out the offsets."""

ARM_FRAME = re.compile(
    rf"^ *+{_PC}?+(?:\((?P<callee>{_NAME})[\w.$]*+(?:\+0x[0-9a-f]++/0x[0-9a-f]++)?+\)"
    rf"|(?P<bare>{_NAME})[\w.$]*+(?:\+0x[0-9a-f]++/0x[0-9a-f]++)?+) from "
    rf"{_PC}?\(?{_SYMBOL}"
)
"""The form of 32-bit arm, which also names the callee: that one has no line of its own."""

REPORTER = re.compile(
    r"(?:dump_backtrace|unwind_backtrace|(?:show|dump)_stack(?:_lvl)?|show_trace(?:_log_lvl)?"
    r"|dump_trace|print_(?:address_description|report|\w+_(?:bug|report))|_*warn(?:_slowpath\w*)?"
    r"|(?:end|__)?kasan_report\w*|warn_bogus\w*)(?:\.[\w.$]+)?"
)
"""Functions that print a report and did nothing else."""

SYMBOL = re.compile(rf"(?<![\w.$]){_SYMBOL}")
STACK_START = re.compile(
    r"Call [Tt]race|(?:[Aa]llocated|[Ff]reed)(?: by task \d+(?: on cpu \d+ at [\d.]+s.*)?)?:"
    r"|[^k] backtrace(?: \(crc \w*\))?:|Backtrace:"
    r"|Uninit was (?:stored to memory|created) at|Local variable .* created at:"
    r"|badaddr: [0-9a-f]{16} cause: "
)
"""A line below which a call trace follows; there is a colon near its end, or `cause: `."""


_FRAME_GROUPS = ("at", "suffix", "off", "size", "module", "where")


def frame_of(match: re.Match[str], side: str = "") -> Frame:
    """The frame that a match of FRAME, ARM_FRAME or SYMBOL describes."""
    name, suffix, off, size, module, where = match.group(*_FRAME_GROUPS)
    offset = f"0x{off}/0x{size}" if size else f"0x{off}" if off else ""
    name = name + suffix if suffix else name
    return Frame(name, offset, module or "", where or "", "", False, side)


class Place(NamedTuple):
    """A kind of line that a way looks for: a literal it must hold, and its form."""

    literal: str
    regex: re.Pattern[str]


PLACES = {
    name: Place(literal, re.compile(form))
    for name, literal, form in (
        ("call", "race:", r".*(?:Call [Tt]race:|Backtrace:)"),
        (
            "pc",
            "",
            rf" *+(?:(?:[RE]?IP|NIP|e?pc|ERA|TPC|IAOQ\[0\]) *+: ?|(?:PC|[RE]?IP) is at |[RE]?IP +"
            rf"|NIP +(?=\[)|Krnl PSW : (?:[0-9a-f]{{16}} ){{2}}\()(?:\d+:)?(?:[0-9a-f]{{8,16}} +)?"
            rf"{_PC}*+ *+<?\.?(?:{FUNC}|0x[0-9a-f]+|\(null\)|\[< *+\(null\)>\])",
        ),
        (
            "lr",
            "",
            rf" *+(?:(?:lr|ra|RPC) *+: ?|LR is at |LR +(?=\[)|caller is )(?:[0-9a-f]{{8,16}} +)?"
            rf"{_PC}*+ *+<?\.?{FUNC}",
        ),
        ("lock", "at: ", rf".*\bat: {_PC}?+{FUNC}"),
        ("bracketed", "] ", rf".*?{_PC}{FUNC}"),
        ("became", "which became", r".*which became .* at:"),
        ("timer", "apic_timer_interrupt", ""),
        ("interrupted", "", r".*(?:apic_timer_interrupt|Exception stack|el1h_64_irq)"),
        ("backtrace", "backtrace", r".*backtrace(?: \(crc \w*\))?:"),
        ("page-allocated", "page last allocated", ""),
        ("origin", "created at:", r".*(?:Local variable .* created at:|Uninit was created at:)"),
    )
}
_INJECTED = re.compile(r"should_fail(?:slab)?$")


def is_injected(name: str) -> bool:
    """A frame of the kernel's fault injection, whose traces mix with those of splats."""
    return name.startswith("should_fail") and _INJECTED.match(name) is not None


@lru_cache(maxsize=4096)
def readable(name: str) -> str:
    """A symbol as people know it: Rust and plain C++ names demangled."""
    if name.startswith("_R"):
        try:
            demangled = importlib.import_module("rust_demangler").demangle(name)
        except (ImportError, ValueError, IndexError, KeyError, TypeError, RecursionError):
            return name
        return str(demangled)
    match = re.match(r"_Z(\d+)", name)
    if match:
        size = int(match[1])
        return name[match.end() : match.end() + size] or name
    return name
