# SPDX-License-Identifier: GPL-2.0-only
"""The series in the HTML report: which lines ran, which a finding passes through."""

from __future__ import annotations

from typing import Any

from kvet.report.diff_view import line_anchors, series_views
from kvet.report.html import html_report
from kvet.source.series import MOST_DIFF, _whole_files
from tests.reports import sample_record, typed

DIFF = """\
diff --git a/mm/a.c b/mm/a.c
index 111..222 100644
--- a/mm/a.c
+++ b/mm/a.c
@@ -5,3 +5,5 @@ int free_it(void)
 {
-\told();
+\tif (a < b)
+\t\tnew();
+\t/* why */
 \treturn 0;
"""


def record_with_diff() -> dict[str, Any]:
    record = sample_record()
    for cell in record["cells"]:
        if cell["new_titles"]:
            cell["series"]["diff"] = DIFF
            cell["coverage"] = {
                "patches": [{"name": "mm: x", "run": 1, "code": 2}],
                "run": ["mm/a.c:6"],
                "not_run": [{"place": "mm/a.c:7", "text": "new();"}],
            }
    return record


def test_each_added_line_says_whether_it_ran() -> None:
    view = series_views(typed(record_with_diff()))[0]
    lines = view["files"][0]["hunks"][0]["lines"]
    told = {line["place"]: (line["kind"], line["ran"]) for line in lines if line["place"]}
    assert told["mm/a.c:5"] == ("kept", "")
    assert told["mm/a.c:6"] == ("added", "ran")
    assert told["mm/a.c:7"] == ("added", "never")
    assert told["mm/a.c:8"] == ("added", "")
    assert (view["run"], view["code"]) == (1, 2)
    # frames without a known place pass through no line
    assert [line["place"] for line in lines if line["visitors"]] == ["mm/a.c:7"]


def test_a_stack_leads_to_the_line_it_passes_through() -> None:
    record = record_with_diff()
    views = series_views(typed(record))
    failing = next(cell for cell in record["cells"] if cell["series"].get("diff"))
    anchor = line_anchors(views)[failing["kernel"], failing["variant"], "mm/a.c:7"]
    page = html_report(typed(record))
    assert f'id="{anchor}"' in page
    assert f'href="#{anchor}"' in page
    assert "side that frees" in page


def test_a_diff_that_cannot_be_read_costs_the_diff_alone() -> None:
    record = record_with_diff()
    for cell in record["cells"]:
        if cell["series"].get("diff"):
            cell["series"]["diff"] = DIFF.replace("@@ -5,3", "@@ -5,300")
    assert all(not view["files"] for view in series_views(typed(record)))
    assert "<h2" in html_report(typed(record))


def test_a_very_long_diff_keeps_whole_files() -> None:
    long = DIFF * (2 * MOST_DIFF // len(DIFF))
    kept = _whole_files(long)
    assert 0 < len(kept) <= MOST_DIFF
    assert len(kept) % len(DIFF) == 0
    assert _whole_files(DIFF) == DIFF
