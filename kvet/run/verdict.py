# SPDX-License-Identifier: GPL-2.0-only
"""What may be concluded: pure functions from what was seen to a status and a conclusion.

An attempt starts at ERROR and earns its status; a cell earns PASS only with
exposure in every counted attempt and every control of its group caught.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace

from kvet.errors import ExitCode, worst
from kvet.guest.boot import Boot, GuestReport
from kvet.guest.ktap import NOT_OK, OK, SKIP
from kvet.guest.program_lines import finding_of
from kvet.model import COUNTED_STATUSES, Attempt, Conclusion, Ending, Finding, Floor, Role, Status
from kvet.plan.loads import TESTS
from kvet.run.exposure import shortfalls
from kvet.run.guest_state import ending_finding, gaps, missing_doors, state_findings

# lockdep ran out of room: the kernel is not to blame, but its silence is worth nothing
LOCKDEP_VOID = re.compile(r"BUG: MAX_LOCK|turning off the locking correctness validator")
# proof from the guest's own oracles, whatever the baseline shows; how fast somebody gets on is
# the host's doing as well, and is held against the baseline
PROOF = "module"
TIMED = ("starved",)
# what waivers of suspicions, and of a control that is missing or not caught, are called
SUSPICION, CONTROL, RESTART = "suspicion", "control", "walk-begins-again"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one boot left behind, and what it is held against.

    A workload that `measures` earns DONE where another earns PASS. `results` are those of the
    tests that the workload ran, by name.
    """

    boot: Boot
    report: GuestReport
    console: Sequence[Finding]
    release: str
    floor: Floor
    measures: bool = False
    results: Mapping[str, str] = field(default_factory=dict)


def judge_attempt(attempt: Attempt, evidence: Evidence) -> Attempt:
    """The attempt with status, findings and exposure filled in from what the boot left behind."""
    boot, report = evidence.boot, evidence.report
    exposure = dict(report.exposure)
    if evidence.results:
        exposure[TESTS] = sum(outcome == OK for outcome in evidence.results.values())
    short = shortfalls(exposure, evidence.floor)
    seen = replace(
        attempt,
        ending=boot.ending,
        seconds=boot.seconds,
        boot_seconds=boot.boot_s,
        ready_seconds=boot.ready_s,
        exposure=exposure,
        tests=dict(evidence.results),
        exposed=not short,
        short_of=short if evidence.floor else (),
        metrics=dict(report.metrics),
        state=dict(report.state),
    )
    if boot.banner and evidence.release and evidence.release not in boot.banner.split():
        booted = boot.banner.strip() or "nothing"
        return replace(seen, detail=f"booted {booted}, not {evidence.release}")
    findings = (*evidence.console, *report.findings, *state_findings(report, evidence.console))
    findings += tuple(
        finding_of(name, f"test {name} failed")
        for name, outcome in evidence.results.items()
        if outcome == NOT_OK
    )
    findings += tuple(ending_finding(boot, findings))
    seen = replace(seen, findings=findings)
    good = Status.DONE if evidence.measures else Status.PASS
    ran = _without_findings(seen, boot, report, good)
    guilty = [f for f in findings if is_proof(f)]
    if guilty:
        return replace(seen, status=Status.FAIL, detail=guilty[0].title, unfinished=ran.detail)
    return ran


def is_proof(finding: Finding) -> bool:
    """Whether a finding by itself says that something is wrong with the kernel that ran."""
    return not (
        finding.suppressed
        or finding.suspicion
        or finding.door == "internal"
        or LOCKDEP_VOID.search(finding.title)
    )


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


@dataclass(frozen=True, slots=True)
class Verdict:
    """Conclusion of one cell and what it rests on.

    `failures` of `runs` counted attempts; `upper_bound` is the 95 % bound on
    the failure rate when none failed; `interval` is Wilson's. `unconfirmed` are
    titles of suspicions and of what an internal call alone showed.
    """

    conclusion: Conclusion
    failures: int
    runs: int
    upper_bound: float | None
    interval: tuple[float, float] | None
    reason: str
    new_titles: tuple[str, ...] = ()
    known_titles: tuple[str, ...] = ()
    unconfirmed: tuple[str, ...] = ()


def conclude(
    role: Role,
    attempts: Sequence[Attempt],
    *,
    wanted: int,
    baseline: Sequence[Attempt] = (),
    doubts: Sequence[str] = (),
) -> Verdict:
    """The verdict on a cell whose kernel was built.

    `baseline` are the attempts of the baseline cell of the same group (their
    titles are known, not new); `doubts` are reasons from outside the attempts
    why silence would be no PASS (a control that was not caught).
    """
    known = set() if role is Role.BASELINE else titles(baseline)
    shown, weak = confirmed(attempts), unconfirmed(attempts)
    blamed = [a for a in attempts if new_findings(a, known, shown)]
    counted = [a for a in attempts if a in blamed or standing(a) in COUNTED_STATUSES]
    new = _ordered(f.title for a in blamed for f in new_findings(a, known, shown))
    old = _ordered(f.title for a in counted for f in a.findings if f.title in known)
    k, n = len(blamed), len(counted)
    conclusion, reason = Conclusion.FAIL, new[0] if new else ""
    if not n and not weak:
        first = next((_trouble(a) for a in attempts if _trouble(a)), "no attempt ran")
        conclusion, reason = Conclusion.ERROR, first
    elif not k:
        why = [*_weak_words(weak), *_silence(counted, baseline), *_too_few(attempts, n, wanted)]
        # a measurement runs no race: it needs no exposure, and no control proves it
        if not all(a.status is Status.DONE for a in counted):
            why += ["control not caught"] if role is Role.CONTROL else doubts
        conclusion = Conclusion.INCONCLUSIVE if why else Conclusion.PASS
        reason = "; ".join(why)
    return Verdict(
        conclusion=conclusion,
        failures=k,
        runs=n,
        upper_bound=upper_bound(n) if n and not k else None,
        interval=wilson(k, n) if n else None,
        reason=reason,
        new_titles=new,
        known_titles=old,
        unconfirmed=tuple(f.title for f in weak),
    )


def failed_build(finding: Finding) -> Verdict:
    """The verdict on a series whose kernel does not build."""
    return Verdict(Conclusion.FAIL, 1, 1, None, None, finding.title, (finding.title,))


def standing(attempt: Attempt) -> Status:
    """The status of an attempt once its findings are excused: a broken run is no clean one."""
    if attempt.status is not Status.FAIL:
        return attempt.status
    return Status.ERROR if attempt.unfinished else Status.PASS


def _trouble(attempt: Attempt) -> str:
    """Why an attempt says nothing."""
    return attempt.unfinished or attempt.detail


def _silence(counted: Sequence[Attempt], baseline: Sequence[Attempt]) -> list[str]:
    """Why the silence of attempts that ended well is worth less than it seems."""
    why = []
    races = [a for a in counted if a.status is not Status.DONE]
    unexposed = [a for a in races if not a.exposed]
    if unexposed:
        short = _ordered(text for a in unexposed for text in a.short_of)
        names = f" ({', '.join(short)})" if short else ""
        why.append(f"race not exercised in {len(unexposed)} of {len(counted)} attempts{names}")
    if any(LOCKDEP_VOID.search(f.title) for a in counted for f in a.findings):
        why.append("lockdep switched itself off: its lock table is full")
    why += _results_lost(races, baseline)
    # a file that the tree itself does not have is not the series' doing
    why += sorted(missing_doors(races) - missing_doors(baseline))
    return [*why, *_ordered(text for a in races for text in gaps(a))]


def _results_lost(counted: Sequence[Attempt], baseline: Sequence[Attempt]) -> list[str]:
    """That tests of the baseline gave no result here; one that it skips itself is not missed."""
    known = {name for a in baseline for name, outcome in a.tests.items() if outcome != SKIP}
    lost = _ordered(
        name for a in counted for name in sorted(known) if a.tests.get(name, SKIP) == SKIP
    )
    if not lost:
        return []
    more = f" and {len(lost) - 3} more" if len(lost) > 3 else ""
    return [f"tests that gave no result, as they did on the baseline: {', '.join(lost[:3])}{more}"]


def _too_few(attempts: Sequence[Attempt], n: int, wanted: int) -> list[str]:
    if n >= wanted:
        return []
    why = next(
        (_trouble(a) for a in attempts if standing(a) not in COUNTED_STATUSES),
        "the others were not run",
    )
    return [f"only {n} of {wanted} attempts counted: {why}"]


def _weak_words(weak: Sequence[Finding]) -> list[str]:
    """What to say of findings that are no proof."""
    words = []
    for finding in weak:
        why = (
            "suspicion that no access, splat or replayed schedule confirms"
            if finding.suspicion
            else "seen through an internal call and through no public door"
        )
        words.append(f"{why}: {finding.title}")
    return words


def titles(attempts: Iterable[Attempt]) -> set[str]:
    """Titles of all findings of these attempts."""
    return {f.title for a in attempts for f in a.findings}


def confirmed(attempts: Iterable[Attempt]) -> set[str]:
    """Titles that these attempts prove: what an internal call showed, a public door must show."""
    return {f.title for a in attempts for f in a.findings if is_proof(f)}


def without_suspicions(attempt: Attempt) -> Attempt:
    """The attempt as it is judged where suspicions are waived."""
    return replace(attempt, findings=tuple(f for f in attempt.findings if not f.suspicion))


def unconfirmed(attempts: Sequence[Attempt]) -> list[Finding]:
    """Suspicions and findings of internal calls that nothing in the cell proves, by title."""
    shown = confirmed(attempts)
    weak = {
        f.title: f
        for a in attempts
        for f in a.findings
        if not f.suppressed and (f.suspicion or f.door == "internal") and f.title not in shown
    }
    return list(weak.values())


def new_findings(
    attempt: Attempt, known: Set[str], shown: Set[str] = frozenset()
) -> tuple[Finding, ...]:
    """The findings that blame the variant: new against the baseline, or proof of our oracles.

    `shown` are titles that other attempts of the cell prove.
    """
    return tuple(
        f
        for f in attempt.findings
        if (is_proof(f) or (f.door == "internal" and f.title in shown))
        and (f.title not in known or (f.origin == PROOF and f.kind not in TIMED))
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


def exit_code(cells: Iterable[tuple[Role, Conclusion]]) -> ExitCode:
    """Exit code of a run; the worst of its cells wins.

    The baseline is what candidates are compared with: only its ERROR counts.
    """
    codes = set()
    for role, conclusion in cells:
        if conclusion is Conclusion.ERROR:
            codes.add(ExitCode.ERROR)
        elif role is Role.CANDIDATE and conclusion is Conclusion.FAIL:
            codes.add(ExitCode.FAIL)
        elif conclusion is Conclusion.INCONCLUSIVE and role is not Role.BASELINE:
            codes.add(ExitCode.INCONCLUSIVE)
    return worst(codes, default=ExitCode.OK)
