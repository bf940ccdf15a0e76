# SPDX-License-Identifier: GPL-2.0-only
"""What a run's builds are proved of: one statement a build, kept by its key.

A refuted candidate is a FAIL whatever its boots showed; a proof makes no PASS,
and what is proved or refuted of a control does not count as caught.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from kvet.errors import KvetError
from kvet.model import Conclusion, Role, SourceTree
from kvet.paths import PROJECT
from kvet.prove.bindfile import FILE
from kvet.prove.herd import Herd, find_tool
from kvet.prove.proof import NO_TEST as NO_TEST_REASON
from kvet.prove.proof import Prover, Subject
from kvet.prove.statement import Statement
from kvet.prove.told import drawn
from kvet.results.proofs import NOT_RUN, REFUTED, ProofRecord, ProofTest
from kvet.run.cell_run import CellRun
from kvet.run.verdict import Verdict
from kvet.run.workloads import speaks_of

NO_TEST = ProofRecord(NOT_RUN, NO_TEST_REASON)


def prove_runs(runs: Iterable[CellRun], trees: Mapping[str, SourceTree], cache: Path) -> None:
    """Give each built cell that races its statement; herd7 is not fetched for it."""
    tool = find_tool(cache)
    known: dict[str, ProofRecord] = {}
    for run in runs:
        if run.build is None or run.cell.workload.measures:
            continue
        folder = litmus_folder(run)
        # of a race that has no litmus tests only what is judged is said to be without
        if folder is None and run.cell.workload.load and run.role is not Role.CANDIDATE:
            continue
        key = f"{run.cell.variant.name} {run.build.key} {folder}"
        if key not in known:
            tree = trees[run.cell.kernel.name]
            herd = Herd(tool, tree.path, cache) if tool is not None else None
            known[key] = _proved(run, tree, Prover(herd, cache))
        run.proof = known[key]


def _proved(run: CellRun, tree: SourceTree, prover: Prover) -> ProofRecord:
    folder = litmus_folder(run)
    if folder is None or run.build is None:
        return NO_TEST
    cell = run.cell
    subject = Subject(
        variant=cell.variant.name,
        folder=folder,
        kernel=cell.kernel.name,
        config=cell.config.name,
        version=tree.version,
        tree=tree.path,
        key=run.build.key,
        build=run.build.folder,
    )
    try:
        return recorded(prover.state(subject))
    except KvetError as error:  # a broken test costs its statement, not the run
        return ProofRecord(NOT_RUN, error.message)


def litmus_folder(run: CellRun) -> Path | None:
    """The directory of its litmus tests, None without any that are about its workload.

    A foreign series has those alone that came with it.
    """
    variant = run.cell.variant
    if variant.foreign or variant.proof is not None:
        return variant.proof
    if not speaks_of(run.cell):
        return None
    patches = variant.patches_for(run.cell.kernel.name)
    # its own patches come last: a test of what it is made onto says nothing about it
    beside = [p for patch in patches[-1:] for p in (patch.parent, patch.parent.parent)]
    places = (PROJECT / "patches" / variant.name, *beside)
    return next((place for place in places if (place / FILE).is_file()), None)


def recorded(statement: Statement) -> ProofRecord:
    """What a run keeps of a statement, with the drawing of the first test that is refuted."""
    refuted = next((t for t in statement.tests if t.word.value == REFUTED), None)
    return ProofRecord(
        word=statement.word.value,
        reason=statement.reason,
        model=next((t.model for t in statement.tests if t.model), ""),
        tests=tuple(ProofTest(t.name, t.word.value, t.reason) for t in statement.tests),
        assumes=tuple(dict.fromkeys(a for t in statement.tests for a in t.assumes)),
        drawn=tuple(drawn(refuted)) if refuted is not None else (),
    )


def with_proof(run: CellRun, verdict: Verdict) -> Verdict:
    """The verdict of a candidate, FAIL where its bound test is refuted."""
    proof = run.proof
    open_yet = (Conclusion.PASS, Conclusion.INCONCLUSIVE)
    if proof is None or proof.word != REFUTED or run.role is not Role.CANDIDATE:
        return verdict
    if verdict.conclusion not in open_yet:
        return verdict
    reason = f"{REFUTED} in the memory model, bound to this build: {proof.reason}"
    return replace(verdict, conclusion=Conclusion.FAIL, reason=reason)
