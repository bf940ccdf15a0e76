# SPDX-License-Identifier: GPL-2.0-only
"""Carries out a plan in front of a user: progress, the report, where the run is."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path

from kvet.cache import cache_root
from kvet.cli.report import print_report
from kvet.events import Event, Events, JsonLines
from kvet.results.record import RunRecord
from kvet.run.plan import Plan
from kvet.run.runner import Runner
from kvet.stats import warm_up
from kvet.terminal import make_ui


def carry_out(plan: Plan, *, quiet: bool, plain: bool) -> RunRecord:
    """Run `plan` with progress and print its report; returns the record of the run."""
    ui = make_ui(quiet=quiet, plain=plain)
    events = Events(ui, JsonLines(plan.out / "events.jsonl"))
    runner = Runner(plan, cache=cache_root(), events=events)
    events.subscribe(_warm_up_while_building())
    try:
        with ui:
            record = runner.run()
    except KeyboardInterrupt:
        _point_latest(plan.out)
        print_report(runner.record())
        print(f"\ngo on with: harness.py run-matrix --resume {plan.run_id}", file=sys.stderr)
        raise
    _point_latest(plan.out)
    print_report(record)
    return record


def _warm_up_while_building() -> Callable[[Event], None]:
    """A listener that has what the report takes long to import in memory before it is made.

    While a kernel is built nothing is measured, and Python has nothing to do.
    """
    thread = threading.Thread(target=warm_up, name="warm-up")

    def on_event(event: Event) -> None:
        if event.kind == "progress" and event.stage == "build" and thread.ident is None:
            thread.start()

    return on_event


def _point_latest(out: Path) -> None:
    latest = out.parent / "latest"
    latest.unlink(missing_ok=True)
    latest.symlink_to(out.name)
