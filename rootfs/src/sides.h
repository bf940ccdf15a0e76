/* SPDX-License-Identifier: GPL-2.0-only */
/* A workload of one's own: its sides, which run beside each other, and their commands. */
#ifndef KVET_SIDES_H
#define KVET_SIDES_H

#include <sys/types.h>

#include "guest.h"

#define MOST_SIDES 16
#define MOST_COMMANDS 512
#define MOST_ARGS 8192

/* A program or module; its arguments begin at `first' of the plan's and end in NULL. */
struct command {
	char *name;
	int is_module;
	int expect;	/* exit code, or the error that loading must return */
	double stay;	/* seconds that a module stays loaded, negative: until the end */
	int first;
	long bad;	/* runs that ended otherwise */
	int last;	/* how the last of them did: exit code, or 128 and a signal */
};

struct side {
	char *name;
	int loop;
	int first, nr;	/* of the plan's commands */
	int at;		/* the one that runs, or is next */
	int over;
	pid_t pid;	/* 0 when nothing runs */
	int out;	/* its output, -1 when it is closed */
	char line[1024];
	size_t filled;
	size_t told;
	long lost;	/* lines of output that were too many */
	long runs;
};

struct plan {
	char watches[16384];
	char *needed[MOST_SIDES];
	int nr_needed;
	struct side sides[MOST_SIDES];
	int nr_sides;
	struct command commands[MOST_COMMANDS];
	int nr_commands;
	char *args[MOST_ARGS];
	int nr_args;
};

/* Returns 0, or -1 for a plan that cannot be understood. */
int read_plan(struct plan *plan);

#endif
