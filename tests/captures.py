# SPDX-License-Identifier: GPL-2.0-only
"""Further forms of captured consoles: collectors, CI systems, suffixes, characters, whole texts."""

from __future__ import annotations

import csv
import html
import io
import json
import re
import textwrap
from collections.abc import Callable

from tests.forms import LineForm, template

TEMPLATES = {
    "GitHub Actions": "2026-04-15T{h}.1234567Z {s} {x}",
    "GitHub Actions, job and step": "boot\tRun tests\t2026-04-15T{h}.1234567Z {s} {x}",
    "GitHub annotation": "2026-04-15T{h}.1234567Z ##[error]{s} {x}",
    "GitLab, sections": "2026-04-15T{h}.028579Z 01O \x1b[0K{s} {x}",
    "Jenkins, timestamper": "{h}  {s} {x}",
    "Jenkins, pipeline": "[Pipeline] {s} {x}",
    "TuxRun": "2026-04-15T{h} {s} {x}",
    "Buildroot": "BR> {s} {x}",
    "Yocto testimage": "DEBUG: core-image: {s} {x}",
    "vector": "2026-04-15T{h}.123Z INFO source=kmsg {s} {x}",
    "loki": '2026-04-15T{h}Z {{job="kernel"}} {s} {x}',
    "promtail, tab": "2026-04-15T{h}.028579Z\t{s} {x}",
    "rfc5424": "<4>1 2026-04-15T{h}.028579Z host-1 kernel - - - {s} {x}",
    "rfc5424, process": "<4>1 2026-04-15T{h}Z host-1 kernel 0 - - {s} {x}",
    "busybox syslogd, level": "Apr 15 {h} board kern.warn kernel: {s} {x}",
    "journal, with-unit": "Wed 2026-04-15 {h} UTC host-1 kernel: {x}",
    "journal, full": "Wed 2026-04-15 {h} CEST host-1 kernel: {s} {x}",
    "journal, unix": "{e}.028579 host-1 kernel: {x}",
    "dmesg -r": "<4>{s} {x}",
    "dmesg -x": "kern  :warn  : {s} {x}",
    "dmesg -e": "[Apr15 {h}] {x}",
    "conserver, tag": "[-- MARK -- Wed Apr 15 {h} 2026] {s} {x}",
    "IPMI SOL": "[SOL] {s} {x}",
    "netconsole, address": "10.0.0.2:6665 {s} {x}",
    "netconsole, extended": "4,1234,{u},-;{x}",
    "netconsole, release": "6.12.0,4,1234,{u},-;{x}",
    "ncat, UDP": "[10.0.0.2] 6666: {s} {x}",
    "line number, colon": "  12: {s} {x}",
    "line number, bar": "  12 | {s} {x}",
    "less -N": "     12 {s} {x}",
    "grep -n": "1234:{s} {x}",
    "grep -C": "1234-{s} {x}",
    "grep -C, file": "console.log-1234-{s} {x}",
    "blame": "^4bc1de (J. Doe 2026-04-15 {h} +0200 12) {s} {x}",
    "diff, removed": "-{s} {x}",
    "lisp comment": ";; {s} {x}",
    "percent comment": "% {s} {x}",
    "reST line block": "| {s} {x}",
    "Redmine quote": ">> {s} {x}",
    "numbered quote": "> > | {s} {x}",
    "wiki row": "| {s} {x} |",
    "quoted, comma": '"{s} {q}",',
    "trailing CR": "{s} {x}\r",
    "trailing tab": "{s} {x}\t",
    "trailing backslash": "{s} {x} \\",
    "trailing br": "{s} {x}<br>",
    "trailing escape": "{s} {x}\x1b[0m\x1b[K",
    "trailing paragraph mark": "{s} {x}\u00b6",
    "erase line before": "\x1b[2K\r{s} {x}",
    "zero width": "\u200b{s} {x}",
    "no-break spaces inside": "{s}\u00a0{x}",
    "form feed": "\x0c{s} {x}",
    "blank first": " {s} {x}",
    "level word, upper case": "KERN WARN {s} {x}",
    "slog": 'time=2026-04-15T{h}Z level=INFO msg="{s} {q}"',
    "zerolog console": "{h} INF {s} {x}",
    "python logging": "INFO:console:{s} {x}",
    "python logging, time": "2026-04-15 {h},123 - console - INFO - {s} {x}",
    "labgrid": "2026-04-15 {h} console: < {s} {x}",
    "pexpect, b": "b'{s} {x}\\r\\n'",
    "OpenQA": "[2026-04-15T{h}.123] [debug] [pid:12] {s} {x}",
    "Cloud Build": 'Step #1 - "boot": {s} {x}',
    "CircleCI": "[{h}Z] {s} {x}",
    "Concourse": "{h} | {s} {x}",
    "pytest": "E       {s} {x}",
    "TAP": "# {s} {x}",
    "kselftest": "# # {s} {x}",
    "QEMU tag": "qemu-system-aarch64: {s} {x}",
    "Proxmox": "Apr 15 {h} pve kernel: {s} {x}",
    "Synology": "2026-04-15T{h}+02:00 nas kernel: {s} {x}",
    "OpenWrt": "Wed Apr 15 {h} 2026 kern.alert kernel: {s} {x}",
    "Fedora abrt": ":{s} {x}",
    "markdown code in a table": "| `{s} {x}` |",
    "HTML table": "<tr><td>{h}</td><td>{s} {x}</td></tr>",
    "Ansible": "fatal: [board]: {s} {x}",
    "Teams": "[13:58] J. Doe: {s} {x}",
    "IRC, clock": "[13:58:03] <joe> {s} {x}",
    "Kubernetes event": "2026-04-15T{h}Z Warning KernelOops node/host-1 kernel: {x}",
    "node problem detector": "I0415 {h}.028579 1 log_monitor.go:160] New status: {s} {x}",
    "CloudWatch": "2026-04-15T{h}.000Z,{s} {x}",
    "ETW": "[0]0004.0008::2026-04-15 {h}.028 [Kernel]{s} {x}",
    "ftrace, console event": "  insmod-77      [001] d..1    {t:.6f}: console: {s} {x}",
    "LAVA, plain": "{h}.123 <4>{s} {x}",
    "ESPHome": "[{h}][W][kernel:123]: {s} {x}",
    "ESXi": "2026-04-15T{h}.123Z cpu3:2097152){s} {x}",
    "xl console": "(d1) {s} {x}",
    "crosvm": "[2026-04-15T{h}.028579123+00:00 INFO  devices::serial] {s} {x}",
    "firecracker": "2026-04-15T{h}.028579123 [anonymous-instance:main] {s} {x}",
    "bugreport, user": "04-15 {h}.123  root     0     0 W kernel  : {x}",
    "phone, vendor tag": "<4>[{t:12.6f}].(2)[77:insmod]{x}",
    "Splunk, quoted columns": '"2026-04-15T{h}.000+0000","host-1","{s} {q}","kern"',
    "spreadsheet, semicolons": '15.04.2026;{h};host-1;"{s} {q}"',
    "syslog-ng, tags last": "Apr 15 {h} host-1 kernel: {s} {x} [host=1]",
    "gdb lx-dmesg": "[{t:12.6f}] b'{x}'",
    "Robot Framework": "15-Apr-2026 {h} : INFO : {s} {x}",
    "log4j": "2026-04-15 {h},028 [main] INFO  c.e.Console - {s} {x}",
    "GitHub, escapes without ESC": "2026-04-15T{h}.1234567Z [36;1m{s} {x}[0m",
    "Drone": "[boot:{u}] {s} {x}",
    "Tekton": "[boot : step-run] {s} {x}",
    "Org mode": ": {s} {x}",
    "LaTeX": "\\texttt{{{s} {x}}} \\\\",
    "vim, list": "  12 {s} {x}$",
    "cat -A": "{s} {x}^M$",
    "RTF": "{s} {x} \\line",
    "Wireshark": "12\t{t:.6f}\t10.0.0.2\t10.0.0.1\tSyslog\t99\tKERN.WARNING: {s} {x}",
}


def _level_last(around: str) -> LineForm:
    """The level behind the line, another one from line to line."""
    levels = ("warn", "err", "info", "crit", "notice")

    def form(t: float, _: str, x: str) -> str:
        level = levels[(len(x) + int(t * 1e6)) % len(levels)]
        return f"[{t:12.6f}] {x}{around.format(level)}"

    return form


LINES: dict[str, LineForm] = {
    **{name: template(text) for name, text in TEMPLATES.items()},
    "level last, brackets": _level_last(" [{}]"),
    "level last, parentheses": _level_last(" ({})"),
    "level last, padded": _level_last(" [{:<7}]"),
    "level last, tab": _level_last("\t{}"),
    "level last, column": _level_last(" | {}"),
    "level last, facility": _level_last("    <kern.{}>"),
}


def _csv(text: str) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow(("time", "host", "message"))
    writer.writerows(("2026-04-15T13:58:03Z", "host-1", line) for line in text.splitlines())
    return out.getvalue()


def _pstore(text: str) -> str:
    half = len(text) // 2
    cut = text.rfind("\n", 0, half) + 1
    return f"Panic#2 Part2\n{text[:cut]}Panic#2 Part1\n{text[cut:]}"


def _loki(text: str) -> str:
    rows = [
        {"labels": {"job": "kernel"}, "line": line, "timestamp": "2026-04-15T13:58:03Z"}
        for line in text.splitlines()
    ]
    return "".join(json.dumps(row) + "\n" for row in rows)


def _recorded(text: str) -> str:
    """A terminal's recording: an event for every 50 characters, whatever the lines are."""
    shown = text.replace("\n", "\r\n")
    pieces = (shown[at : at + 50] for at in range(0, len(shown), 50))
    events = (json.dumps([at / 100, "o", piece]) for at, piece in enumerate(pieces))
    return "\n".join(('{"version": 2, "width": 80, "height": 24}', *events)) + "\n"


def _array(text: str) -> str:
    return json.dumps([{"time": 1, "line": line} for line in text.splitlines()])


def _script(text: str) -> str:
    shown = text.replace("\n", "\r\n")
    return f"Script started on 2026-04-15 13:58:03+00:00\n{shown}\nScript done on 2026-04-15\n"


def _junit(text: str) -> str:
    body = html.escape(text)
    return f"<?xml version='1.0'?>\n<testcase name='boot'><failure>{body}</failure></testcase>\n"


def _bot(text: str) -> str:
    return f"Hello,\n\nthe following was found on Linux 6.12:\n\n{text}\n---\nA bot wrote this.\n"


def _hardcopy(text: str) -> str:
    return "".join(line.ljust(80) + "\n" for line in _wrapped(80)(text).splitlines())


def _numbered(text: str) -> str:
    return "".join(f"{n:>4}  {line}\n" for n, line in enumerate(text.splitlines(), 1))


def _wrapped(width: int) -> Callable[[str], str]:
    def wrap(text: str) -> str:
        pieces = (
            line[at : at + width]
            for line in text.splitlines()
            for at in range(0, max(len(line), 1), width)
        )
        return "\n".join(pieces) + "\n"

    return wrap


WHOLE: dict[str, Callable[[str], str]] = {
    "CSV": _csv,
    "TSV": lambda text: re.sub("(?m)^(?=.)", "13:58:03\thost-1\t", text),
    "double spaced": lambda text: text.replace("\n", "\n\n"),
    "CR CR LF": lambda text: text.replace("\n", "\r\r\n"),
    "tabs expanded": lambda text: text.expandtabs(),
    "reST literal block": lambda text: "The log::\n\n" + textwrap.indent(text, "    ") + "\nEnd.\n",
    "asciidoc": lambda text: f"[source]\n----\n{text}----\n",
    "Jira": lambda text: f"It fails.\n{{noformat}}\n{text}{{noformat}}\n",
    "Slack": lambda text: f"joe  13:58\n```{text}```\n",
    "bugzilla": lambda text: "(In reply to J. Doe from comment #3)\n" + textwrap.indent(text, "> "),
    "pstore, parts": _pstore,
    "loki, JSON": _loki,
    "smart quotes": lambda text: text.replace("'", "\u2019").replace('"', "\u201d"),
    "soft hyphens": lambda text: text.replace("_", "_\u00ad"),
    "zero width inside": lambda text: text.replace("_", "_\u200b"),
    "minus signs": lambda text: text.replace("--", "\u2014"),
    "no-break spaces for all": lambda text: text.replace(" ", "\u00a0"),
    "asciinema": _recorded,
    "script": _script,
    "JSON, an array in one line": _array,
    "CSV, newest first": lambda text: _csv("\n".join(reversed(text.splitlines()))),
    "newest first": lambda text: "\n".join(reversed(text.splitlines())) + "\n",
    "JSON, a list of lines": lambda text: json.dumps({"log": text.splitlines()}, indent=2),
    "JSON, one string": lambda text: json.dumps({"job": 1, "log": text}),
    "line ends as letters": lambda text: text.replace("\n", "\\n"),
    "line separators": lambda text: text.replace("\n", "\u2028"),
    "YAML, literal block": lambda text: f"job: 1\nlog: |\n{textwrap.indent(text, '  ')}",
    "XML, CDATA": lambda text: f"<system-out><![CDATA[{text}]]></system-out>\n",
    "JUnit": _junit,
    "markdown, quoted fence": lambda text: textwrap.indent(f"```\n{text}```\n", "> "),
    "markdown, list item": lambda text: "1. It fails\n" + textwrap.indent(text, "   "),
    "report of a bot": _bot,
    "screen hardcopy": _hardcopy,
    "tmux, line numbers": _numbered,
    "ramoops file": lambda text: "Oops#1 Part1\n" + re.sub("(?m)^(?=.)", "<4>", text),
    "wrapped at 80": _wrapped(80),
    "wrapped at 100": _wrapped(100),
    "wrapped at 120": _wrapped(120),
}
