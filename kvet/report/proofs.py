# SPDX-License-Identifier: GPL-2.0-only
"""What was proved of the designs of a run, beside what its boots showed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from kvet.model import Conclusion
from kvet.results.proofs import NOT_RUN, PROVED, REFUTED, ProofRecord
from kvet.results.record import CellRecord, RunRecord

SHORT = {PROVED: "proved", REFUTED: "REFUTED", "VACUOUS": "vacuous", "UNBOUND": "unbound"}


def model_word(cell: CellRecord) -> str:
    """The word of the memory model in a table; `-` where it was not asked."""
    return SHORT.get(cell.proof.word, "-") if cell.proof is not None else "-"


def refuted_alone(cell: CellRecord) -> bool:
    """Whether a candidate fails by its litmus test while none of its boots did."""
    failed = cell.conclusion is Conclusion.FAIL and not cell.failures
    return failed and cell.proof is not None and cell.proof.word == REFUTED


def proofs_of(cells: Iterable[CellRecord]) -> dict[str, ProofRecord]:
    """The statement of each variant; of several builds the first that is not a proof."""
    found: dict[str, ProofRecord] = {}
    for cell in cells:
        known = found.get(cell.variant)
        if cell.proof is not None and (known is None or known.word == PROVED):
            found[cell.variant] = cell.proof
    return found


def proof_words(cells: Sequence[CellRecord]) -> Iterator[str]:
    """Sentences of the answer: which designs that passed are proved, which are not, and why."""
    proofs = proofs_of(cells)
    passed = {c.variant for c in cells if c.conclusion is Conclusion.PASS}
    proved = [v for v, p in proofs.items() if p.word == PROVED]
    if proved:
        names = ", ".join(proved)
        yield f"Proved in the memory model, of this skeleton and bound to the build: {names}."
    bare = [v for v, p in proofs.items() if v in passed and p.word == NOT_RUN]
    if bare:
        names = ", ".join(bare)
        yield f"Not proved (weak memory ordering is not shown by these boots): {names}."
    told = {cell.variant for cell in cells if refuted_alone(cell)}
    for variant, proof in proofs.items():
        if proof.word not in (PROVED, NOT_RUN) and variant not in told:
            yield f"{variant} in the memory model: {proof.word} ({proof.reason})."


def proof_lines(record: RunRecord) -> Iterator[str]:
    """The block of a report: each design's word, its reason, the execution that refutes it."""
    proofs = proofs_of(record.cells)
    if not proofs:
        return
    yield "In the memory model (harness.py prove, docs/prove.md):"
    for variant, proof in proofs.items():
        yield f"  {variant:<19} {proof.word:<15} {proof.reason}"
        yield from (f"  {line}" for line in proof.drawn)
    yield ""
