# SPDX-License-Identifier: GPL-2.0-only
"""Takes console lines out of what other programs wrap them in; the lines stay the same lines.

JSON of journald, dmesg and containers (a record a line, or printed with one field a
line), journald's export and verbose forms, pages of web archives, mails in
quoted-printable; LAVA's own forms are in a module beside this one.
"""

from __future__ import annotations

import json
import quopri
import re
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any

from kvet.detectors import escapes
from kvet.detectors.lines import PLAIN, TAGGED

_KEYS = ("MESSAGE", "msg", "message", "log", "text", "line", "@message", "content")
_SPEAKERS = ("_TRANSPORT", "SYSLOG_IDENTIFIER", "program", "ident", "identifier", "appname")
_KERNEL = re.compile(r"(?i)k(?:ern(?:el)?|msg)$")
_ONE_LINE = re.compile(r"[^{}]{0,200}\{.*\}\s*[\],]?\s*$")
_FIELD = re.compile(r'\s*[{,]*\s*"(?P<key>[\w@.]+)"\s*:\s*(?P<value>\S.*?),?\s*$')
_PAIR = re.compile(r"\s*(?P<key>[A-Z_][A-Z0-9_]*)=(?P<value>.*)$")
_PRETTY = re.compile(r'\s*[\[{][\s{\[]*"[\w@.]+"\s*:', re.DOTALL)
_EXPORT = re.compile(r"(?:^|\n)(?:__CURSOR|__REALTIME_TIMESTAMP|_BOOT_ID)=")
_VERBOSE = re.compile(r"(?:^|\n)\S[^\n]*\[s=[0-9a-f]{32};|\n {4}_(?:TRANSPORT|BOOT_ID)=")
_HTML = re.compile(r"\s*(?:<\?xml[^>]*>\s*)?<(?:!doctype html|html|head|pre)\b", re.IGNORECASE)
_ENTITY = re.compile(r"&(lt|gt|amp|quot|apos|nbsp|#\d{1,6}|#x[0-9a-fA-F]{1,5});")
_ENTITIES = {"lt": "<", "gt": ">", "amp": "&", "quot": '"', "apos": "'", "nbsp": " "}
_TAG = re.compile(r"(?<!\[)</?[A-Za-z][^<>]{0,1000}>|<!--.*?-->")
_BREAK = re.compile(r"<br\s*/?>|</(?:p|div|li|tr)>", re.IGNORECASE)
_STAMP = re.compile(r"\[ *\d+\.\d{3,9}\]")
_QUOTED = re.compile(r"(?im)^content-transfer-encoding: *quoted-printable")

_RECORD_END = re.compile(rb"\n\n|\n[ \t]*\}[^\n]*\n|\n(?=\S[^\n]{0,200}\[s=[0-9a-f]{32};)")
_LINE_END = re.compile(rb"(?<!=)\n")
_OTHER_LINE = re.compile(r"\n(?!\[)")

_BETWEEN = re.compile(r"\} *, *(?=\{)")
_STRING = re.compile(r'\s*(?P<text>"(?:[^"\\]|\\.)*+"),?\s*$')

Unwrap = Callable[[str], str]


def unwrapper(head: str) -> Unwrap | None:
    """The function that takes the lines out of blocks of a log that begins with `head`."""
    start = head[:8192]
    if _is_console(start):
        return None
    first = start.lstrip()[:1]
    if escapes.MARK in start and (unescape := escapes.unwrapper(start)):
        return unescape
    if first == "[" and '":' in start and "\n" not in start.rstrip():
        return _array
    if '":' in start and any(map(_is_record, start.split("\n", 30)[:30])):
        return _json_lines
    if first in ("{", "[") and _PRETTY.match(start):
        return _fields
    if "_BOOT_ID=" in start and (_EXPORT.search(start) or _VERBOSE.search(start)):
        return _fields
    if first == "<" and _HTML.match(start):
        return _html
    if _breaks_alone(start):
        return _html
    if "printable" in start and _QUOTED.search(start):
        return _quoted
    return _entities if "&gt;" in start or "&lt;" in start else None


def _is_console(start: str) -> bool:
    """Whether all lines begin as those of a console, and nothing of another form is in them."""
    if start[:1] != "[" or "&" in start or PLAIN.match(start) is None:
        return False
    others = sum(1 for _ in islice(_OTHER_LINE.finditer(start), 2))
    return others < 2 and len(start.split("\n", 4)) > 4


def seam(head: str) -> re.Pattern[bytes] | None:
    """What the text of a log that begins with `head` may be cut behind; None for any line."""
    unwrap = unwrapper(head)
    if unwrap is _fields:
        return _RECORD_END
    return _LINE_END if unwrap is _quoted else None


def _is_record(line: str) -> bool:
    if '":' not in line or line.rstrip()[-1:] not in ("}", "]", ",") or not _ONE_LINE.match(line):
        return False
    record = _loaded(line)
    return isinstance(record, dict) and any(key in record for key in _KEYS)


def _loaded(line: str) -> Any:
    """The JSON value at the end of a line, without the commas and brackets of a list round it."""
    begin = max(line.find("{"), 0)
    try:
        return json.loads(line[begin:].rstrip().rstrip("],").rstrip() or "null")
    except (ValueError, RecursionError):
        return None


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _array(block: str) -> str:
    """Records in one line: each of them counts as a line."""
    return _json_lines(_BETWEEN.sub("},\n", block))


def _json_lines(block: str) -> str:
    return "\n".join(map(_of_line, block.split("\n")))


def _of_line(line: str) -> str:
    record = _loaded(line) if "{" in line else None
    return _text_of(record) if isinstance(record, dict) else line


def _text_of(record: Mapping[str, Any]) -> str:
    """What a record says, after its stamp; "" when somebody other than the kernel said it."""
    speaker = next((str(record[key]) for key in _SPEAKERS if key in record), "")
    if speaker and not _KERNEL.match(speaker):
        return ""
    text = next((record[key] for key in _KEYS if key in record), "")
    if isinstance(text, list):
        text = bytes(n for n in text if isinstance(n, int) and 0 <= n < 256).decode(
            "utf-8", "replace"
        )
    text = str(text).rstrip("\n").replace("\n", " ")
    if _STAMP.match(text):
        return text
    stamp = _stamp_of(record)
    stamp = stamp or (TAGGED if speaker else "")
    return f"[{stamp}] {text}" if stamp else text


def _stamp_of(record: Mapping[str, Any]) -> str:
    """Seconds since boot, where a record tells them."""
    for key in ("_SOURCE_MONOTONIC_TIMESTAMP", "__MONOTONIC_TIMESTAMP"):
        micros = str(record.get(key, ""))
        if micros.isdigit() and len(micros) < 19:
            return f"{int(micros) // 1000000}.{int(micros) % 1000000:06}"
    seconds = record.get("time")
    if "pri" in record and isinstance(seconds, (int, float)):
        return f"{seconds:.6f}"
    return ""


def _fields(block: str) -> str:
    """Records with one field a line: each message takes the place of its own line."""
    lines = block.split("\n")
    out = [""] * len(lines)
    record: dict[str, Any] = {}
    at = -1
    for index, line in enumerate(lines):
        found = _FIELD.match(line) or _PAIR.match(line)
        if found and found["key"] not in record:
            value = found["value"]
            record[found["key"]] = _value(value) if found.re is _FIELD else value
            at = index if found["key"] in _KEYS else at
        elif not found and (string := _STRING.match(line)):
            out[index] = str(_value(string["text"]))
        elif not found and _ends_record(line):
            out[max(at, 0)] = _text_of(record) if at >= 0 else out[0]
            record, at = {}, -1
    if at >= 0:
        out[at] = _text_of(record)
    return "\n".join(out)


def _ends_record(line: str) -> bool:
    """A brace, an empty line, or the head of journald's next verbose record."""
    return not line.strip() or line.lstrip()[:1] == "}" or not line[:1].isspace()


def _breaks_alone(text: str) -> bool:
    """Whether lines end with marks of HTML and not with line feeds."""
    return "<" in text and len(_BREAK.findall(text)) > 3 + 2 * text.count("\n")


def _html(block: str) -> str:
    if _breaks_alone(block):
        block = _BREAK.sub("\n", block)
    return _entities(_TAG.sub("", block))


def _entities(block: str) -> str:
    return _ENTITY.sub(_character, block) if "&" in block else block


def _character(match: re.Match[str]) -> str:
    name = match[1]
    if name[0] != "#":
        return _ENTITIES[name]
    code = int(name[2:], 16) if name[1] == "x" else int(name[1:])
    return chr(code) if code >= 32 or code == 9 else ""


def _quoted(block: str) -> str:
    """Quoted-printable; a line joined to the next one leaves an empty line behind."""
    whole, held = [], 0
    for line in (
        quopri.decodestring(block.replace("=\n", "\x00").encode())
        .decode("utf-8", "replace")
        .split("\n")
    ):
        held = line.count("\x00")
        whole.append(line.replace("\x00", ""))
        whole.extend([""] * held)
    return "\n".join(whole)
