# SPDX-License-Identifier: GPL-2.0-only
"""Litmus tests as values, deadlocks, and the words that a proof ends with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from kvet.errors import UserError
from kvet.model import (
    Cell,
    Conclusion,
    Config,
    Kernel,
    Machine,
    Role,
    Variant,
    Workload,
)
from kvet.paths import PROJECT
from kvet.plan.library import load_variant
from kvet.prove.bind import Binding
from kvet.prove.bindfile import read_bind
from kvet.prove.deadlock import find_deadlock, sleeping_readers
from kvet.prove.drawing import read_drawing
from kvet.prove.herd import Answer, read_answer
from kvet.prove.litmus import check_labels, conjunction, parse_litmus, reached, read_litmus
from kvet.prove.mutants import mutants
from kvet.prove.posted import freeing_early, read_columns, reading_again, unlocking
from kvet.prove.proof import Prover, Subject, read_statement, write_statement
from kvet.prove.statement import Judged, Statement, Word, judge, worst
from kvet.prove.told import columns, exit_code, line
from kvet.report.proofs import model_word, proof_words
from kvet.results.proofs import ProofRecord
from kvet.results.record import CellRecord
from kvet.run.cell_run import CellRun
from kvet.run.proofs import litmus_folder, with_proof
from kvet.run.verdict import Verdict
from tests.litmus import LOCKED
from tests.reports import typed_cell

DESIGNS = sorted(p.parent for p in (PROJECT / "patches").glob("*/variant.yaml"))


NEVER = Answer("Never", 0, 3, (), (), 0.1)


def result(**fields: object) -> Judged:
    made = Judged("a.litmus", "says", Word.NOT_RUN, "", answer=NEVER, reached=2)
    return replace(made, **fields)  # type: ignore[arg-type]


def test_a_test_prints_as_it_was_read() -> None:
    assert parse_litmus(LOCKED).text() == parse_litmus(parse_litmus(LOCKED).text()).text()
    assert [s.label for s in parse_litmus(LOCKED).threads[0].steps] == [
        *("trylock", "clear", "free", "unlock")
    ]


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("// clear", "", "one statement a line"),
        ("exists (1:r=2)", "", "exists"),
        ("C locked", "locked", "begins with"),
    ],
)
def test_a_fault_names_its_line(old: str, new: str, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint) as error:
        parse_litmus(LOCKED.replace(old, new), Path("a.litmus"))
    assert "a.litmus: line" in error.value.message


def test_a_label_names_one_step() -> None:
    with pytest.raises(UserError, match="two steps labelled 'clear'"):
        check_labels(parse_litmus(LOCKED.replace("// free", "// clear")))


def test_a_read_lock_inside_itself_deadlocks_behind_a_writer() -> None:
    inner = "\t\tspin_lock(lock); // inner\n\t\tWRITE_ONCE(*pmd"
    text = LOCKED.replace("\t\tWRITE_ONCE(*pmd", inner)
    text = text.replace(
        "\t\tspin_unlock(lock); // unlock",
        "\t\tspin_unlock(lock); // i\n\t\tspin_unlock(lock); // u",
    )
    reading = {"trylock": "read", "inner": "read"}
    found = find_deadlock(parse_litmus(text), (reading, {"lock": "write"}))
    assert found is not None
    assert {(w.thread, w.label) for w in found.waits} == {(0, "inner"), (1, "lock")}
    # with nobody who writes a reader may nest
    assert find_deadlock(parse_litmus(text), (reading, {"lock": "read"})) is None


def test_one_lock_does_not_deadlock() -> None:
    assert find_deadlock(parse_litmus(LOCKED), ({"trylock": "read"}, {})) is None


def test_a_grace_period_inside_a_reader_never_ends() -> None:
    text = LOCKED.replace(
        "\tspin_lock(lock); // lock\n",
        "\trcu_read_lock(); // in\n\tsynchronize_rcu(); // gp\n\trcu_read_unlock(); // out\n"
        "\tspin_lock(lock); // lock\n",
    )
    test = parse_litmus(text)
    assert find_deadlock(test, ({}, {})) is not None
    assert sleeping_readers(test) == ["P1: gp sleeps inside an RCU reader"]


def test_the_answer_of_herd7_is_read() -> None:
    out = (
        "Test t Allowed\nStates 2\n1:r=0; [pmd]=va0;\n1:r=1; [pmd]=table;\nNo\nWitnesses\n"
        "Positive: 0 Negative: 2\nFlag data-race\nCondition exists (1:r=2)\n"
        "Observation t Never 0 2\nTime t 0.01\n"
    )
    answer = read_answer(out)
    assert (answer.observation, answer.counts, answer.flags) == ("Never", "0/2", ("data-race",))
    assert reached(answer.states, conjunction(r"1:r=1 /\ pmd=table"))
    assert not reached(answer.states, conjunction(r"1:r=1 /\ pmd=va0"))


@pytest.mark.parametrize(
    ("found", "word"),
    [
        (result(), Word.PROVED),
        (result(reached=1), Word.VACUOUS),
        (result(unreached=("1:r=1",)), Word.VACUOUS),
        # a condition that never holds, or always, says nothing of a kernel
        (result(possible=False), Word.VACUOUS),
        (result(answer=replace(NEVER, observation="Always", positive=3)), Word.VACUOUS),
        (result(answer=replace(NEVER, observation="Sometimes", positive=1)), Word.REFUTED),
        (result(bindings=(Binding("P0", "f", problems=("clear: gone",)),)), Word.UNBOUND),
        (result(answer=None, reason="no herd7"), Word.NOT_RUN),
    ],
)
def test_each_word_has_its_reason(found: Judged, word: Word) -> None:
    said, reason = judge(found, ())
    assert said is word
    assert reason


def test_an_unbound_test_refutes_nothing() -> None:
    unbound = (Binding("P0", "f", problems=("clear: gone",)),)
    sometimes = replace(NEVER, observation="Sometimes", positive=1)
    word, reason = judge(result(bindings=unbound, answer=sometimes), ())
    assert word is Word.UNBOUND
    assert "the model says Sometimes" in reason


def test_what_sleeps_inside_a_reader_is_refuted() -> None:
    assert judge(result(), ("P0: lock sleeps inside an RCU reader",))[0] is Word.REFUTED


def test_the_worst_word_is_the_design_s() -> None:
    assert worst([Word.PROVED, Word.VACUOUS]) is Word.VACUOUS
    assert worst([Word.UNBOUND, Word.REFUTED, Word.PROVED]) is Word.REFUTED
    assert worst([]) is Word.NOT_RUN


def test_exit_codes() -> None:
    def said(word: Word) -> Statement:
        return Statement("v", "k", "c", "b", word, "why")

    assert exit_code([said(Word.PROVED)]) == 0
    assert exit_code([said(Word.PROVED), said(Word.UNBOUND)]) == 4
    assert exit_code([said(Word.VACUOUS), said(Word.REFUTED)]) == 1
    assert line(said(Word.REFUTED)).split()[:2] == ["v", "REFUTED"]


DRAWING = """\
digraph G {
proc0_label_node [shape=none, label="Thread 0"]
eiid0 [label="a: W[once][pmd]=va0", shape="none"];
eiid1 [label="b: W[once][table]=2", shape="none"];
proc1_label_node [shape=none, label="Thread 1"]
eiid5 [label="f: R[once][pmd]=table", shape="none"];
eiid6 [label="h: R[once][table]=2", shape="none"];
eiid1 -> eiid6 [label="rf", color="red"];
eiid0 -> eiid5 [label="fr", color="red", dir="back"];
}
"""


def test_an_execution_is_drawn_in_the_order_in_which_it_happened() -> None:
    drawn = read_drawing(DRAWING, parse_litmus(LOCKED))
    assert drawn.interleaved
    told = [(r.thread, r.label, r.text) for r in drawn.rows]
    assert told == [
        (1, "check", "reads pmd: table"),
        (0, "clear", "pmd = va0"),
        (0, "free", "table = 2"),
        (1, "read", "reads table: 2"),
    ]
    rows = list(columns(result(execution=drawn)))
    assert rows[1].index("reads pmd") > rows[2].index("pmd = va0")


@pytest.mark.parametrize("folder", DESIGNS, ids=lambda p: p.name)
def test_every_design_has_tests_of_both_levels(folder: Path) -> None:
    specs = read_bind(folder / "bind.yaml")
    assert {"pmd.litmus", "pud.litmus"} <= {spec.name for spec in specs}
    for spec in specs:
        test = read_litmus(spec.path)
        check_labels(test, spec.path)
        assert len(spec.reach) >= 2
        for number, thread in enumerate(test.threads):
            known = spec.threads[f"P{number}"].steps
            assert {s.label for s in thread.steps} <= known.keys()
            # no clause of the condition may stand in for a lock
            taken = sum(s.operation in ("lock", "trylock") for s in thread.steps)
            assert bool(taken) == any(s.operation == "unlock" for s in thread.steps)


def test_a_reason_is_given_for_mutants_that_there_are() -> None:
    for folder in DESIGNS:
        for spec in read_bind(folder / "bind.yaml"):
            names = {m.name for m in mutants(read_litmus(spec.path))}
            assert {n for n in spec.survivors if not n.startswith("binary ")} <= names


def test_unknown_keys_of_bind_yaml_are_named(tmp_path: Path) -> None:
    path = tmp_path / "bind.yaml"
    path.write_text("tests: {a.litmus: {says: x, threads: {P0: t}, reached: []}}\n")
    with pytest.raises(UserError, match="reached: unknown key"):
        read_bind(path)
    path.write_text("tests: {a.litmus: {says: x, threads: {P0: t}}}\n")
    with pytest.raises(UserError, match="a.litmus does not exist"):
        read_bind(path)


def proved(word: str, conclusion: str = "PASS", role: str = "candidate") -> CellRecord:
    cell = {
        **{"id": "k+v+c+m+w", "kernel": "k", "variant": "v", "config": "c", "machine": "m"},
        **{"workload": "w", "role": role, "conclusion": conclusion, "failures": 0, "runs": 3},
        "proof": {"word": word, "reason": "a.litmus: Sometimes 1/3", "drawn": ["P0  P1"]},
        "attempts": [],
    }
    return typed_cell(cell)


def test_a_pass_says_whether_it_was_proved() -> None:
    assert "Proved in the memory model" in " ".join(proof_words([proved("PROVED-IN-MODEL")]))
    assert "Not proved" in " ".join(proof_words([proved("NOT RUN")]))
    # what does not pass needs no such word
    assert list(proof_words([proved("NOT RUN", "FAIL")])) == []
    failed = replace(proved("REFUTED", "FAIL"), failures=1)
    assert "REFUTED (a.litmus" in " ".join(proof_words([failed]))
    assert model_word(proved("UNBOUND")) == "unbound"


def run_of(word: str, role: Role) -> CellRun:
    nothing = Kernel("k", "git", {}, Path())
    cell = Cell(
        kernel=nothing,
        variant=Variant("v", "a variant", role),
        config=Config("c", ()),
        machine=Machine("m", 1, 64),
        workload=Workload("w", 1.0),
    )
    return CellRun(cell, 3, proof=ProofRecord(word, "why"))


@pytest.mark.parametrize(
    ("word", "role", "before", "after"),
    [
        ("REFUTED", Role.CANDIDATE, Conclusion.PASS, Conclusion.FAIL),
        ("REFUTED", Role.CANDIDATE, Conclusion.INCONCLUSIVE, Conclusion.FAIL),
        ("REFUTED", Role.CANDIDATE, Conclusion.ERROR, Conclusion.ERROR),
        # what is known of a control from its text was not caught by a boot
        ("REFUTED", Role.CONTROL, Conclusion.PASS, Conclusion.PASS),
        ("UNBOUND", Role.CANDIDATE, Conclusion.PASS, Conclusion.PASS),
        ("PROVED-IN-MODEL", Role.CANDIDATE, Conclusion.FAIL, Conclusion.FAIL),
        ("PROVED-IN-MODEL", Role.CANDIDATE, Conclusion.INCONCLUSIVE, Conclusion.INCONCLUSIVE),
    ],
)
def test_a_proof_makes_a_fail_and_never_a_pass(
    word: str, role: Role, before: Conclusion, after: Conclusion
) -> None:
    verdict = Verdict(before, 0, 3, None, None, "")
    assert with_proof(run_of(word, role), verdict).conclusion is after


def test_tests_of_what_a_variant_is_made_onto_say_nothing_about_it() -> None:
    run = run_of("NOT RUN", Role.CANDIDATE)
    onto = load_variant(PROJECT / "tests/mutants/ok-mutex/variant.yaml")
    for variant, folder in (
        (load_variant(PROJECT / "patches/nolock/variant.yaml"), PROJECT / "patches/nolock"),
        (onto, None),
    ):
        run.cell = replace(run.cell, variant=variant)
        assert litmus_folder(run) == folder
    assert onto.patches[0].parent == PROJECT / "patches/nolock"


def subject_in(folder: Path) -> Subject:
    return Subject("mine", folder, "linux-6.12", "debug", "6.12", folder, "k" * 16, folder)


def test_a_design_without_a_test_is_not_proved(tmp_path: Path) -> None:
    said = Prover(None, tmp_path).state(subject_in(tmp_path))
    assert (said.word, said.is_failure) == (Word.NOT_RUN, False)
    assert said.reason.startswith("not proved")


def test_without_herd7_the_command_that_installs_it_is_named(tmp_path: Path) -> None:
    folder = PROJECT / "tests/prove/no-barrier"
    said = Prover(None, tmp_path).state(subject_in(folder))
    assert said.word is Word.NOT_RUN
    assert "prove --install" in said.reason


def test_statements_are_kept_whole(tmp_path: Path) -> None:
    made = Statement("v", "k", "c", "b", Word.REFUTED, "why", (result(word=Word.REFUTED),))
    write_statement(tmp_path / "a.json", made)
    assert read_statement(tmp_path / "a.json") == made


def test_the_missing_barrier_is_store_buffering() -> None:
    spec = read_bind(PROJECT / "tests/prove/no-barrier/bind.yaml")[0]
    test = read_litmus(spec.path)
    freer, walker = (thread.steps for thread in test.threads)
    assert [s.operation for s in freer[:2]] == ["atomic", "load"]
    assert [s.operation for s in walker[:3]] == ["atomic", "fence", "load"]


def test_versions_of_the_posted_test() -> None:
    path = PROJECT / "patches/static-key-barrier/posted/as-posted.litmus"
    posted = read_columns(path.read_text(encoding="utf-8"))
    assert read_columns(posted.text()) == posted
    walker, freer = posted.columns
    assert "STLR WZR,[X2]" not in walker  # it never unlocks
    assert unlocking(posted).columns == ((*walker, "STLR WZR,[X2]"), freer)
    early = freeing_early(posted).columns[1]
    assert early.index("STR X1,[X4,X10]") < early.index("STR XZR,[X3]")
    assert sorted(early) == sorted(freer)
    again = reading_again(posted)
    assert "LDR X12,[X3]" in again.columns[0]
    assert "0:X12=0" in again.condition
