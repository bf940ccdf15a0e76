# SPDX-License-Identifier: GPL-2.0-only
"""Forms in which people capture, quote and forward consoles: a line each, or a whole log."""

from __future__ import annotations

import bz2
import gzip
import html
import json
import lzma
import re
from collections.abc import Callable, Sequence

import lz4.frame
import zstandard

LineForm = Callable[[float, str, str], str]
_LINE = re.compile(r"\[ *(\d+\.\d+)\](?:\[ *([TC]\d+)\])? ?(.*)")


def rows_of(text: str) -> list[tuple[float, str, str]]:
    """Seconds, caller and text of each line of a console with time stamps."""
    seconds, rows = 0.0, []
    for line in text.splitlines():
        found = _LINE.fullmatch(line)
        seconds = float(found[1]) if found else seconds
        rows.append((seconds, (found and found[2]) or "T1", found[3] if found else line))
    return rows


def reshaped(rows: Sequence[tuple[float, str, str]], form: LineForm) -> str:
    return "".join(form(*row) + "\n" for row in rows)


def _s(t: float) -> str:
    return f"[{t:12.6f}]"


def _clock(t: float) -> str:
    whole = int(t)
    return f"{13 + whole // 3600 % 10:02}:{whole // 60 % 60:02}:{whole % 60:02}"


# {s} stamp, {c} caller, {x} text, {h} a clock, {u} microseconds, {e} seconds since 1970
TEMPLATES = {
    "deep quote": ">>>> {s} {x}",
    "deep quote, spaced, no stamp": "> > > {x}",
    "quote with a name": "JD> {s} {x}",
    "pipe, indented": "   | {s} {x}",
    "tree": "  |  |  {s} {x}",
    "two tabs": "\t\t{x}",
    "tab, caller": "\t{s}[{c:>6}] {x}",
    "C comment": "// {s} {x}",
    "block comment": " * {s} {x}",
    "block comment, no stamp": " * {x}",
    "semicolon": "; {s} {x}",
    "shell comment, no stamp": "# {x}",
    "diff": "+{s} {x}",
    "diff, no stamp": "+{x}",
    "bullet": "- {s} {x}",
    "GitLab": "2026-04-15T{h}.028579Z 00O {s} {x}",
    "Azure": "2026-04-15T{h}.0285791Z {x}",
    "Jenkins, iso": "[2026-04-15T{h}.028Z] {s} {x}",
    "Jenkins, branch": "[arm64] {s} {x}",
    "Buildkite": "_bk;t={e}000 {s} {x}",
    "epoch": "{e} {s} {x}",
    "epoch in brackets": "[{e}.123] {x}",
    "ts -s": "00:00:12 {s} {x}",
    "ts, no stamp": "Apr 15 {h} {x}",
    "ts %.s": "{e}.028579 {s} {x}",
    "minicom": "[2026-04-15 {h}] {s} {x}",
    "minicom, no stamp": "[2026-04-15 {h}.123] {x}",
    "conserver": "[Wed Apr 15 {h} 2026]{s} {x}",
    "ser2net": "2026/04/15 {h} {s} {x}",
    "picocom": "{h}.123 > {s} {x}",
    "tio": "[{h}.123] {s} {x}",
    "grabserial": "[{t:.6f} 0.000012] {x}",
    "rfc3164": "<4>Apr 15 {h} host-1 kernel: {s} {x}",
    "rfc3164, program counter": "<4>Apr 15 {h} host-1.example.org kernel: {x}",
    "rfc5424, no stamp": "<4>1 2026-04-15T{h}.028579+02:00 host-1 kernel - - - {x}",
    "rfc5424, structured": '<4>1 2026-04-15T{h}Z host-1 kernel - - [meta seq="12"] {x}',
    "syslog, French month": "avril 15 {h} host-1 kernel: {x}",
    "syslog, Russian month": "апр 15 {h} host-1 kernel: {s} {x}",
    "syslog, Chinese month": "4月 15 {h} host-1 kernel: {x}",
    "syslog, facility": "Apr 15 {h} host-1 kern.warn kernel: {s} {x}",
    "syslog, process id": "Apr 15 {h} host-1 kernel[0]: {x}",
    "syslog, quoted": "> Apr 15 {h} host-1 kernel: {s} {x}",
    "syslog, indented": "    Apr 15 {h} host-1 kernel: {x}",
    "logread": "Wed Apr 15 {h} 2026 kern.warn kernel: {s} {x}",
    "busybox": "Apr 15 {h} (none) kern.warn kernel: {x}",
    "journal, precise": "Apr 15 {h}.028579 host-1 kernel: {x}",
    "journal, iso precise": "2026-04-15T{h}.028579+0200 host-1 kernel: {x}",
    "journal, iso, no host": "2026-04-15T{h}+0200 kernel: {x}",
    "journal, delta": "[{t:12.6f} <    0.000123 >] host-1 kernel: {x}",
    "journal, cat": "{x}",
    "dmesg, German": "[Mi Apr 15 {h} 2026] {x}",
    "dmesg, French": "[mer. 15 avril 2026 {h}] {x}",
    "dmesg -x -T": "kern  :warn  : [Wed Apr 15 {h} 2026] {x}",
    "dmesg -x, iso": "kern  :warn  : 2026-04-15T{h},028579+02:00 {x}",
    "dmesg -x, caller": "kern  :warn  : {s} [{c:>7}] {x}",
    "dmesg, iso, caller": "2026-04-15T{h},028579+02:00 [{c:>7}] {x}",
    "dmesg -T, caller": "[Wed Apr 15 {h} 2026] [{c:>7}] {x}",
    "kmsg, caller": "6,1234,{u},-,caller={c};{x}",
    "kmsg, quoted": "> 6,1234,{u},-;{x}",
    "level, caller": "<4>{s}[{c:>6}] {x}",
    "level, apart": "<4> {s} {x}",
    "logcat, threadtime": "04-15 {h}.123     0     0 W kernel  : {s} {x}",
    "logcat, brief": "W/kernel  (    0): {x}",
    "logcat, epoch": "{e}.123     0     0 W kernel  : {x}",
    "phone, CPU after": "{s} c2   1234 {x}",
    "phone, bracketed CPU": "{s} [2: kworker/2:1H:  123] {x}",
    "phone, level before": "[W]{s}[2:kworker/2:1H:123] {x}",
    "phone, task before": "[2: kworker/2:1:  123] {s} {x}",
    "level letter after": "{s} W {x}",
    "docker compose": "guest-1  | {s} {x}",
    "kubectl --prefix": "[pod/guest-0/console] {s} {x}",
    "CRI": "2026-04-15T{h}.028579123Z stdout F {s} {x}",
    "fluentd": '2026-04-15 {h}.028579123 +0000 kern.warn: {{"message":"{q}"}}',
    "logfmt": "time=2026-04-15T{h}Z level=warn source=kernel {s} {x}",
    "Android bugreport": "<4>[{t:12.6f}][2:kworker/2:1:  123] {x}",
    "rsyslog, high precision": "2026-04-15T{h}.028579+02:00 host-1 kernel: {s} {x}",
    "AWS console": "[ {t:.6f}] cloud: {x}",
    "libvirt": "2026-04-15 {h}.028+0000: {s} {x}",
    "LTP": "dmesg: {s} {x}",
    "virtme": "virtme-ng: {s} {x}",
    "screen": "{h} ttyUSB0: {s} {x}",
    "grep": "logs/console.log:{s} {x}",
    "grep -n, file": "logs/console.log:1234:{s} {x}",
    "nl": "   123\t{s} {x}",
    "cat -n, no stamp": "   123\t{x}",
    "trailing blanks": "{s} {x}   ",
    "no-break space": "\u00a0\u00a0{s} {x}",
    "quote, caller apart": "> {s} [{c:>7}] {x}",
    "ramoops": "<4>[{t:12.6f}] {x}",
    "Outlook": "| > {s} {x}",
    "SQL comment": "-- {x}",
    "Splunk": "04/15/2026 {h}.000 host=host-1 source=kern {s} {x}",
    "dmesg --time-format raw": "{u} {x}",
    "dmesg --time-format reltime": "[Apr15 13:58] {x}",
    "logcat -v time": "04-15 {h}.123 E/kernel  (    0): {x}",
    "phone, clock": "[{t:12.6f}] [20260415_{h}.123456]@1 {x}",
    "Zuul": "2026-04-15 {h}.123456 | node-1 | {s} {x}",
    "Zuul, no stamp": "2026-04-15 {h}.123456 | {x}",
    "TeamCity": "[{h}]\t[Step 1/3] {s} {x}",
    "Avocado": "2026-04-15 {h},123 console          L0123 DEBUG| {s} {x}",
    "klog": "I0415 {h}.123456       1 console.go:12] {s} {x}",
    "colours": "\x1b[32m[{t:12.6f}] \x1b[0m\x1b[31m{x}\x1b[0m",
    "chat": "13:58 <joe> {s} {x}",
    "12 hours": "4/15/2026 1:58:03 PM {s} {x}",
    "German date": "15.04.2026 {h} host-1 kernel: {x}",
    "columns": "13:58:03\thost-1\tkernel\t{x}",
    "commas": "13:58:03,host-1,kernel,{x}",
    "stamp, no fraction": "[{t:5.0f}] {x}",
    "stamp, no brackets": "{t:12.6f} {x}",
    "stamp, CPU": "{s} CPU0: {x}",
    "level word": "WARN {s} {x}",
    "two stamps": "[{t:.3f}] {s} {x}",
}


def template(text: str) -> LineForm:
    def form(t: float, c: str, x: str) -> str:
        quoted = x.replace("\\", "\\\\").replace('"', '\\"')
        values = {"s": _s(t), "c": c, "x": x, "h": _clock(t), "q": quoted}
        return text.format(t=t, u=int(t * 1e6), e=1776254283 + int(t), **values)

    return form


def _docker(t: float, _: str, x: str) -> str:
    log = f"{_s(t)} {x}\n"
    return json.dumps({"log": log, "stream": "stdout", "time": "2026-04-15T13:58:03Z"})


def _journal_bytes(t: float, _: str, x: str) -> str:
    record = {"_TRANSPORT": "kernel", "_SOURCE_MONOTONIC_TIMESTAMP": str(int(t * 1e6))}
    return json.dumps({**record, "MESSAGE": list(x.encode()), "SYSLOG_IDENTIFIER": "kernel"})


LINES: dict[str, LineForm] = {
    **{name: template(text) for name, text in TEMPLATES.items()},
    "docker": _docker,
    "journal, bytes in JSON": _journal_bytes,
    "vector": lambda t, c, x: json.dumps({"host": "h", "message": x, "appname": "kernel"}),
}


def _records(text: str, form: LineForm, between: str = "") -> str:
    return between.join(form(*row) for row in rows_of(text))


def _verbose(text: str) -> str:
    head = "Wed 2026-04-15 13:58:03.028579 CEST [s=0123456789abcdef0123456789abcdef;i=1;b=2]\n"
    return _records(
        text,
        lambda t, c, x: (
            f"{head}    _BOOT_ID=1\n    _TRANSPORT=kernel\n    MESSAGE={x}\n    _HOSTNAME=host-1\n"
        ),
    )


def _export(text: str) -> str:
    return _records(
        text,
        lambda t, c, x: f"__CURSOR=s=1;i=2\n_BOOT_ID=1\nMESSAGE={x}\n_TRANSPORT=kernel\n\n",
    )


def _pretty(text: str) -> str:
    return _records(
        text,
        lambda t, c, x: (
            json.dumps({"_TRANSPORT": "kernel", "MESSAGE": x, "PRIORITY": "4"}, indent="\t") + "\n"
        ),
    )


def _dmesg_json(text: str) -> str:
    records = _records(
        text,
        lambda t, c, x: (
            f'{{\n         "pri": 4,\n         "time": {t:12.6f},\n'
            f'         "msg": {json.dumps(x)}\n      }}'
        ),
        ",",
    )
    return f'{{\n   "dmesg": [\n      {records}\n   ]\n}}\n'


def _page(text: str) -> str:
    return f"<html><body>\n<pre>I see <b>this</b>:\n{html.escape(text)}</pre></body></html>\n"


def _mail(text: str) -> str:
    head = "Subject: it fails\nContent-Transfer-Encoding: quoted-printable\n\n"
    return head + text.replace("=", "=3D")


WHOLE: dict[str, Callable[[str], bytes]] = {
    "gzip": lambda text: gzip.compress(text.encode()),
    "bzip2": lambda text: bz2.compress(text.encode()),
    "xz": lambda text: lzma.compress(text.encode()),
    "lz4": lambda text: lz4.frame.compress(text.encode()),
    "zstd": lambda text: zstandard.compress(text.encode()),
    "UTF-16": lambda text: text.encode("utf-16"),
    "UTF-16, no mark": lambda text: text.encode("utf-16-le"),
    "UTF-16, packed": lambda text: gzip.compress(text.encode("utf-16")),
    "UTF-8 mark": lambda text: text.encode("utf-8-sig"),
    "CR only": lambda text: text.replace("\n", "\r").encode(),
    "CRLF": lambda text: text.replace("\n", "\r\n").encode(),
    "journal, verbose": lambda text: _verbose(text).encode(),
    "journal, export": lambda text: _export(text).encode(),
    "journal, json-pretty": lambda text: _pretty(text).encode(),
    "dmesg --json": lambda text: _dmesg_json(text).encode(),
    "page": lambda text: _page(text).encode(),
    "quoted-printable": lambda text: _mail(text).encode(),
    "mail quote within text": lambda text: (
        "On Monday, J. D. wrote:\n" + re.sub("(?m)^", "> ", text) + "\nSame here.\n"
    ).encode(),
}
