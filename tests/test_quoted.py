# SPDX-License-Identifier: GPL-2.0-only
"""Splats of many releases and architectures, as people quote them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from kvet.detectors import scan_text
from kvet.detectors.table import helper_group

CASES: list[dict[str, Any]] = yaml.safe_load(
    (Path(__file__).parent / "data" / "quoted.yaml").read_text("utf-8")
)


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_a_quoted_splat_gets_its_title(case: dict[str, Any]) -> None:
    found = scan_text(case["text"])
    assert [one.title for one in found if not one.suppressed] == (
        [case["title"]] if case["title"] else []
    )


@pytest.mark.parametrize(
    "name",
    [
        "__kmalloc_node_noprof",
        "kmalloc",
        "_raw_spin_lock_irqsave",
        "string",
        "__pfx_memcpy",
        "vsnprintf",
    ],
)
def test_helpers_are_known_in_all_their_variants(name: str) -> None:
    assert helper_group(name)


@pytest.mark.parametrize(
    "name",
    ["kmalloc_oob_right", "ufshcd_read_string_desc", "vfs_parse_fs_string", "drm_atomic_add_state"],
)
def test_a_name_that_holds_a_helpers_name_is_none(name: str) -> None:
    assert helper_group(name) == ""
