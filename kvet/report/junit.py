# SPDX-License-Identifier: GPL-2.0-only
"""JUnit XML as Jenkins, GitLab and GitHub actions read it (the junit-10 schema of Jenkins).

A test suite is a cell, a test case one attempt. Failures agree with kvet's exit
code (`kvet.report.facts.cases`): a control that is caught passes.
"""

from __future__ import annotations

from xml.etree import ElementTree as ET

from kvet.report.facts import Case, cases, repeat, role_text, splat
from kvet.results.record import CellRecord, KernelRecord, RunRecord, label
from kvet.text import clean

MOST_LINES = 40


def junit_report(record: RunRecord) -> str:
    """The whole run as one XML document."""
    suites = [_suite(record, cell) for cell in record.cells]
    root = ET.Element("testsuites", name=clean(f"kvet {record.run}"))
    for name in ("tests", "failures", "errors"):
        root.set(name, str(sum(int(suite.get(name, "0")) for suite in suites)))
    root.set("time", f"{sum(float(suite.get('time', '0')) for suite in suites):.3f}")
    root.extend(suites)
    ET.indent(root)
    text = ET.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def _suite(record: RunRecord, cell: CellRecord) -> ET.Element:
    """The test suite of one cell, with its properties."""
    found = cases(cell)
    kinds = [case.kind for case in found]
    suite = ET.Element("testsuite", name=clean(f"{role_text(cell)} {label(record.cells, cell)}"))
    suite.set("tests", str(len(found)))
    suite.set("failures", str(kinds.count("failure")))
    suite.set("errors", str(kinds.count("error")))
    suite.set("skipped", str(kinds.count("skipped")))
    suite.set("time", f"{sum(case.seconds for case in found):.3f}")
    properties = ET.SubElement(suite, "properties")
    for name, value in _properties(record, cell).items():
        ET.SubElement(properties, "property", name=name, value=clean(value))
    suite.extend(_case(record, cell, case) for case in found)
    return suite


def _properties(record: RunRecord, cell: CellRecord) -> dict[str, str]:
    """What the numbers of a cell depend on."""
    host = record.host
    return {
        "conclusion": cell.conclusion,
        "role": cell.role,
        "failures": cell.count,
        "kernel": f"{cell.kernel} {host.kernels.get(cell.kernel, KernelRecord()).version}",
        "config": cell.config,
        "machine": cell.machine,
        "workload": cell.workload,
        "build": cell.build.key,
        "compiler": host.compiler,
        "qemu": host.qemu,
        "accel": host.accel,
    }


def _case(record: RunRecord, cell: CellRecord, case: Case) -> ET.Element:
    """The test case of one attempt; its class is the cell's id."""
    element = ET.Element("testcase", name=case.name, classname=clean(cell.id))
    element.set("time", f"{case.seconds:.3f}")
    lines = splat(case.finding, most=MOST_LINES) if case.finding else []
    story = clean("\n".join([*lines, f"repeat: {repeat(record, cell, case.n)}"]))
    if case.kind == "passed":
        output = f"{case.message}\n{story}" if case.message else story
        ET.SubElement(element, "system-out").text = clean(output)
        return element
    outcome = ET.SubElement(element, case.kind, message=clean(case.message))
    if case.kind != "skipped":
        outcome.set("type", clean(case.finding.kind if case.finding else "harness"))
    outcome.text = story
    return element
