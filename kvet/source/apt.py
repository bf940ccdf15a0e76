# SPDX-License-Identifier: GPL-2.0-only
"""A private apt: fetches packages of any suite or architecture without root.

Mirrors and keyrings come from the machine's own configuration, in both of its
formats; nothing of the system's apt is written. Signatures are verified by apt
itself, against the keyrings that the machine trusts for these mirrors.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from debian.deb822 import Deb822

from kvet import proc
from kvet.cache import beside, locked, need_free
from kvet.errors import InfraError
from kvet.store import read_json, write_json

ETC = Path("/etc/apt")
OS_RELEASE = Path("/etc/os-release")
ONE_LINE = re.compile(
    r"^deb\s+(?:\[(?P<options>[^\]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s+(?P<comp>.+)$"
)
LISTS_AGE_S = 24 * 3600


@dataclass(frozen=True, slots=True)
class Archive:
    """One archive of the machine's apt configuration."""

    uri: str
    suite: str
    components: str
    signed_by: str = ""

    def line(self, arch: str) -> str:
        """This archive as one line of a sources.list."""
        options = f"arch={arch}" + (f" signed-by={self.signed_by}" if self.signed_by else "")
        return f"deb [{options}] {self.uri} {self.suite} {self.components}"


@dataclass(frozen=True, slots=True)
class Package:
    """A downloaded package file and its version."""

    path: Path
    name: str
    version: str


def archives(etc: Path = ETC) -> list[Archive]:
    """Every binary archive that the machine's apt knows."""
    found: list[Archive] = []
    for path in (etc / "sources.list", *sorted((etc / "sources.list.d").glob("*.list"))):
        if path.exists():
            found += _read_one_line(path.read_text(encoding="utf-8"))
    for path in sorted((etc / "sources.list.d").glob("*.sources")):
        found += _read_deb822(path.read_text(encoding="utf-8"))
    return list(dict.fromkeys(found))


def _read_one_line(text: str) -> Iterable[Archive]:
    for line in text.splitlines():
        found = ONE_LINE.match(line.strip())
        if found:
            options = dict(
                part.split("=", 1) for part in (found["options"] or "").split() if "=" in part
            )
            components = found["comp"].split("#")[0].strip()
            yield Archive(found["uri"], found["suite"], components, options.get("signed-by", ""))


def _read_deb822(text: str) -> Iterable[Archive]:
    for stanza in Deb822.iter_paragraphs(text.splitlines(), use_apt_pkg=False):
        if "deb" not in stanza.get("Types", "").split() or stanza.get("Enabled") == "no":
            continue
        key = stanza.get("Signed-By", "").strip()
        if "\n" in key:  # a key written into the file; apt reads it from nowhere else
            continue
        for uri in stanza.get("URIs", "").split():
            for suite in stanza.get("Suites", "").split():
                yield Archive(uri, suite, stanza.get("Components", "main"), key)


def codename() -> str:
    """The distribution's release name (`bookworm`, `noble`)."""
    fields = dict(
        line.split("=", 1)
        for line in OS_RELEASE.read_text(encoding="utf-8").splitlines()
        if "=" in line
    )
    name = fields.get("VERSION_CODENAME", "").strip('"')
    if not name:
        raise InfraError("this is no Debian or Ubuntu release: /etc/os-release has no codename")
    return name


def own_archives(suite: str = "", etc: Path = ETC) -> list[Archive]:
    """The distribution's own archives (release, updates, security), and `suite` beside them.

    `suite` is looked for on the mirror that carries the release itself.
    """
    release = codename()
    known = archives(etc)
    own = [a for a in known if a.suite == release or a.suite.startswith(f"{release}-")]
    main = next((a for a in own if a.suite == release), None)
    if main is None:
        raise InfraError(
            f"apt on this machine knows no archive of {release}",
            hint="look at /etc/apt/sources.list and /etc/apt/sources.list.d",
        )
    if suite and suite not in {a.suite for a in own}:
        own.append(Archive(main.uri, suite, main.components, main.signed_by))
    return own


class PrivateApt:
    """apt with state, lists and cache of its own below `root`, for one architecture and suite."""

    def __init__(self, root: Path, *, arch: str, suite: str = "") -> None:
        self.root = root / "apt" / f"{arch}{'-' + suite if suite else ''}"
        self.arch = arch
        self.suite = suite
        self._answers = self.root / "answers.json"

    def options(self) -> tuple[str, ...]:
        """Command-line options that keep apt away from the system's own state."""
        root = self.root
        values = {
            "Dir::State": root / "state",
            "Dir::State::status": root / "status",
            "Dir::Cache": root / "cache",
            "Dir::Etc::sourcelist": root / "sources.list",
            "Dir::Etc::sourceparts": "-",
            "Dir::Etc::preferencesparts": "-",
            "APT::Architecture": self.arch,
            "APT::Architectures::": self.arch,
            "APT::Sandbox::User": "",
            "Acquire::Languages": "none",
            "Acquire::Retries": "3",
        }
        return tuple(word for k, v in values.items() for word in ("-o", f"{k}={v}"))

    def refresh(self, *, max_age_s: float = LISTS_AGE_S) -> None:
        """Write the sources and update the lists unless they are younger than `max_age_s`."""
        stamp = self.root / "updated"
        lines = [a.line(self.arch) for a in own_archives(self.suite)]
        text = "\n".join(lines) + "\n"
        sources = self.root / "sources.list"
        fresh = stamp.exists() and time.time() - stamp.stat().st_mtime < max_age_s
        if fresh and sources.exists() and sources.read_text(encoding="utf-8") == text:
            return
        for folder in ("state/lists/partial", "cache/archives/partial"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        (self.root / "status").touch()
        sources.write_text(text, encoding="utf-8")
        self._run("apt-get", "update", "-q", "--error-on=any")
        self._answers.unlink(missing_ok=True)
        stamp.touch()

    def version(self, package: str) -> str:
        """Version that would be fetched; InfraError when no archive carries the package."""
        out = self._ask("policy", package)
        found = re.search(r"Candidate: (\S+)", out)
        if found is None or found.group(1) == "(none)":
            where = self.suite or codename()
            raise InfraError(f"{package} ({self.arch}) is not in {where} on this machine's mirror")
        return found.group(1)

    def depends(self, package: str) -> tuple[str, ...]:
        """The packages that `package` needs to run, of alternatives the first."""
        out = self._ask(
            "depends",
            "--no-recommends",
            "--no-suggests",
            "--no-conflicts",
            "--no-breaks",
            "--no-replaces",
            "--no-enhances",
            package,
        )
        found = re.findall(r"^ {1,2}\|?(?:Pre)?Depends: ([a-z0-9][a-z0-9+.-]+)", out, re.MULTILINE)
        return tuple(dict.fromkeys(found))

    def fetch(self, package: str, dest: Path) -> Package:
        """Download `package` to `dest` unless its current version is there already."""
        version = self._suite_version(package) if self.suite else self.version(package)
        dest.mkdir(parents=True, exist_ok=True)
        kept = self._kept(package, version, dest)
        if kept is None:
            need_free(dest, 400)
            self._run("apt-get", "download", "-q", f"{package}={version}", cwd=dest)
            kept = self._kept(package, version, dest)
        if kept is None:
            raise InfraError(f"apt-get download {package} left no file in {dest}")
        return Package(kept, package, version)

    def _suite_version(self, package: str) -> str:
        """The newest version that the suite itself carries, whatever its pin priority."""
        out = self._ask("madison", package)
        rows = [[part.strip() for part in line.split("|")] for line in out.splitlines()]
        for row in rows:
            if len(row) == 3 and f" {self.suite}/" in f" {row[2]}":
                return row[1]
        raise InfraError(f"{package} is not in {self.suite} on this machine's mirror")

    def _kept(self, package: str, version: str, dest: Path) -> Path | None:
        # apt writes the epoch's colon as %3a
        name = f"{package}_{version.replace(':', '%3a')}_"
        return next((p for p in dest.glob("*.deb") if p.name.startswith(name)), None)

    def _ask(self, *args: str) -> str:
        """What apt-cache says: half a second of reading, and the same until the next update."""
        answers = read_json(self._answers) if self._answers.exists() else {}
        question = " ".join(args)
        if question not in answers:
            answers[question] = self._run("apt-cache", *args)
            write_json(self._answers, answers)
        return str(answers[question])

    def _run(self, tool: str, *args: str, cwd: Path | None = None) -> str:
        done = proc.run((tool, *self.options(), *args), cwd=cwd, timeout_s=1800)
        if done.returncode:
            words = done.stderr.decode(errors="replace").strip().splitlines()
            reason = next((w for w in words if w.startswith("E:")), words[-1] if words else "")
            raise InfraError(f"{tool} {args[0]} failed: {reason}")
        return done.stdout.decode(errors="replace")


def fetch_debs(
    packages: Sequence[str], *, arch: str, dest: Path, root: Path, suite: str = ""
) -> list[Package]:
    """Download `packages` for `arch` (from `suite` if given) to `dest`; verified by apt.

    Files that are there in the current version are not fetched again.
    """
    apt = PrivateApt(root, arch=arch, suite=suite)
    with locked(beside(apt.root, ".lock")):
        apt.refresh()
        return [apt.fetch(package, dest) for package in packages]


def unpack_deb(package: Path, folder: Path) -> None:
    """Unpack the files of a package into `folder`, running none of its scripts."""
    folder.mkdir(parents=True, exist_ok=True)
    done = proc.run(("dpkg-deb", "-x", str(package), str(folder)), timeout_s=600)
    if done.returncode:
        raise InfraError(f"{package}: {done.stderr.decode(errors='replace').strip()}")


def host_architecture() -> str:
    """Debian's name of this machine's architecture (`amd64`)."""
    return proc.run(("dpkg", "--print-architecture")).stdout.decode().strip()
