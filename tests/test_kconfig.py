# SPDX-License-Identifier: GPL-2.0-only
"""Requested options are compared with the final .config, and a lost one is explained."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvet.build.kconfig import check_final, merge, missing_from, read_config, read_fragment
from kvet.errors import UserError
from kvet.plan.library import Library

KCONFIG = """
config BASE
	bool "base"

if BASE
config INNER
	bool "inner"
	depends on OTHER && !NEVER
endif

config OTHER
	bool "other"

config HIDDEN
	bool

config PULLER
	bool "puller"
	select HIDDEN
"""


def fragment(folder: Path, text: str) -> Path:
    path = folder / "f.config"
    path.write_text(text, encoding="utf-8")
    return path


def test_reads_sets_unsets_and_values(tmp_path: Path) -> None:
    path = fragment(tmp_path, '# why\nCONFIG_A=y\n# CONFIG_B is not set\nCONFIG_S="x y"\n')
    assert [(o.name, o.value, o.line) for o in read_fragment(path)] == [
        ("CONFIG_A", "y", 2),
        ("CONFIG_B", "n", 3),
        ("CONFIG_S", '"x y"', 4),
    ]


def test_a_stray_line_names_file_and_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"f\.config: line 2: 'CONFIG A=y'"):
        read_fragment(fragment(tmp_path, "CONFIG_A=y\nCONFIG A=y\n"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"CONFIG_A=y\nCONFIG_A=n\n", "line 2: # CONFIG_A is not set contradicts 'CONFIG_A=y' of"),
        (b"CONFIG_A=y # why\n", "line 1: 'CONFIG_A=y # why' is no kconfig line"),
        (b"CONFIG_A=\n", "line 1: 'CONFIG_A=' is no kconfig line"),
        (b'CONFIG_A="x\n', "is no kconfig line"),
        (b"\xff\n", "cannot be read"),
    ],
)
def test_what_kconfig_would_take_in_silence_is_refused(
    tmp_path: Path, text: bytes, says: str
) -> None:
    path = tmp_path / "f.config"
    path.write_bytes(text)
    with pytest.raises(UserError, match=says) as caught:
        read_fragment(path)
    assert "f.config" in caught.value.message


def test_later_fragment_wins(tmp_path: Path) -> None:
    first = fragment(tmp_path, "CONFIG_A=y\n")
    second = tmp_path / "g.config"
    second.write_text("# CONFIG_A is not set\n", encoding="utf-8")
    assert [o.value for o in merge([first, second])] == ["n"]


def test_missing_covers_off_and_values(tmp_path: Path) -> None:
    options = read_fragment(
        fragment(tmp_path, "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_N=8\n# CONFIG_C is not set\n")
    )
    final = read_config("CONFIG_A=m\nCONFIG_B=y\nCONFIG_N=4\n# CONFIG_C is not set\n")
    lost = [o.name for o in missing_from(final, options)]
    assert lost == ["CONFIG_A", "CONFIG_B", "CONFIG_N"]


@pytest.mark.parametrize(
    ("line", "final", "says"),
    [
        ("CONFIG_INNER=y", "CONFIG_BASE=y\n", "depends on OTHER"),
        ("CONFIG_INNER=y", "CONFIG_OTHER=y\n", "depends on BASE"),
        ("CONFIG_INNER=y", "CONFIG_OTHER=y\nCONFIG_BASE=y\nCONFIG_NEVER=y\n", "!NEVER"),
        ("CONFIG_HIDDEN=y", "", "something must select it"),
        ("# CONFIG_HIDDEN is not set", "CONFIG_HIDDEN=y\nCONFIG_PULLER=y\n", "selected by PULLER"),
        ("CONFIG_OTTER=y", "", "did you mean OTHER"),
    ],
)
def test_lost_option_is_explained(tmp_path: Path, line: str, final: str, says: str) -> None:
    source = tmp_path / "src"
    source.mkdir()
    (source / "Kconfig").write_text(KCONFIG, encoding="utf-8")
    options = read_fragment(fragment(tmp_path, line + "\n"))
    with pytest.raises(UserError) as caught:
        check_final(read_config(final), options, (source,))
    assert says in caught.value.message
    assert "f.config:1" in caught.value.message


def test_shipped_fragments_parse_and_give_reasons() -> None:
    for config in Library().configs().values():
        for path in config.fragments:
            assert read_fragment(path)
            blocks = path.read_text(encoding="utf-8").split("\n\n")
            assert all(block.lstrip().startswith("#") for block in blocks), path
