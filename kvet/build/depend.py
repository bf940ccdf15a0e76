# SPDX-License-Identifier: GPL-2.0-only
"""Whether ccache may go by the list of files that the compiler says it read.

Otherwise it runs the preprocessor before each compilation that it does not know: a quarter of the
work of a first build. But no such list names what the assembler reads, by `.incbin`, and where
ccache does not see the preprocessed source it keeps an object whose input it does not know
(github.com/ccache/ccache/pull/1765). So nothing that several sources could share may say so;
`kvet/build/ccache.sh` looks at each source itself.
"""

from __future__ import annotations

from kvet.errors import InfraError
from kvet.source.git import Repo
from kvet.source.series import AppliedSeries
from kvet.store import write_text

WORD = "incbin"
# sources that use it in every tree, none of which another includes
KNOWN = frozenset(("arch/x86/boot/compressed/mkpiggy.c", "kernel/configs.c", "kernel/kheaders.c"))
MOST_CHANGED = 1000  # files, that a command line has room for
FAILED = 128  # what git grep returns from there on is no answer


def may_depend(repo: Repo, series: AppliedSeries) -> bool:
    """Whether no header of the base has an `.incbin`, and no file that the series changes."""
    try:
        if len(series.changed) > MOST_CHANGED or not _in_base(repo, series.base_tree) <= KNOWN:
            return False
        return not (series.changed and _files(repo, series.tree_id, *map(_literal, series.changed)))
    except InfraError:
        return False


def _in_base(repo: Repo, tree: str) -> frozenset[str]:
    """The headers and C sources of a base tree with that word; looked for once."""
    note = repo.objects / f"{WORD}-{tree[:16]}"
    if not note.exists():
        write_text(note, "".join(f"{name}\n" for name in sorted(_files(repo, tree, "*.h", "*.c"))))
    return frozenset(note.read_text(encoding="utf-8").splitlines())


def _literal(path: str) -> str:
    """A path as git takes it for nothing else, whatever a series calls its files."""
    return f":(top,literal){path}"


def _files(repo: Repo, tree: str, *paths: str) -> frozenset[str]:
    done = repo.run("grep", "-i", "-l", "-z", WORD, tree, "--", *paths)
    if done.returncode >= FAILED:
        raise InfraError(f"git grep failed: {done.stderr.decode(errors='replace')}")
    found = done.stdout.decode(errors="surrogateescape").split("\0")[:-1]
    return frozenset(name.partition(":")[2] for name in found)
