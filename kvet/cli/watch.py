# SPDX-License-Identifier: GPL-2.0-only
"""The part of a night that judges what is new: each series once, a mail draft for each."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kvet.cli.carry_out import carry_out
from kvet.errors import KvetError, UserError
from kvet.plan import schemas
from kvet.plan.library import Library
from kvet.report.mail import mail_report
from kvet.run.plan import record_plan
from kvet.run.planning import plan_run
from kvet.run.requests import Effort, RunRequest
from kvet.source.watch import News, Watched, news, watched_of
from kvet.store import read_as, write_json, write_text
from kvet.yamlfile import read_yaml

SEEN = "watch.json"  # below results/: what was judged, by place
DRAFTS = "drafts"


@dataclass(frozen=True, slots=True)
class WatchRequest:
    """Judge what is new in the places that the file `path` names."""

    path: Path
    effort: Effort
    quiet: bool = False
    plain: bool = False


def watch(request: WatchRequest, library: Library) -> list[int]:
    """Judge what came since last night; the exit codes of what was judged.

    A place that is looked at for the first time is remembered as it is: its past is not judged.
    A series is judged once, whatever came of it.
    """
    spec = read_yaml(request.path, schemas.WATCH)
    for place in spec["watch"]:
        if sum(key in place for key in ("mbox", "maildir", "git")) != 1:
            raise UserError(
                f"{place['name']} needs one of mbox, maildir and git", path=request.path
            )
    results = request.effort.results
    seen = _seen(results)
    codes: list[int] = []
    for watched in watched_of(spec, request.path.parent):
        with tempfile.TemporaryDirectory(prefix="kvet-watch-") as scratch:
            for one in _news(watched, seen, Path(scratch), codes):
                codes.append(_judge(one, request, spec, library))
                seen[watched.name].append(one.key)
                # at once: a night that is interrupted judges nothing twice
                write_json(results / SEEN, seen)
    write_json(results / SEEN, seen)
    return codes


def _seen(results: Path) -> dict[str, list[str]]:
    path = results / SEEN
    seen: dict[str, list[str]] = read_as(path, dict[str, list[str]]) if path.exists() else {}
    return seen


def _news(
    watched: Watched, seen: dict[str, list[str]], scratch: Path, codes: list[int]
) -> Sequence[News]:
    """What is to be judged of one place; a place that cannot be read is told of."""
    try:
        found = news(watched, seen.get(watched.name, ()), scratch)
    except KvetError as error:
        print(f"kvet: {error.message}", file=sys.stderr)
        codes.append(error.exit_code)
        return ()
    if watched.name in seen:
        return found
    seen[watched.name] = [one.key for one in found]
    print(f"kvet: watch {watched.name}: {len(found)} series are there already; from now on what "
          "is new is judged", file=sys.stderr)  # fmt: skip
    return ()


def _judge(one: News, request: WatchRequest, spec: dict[str, Any], library: Library) -> int:
    """Judge one series and write the mail that a human may send."""
    asked = RunRequest(
        effort=replace(
            request.effort, command=("run", "--series", one.title), attempts=spec.get("attempts")
        ),
        workload=spec.get("workload", "ptdump-race"),
        beside="workload" not in spec,
        kernel=spec.get("kernel", ""),
        series=(one.spec,),
        config=spec.get("config", ""),
        machine=spec.get("machine", ""),
    )
    print(f"kvet: new: {one.title}", file=sys.stderr)
    try:
        with tempfile.TemporaryDirectory(prefix="kvet-series-") as scratch:
            planned = plan_run(asked, library, Path(scratch))
            plan = record_plan(planned.plan, scratch=Path(scratch))
        record = carry_out(plan, quiet=request.quiet, plain=request.plain)
    except KvetError as error:  # the others are judged all the same
        print(f"kvet: {one.title}: {error.message}", file=sys.stderr)
        return error.exit_code
    name = re.sub(r"[^A-Za-z0-9._@-]+", "-", one.key)[:80]
    draft = request.effort.results / DRAFTS / f"{name}.eml"
    draft.parent.mkdir(exist_ok=True)
    write_text(draft, mail_report(record))
    print(f"kvet: {draft}: {record.conclusion}", file=sys.stderr)
    return record.exit_code
