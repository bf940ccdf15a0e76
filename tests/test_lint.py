# SPDX-License-Identifier: GPL-2.0-only
"""`lint` names every fault of a YAML file with its place; `init` writes files without any."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from kvet.cli.init import InitRequest, plan_start
from kvet.cli.lint import kind_of, lint
from kvet.errors import UserError
from kvet.model import SourceTree
from kvet.paths import PROJECT
from kvet.plan.library import Library, load_kernel, load_matrix, load_variant
from kvet.plan.matrix import plan_cells
from tests.conftest import git, make_patch
from tests.more import go

SHIPPED = sorted(
    path
    for pattern in ("configs/**/*.yaml", "kernels/*.yaml", "patches/*/variant.yaml")
    for path in PROJECT.glob(pattern)
    if path.stem != "lock"
)
MATRIX = """\
title: t
kernels: [linux-6.12]
variants:
  - stock
  - nolock
  - trylock
configs: [debug]
machines: [virt]
workloads: [ptdump-race]
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the project's data directories, as the project of every command."""
    for name in ("configs", "kernels", "patches"):
        shutil.copytree(PROJECT / name, tmp_path / name)
    for module in ("kvet.cli.init", "kvet.cli.lint"):
        monkeypatch.setattr(f"{module}.Library", lambda: Library(tmp_path))
    return tmp_path


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.relative_to(PROJECT).as_posix())
def test_what_ships_has_no_fault(path: Path) -> None:
    assert lint(path)[1] == []


def test_mutants_and_the_manifest_have_none(capsys: pytest.CaptureFixture[str]) -> None:
    mutants = sorted((PROJECT / "tests/mutants").glob("*/variant.yaml"))
    assert go("lint", str(PROJECT / "rootfs/manifest.yaml"), *(str(p) for p in mutants)) == 0
    assert "manifest.yaml: OK (manifest)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("configs/x.yaml", "a: [", [(1, 5, "")]),
        ("configs/x.yaml", "- a\n", [(1, 1, "")]),
        # a lot of lots of lots
        ("configs/x.yaml", f"a: &a [1]\nb: [{'*a, ' * 101}]\n", [(2, 405, "")]),
        ("configs/x.yaml", f'{MATRIX}# x\nunder: "\\ud800"\n', [(11, 1, "under"), (11, 8, "")]),
        ("configs/x.yaml", f'{MATRIX}# x\nunder: "\\0"\n', [(11, 1, "under"), (11, 8, "")]),
        ("configs/x.yaml", MATRIX.replace("virt", "vrit"), [(8, 12, "machines.0")]),
        (
            "configs/x.yaml",
            MATRIX.replace("stock", "stok").replace("  - trylock", "  - tylock"),
            [(4, 5, "variants.0"), (6, 5, "variants.2")],
        ),
        ("configs/x.yaml", MATRIX.replace("  - nolock\n", ""), [(3, 1, "variants")]),
        ("configs/x.yaml", MATRIX + "title: t\n", [(10, 1, "title")]),
        (
            "configs/x.yaml",
            MATRIX + "attempts: 0\nmax: 3\n",
            [(10, 1, "attempts"), (11, 1, "max")],
        ),
        (
            "configs/x.yaml",
            MATRIX + "attempts: 5\nmax_attempts: 3\n",
            [(11, 1, "max_attempts")],
        ),
        ("configs/x.yaml", MATRIX + 'exclude: ["*+kasan+*"]\n', [(10, 11, "exclude.0")]),
        ("configs/x.yaml", MATRIX + 'exclude: ["*"]\n', [(10, 1, "exclude")]),
        ("configs/x.yaml", MATRIX + "more_variants: nowhere\n", [(10, 1, "more_variants")]),
        ("configs/x.yaml", MATRIX + "more_variants: /etc\n", [(10, 1, "more_variants")]),
        ("kernels/x.yaml", "title: t\nkind: git\n", [(2, 1, "kind")] * 2),
        ("kernels/x.yaml", "kind: tarball\nurl: https://x.org/x.tar.xz\n", [(2, 1, "url")]),
        ("configs/machines/x.yaml", "vcpus: 2\nmem_mib: 1\n", [(2, 1, "mem_mib")]),
        (
            "configs/machines/x.yaml",
            "vcpus: 2\nmem_mib: 512\nboot_args: [nokaslr, loglevel=4]\n",
            [(3, 1, "boot_args")],
        ),
        (
            "configs/machines/x.yaml",
            "vcpus: 2\nmem_mib: 512\nmaxmem_mib: 256\n",
            [(3, 1, "maxmem_mib")],
        ),
        (
            "patches/stock/variant.yaml",
            "title: t\nrole: baseline\nexpected_on: {linux-6.12: PASS, linux-9: PASS}\n",
            [(3, 33, "expected_on.linux-9")],
        ),
        ("configs/x.yaml", MATRIX + "attempts: 2.0\n", [(10, 1, "attempts")]),
        ("configs/x.yaml", MATRIX + f"attempts: {10**23}\n", [(10, 1, "attempts")]),
        ("configs/workloads/x.yaml", "title: t\nseconds: .nan\n", [(2, 10, "")]),
        (
            "configs/workloads/x.yaml",
            "title: t\nseconds: 1\nparams: {a: b init=/bin/sh}\n",
            [(3, 10, "params.a")],
        ),
        ("configs/kconfig/x.yaml", "a: " + "[" * 3000, [(1, 1, "")]),
        ("configs/kconfig/x.yaml", "title: 2024-13-41\n", [(1, 1, "")]),
        (
            "configs/kconfig/x.yaml",
            "title: t\nfragments: [../../../../etc/passwd]\n",
            [(2, 1, "fragments")],
        ),
        (
            "configs/kconfig/x.yaml",
            "title: t\nfragments: [none.config]\n",
            [(2, 1, "fragments")],
        ),
        (
            "configs/workloads/x.yaml",
            "title: t\nseconds: 1\nbaseline: nolock\ncontrol: noloc\n",
            [(3, 1, "baseline"), (4, 1, "control")],
        ),
        ("patches/x/variant.yaml", "title: t\nrole: candidate\n", [(2, 1, "role")]),
        (
            "patches/x/variant.yaml",
            "title: t\nrole: control\nonto: nothing\nkernels: [linux-1]\n",
            [(3, 1, "onto"), (4, 11, "kernels.0")],
        ),
    ],
)
def test_every_fault_has_its_line_column_and_key(
    project: Path,
    file: str,
    text: str,
    expected: list[tuple[int, int, str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = project / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    found = lint(path, Library(project))[1]
    assert [(f.line, f.column, f.key) for f in found] == expected
    assert go("lint", str(path)) == 2
    out = capsys.readouterr().out
    for line, column, _ in expected:
        assert f"{path}:{line}:{column}: " in out
    # the path is told once, in front
    assert out.count(str(path)) == len(expected)


def test_a_directory_is_that_of_a_workload_or_a_variant(
    project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert go("lint", str(project / "patches/trylock")) == 0
    assert "variant.yaml: OK (variant)" in capsys.readouterr().out
    assert go("lint", str(project / "patches"), str(project / "patches/nolock")) == 2
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith("patches:1:1: holds neither workload.yaml nor variant.yaml")
    assert second.endswith("variant.yaml: OK (variant)")


def test_a_workload_that_lets_nothing_pass_is_told(tmp_path: Path) -> None:
    path = tmp_path / "mine" / "workload.yaml"
    path.parent.mkdir()
    path.write_text("title: t\nseconds: 1\nrun: sleep 1\n")
    ((line, message),) = [(f.line, f.message) for f in lint(path)[1]]
    assert (line, message) == (1, "no control and no waiver of one: no candidate can pass")
    path.write_text(path.read_text() + "waive: [{judge: control, reason: why}]\n")
    assert lint(path)[1] == []


def test_a_bad_line_of_a_fragment_is_told_at_its_name(project: Path) -> None:
    folder = project / "configs/kconfig"
    (folder / "bad.config").write_text("CONFIG_A=y\nCONFIG_B y\n", encoding="utf-8")
    path = folder / "x.yaml"
    path.write_text("title: t\nfragments:\n  - bad.config\n", encoding="utf-8")
    (fault,) = lint(path)[1]
    assert (fault.line, fault.key) == (3, "fragments.0")
    assert "bad.config: line 2" in fault.message


def test_a_file_elsewhere_is_taken_for_what_its_keys_say(tmp_path: Path) -> None:
    assert kind_of(tmp_path / "x.yaml", yaml.safe_load(MATRIX)) == "matrix"
    assert kind_of(tmp_path / "x.yaml", {"vcpus": 1, "mem_mib": 64}) == "machine"
    assert kind_of(tmp_path / "x.yaml", {"kind": "git", "url": "u", "ref": "r"}) == "kernel"
    assert kind_of(tmp_path / "variant.yaml", {}) == "variant"


@pytest.fixture
def series(tree: SourceTree, tmp_path: Path) -> Path:
    """A mailbox of two patches and a cover letter."""
    mails = []
    for number, line in enumerate((3, 5), start=1):
        text = make_patch(tree, "mm/a.c", f"line_{line};", "new;", f"mm: change {line}")
        head = f"Subject: [PATCH v3 {number}/2] mm: change {line}\nMessage-ID: <{number}@x.org>"
        mails.append(text.replace(f"Subject: [PATCH] mm: change {line}", head))
    cover = "From a Mon Sep 17 00:00:00 2001\nSubject: [PATCH v3 0/2] both\n\nwords\n\n"
    path = tmp_path / "v3.mbox"
    path.write_text(cover + "".join(mails), encoding="utf-8")
    return path


def test_init_writes_what_lint_has_nothing_against(
    project: Path, series: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert go("init", "mine", "--kernel", "linux-6.1", "--series", str(series)) == 0
    out = capsys.readouterr().out
    assert "patches/mine\npatches/mine/variant.yaml\nconfigs/mine.yaml\n" in out
    variant = load_variant(project / "patches/mine/variant.yaml")
    names = [p.name for p in variant.patches]
    assert names == ["0001-mm-change-3.patch", "0002-mm-change-5.patch"]
    assert variant.title == "mm: change 3"
    assert variant.links == ("1@x.org", "2@x.org")
    matrix = load_matrix(project / "configs/mine.yaml")
    assert matrix.kernels == ("linux-6.1",)
    assert matrix.variants == ("stock", "nolock", "mine")
    assert matrix.configs == ("debug", "kasan")
    assert len(plan_cells(matrix, Library(project))) == 6
    for path in (project / "configs/mine.yaml", project / "patches/mine/variant.yaml"):
        assert path.read_text(encoding="utf-8").startswith("# SPDX-License-Identifier: GPL-2.0")
        assert go("lint", str(path)) == 0


@pytest.mark.parametrize("taken", ["patches/mine/x", "configs/mine.yaml"])
def test_init_never_overwrites(project: Path, series: Path, taken: str) -> None:
    path = project / taken
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine", encoding="utf-8")
    before = sorted(project.rglob("*"))
    with pytest.raises(UserError, match="is there already"):
        go("init", "mine", "--kernel", "linux-6.12", "--series", str(series))
    assert sorted(project.rglob("*")) == before
    assert path.read_text(encoding="utf-8") == "mine"


def test_init_brings_the_base_of_a_repository_along(project: Path, tree: SourceTree) -> None:
    git(tree.path, "tag", "v1")
    (tree.path / "mm/a.c").write_text("int other;\n", encoding="utf-8")
    git(tree.path, "commit", "-q", "-a", "-m", "mm: other")
    assert go("init", "topic", "--series", str(tree.path), "--base", "v1") == 0
    kernel = load_kernel(project / "kernels/topic.yaml")
    assert kernel.kind == "git"
    assert kernel.spec["ref"] == tree.base_commit
    assert load_matrix(project / "configs/topic.yaml").kernels == ("topic",)
    assert len(load_variant(project / "patches/topic/variant.yaml").patches) == 1
    assert lint(project / "kernels/topic.yaml", Library(project))[1] == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("init", "../x"), "is no name"),
        (("init", "mine", "--kernel", "linux-9"), "no kernel is called"),
        (("init", "mine", "--config", "debgu"), "did you mean debug"),
        (("init", "mine", "--onto", "nolok"), "did you mean nolock"),
        (("init", "mine", "--base", "v1"), "goes with a --series that is a git repository"),
    ],
)
def test_init_refuses_what_cannot_be(
    project: Path, series: Path, words: tuple[str, ...], says: str
) -> None:
    with pytest.raises(UserError, match=says):
        go(*words, "--series", str(series))
    assert not (project / "patches/mine").exists()


def test_a_plan_writes_nothing(project: Path, series: Path, tmp_path: Path) -> None:
    request = InitRequest("mine", str(series), onto="nolock", configs=("kasan",))
    start = plan_start(request, Library(project), tmp_path / "scratch")
    assert yaml.safe_load(start.files["patches/mine/variant.yaml"])["onto"] == "nolock"
    assert yaml.safe_load(start.files["configs/mine.yaml"])["configs"] == ["kasan"]
    assert not (project / "patches/mine").exists()
