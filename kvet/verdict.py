# SPDX-License-Identifier: GPL-2.0-only
"""What may be concluded: pure functions from what was seen to a status and a conclusion.

An attempt starts at ERROR and earns its status; a cell earns PASS only with
exposure in every counted attempt and every control of its group caught.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from kvet.model import (
    Attempt,
    Boot,
    Conclusion,
    Ending,
    Finding,
    GuestReport,
    Role,
    Status,
    Variant,
    Workload,
)

# Taint bits that the harness sets itself: out-of-tree (12), unsigned (13) and
# test (18) modules; Documentation/admin-guide/tainted-kernels.rst
OWN_TAINT = (1 << 12) | (1 << 13) | (1 << 18)
COUNTED = (Status.PASS, Status.FAIL, Status.DONE)
# lockdep ran out of room: the kernel is not to blame, but its silence is worth nothing
LOCKDEP_VOID = re.compile(r"BUG: MAX_LOCK|turning off the locking correctness validator")
OUR_ORIGINS = ("module", "guest", "harness")


def judge_attempt(
    attempt: Attempt,
    *,
    boot: Boot,
    report: GuestReport,
    console: Sequence[Finding],
    release: str,
    floor: Mapping[str, int],
    measures: bool = False,
) -> Attempt:
    """The attempt with status, findings and exposure filled in from what the boot left behind.

    A workload that `measures` earns DONE where another earns PASS.
    """
    seen = replace(
        attempt,
        ending=boot.ending,
        seconds=boot.seconds,
        boot_seconds=boot.boot_s,
        ready_seconds=boot.ready_s,
        exposure=dict(report.exposure),
        exposed=is_exposed(report.exposure, floor),
        metrics=dict(report.metrics),
        state=dict(report.state),
    )
    if boot.banner and release and release not in boot.banner.split():
        booted = boot.banner.strip() or "nothing"
        return replace(seen, detail=f"booted {booted}, not {release}")
    findings = (*console, *report.findings, *state_findings(report, console))
    findings += tuple(_ending_finding(boot, findings))
    guilty = [f for f in findings if not f.suppressed and not LOCKDEP_VOID.search(f.title)]
    seen = replace(seen, findings=findings)
    if guilty:
        return replace(seen, status=Status.FAIL, detail=guilty[0].title)
    good = Status.DONE if measures else Status.PASS
    return _without_findings(seen, boot, report, good)


def _without_findings(seen: Attempt, boot: Boot, report: GuestReport, good: Status) -> Attempt:
    """`good` for a workload that ran to its end; ERROR for everything that says nothing."""
    if boot.ending is not Ending.POWEROFF:
        return replace(seen, detail=boot.detail or f"the guest ended with {boot.ending}")
    if not report.complete:
        return replace(seen, detail="the guest powered off before its report was complete")
    failed = [name for name, ok in report.tests.items() if ok is False]
    if failed or not any(report.tests.values()):
        what = ", ".join(failed) or "no test ran"
        return replace(seen, detail=f"the workload did not do its work: {what}")
    if good is Status.DONE and not report.metrics:
        return replace(seen, detail="the workload measured nothing")
    return replace(seen, status=good, detail="")


def is_exposed(exposure: Mapping[str, int], floor: Mapping[str, int]) -> bool:
    """Whether any one counter reached its floor; without a floor nothing proves a race."""
    return any(exposure.get(name, 0) >= least for name, least in floor.items())


def floor_for(variant: Variant, workload: Workload) -> Mapping[str, int]:
    """The exposure floor of a cell: the variant's own where it states one."""
    return variant.floor or workload.floor


def state_findings(report: GuestReport, console: Sequence[Finding]) -> Iterable[Finding]:
    """Findings from the end-of-attempt state that no console line explains."""
    if not report.complete or any(not f.suppressed for f in console):
        return
    taint = int(report.state.get("tainted", "0")) & ~OWN_TAINT
    if taint:
        yield _own("taint", f"kernel tainted (bits {taint:#x}) and no console pattern says why")
    if report.state.get("debug_locks") == "0":
        yield _own("lockdep", "lockdep switched itself off and no console pattern says why")
    if report.state.get("init_mm_lock") == "held":
        yield _own("hung-task", "init_mm lock still held after the workload ended")
    if int(report.state.get("tables_leaked", "0")):
        yield _own("page-table-leak", "page tables cut off and never given back")
    alive, _, of = report.state.get("churn_alive", "").partition("/")
    if of and alive != of:
        yield _own("hung-task", "churn threads stuck in the kernel at the end of the workload")


def _own(kind: str, title: str) -> Finding:
    return Finding(kind=kind, title=title, family=kind, origin="harness")


def _ending_finding(boot: Boot, findings: Sequence[Finding]) -> Iterable[Finding]:
    """An ending that blames the kernel when nothing else does."""
    if any(not f.suppressed for f in findings):
        return
    if boot.ending is Ending.PANIC:
        yield _own("panic", f"kernel panic: {boot.detail or 'the guest reset without a splat'}")
    elif boot.ending is Ending.HANG:
        yield _own("hung-task", f"guest hang: {boot.detail}")


@dataclass(frozen=True, slots=True)
class Verdict:
    """Conclusion of one cell and what it rests on.

    `failures` of `runs` counted attempts; `upper_bound` is the 95 % bound on
    the failure rate when none failed; `interval` is Wilson's.
    """

    conclusion: Conclusion
    failures: int
    runs: int
    upper_bound: float | None
    interval: tuple[float, float] | None
    reason: str
    new_titles: tuple[str, ...] = ()
    known_titles: tuple[str, ...] = ()


def conclude(
    role: Role,
    attempts: Sequence[Attempt],
    *,
    wanted: int,
    baseline: Sequence[Attempt] = (),
    uncaught: Sequence[str] = (),
    build: Finding | None = None,
) -> Verdict:
    """The verdict on a cell.

    `baseline` are the attempts of the baseline cell of the same group (their
    titles are known, not new); `uncaught` names the group's controls that were
    not caught; `build` is the finding of a build that failed.
    """
    if build is not None:
        return Verdict(Conclusion.FAIL, 1, 1, None, None, build.title, (build.title,))
    counted = [a for a in attempts if a.status in COUNTED]
    known = set() if role is Role.BASELINE else titles(baseline)
    blamed = [a for a in counted if new_findings(a, known)]
    new = _ordered(f.title for a in blamed for f in new_findings(a, known))
    old = _ordered(f.title for a in counted for f in a.findings if f.title in known)
    k, n = len(blamed), len(counted)
    conclusion, reason = _settle(role, attempts, k, n, wanted, uncaught)
    return Verdict(
        conclusion,
        k,
        n,
        upper_bound(n) if n and not k else None,
        wilson(k, n) if n else None,
        reason if not new else new[0],
        new,
        old,
    )


def _settle(
    role: Role, attempts: Sequence[Attempt], k: int, n: int, wanted: int, uncaught: Sequence[str]
) -> tuple[Conclusion, str]:
    """Conclusion and reason, the first rule that applies."""
    counted = [a for a in attempts if a.status in COUNTED]
    if k:
        return Conclusion.FAIL, f"{k} of {n} attempts failed"
    if not n:
        first = next((a.detail for a in attempts if a.detail), "no attempt ran")
        return Conclusion.ERROR, first
    void = [a for a in counted if any(LOCKDEP_VOID.search(f.title) for f in a.findings)]
    # a measurement runs no race: it needs no exposure, and no control proves it
    measured = all(a.status is Status.DONE for a in counted)
    unexposed = [a for a in counted if not a.exposed and a.status is not Status.DONE]
    if unexposed:
        return Conclusion.INCONCLUSIVE, f"race not exercised in {len(unexposed)} of {n} attempts"
    if void:
        return Conclusion.INCONCLUSIVE, "lockdep switched itself off for want of room"
    if n < wanted:
        why = next((a.detail for a in attempts if a.status not in COUNTED), "interrupted")
        return Conclusion.INCONCLUSIVE, f"only {n} of {wanted} attempts counted: {why}"
    if measured:
        return Conclusion.PASS, ""
    if role is Role.CONTROL:
        return Conclusion.INCONCLUSIVE, "control not caught"
    if uncaught:
        return Conclusion.INCONCLUSIVE, f"control not caught: {', '.join(uncaught)}"
    return Conclusion.PASS, ""


def titles(attempts: Iterable[Attempt]) -> set[str]:
    """Titles of all findings of these attempts."""
    return {f.title for a in attempts for f in a.findings}


def new_findings(attempt: Attempt, known: set[str]) -> tuple[Finding, ...]:
    """The findings that blame the variant: new against the baseline, or told by our oracles."""
    return tuple(
        f
        for f in attempt.findings
        if not f.suppressed
        and not LOCKDEP_VOID.search(f.title)
        and (f.title not in known or f.origin in OUR_ORIGINS)
    )


def _ordered(items: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(items))


def upper_bound(n: int) -> float:
    """95 % upper bound on the failure rate after n attempts without failure: 1 - 0.05^(1/n)."""
    return float(1 - 0.05 ** (1 / n))


def wilson(k: int, n: int, *, z: float = 1.959964) -> tuple[float, float]:
    """Wilson score interval of k failures in n attempts (Wilson 1927), 95 % by default."""
    rate, square = k / n, z * z
    centre = (rate + square / (2 * n)) / (1 + square / n)
    half = z / (1 + square / n) * (rate * (1 - rate) / n + square / (4 * n * n)) ** 0.5
    return max(0.0, centre - half), min(1.0, centre + half)


def exit_code(cells: Iterable[tuple[Role, Conclusion]]) -> int:
    """Exit code of a run; the worst wins in the order 3, 1, 4, 0 (2 is for bad usage).

    The baseline is what candidates are compared with: only its ERROR counts.
    """
    codes = set()
    for role, conclusion in cells:
        if conclusion is Conclusion.ERROR:
            codes.add(3)
        elif role is Role.CANDIDATE and conclusion is Conclusion.FAIL:
            codes.add(1)
        elif conclusion is Conclusion.INCONCLUSIVE and role is not Role.BASELINE:
            codes.add(4)
    return next((code for code in (3, 1, 4) if code in codes), 0)
