# SPDX-License-Identifier: GPL-2.0-only
"""An attempt earns its status and a cell its conclusion; nothing passes by default."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from scipy.stats import binomtest

from kvet.guest.boot import Boot, GuestReport
from kvet.model import Attempt, Conclusion, Ending, Finding, Floor, Metric, Role, Status
from kvet.run.verdict import Evidence, conclude, exit_code, judge_attempt, upper_bound, wilson

FLOOR = Floor(any={"overlaps": 10})
OOPS = Finding(kind="oops", title="Internal error in f", func="f")
KNOWN = Finding(kind="warning", title="WARNING in boot_thing")


def boot(ending: Ending = Ending.POWEROFF, banner: str = "6.12-kvet-1", detail: str = "") -> Boot:
    return Boot(
        ending=ending,
        console=Path("c"),
        report=Path("r"),
        seconds=1.0,
        boot_s=0.5,
        ready_s=0.7,
        banner=f"Linux version {banner} (x)",
        argv=(),
        detail=detail,
    )


def report(complete: bool = True, **state: str) -> GuestReport:
    return GuestReport(
        complete=complete, tests={"churn": True}, exposure={"overlaps": 50}, state=state
    )


def judge(
    *, ran: Boot | None = None, said: GuestReport | None = None, found: Sequence[Finding] = ()
) -> Attempt:
    evidence = Evidence(
        boot=ran or boot(),
        report=said or report(),
        console=found,
        release="6.12-kvet-1",
        floor=FLOOR,
    )
    return judge_attempt(Attempt(n=1), evidence)


def test_an_attempt_starts_at_error() -> None:
    assert Attempt(n=1).status is Status.ERROR


def test_a_complete_clean_run_passes() -> None:
    attempt = judge()
    assert (attempt.status, attempt.exposed) == (Status.PASS, True)


@pytest.mark.parametrize(
    ("ran", "said", "says"),
    [
        (boot(banner="6.12-other"), None, "not 6.12-kvet-1"),
        (None, report(complete=False), "before its report was complete"),
        (None, GuestReport(complete=True), "no test ran"),
        (None, GuestReport(complete=True, tests={"churn": False}), "churn"),
        (boot(Ending.TIMEOUT), None, "TIMEOUT"),
        (boot(Ending.LOST, detail="qemu was killed"), None, "qemu was killed"),
        (boot(Ending.NEVER_BOOTED, detail="no banner"), None, "no banner"),
    ],
)
def test_what_says_nothing_is_error(ran: Boot | None, said: GuestReport | None, says: str) -> None:
    attempt = judge(ran=ran, said=said)
    assert attempt.status is Status.ERROR
    assert says in attempt.detail


@pytest.mark.parametrize(
    ("ran", "said", "kind"),
    [
        (boot(Ending.PANIC), None, "panic"),
        (boot(Ending.HANG, detail="silent for 45 s"), None, "hung-task"),
        (None, report(tainted=str(1 << 9)), "taint"),
        (None, report(debug_locks="0"), "lockdep"),
        (None, report(init_mm_lock="held"), "hung-task"),
        (None, report(churn_alive="1/2"), "hung-task"),
    ],
)
def test_other_oracles_fail_without_a_splat(
    ran: Boot | None, said: GuestReport | None, kind: str
) -> None:
    attempt = judge(ran=ran, said=said)
    assert attempt.status is Status.FAIL
    assert attempt.findings[0].kind == kind


def test_own_modules_taint_is_no_finding() -> None:
    assert judge(said=report(tainted=str((1 << 12) | (1 << 18)))).status is Status.PASS


def test_a_suppressed_finding_alone_does_not_fail() -> None:
    echo = Finding(kind="oops", title="later oops", suppressed=True)
    assert judge(found=[echo]).status is Status.PASS


def attempts(*statuses: Status, exposed: bool = True, finding: Finding = OOPS) -> list[Attempt]:
    return [
        Attempt(n=i, status=s, exposed=exposed, findings=(finding,) if s is Status.FAIL else ())
        for i, s in enumerate(statuses, start=1)
    ]


P, F, E = Status.PASS, Status.FAIL, Status.ERROR


@pytest.mark.parametrize(
    ("role", "runs", "kwargs", "conclusion", "kn"),
    [
        (Role.CANDIDATE, attempts(P, P, P), {}, Conclusion.PASS, (0, 3)),
        (Role.CANDIDATE, attempts(P, F, P), {}, Conclusion.FAIL, (1, 3)),
        (
            Role.CANDIDATE,
            attempts(P, P, exposed=False),
            {"wanted": 2},
            Conclusion.INCONCLUSIVE,
            (0, 2),
        ),
        (
            Role.CANDIDATE,
            attempts(P, P, P),
            {"doubts": ["control not caught: nolock"]},
            Conclusion.INCONCLUSIVE,
            (0, 3),
        ),
        (Role.CANDIDATE, attempts(P, P, E), {}, Conclusion.INCONCLUSIVE, (0, 2)),
        (Role.CANDIDATE, attempts(E, E), {}, Conclusion.ERROR, (0, 0)),
        (Role.CANDIDATE, [], {}, Conclusion.ERROR, (0, 0)),
        (Role.CONTROL, attempts(F, F, F), {}, Conclusion.FAIL, (3, 3)),
        (Role.CONTROL, attempts(P, P, P), {}, Conclusion.INCONCLUSIVE, (0, 3)),
    ],
)
def test_conclusions(
    role: Role,
    runs: list[Attempt],
    kwargs: dict[str, object],
    conclusion: Conclusion,
    kn: tuple[int, int],
) -> None:
    verdict = conclude(role, runs, **{"wanted": 3, **kwargs})  # type: ignore[arg-type]
    assert verdict.conclusion is conclusion
    assert (verdict.failures, verdict.runs) == kn


def test_what_the_baseline_shows_too_is_known() -> None:
    baseline = attempts(F, finding=KNOWN)
    verdict = conclude(Role.CANDIDATE, attempts(F, F, finding=KNOWN), wanted=2, baseline=baseline)
    assert verdict.conclusion is Conclusion.PASS
    assert verdict.known_titles == (KNOWN.title,)


def test_lockdep_out_of_room_is_no_verdict() -> None:
    void = Finding(kind="lockdep", title="BUG: MAX_LOCKDEP_ENTRIES too low!")
    runs = [Attempt(n=1, status=P, exposed=True, findings=(void,))]
    assert conclude(Role.CANDIDATE, runs, wanted=1).conclusion is Conclusion.INCONCLUSIVE


@pytest.mark.parametrize(("k", "n"), [(0, 5), (1, 3), (5, 5), (44, 169)])
def test_wilson_agrees_with_scipy(k: int, n: int) -> None:
    known = binomtest(k, n).proportion_ci(method="wilson")
    assert wilson(k, n) == pytest.approx((known.low, known.high), abs=1e-6)


def test_upper_bound_is_the_rule_of_three_table() -> None:
    assert [round(100 * upper_bound(n), 1) for n in (10, 30, 60)] == [25.9, 9.5, 4.9]


@pytest.mark.parametrize(
    ("cells", "code"),
    [
        ([("candidate", "PASS"), ("control", "FAIL"), ("baseline", "INCONCLUSIVE")], 0),
        ([("candidate", "PASS"), ("baseline", "FAIL")], 0),
        ([("candidate", "FAIL"), ("candidate", "INCONCLUSIVE")], 1),
        ([("candidate", "FAIL"), ("candidate", "ERROR")], 3),
        ([("candidate", "PASS"), ("control", "INCONCLUSIVE")], 4),
        ([("candidate", "INCONCLUSIVE")], 4),
    ],
)
def test_exit_codes(cells: list[tuple[str, str]], code: int) -> None:
    assert exit_code((Role(r), Conclusion(c)) for r, c in cells) == code


def measured(said: GuestReport) -> Attempt:
    evidence = Evidence(
        boot=boot(), report=said, console=(), release="6.12-kvet-1", floor=Floor(), measures=True
    )
    return judge_attempt(Attempt(n=1), evidence)


def test_a_measurement_is_done_and_neither_pass_nor_fail() -> None:
    figures = {"none.dump.typical": Metric(1.0, "insns")}
    done = measured(replace(report(), metrics=figures))
    assert (done.status, done.exposed, done.detail) == (Status.DONE, False, "")
    assert measured(report()).status is Status.ERROR


@pytest.mark.parametrize("role", list(Role))
def test_a_measured_cell_passes_without_exposure_or_control(role: Role) -> None:
    done = [Attempt(n=n, status=Status.DONE) for n in (1, 2)]
    verdict = conclude(role, done, wanted=2, doubts=["no control"])
    assert (verdict.conclusion, verdict.failures, verdict.runs) == (Conclusion.PASS, 0, 2)
    assert conclude(role, done, wanted=3).conclusion is Conclusion.INCONCLUSIVE


def test_a_splat_while_measuring_fails() -> None:
    attempts = [
        Attempt(n=1, status=Status.DONE),
        Attempt(n=2, status=Status.FAIL, findings=(OOPS,)),
    ]
    assert conclude(Role.CANDIDATE, attempts, wanted=2).conclusion is Conclusion.FAIL
