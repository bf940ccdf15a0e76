# SPDX-License-Identifier: GPL-2.0-only
"""The answer: one paragraph on what was judged, which every report for people begins with.

Which variants hold and on what evidence, which break, how and after how long, what is
open, and what each costs where that was measured.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from kvet.model import Conclusion, Role
from kvet.report.facts import found_after, median, schedules_told
from kvet.report.prefixes import prefix_faults
from kvet.report.proofs import proof_words, refuted_alone
from kvet.results.changes import ChangeRecord
from kvet.results.proofs import REFUTED
from kvet.results.record import CellRecord, RunRecord, label
from kvet.text import one_line, percent

MOST_FUNCTIONS = 4  # that tell two versions apart
MOST_PLACES = 2  # in how many columns a failure is told in full
MOST_VARIANTS = 5  # of a kind that are told in full: more is a list, and stands below the answer


def answer(record: RunRecord, *, measured: RunRecord | None = None) -> str:
    """One paragraph; `measured` is the run whose costs are told, itself unless another is given."""
    variants: dict[str, list[CellRecord]] = {}
    for cell in _judged(record):
        variants.setdefault(cell.variant, []).append(cell)
    broken = {v for v, cells in variants.items() if _with(cells, Conclusion.FAIL)}
    sound = {v: c for v, c in variants.items() if len(_with(c, Conclusion.PASS)) == len(c)}
    each = [
        *_holding(record, sound),
        *_few([_breaking(record, c) for v, c in variants.items() if v in broken], "broken"),
        *_few(
            [_open(record, c) for v, c in variants.items() if v not in {*broken, *sound}], "open"
        ),
    ]
    parts = [
        *unfit_words(record),
        *([f"{subject(record)}."] if len(each) > 1 else []),
        *each,
        *(change_words(record, c) for c in record.changes if _is_near(c)),
        *prefix_faults(record),
        *proof_words(_judged(record)),
        *_costs(measured or record, {c.variant for c in record.cells if c.role is Role.CANDIDATE}),
        *_uncaught(record),
    ]
    return one_line(" ".join(parts) or "Nothing was judged: the run has no candidate.")


def _few(told: Sequence[str], state: str) -> Iterator[str]:
    """The first sentences of those about variants in one `state`, and how many more there are."""
    yield from told[:MOST_VARIANTS]
    left = len(told) - MOST_VARIANTS
    if left > 0:
        yield f"{left} more {'is' if left == 1 else 'are'} {state}."


def unfit_words(record: RunRecord) -> Iterator[str]:
    """That no workload is about what a series changes; each reason once."""
    given = (cell.given for cell in _judged(record))
    for reason in dict.fromkeys(one.unfit for one in given if one and one.unfit):
        yield f"No workload fits: {reason}."


def subject(record: RunRecord) -> str:
    """The answer in the length of a subject: what fails, what holds, what is open."""
    verbs = {"FAIL": "fails", "ERROR": "was not tested", "INCONCLUSIVE": "is open", "PASS": "holds"}
    grouped: dict[str, list[str]] = {}
    cells = _judged(record)
    for variant in dict.fromkeys(c.variant for c in cells):
        own = [c.conclusion for c in cells if c.variant == variant]
        grouped.setdefault(_together(own).value, []).append(variant)
    told = [f"{_and(grouped[word])} {_verb(verbs[word], grouped[word])}"
            for word in verbs if word in grouped]  # fmt: skip
    return one_line(", ".join(told)) or str(record.conclusion)


def _together(conclusions: Collection[Conclusion]) -> Conclusion:
    """What cells of one variant come to: it fails in one, or it is the same in all, or is open."""
    if Conclusion.FAIL in conclusions:
        return Conclusion.FAIL
    first, *others = set(conclusions)
    return Conclusion.INCONCLUSIVE if others else first


def _verb(verb: str, subjects: Sequence[str]) -> str:
    """`verb` for as many subjects."""
    if len(subjects) == 1:
        return verb
    plural = {"fails": "fail", "holds": "hold", "is open": "are open"}
    return plural.get(verb, verb.replace("was", "were"))


def _judged(record: RunRecord) -> list[CellRecord]:
    return [c for c in record.cells if c.role is Role.CANDIDATE and not c.measures]


def _with(cells: Iterable[CellRecord], conclusion: Conclusion) -> list[CellRecord]:
    return [c for c in cells if c.conclusion is conclusion]


def _and(words: Sequence[str]) -> str:
    """`a, b and c`."""
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else "".join(words)


def _holding(record: RunRecord, sound: dict[str, list[CellRecord]]) -> Iterator[str]:
    """The variants that hold; those with the same evidence in one sentence."""
    grounds: dict[str, list[str]] = {}
    for variant, cells in sound.items():
        grounds.setdefault(_evidence(record, cells), []).append(variant)
    for evidence, names in grounds.items():
        yield f"{_and(names)} {_verb('holds', names)}: {evidence}."


def _evidence(record: RunRecord, cells: Sequence[CellRecord]) -> str:
    """What a PASS rests on: boots, the rate that they exclude, and the control beside them."""
    ran = schedules_told(cells)
    races = [c for c in cells if not schedules_told([c])]
    places: dict[int, list[str]] = {}
    for cell in races:
        places.setdefault(cell.runs, []).append(label(record.cells, cell))
    boots = _and([
        f"{n} boot{'' if n == 1 else 's'} of {_and(where)}{' each' if len(where) > 1 else ''}"
        for n, where in places.items()
    ])  # fmt: skip
    bound = max((c.upper_bound for c in races if c.upper_bound is not None), default=None)
    limit = f", a failure rate above {percent(bound)} excluded at 95%" if bound is not None else ""
    raced = f"{boots}, the race run in each{limit}" if races else ""
    told = ", nor in ".join(part for part in (ran, raced) if part)
    return f"no finding in {told}{_controls(record, cells)}"


def _controls(record: RunRecord, cells: Sequence[CellRecord]) -> str:
    """The controls that were caught beside `cells`."""
    beside = {(c.kernel, c.config, c.machine, c.workload) for c in cells}
    counts: dict[str, list[int]] = {}
    for c in record.cells:
        here = (c.kernel, c.config, c.machine, c.workload) in beside
        if here and c.role is Role.CONTROL and c.conclusion is Conclusion.FAIL:
            known = counts.setdefault(c.variant, [0, 0])
            known[0] += c.failures
            known[1] += c.runs
    told = [f"{name} in {k}/{n}" for name, (k, n) in counts.items()]
    return f"; controls caught: {', '.join(told)}" if told else ""


def _breaking(record: RunRecord, cells: Sequence[CellRecord]) -> str:
    """How a variant breaks, how often and when; where it held nevertheless."""
    failed = sorted(_with(cells, Conclusion.FAIL), key=lambda c: -c.failures / max(1, c.runs))
    first, *more = failed
    told = [_failure(record, first)]
    for cell in more[: MOST_PLACES - 1]:
        same = cell.reason == first.reason
        count = f"{cell.failures}/{cell.runs} of {label(record.cells, cell)}"
        told.append(f"the same in {count}" if same else _failure(record, cell))
    left = len(failed) - MOST_PLACES
    told += [f"and in {left} more configuration{'' if left == 1 else 's'}"] if left > 0 else []
    held = [label(record.cells, c) for c in _with(cells, Conclusion.PASS)]
    tail = f"; it holds in {_and(held)}" if held else ""
    verb = "does not build" if first.build.finding else "breaks"
    return f"{first.variant} {verb}: {'; '.join(told)}{tail}."


def _failure(record: RunRecord, cell: CellRecord) -> str:
    where = label(record.cells, cell)
    if cell.build.finding:
        return f"{cell.reason} ({where})"
    if cell.proof is not None and refuted_alone(cell):
        boots = f"none of {cell.runs} boots of {where} showed it"
        return f"{REFUTED} in the memory model, bound to this build ({cell.proof.reason}); {boots}"
    others = len(cell.new_titles) - 1
    more = f" (and {others} more)" if others > 0 else ""
    uptime = median([found_after(a, cell) for a in cell.attempts])
    after = f", first after {uptime:.1f} s of uptime" if uptime is not None else ""
    return f"{cell.reason}{more} in {cell.failures} of {cell.runs} boots of {where}{after}"


def _open(record: RunRecord, cells: Sequence[CellRecord]) -> str:
    """A variant of which nothing can be said, and why."""
    reasons: dict[str, list[str]] = {}
    for cell in cells:
        if cell.conclusion in (Conclusion.ERROR, Conclusion.INCONCLUSIVE):
            reasons.setdefault(cell.reason, []).append(label(record.cells, cell))
    untested = _together([c.conclusion for c in cells]) is Conclusion.ERROR
    verb = "was not tested" if untested else "is undecided"
    told = "; ".join(f"{reason} ({_and(where)})" for reason, where in reasons.items())
    held = [label(record.cells, c) for c in _with(cells, Conclusion.PASS)]
    tail = f"; it holds in {_and(held)}" if held else ""
    return f"{cells[0].variant} {verb}: {told}{tail}."


def _is_near(change: ChangeRecord) -> bool:
    """Whether two versions differ in so little that all of it can be named."""
    names = len(change.functions) + len(change.data) + change.functions_left_out
    return change.same is not None and names <= MOST_FUNCTIONS


def change_words(record: RunRecord, change: ChangeRecord) -> str:
    """How the code of two versions differs, in one sentence."""
    both = {change.old, change.new}
    shared = any(c.variant in both and c.same_code_as in both for c in record.cells)
    old, new, names = change.old, change.new, [*change.functions, *change.data]
    count = len(names) + change.functions_left_out
    if change.same:
        lines = ", but for line numbers that it prints" if change.lines else ""
        boots = ": the same boots stand for both" if shared else ""
        return f"{new} builds the same code as {old}{lines}{boots}."
    if not count:
        return f"{new} differs from {old} in data that has no name."
    if count <= MOST_FUNCTIONS:
        return f"{new} builds the same code as {old} but for {_and(names)}."
    shown = ", ".join(names[:MOST_FUNCTIONS])
    return f"{new} differs from {old} in {count} functions and objects ({shown}, ...)."


def _uncaught(record: RunRecord) -> Iterator[str]:
    for cell in record.cells:
        missed = cell.role is Role.CONTROL and cell.conclusion is not Conclusion.FAIL
        if missed and not cell.measures and not _caught_beside(record, cell):
            how = "not tested" if cell.conclusion is Conclusion.ERROR else "NOT caught"
            where = label(record.cells, cell)
            yield f"The control {cell.variant} was {how} in {where}: no PASS there counts."


def _caught_beside(record: RunRecord, control: CellRecord) -> bool:
    """Whether another workload caught a control that is not the one its own is judged by."""
    if control.variant == control.control:
        return False
    build = (control.kernel, control.variant, control.config, control.page_kib)
    return any(
        cell.conclusion is Conclusion.FAIL
        for cell in record.cells
        if (cell.kernel, cell.variant, cell.config, cell.page_kib) == build
    )


def _costs(record: RunRecord, names: set[str]) -> Iterator[str]:
    """What each variant costs more than the reference, in its dearest operation."""
    if not any(cell.measures and cell.variant in names for cell in record.cells):
        return
    # only a run that measured pays for the import
    from kvet.cost.words import cost_words

    yield from cost_words(record, names)
