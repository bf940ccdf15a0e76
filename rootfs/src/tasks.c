// SPDX-License-Identifier: GPL-2.0-only
/*
 * The processes of the workload. Walkers open and read the files of debugfs as a
 * user does; the module makes the walks of some of them short, by their names.
 * Freers lend themselves to the module. The doomed ones are killed in the middle
 * of it: what the kernel does then, it does with a fatal signal pending.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest.h"

#define MAX_WORKERS 24
#define DUMP_BYTES (4 << 20)
#define FREER_MS "100"

/* Shared with the processes. */
struct shared {
	struct worker workers[MAX_WORKERS];
	long bytes, efi_reads, garbage, wx_failed;
	char bad_line[200], wx_said[64];
};

static struct shared *shared;
static int nr;
static char *text;
static char missing[200];

int nr_workers(void)
{
	return nr;
}

const struct worker *worker(int i)
{
	return &shared->workers[i];
}

int has_door(const char *path)
{
	if (!access(path, F_OK))
		return 1;
	if (!strstr(missing, path))
		snprintf(missing + strlen(missing), sizeof(missing) - strlen(missing), "%sdoor:%s",
			 missing[0] ? "," : "", strrchr(path, '/') + 1);
	return 0;
}

void report_missing_doors(void)
{
	say("# kvet state missing_doors %s", missing[0] ? missing : "none");
}

static void op_done(struct worker *me, double since)
{
	double took = uptime() - since;

	if (took > me->longest)
		me->longest = took;
	__atomic_fetch_add(&me->ops, 1, __ATOMIC_RELAXED);
}

static void check_dump(char *dump, long length)
{
	const char *bad = bad_dump_line(dump, length);

	if (bad && !__atomic_fetch_add(&shared->garbage, 1, __ATOMIC_RELAXED))
		snprintf(shared->bad_line, sizeof(shared->bad_line), "%s", bad);
}

static void read_dumps(struct worker *me)
{
	int efi = !access(DUMP_EFI, F_OK);
	double since;
	long length;

	read_areas();
	for (;;) {
		since = uptime();
		length = read_file(DUMP, text, DUMP_BYTES);
		if (length <= 0)
			_exit(1);
		op_done(me, since);
		__atomic_fetch_add(&shared->bytes, length, __ATOMIC_RELAXED);
		check_dump(text, length);
		if (efi && me->ops % 4 == 1 && read_file(DUMP_EFI, text, DUMP_BYTES) > 0)
			__atomic_fetch_add(&shared->efi_reads, 1, __ATOMIC_RELAXED);
		/* a full dump keeps the short walks out for most of a second: leave them room */
		usleep(random() % 600000);
	}
}

/*
 * Walkers have turns of a quarter of a second: each kind of short walk alone, and
 * then all together. Together they would never all be gone, and what a design does
 * as the first comes and the last goes would hardly happen.
 */
static void await_turn(enum task_kind kind)
{
	for (;;) {
		switch ((long)(uptime() * 4) % 4) {
		case 0:
			if (kind == WALKER)
				return;
			break;
		case 1:
			if (kind == WX_READER)
				return;
			break;
		case 2:
			if (kind == DOOMED_WALKER)
				return;
			break;
		default:
			return;
		}
		usleep(5000);
	}
}

/* Mostly short, now and then long enough for every walker to be gone. */
static void gap(void)
{
	usleep(10 + random() % (random() % 8 ? 300 : 5000));
}

static void walk(struct worker *me)
{
	double since;

	for (;;) {
		await_turn(WALKER);
		since = uptime();
		if (read_file(DUMP, text, DUMP_BYTES) < 0)
			_exit(1);
		op_done(me, since);
		gap();
	}
}

static void read_wx(struct worker *me)
{
	long round;
	double since;

	for (round = 0;; round++) {
		/* the whole of the kernel's half now and then: by that name it is not made short */
		prctl(PR_SET_NAME, round % 32 == 16 ? "kvet-wx-full" : "kvet-wx");
		await_turn(WX_READER);
		since = uptime();
		if (read_file(DUMP_WX, text, 64) < 0)
			_exit(1);
		op_done(me, since);
		if (strncmp(text, "SUCCESS", 7) &&
		    !__atomic_fetch_add(&shared->wx_failed, 1, __ATOMIC_RELAXED))
			snprintf(shared->wx_said, sizeof(shared->wx_said), "%.*s",
				 (int)strcspn(text, "\n"), text);
		gap();
	}
}

static void lend(struct worker *me, const char *door)
{
	int fd = open(door, O_WRONLY | O_CLOEXEC);
	double since;

	while (fd >= 0) {
		since = uptime();
		if (write(fd, FREER_MS, strlen(FREER_MS)) < 0)
			break;
		op_done(me, since);
	}
	/* the freers have been told to stop */
	pause();
}

/* One child after the other, each killed after a moment. */
static void doom(struct worker *me, void (*body)(struct worker *me), int longest_us)
{
	struct worker unseen;
	double since;
	pid_t child;

	for (;;) {
		if (me->kind == DOOMED_WALKER)
			await_turn(me->kind);
		since = uptime();
		child = fork();
		if (!child) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			body(&unseen);
		}
		usleep(1000 + random() % longest_us);
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
		op_done(me, since);
		/* a child takes the processor for longer than what it is there for */
		usleep(random() % 50000);
	}
}

static void hold_pause_door(void)
{
	open(DOOR_PAUSE, O_RDONLY | O_CLOEXEC);
}

static void doomed_walk(struct worker *unseen)
{
	hold_pause_door();
	for (;;)
		read_file(DUMP, text, DUMP_BYTES);
}

static void doomed_lend(struct worker *unseen)
{
	lend(unseen, DOOR_SIGNAL);
}

static void work(struct worker *me)
{
	static const char *const names[] = {
		[READER] = "kvet-dump", [WALKER] = "kvet-walk", [DOOMED_WALKER] = "kvet-walk",
		[WX_READER] = "kvet-wx", [FREER] = "kvet-freer", [DOOMED_FREER] = "kvet-freer",
	};

	prctl(PR_SET_NAME, names[me->kind]);
	text = malloc(DUMP_BYTES);
	switch (me->kind) {
	case DOOMED_WALKER:
		doom(me, doomed_walk, 20000);
		break;
	case DOOMED_FREER:
		doom(me, doomed_lend, 60000);
		break;
	case FREER:
		lend(me, DOOR_USER);
		break;
	case READER:
		hold_pause_door();
		read_dumps(me);
		break;
	case WALKER:
		hold_pause_door();
		walk(me);
		break;
	case WX_READER:
		hold_pause_door();
		read_wx(me);
	}
	_exit(0);
}

void start_tasks(enum task_kind kind, int count)
{
	static const char *const names[] = { "reader", "walker", "doomed_walker", "wx_reader",
					     "freer", "doomed_freer" };
	struct worker *me;
	pid_t pid;
	int i;

	if (!shared)
		shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	for (i = 0; i < count && nr < MAX_WORKERS; i++) {
		me = &shared->workers[nr++];
		me->kind = kind;
		snprintf(me->name, sizeof(me->name), "%s/%d", names[kind], i);
		pid = fork();
		if (!pid) {
			srandom(option_number("seed", 1) + nr);
			work(me);
		}
		me->pid = pid;
	}
}

long ops_of(enum task_kind kind)
{
	long all = 0;
	int i;

	for (i = 0; i < nr; i++)
		if (shared->workers[i].kind == kind)
			all += shared->workers[i].ops;
	return all;
}

/* Counts those that are still there; what dies for another reason is reaped as well. */
static int reap(void)
{
	int i, left = 0;
	pid_t gone;

	while ((gone = waitpid(-1, NULL, WNOHANG)) > 0)
		for (i = 0; i < nr; i++)
			if (shared->workers[i].pid == gone)
				shared->workers[i].pid = 0;
	for (i = 0; i < nr; i++)
		left += shared->workers[i].pid != 0;
	return left;
}

/*
 * A dump that has begun goes on to its end, on a slow kernel for seconds: until
 * then locks are held and tables are in use. A process that sleeps in the kernel
 * for ever, or walks for ever, does not die: it is left alone, and said so.
 */
void stop_tasks(void)
{
	double until = uptime() + 15, idle_since = uptime();
	long now, last = -1;
	int i, left = nr;

	for (i = 0; i < nr; i++)
		kill(shared->workers[i].pid, SIGKILL);
	while ((left = reap()) && uptime() < until && uptime() - idle_since < 4) {
		for (i = 0, now = 0; i < nr; i++)
			now += shared->workers[i].pid ? ticks_of(shared->workers[i].pid) : 0;
		if (now != last)
			idle_since = uptime();
		last = now;
		usleep(5000);
	}
	say("# kvet state readers_stuck %d", left);
}

static double longest_of(enum task_kind kind)
{
	double longest = 0;
	int i;

	for (i = 0; i < nr; i++)
		if (shared->workers[i].kind == kind && shared->workers[i].longest > longest)
			longest = shared->workers[i].longest;
	return longest;
}

void report_tasks(void)
{
	say("# kvet metric dump_reads %ld reads", ops_of(READER));
	say("# kvet metric walk_reads %ld reads", ops_of(WALKER));
	say("# kvet metric wx_reads %ld reads", ops_of(WX_READER));
	say("# kvet metric efi_reads %ld reads", shared->efi_reads);
	say("# kvet metric doomed_walkers %ld tasks", ops_of(DOOMED_WALKER));
	say("# kvet metric doomed_freers %ld tasks", ops_of(DOOMED_FREER));
	say("# kvet metric dump_bytes %ld bytes", shared->bytes);
	say("# kvet metric longest_read %.6f s", longest_of(READER));
	say("# kvet metric longest_walk %.6f s", longest_of(WALKER));
	if (shared->garbage) {
		say("# kvet finding ptdump-garbage ptdump_walk ptdump-garbage: %.150s",
		    shared->bad_line);
		fprintf(stderr, "kvet: ptdump-garbage: %.150s\n", shared->bad_line);
	}
	if (shared->wx_failed)
		say("# kvet finding wx-check-failed ptdump_check_wx check_wx_pages says: %s",
		    shared->wx_said);
}
