# SPDX-License-Identifier: GPL-2.0-only
"""Probes of a workload in a built kernel whose functions share a name."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvet import proc
from kvet.build.probes import functions, located
from kvet.errors import UserError
from kvet.loads import Probe
from kvet.model import Build

CROSS = "aarch64-linux-gnu-"
# both have a start() of their own, and one a function that nobody else has
FILES = {
    "fs/one.c": "long a;\n__attribute__((noinline)) static long start(long x)\n{\n"
    "\treturn a += x;\n}\nlong one(long x) { return start(x) + start(x + 1); }\n",
    "fs/two.c": "long b;\n__attribute__((noinline)) static long start(long x)\n{\n"
    "\treturn b -= x;\n}\nlong two(long x) { return start(x) * start(x + 1); }\n",
}


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """A build of FILES, with its System.map and its sources as if a series had touched them."""
    folder = tmp_path_factory.mktemp("build")
    objects = []
    for name, text in FILES.items():
        path = folder / "patched" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        objects.append(str(folder / f"{path.stem}.o"))
        prefix = f"-ffile-prefix-map={folder / 'patched'}=/kvet/src"
        # no clones: the functions keep their plain names
        argv = (f"{CROSS}gcc", "-g", "-O1", prefix, "-c", "-o", objects[-1], str(path))
        assert proc.run(argv).returncode == 0
    vmlinux = folder / "vmlinux"
    start = ("-Ttext=0x10000", "--defsym=_stext=0x10000", "-e", "0")
    assert proc.run((f"{CROSS}ld", *start, "-o", str(vmlinux), *objects)).returncode == 0
    named = proc.run((f"{CROSS}nm", str(vmlinux))).stdout.decode()
    # an address of no section is printed as absolute; a kernel's _stext is text
    (folder / "System.map").write_text(named.replace(" A _stext", " T _stext"))
    return Build("key", folder, "6.12", 1.0, cached=True)


def probe(**what: str) -> Probe:
    return Probe(name="n", key="exposure.n", line=4, **what)  # type: ignore[arg-type]


def place(build: Build, **what: str) -> tuple[str, ...]:
    return located(probe(**what), Path("workload.yaml"), build, None, "")


def test_a_name_of_one_function_is_the_place(build: Build) -> None:
    assert place(build, func="one") == ("one",)
    assert place(build, func="one", home="fs/one.c", during="two") == ("one@two",)


def test_a_shared_name_needs_its_file(build: Build) -> None:
    with pytest.raises(UserError) as caught:
        place(build, func="start")
    assert "start is the name of functions in fs/one.c and fs/two.c" in caught.value.message
    assert "line 4, key exposure.n" in caught.value.message
    assert caught.value.hint == "write which: start in fs/one.c"
    with pytest.raises(UserError, match=r"start is a function of fs/one.c, fs/two.c, not of fs/x"):
        place(build, func="start", home="fs/x.c")
    with pytest.raises(UserError, match=r"one is a function of fs/one.c, not of fs/two.c"):
        place(build, func="one", home="fs/two.c")


def test_the_one_of_its_file_is_given_as_an_address(build: Build) -> None:
    known = functions(build.folder / "System.map")
    assert len(known["start"]) == 2
    offsets = [address - known["_stext"][0] for address in known["start"]]
    one, two = (place(build, func="start", home=f"fs/{name}.c") for name in ("one", "two"))
    assert sorted([one, two]) == sorted((f"_stext+{o:#x}" if o else "_stext",) for o in offsets)
    assert place(build, func="start", home="fs/two.c", during="one") == (f"{two[0]}@one",)


def test_a_line_in_a_function_of_a_shared_name_is_an_address(build: Build) -> None:
    (found,) = place(build, file="fs/two.c", text="b -= x")
    known = functions(build.folder / "System.map")
    offset = int(found.removeprefix("_stext+"), 16) + known["_stext"][0]
    (own,) = place(build, func="start", home="fs/two.c")
    start = int(own.removeprefix("_stext").removeprefix("+") or "0", 16) + known["_stext"][0]
    assert start <= offset < start + 0x40


def test_who_is_inside_is_known_by_name_alone(build: Build) -> None:
    with pytest.raises(UserError, match="start is the name of functions in"):
        place(build, func="one", during="start")
    with pytest.raises(UserError, match="start is the name of functions in"):
        waits = Probe(name="n", key="exposure.n", line=4, during="start", contended=True)
        located(waits, Path("workload.yaml"), build, None, "")
