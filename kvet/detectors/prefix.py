# SPDX-License-Identifier: GPL-2.0-only
"""Learns from a log itself what stands before the kernel's own text, and takes it off.

Lines that only the kernel writes in this form (`Call trace:`, the first line of a
splat) show where its text begins.  What stands before them is read as a row of
tokens; lines with the same row of tokens are the kernel's too.  They are written anew as
`[stamp][caller] text`, the form that the rest of the package reads; their number
does not change.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from kvet.detectors.lines import MAX_LINE, MONTHS, TAGGED, UNTAGGED
from kvet.detectors.search import places

MAX_PREFIX = 200
MAX_FORMS = 12
MAX_SAMPLES = 4000
SAMPLE = 1 << 18
ENOUGH = 3
"""Lines of different text that must agree before words in a prefix are believed."""

ANCHOR = re.compile(
    r"Call [Tt]race:|Modules linked in:|CPU: \d+ (?:UID: \d+ )?PID: \d+ Comm: |Hardware name: "
    r"|Workqueue: |pstate: [0-9a-f]{8} |pc : |lr : |sp : |x\d\d?: [0-9a-f]{16}"
    r"|(?:PC|LR) is at |Backtrace: ?$|epc : |Krnl PSW : |NIP:? |GPR\d\d: |MSR: +[0-9a-f]{8}"
    r"|R(?:SP|IP): 0|EIP: |RAX: [0-9a-f]{16}|RDX: [0-9a-f]{16}|RBP: [0-9a-f]{16}"
    r"|R1[03]: [0-9a-f]{16}|CR2: [0-9a-f]{16}|EAX: [0-9a-f]{8}|Code: [0-9a-f(<]{4}"
    r"|-{12}\[ cut here \]|---\[ end (?:trace|Kernel panic)|Mem abort info:|Data abort info:"
    r"|Internal error: |Unable to handle kernel |Kernel panic - not syncing|BUG: K[A-Z]+SAN: "
    r"|Process \S+ \(pid: \d+|irq event stamp: \d|(?:hard|soft)irqs last +(?:en|dis)abled at"
    r"|(?:Allocated|Freed) by task \d+|(?:Read|Write) of size \d+ at addr |The buggy address "
    r"|Memory state around the buggy|stack backtrace:|Showing all locks held in|task:\S+ +state:"
    r"|other info that might help us|but task is already holding|Disabling lock debugging"
    r"|Sending NMI from CPU|Linux version \d|Booting Linux on physical CPU|Kernel Offset: "
    r"|Kernel command line: |Freeing unused kernel |Rebooting in \d+ seconds"
)
"""Where a line's own text begins, in lines that nothing but the kernel writes so."""

_STAMP = r"\[ *(?:\d+\.\d{3,9})(?: <[ \d.+-]+>)?\]"
_TOKENS = re.compile(
    rf"(?P<kmsg>\d+,\d+,\d+,[-+c](?:,[\w=-]+)*;)|(?P<stamp>{_STAMP})|(?P<caller>\[ *[CT]\d+\])"
    r"|(?P<task>\[\d+: *[A-Za-z][^\[\]\n]{0,24}: *\d+\]|\(\d\)\[\d+:[^\[\]\n]{1,24}\])"
    r"|(?P<level><\d{1,3}>)"
    r"|(?P<group>\[[^\[\]\n]{0,60}\]|\([^()\n]{0,40}\)|<[^<>\n]{0,40}>)"
    r"|(?P<number>\d[\d:.,+/-]*(?:T\d[\d:.,+-]*)?Z?(?![^\W\d_]))"
    r"|(?P<word>[^\W_][^\s\[\]()<>:|;,=#/\"']*)|(?P<space>[ \t\xa0]+)|(?P<mark>.)"
)
_LEVEL = re.compile(r"(?i)(?:emerg|alert|crit|err(?:or)?|warn(?:ing)?|notice|info|debug|user)$")
_KERNEL_TAG = re.compile(r"(?i)k(?:ern(?:el)?|msg|log|logd)$")
_OWN_TAG = re.compile(
    r"(?i)(?:k(?:ern|msg|log)\w*|dmesg|.*console.*|serial\d*|tty\w*|.*guest.*|.*\bvm\d*\b.*|uart\w*"
    r"|linux|qemu\w*|target|dut|stdout|stderr|MESSAGE)$"
)
_CLOCK = re.compile(r"\d\d:\d\d|\d{9}")
_DECLINED = re.compile(r"\((?:XEN|xen)\)")
_NUMBER = r"\d[\d:.,+/-]*(?:T\d[\d:.,+-]*)?Z?"
_WORD = r"[^\W_][^\s\[\]()<>:|;,=#/\"']*"
_FORMS = {
    "kmsg": r"\d+,\d+,(?P<micros>\d+),[-+c](?:,caller=(?P<who>[CT]\d+)|,[\w=-]+)*;",
    "caller": r"\[ *(?P<caller>[CT]\d+)\]",
    "task": r"(?:\[\d+: *[A-Za-z][^\[\]\n]{0,24}: *(?P<pid>\d+)\]"
    r"|\(\d\)\[(?P<tid>\d+):[^\[\]\n]{1,24}\])",
    "level": r"<\d{1,3}>",
    "number": _NUMBER,
    "space": r"[ \t\xa0]+",
}
_STAMP_FORM = r"\[ *(?P<stamp>\d+\.\d{3,9})(?: <[ \d.+-]+>)?\]"


class Token(NamedTuple):
    """One piece of a prefix: what kind it is and how it is written."""

    kind: str
    text: str


class Form(NamedTuple):
    """A prefix that was learnt: how to recognise it, and the stamp of lines that lack one."""

    regex: re.Pattern[str]
    bare: str


class Sample(NamedTuple):
    """A line of the kernel: what stands before its own text, and that text's beginning."""

    prefix: str
    text: str


def learn(samples: Iterable[Sample], text: str) -> tuple[Form, ...]:
    """The prefixes that `samples`, lines of `text`, agree on, the most frequent first."""
    groups: dict[tuple[str, ...], list[tuple[Sample, list[Token]]]] = {}
    for sample in samples:
        if not sample.prefix or len(sample.prefix) > MAX_PREFIX:
            continue
        tokens = tokens_of(sample.prefix)
        groups.setdefault(_shape(tokens), []).append((sample, tokens))
    forms = []
    for shape, members in sorted(groups.items(), key=lambda item: -len(item[1])):
        if _ordinary(shape):
            continue
        rows = [tokens for _, tokens in members]
        form = _form(rows)
        agree = len({sample.text for sample, _ in members})
        if "stamp" in "".join(shape):
            agree += _support(form, text)
        if _believed(rows[0], agree):
            forms.append(form)
    return tuple(forms[:MAX_FORMS])


def recurs(sample: Sample, text: str, pos: int) -> bool:
    """Whether lines below, from `pos` on, begin like `sample`: else it is a glued line."""
    if len(sample.prefix) > MAX_PREFIX:
        return False
    below = [line for line in text[pos : pos + 4096].split("\n") if line][:40]
    first = _class_of(sample.prefix[0])
    if sum(_class_of(line[0]) == first for line in below) < min(2, len(below)):
        return False
    tokens = tokens_of(sample.prefix)
    regex = _form([tokens]).regex
    return sum(regex.match(line) is not None for line in below) >= min(2, len(below))


def _class_of(character: str) -> str:
    """What a line begins with, as far as it tells forms apart at a glance."""
    return "9" if character.isdigit() else "a" if character.isalpha() else character


def tokens_of(prefix: str) -> list[Token]:
    """`prefix` as tokens; of several kernel stamps the last one is the kernel's."""
    found = [Token(str(m.lastgroup), m[0]) for m in _TOKENS.finditer(prefix)]
    last = max((i for i, token in enumerate(found) if token.kind == "stamp"), default=-1)
    seen: set[str] = set()
    for index, (kind, text) in enumerate(found):
        again = kind in ("kmsg", "caller", "task") and kind in seen
        if again or (kind == "stamp" and index != last):
            found[index] = Token("group", text)
        seen.add(kind)
    return found


def _shape(tokens: Sequence[Token]) -> tuple[str, ...]:
    """What prefixes of one form share: the kinds of their tokens, and the marks themselves."""
    return tuple(
        token.text
        if token.kind == "mark"
        else token.kind + token.text[0] * (token.kind == "group") + "<" * ("<" in token.text)
        for token in tokens
    )


def _ordinary(shape: Sequence[str]) -> bool:
    """Whether the rest of the package reads this form as it is."""
    return shape in (("stamp", "space"), ("stamp", "caller", "space"), ("stamp",))


def _support(form: Form, text: str) -> int:
    """How many lines have this form, as far as it takes to believe in it."""
    found = (form.regex.match(line) for line in text[:SAMPLE].split("\n"))
    return sum(1 for _ in islice(filter(None, found), ENOUGH))


def _believed(tokens: Sequence[Token], distinct: int) -> bool:
    """Whether the kernel's text follows this prefix, rather than somebody quoting it."""
    if any(_DECLINED.match(token.text) for token in tokens):
        return False
    kinds = {token.kind for token in tokens}
    clock = next((i for i, token in enumerate(tokens) if _is_clock(token)), 0)
    words = [token.text for token in tokens[clock:] if token.kind == "word"]
    if words and (_KERNEL_TAG.match(words[-1]) or _is_facility(words)):
        return True
    if _is_process(tokens) and "stamp" not in kinds:
        return False
    if kinds & {"kmsg", "stamp", "level", "task"}:
        return not words or distinct >= ENOUGH
    if not words:
        return "group" not in kinds or distinct >= ENOUGH or _dated(tokens)
    return distinct >= ENOUGH and ("number" in kinds or len(words) <= 4)


def _is_facility(words: Sequence[str]) -> bool:
    """Whether syslog's facility and level come last: `kern  :warn  : `."""
    pair = words[-2:]
    return len(pair) == 2 and bool(_KERNEL_TAG.match(pair[0]) and _LEVEL.match(pair[1]))


def _dated(tokens: Sequence[Token]) -> bool:
    """Whether every bracketed group holds a number, as times and positions do."""
    groups = [token.text for token in tokens if token.kind == "group"]
    return all(any(map(str.isdigit, text)) for text in groups)


def _is_process(tokens: Sequence[Token]) -> bool:
    """Whether a prefix ends like syslog's name of a process: `sshd[12]: `, `Subject: `."""
    last = [token for token in tokens if token.kind != "space"][-3:]
    if not last or last[-1].text != ":" or len(last) < 2:
        return False
    named = last[-2] if last[-2].kind == "word" else last[0]
    return named.kind == "word" and not _OWN_TAG.match(named.text)


def _form(rows: Sequence[Sequence[Token]]) -> Form:
    """The expression that all `rows`, prefixes of one shape, fit."""
    size = len(rows[0])
    clock = next((i for i, token in enumerate(rows[0]) if _is_clock(token)), -1)
    parts = []
    for index in range(size - 1):
        parts.append(_part([row[index] for row in rows], before_clock=index < clock))
    parts.append(_last_part([row[-1] for row in rows]))
    words = [token.text for token in rows[0] if token.kind == "word"]
    kinds = {token.kind for token in rows[0]}
    tagged = bool(kinds & {"level", "kmsg", "task"}) or any(map(_KERNEL_TAG.match, words))
    dressed = kinds - {"space", "mark"}
    return Form(re.compile("".join(parts)), TAGGED if tagged else UNTAGGED if dressed else "")


def _is_clock(token: Token) -> bool:
    return token.kind == "number" and _CLOCK.search(token.text) is not None


def _part(tokens: Sequence[Token], *, before_clock: bool) -> str:
    """The expression of one place; words count as written where they tell who speaks."""
    kind, text = tokens[0]
    if kind == "stamp":
        return _STAMP_FORM
    if kind in _FORMS:
        return _FORMS[kind]
    if kind == "mark":
        return re.escape(text)
    if kind == "group":
        close = {"[": r"\[[^\[\]\n]*\]", "(": r"\([^()\n]*\)", "<": r"<[^<>\n]*>"}
        return close[text[0]]
    same = all(token.text == text for token in tokens)
    loose = before_clock or _LEVEL.match(text) is not None or text[:3] in MONTHS or len(text) == 1
    return re.escape(text) if same and not loose else _WORD


def _last_part(tokens: Sequence[Token]) -> str:
    """Blanks at the end of the prefix are counted: frames have some of their own."""
    if tokens[0].kind != "space":
        return _part(tokens, before_clock=False)
    ((usual, _),) = Counter(token.text for token in tokens).most_common(1)
    return f"(?:{re.escape(usual)}|[ \\t]*$)"


def undress(block: str, forms: Sequence[Form]) -> str:
    """`block` with every line that fits one of `forms` written anew, line by line."""
    return "\n".join([_anew(line, forms) for line in block.split("\n")])


def _anew(line: str, forms: Sequence[Form]) -> str:
    for form in forms:
        match = form.regex.match(line)
        if match is not None:
            return _written(match, form, line[match.end() : match.end() + MAX_LINE])
    return line


def _written(match: re.Match[str], form: Form, text: str) -> str:
    found = match.groupdict()
    stamp = found.get("stamp") or ""
    micros = found.get("micros")
    if micros:
        stamp = f"{int(micros[:18]) // 1000000}.{int(micros[:18]) % 1000000:06}"
    pid = found.get("pid") or found.get("tid")
    caller = found.get("caller") or found.get("who") or (f"T{pid}" if pid else "")
    stamp = stamp or form.bare
    if not stamp:
        return text
    return f"[{stamp}][{caller}] {text}" if caller else f"[{stamp}] {text}"


def anchors(text: str) -> Iterator[Sample]:
    """Lines of `text` whose own text is known to begin at some column, without stamps alone."""
    done = -1
    for place in islice(places(ANCHOR, text), MAX_SAMPLES):
        begin = text.rfind("\n", 0, place) + 1
        match = ANCHOR.match(text, place)
        if begin != done and match:
            done = begin
            yield Sample(text[begin:place], match[0])
