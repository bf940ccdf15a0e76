# SPDX-License-Identifier: GPL-2.0-only
"""What the state at a guest's end and the way it ended say: findings, and gaps of the oracle."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from kvet.guest.boot import Boot, GuestReport
from kvet.model import Attempt, Ending, Finding

# Taint bits that the harness sets itself: out-of-tree (12), unsigned (13) and
# test (18) modules; Documentation/admin-guide/tainted-kernels.rst
OWN_TAINT = (1 << 12) | (1 << 13) | (1 << 18)

# kinds of splats after which a kernel goes on at its own risk, or not at all
FATAL = frozenset(
    [
        "oops",
        "bug",
        "gpf",
        "null-deref",
        "page-fault",
        "panic",
        "list-corruption",
        "stack-overflow",
        "memory-tagging",
        "kasan",
        "kfence",
        "ubsan",
        "refcount",
    ]
)
STUCK = frozenset(["hung-task", "soft-lockup", "hard-lockup", "rcu-stall"])
# splats that leave lockdep on: WARN taints with LOCKDEP_STILL_OK, stalls and leaks do not taint
LOCKDEP_STAYS = STUCK | frozenset(["warning", "leak", "ubsan", "kcsan", "atomic-sleep", "other"])
# taint bit to the kinds of splats that set it; None where nearly all of them do
EXPLAINS: Mapping[int, frozenset[str] | None] = {
    5: frozenset({"bad-page", "kasan", "kfence", "memory-tagging"}),
    7: FATAL,
    9: None,
    14: frozenset({"soft-lockup", "hard-lockup"}),
}


def state_findings(report: GuestReport, console: Sequence[Finding]) -> Iterator[Finding]:
    """Findings from the state that the guest told, less what a splat of the console explains.

    A splat excuses what it sets itself (its taint bit, lockdep off) and nothing else.
    """
    state = report.state
    kinds = {f.kind for f in console}
    taint = _unexplained(_number(state, "tainted") & ~OWN_TAINT, kinds)
    if taint:
        title = f"kernel tainted (bits {taint:#x}) and no console pattern says why"
        yield _own("taint", title, "tainted")
    if state.get("debug_locks") == "0" and kinds <= LOCKDEP_STAYS:
        title = "lockdep switched itself off and no console pattern says why"
        yield _own("lockdep", title, "debug_locks")
    # a walk that a slow host has not let end holds it by right; one that never ends is stuck
    walking = report.exposure.get("walks", 0) > report.exposure.get("walks_done", 0)
    if state.get("init_mm_lock") == "held" and not walking:
        title = "init_mm lock still held after the workload ended"
        yield _own("hung-task", title, "init_mm_lock")
    for name, who in (("churn_alive", "freers"), ("walkers_alive", "walkers")):
        back, _, everyone = state.get(name, "").partition("/")
        if everyone and back != everyone:
            yield _own("hung-task", f"{who} stuck in the kernel at the end of the workload", name)
    if stuck := state.get("sides_stuck", ""):
        yield _own("hung-task", f"stuck in the kernel, deaf to SIGKILL: {stuck}", "sides_stuck")
    if _number(state, "readers_stuck"):
        title = "readers of the dump stuck in the kernel, deaf to SIGKILL"
        yield _own("hung-task", title, "readers_stuck")


def _unexplained(taint: int, kinds: set[str]) -> int:
    """The bits of `taint` that no splat of these kinds sets."""
    for bit, setters in EXPLAINS.items():
        if kinds and (setters is None or kinds & setters):
            taint &= ~(1 << bit)
    return taint


def _number(state: Mapping[str, str], name: str) -> int:
    """A number of the state; 0 when it was not told, or is none."""
    text = state.get(name, "0")
    return int(text) if text.isdecimal() else 0


def _own(kind: str, title: str, state: str = "") -> Finding:
    return Finding(kind=kind, title=title, family=kind, origin="harness", state=state)


def ending_finding(boot: Boot, findings: Iterable[Finding]) -> Iterator[Finding]:
    """An ending that blames the kernel, unless a finding of this boot explains such an ending."""
    kinds = {f.kind for f in findings}
    if boot.ending is Ending.PANIC and not kinds & (FATAL | STUCK | {"bad-page", "atomic-sleep"}):
        yield _own("panic", f"kernel panic: {boot.detail or 'the guest reset without a splat'}")
    elif boot.ending is Ending.HANG and not kinds & STUCK:
        yield _own("hung-task", f"guest hang: {boot.detail}")


def missing_doors(attempts: Iterable[Attempt]) -> frozenset[str]:
    """Files of debugfs that a walker wanted to open and that were not there."""
    return frozenset(text for a in attempts for text in _missing(a.state.get("missing_doors", "")))


def _missing(listed: str) -> Iterator[str]:
    for item in listed.split(","):
        kind, _, name = item.strip().partition(":")
        if name:
            yield f"{kind} {name} is missing"


def gaps(attempt: Attempt) -> Iterator[str]:
    """What the oracle lacked in a boot: with it, silence would say more."""
    state = attempt.state
    yield from _missing(state.get("missing", ""))
    if missed := _number(state, "nmissed"):
        yield f"the probes missed {missed} hits"
    if lost := attempt.exposure.get("untracked", 0):
        yield f"{lost} tables, walks or frees were not followed"
    quarantine = state.get("quarantine", "")
    if quarantine.startswith("none"):
        why = quarantine.partition(":")[2].strip() or "no reason given"
        yield f"freed tables were not kept in quarantine: {why}"
    if uncounted := state.get("not_counted", ""):
        yield f"{uncounted} could not be counted: the function is gone or takes no probe"
    if state.get("debug_locks") == "0":
        yield "lockdep was off at the end"
