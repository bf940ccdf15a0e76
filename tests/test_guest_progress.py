# SPDX-License-Identifier: GPL-2.0-only
"""Who is starved and which walk never ends: the guest's own code, compiled for the host."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvet import proc
from kvet.paths import PROJECT

# Two workers and a freer of the module. Every quarter of a second the freer does as many rounds as
# told; worker 1 does nothing from the start on, with the given processor time and walks.
PROGRAM = """
#include <stdarg.h>
#include "%s"
static double now = 100;
static long rounds, ticks, walks, stall;
static struct worker workers[2] = {
    { .name = "reader/0", .pid = 10, .kind = READER },
    { .name = "walker/0", .pid = 11, .kind = WALKER },
};
double uptime(void) { return now; }
double option_number(const char *name, double fallback) { return stall; }
int nr_workers(void) { return 2; }
const struct worker *worker(int i) { return &workers[i]; }
long read_file(const char *path, char *buffer, size_t size)
{
    if (!strcmp(path, CHURN_PROGRESS))
        return snprintf(buffer, size, "churn/0 12 %%ld\\nwalks 11 %%ld\\n", rounds, walks);
    if (strstr(path, "/stack"))
        return snprintf(buffer, size, "[<0>] sleeper+0x10/0x20\\n");
    return snprintf(buffer, size, "1 (x) S 0 0 0 0 0 0 0 0 0 0 %%ld 0 0",
                    strstr(path, "/11/") ? ticks : 0);
}
int write_file(const char *path, const char *value) { return strcmp(path, RESTLESS); }
void say(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    puts("");
}
int main(int argc, char **argv)
{
    int i, looks = 4 * atoi(argv[1]), each = atoi(argv[2]);
    int busy = atoi(argv[3]), again = atoi(argv[4]);
    workers[0].longest = atof(argv[5]);
    stall = atoi(argv[6]);
    workers[1].kind = atoi(argv[7]) ? READER : WALKER;
    if (atoi(argv[8]))
        press();
    for (i = 0; i < looks && !watch_progress(); i++, now += 0.25) {
        rounds += each;
        workers[0].ops++;
        ticks += busy;
        walks += again;
    }
    report_progress();
    return 0;
}
"""


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("progress")
    (folder / "main.c").write_text(PROGRAM % (PROJECT / "rootfs/src/progress.c"))
    done = proc.run(("gcc", "-w", "-o", str(folder / "watch"), str(folder / "main.c")))
    assert done.returncode == 0, done.stderr.decode()
    return folder / "watch"


def watch(
    guest: Path,
    *,
    seconds: int = 12,
    rounds: int = 20,
    busy: int = 0,
    walks: int = 0,
    longest: float = 0.3,
    stall: int = 0,
    whole: int = 0,
    pressed: int = 0,
) -> str:
    """What the guest says after `seconds` in which worker 1 does no operation."""
    words = (seconds, rounds, busy, walks, longest, stall, whole, pressed)
    done = proc.run((str(guest), *map(str, words)))
    assert done.returncode == 0
    return done.stdout.decode()


def test_one_that_sleeps_while_others_go_on_is_starved_and_its_stack_is_shown(guest: Path) -> None:
    told = watch(guest)
    assert "# kvet finding starved walker/0 walker gets nowhere while others go on\n" in told
    assert "# kvet stack task sleeper+0x10/0x20\n" in told


def test_who_is_slow_with_everybody_else_is_waiting_and_no_more(guest: Path) -> None:
    told = watch(guest, rounds=1)
    assert "finding" not in told
    assert "# kvet state waiting walker/0\n" in told


def test_a_moment_is_no_starvation(guest: Path) -> None:
    assert "finding" not in watch(guest, seconds=7)
    # where one operation takes two seconds, ten are a moment
    assert "finding" not in watch(guest, seconds=10, longest=2.0)
    # a walk that the workload stops for ten seconds keeps others waiting
    assert "finding" not in watch(guest, stall=10)


def test_a_walk_that_begins_again_for_ever_is_found(guest: Path) -> None:
    told = watch(guest, busy=20, walks=2)
    assert "# kvet finding endless-walk walker/0 walker walks for ever while others go on\n" in told


def test_without_a_rest_of_the_freers_a_dozen_walks_in_one_operation_are_enough(
    guest: Path,
) -> None:
    assert "finding endless-walk walker/0" in watch(guest, seconds=1, busy=1, walks=6, pressed=1)
    assert "finding" not in watch(guest, seconds=1, busy=1, walks=6)
    # as many as a design may make that gives up beginning again
    assert "finding" not in watch(guest, seconds=1, busy=1, walks=4, pressed=1)
    # it is kept by somebody: where nobody gets on there is nothing to hold against it
    assert "finding" not in watch(guest, seconds=1, rounds=0, busy=1, walks=6, pressed=1)


def test_one_that_is_busy_and_gets_nowhere_is_found_as_well(guest: Path) -> None:
    assert "finding starved walker/0" in watch(guest, busy=20)


def test_a_dump_of_everything_may_take_its_time(guest: Path) -> None:
    assert "finding" not in watch(guest, busy=20, seconds=20, whole=1)
    assert "finding endless-walk" in watch(guest, busy=20, seconds=60, whole=1)
