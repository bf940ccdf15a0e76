// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who gets on and who does not. A task that does no operation for seconds while
 * others go on is starved when it sleeps, whatever it sleeps on and in whichever
 * way, and walks for ever when it is busy. When nobody at all gets on the blame
 * is with nobody in particular: the end of the workload says who did not return.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "guest.h"

#define MAX_ACTORS 64
#define WAITING_S 1.5		/* worth a longer look */
#define WAITING_DUMP_S 4
#define STARVED_S 8		/* asleep for so long */
#define ENDLESS_S 8		/* busy for so long with a walk that takes milliseconds */
#define ENDLESS_DUMP_S 40	/* and with one that takes seconds */
#define ENDLESS_WALKS 12	/* a dump that outgrows its buffer begins again a few times */
#define LONG_OPS 20		/* times the longest operation so far */
#define BUSY_TICKS 20
#define OTHERS 300		/* operations of others, so that a busy host is not to blame */

struct actor {
	char name[24];
	pid_t pid;
	int walks_whole;	/* its operation may take seconds */
	long ops, walks;
	double since;		/* when it last got on */
	long others, ticks, walks_then;	/* at that time: operations of all the others */
	double stalled;		/* longest time without an operation */
	int seen, seen_before;	/* in this look, and in the last one */
};

static struct actor actors[MAX_ACTORS];
static int nr_actors, found;
static long all_ops;
static double moved_at;
static int pressed;		/* freers do not rest any more */

long ticks_of(pid_t pid)
{
	unsigned long user, system;
	char path[32], text[1024], *rest;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	if (read_file(path, text, sizeof(text)) <= 0 || !(rest = strrchr(text, ')')))
		return -1;
	/* fields 14 and 15 of proc(5), counted from the name, which is the second */
	if (sscanf(rest, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user,
		   &system) != 2)
		return -1;
	return user + system;
}

/* The actor of that name and task; a task that replaces another begins anew. */
static struct actor *actor_of(const char *name, pid_t pid)
{
	struct actor *actor;
	int i;

	for (i = 0; i < nr_actors && strcmp(actors[i].name, name); i++)
		;
	if (i == MAX_ACTORS)
		return NULL;
	actor = &actors[i];
	nr_actors += i == nr_actors;
	if (actor->pid != pid) {
		snprintf(actor->name, sizeof(actor->name), "%s", name);
		actor->pid = pid;
		actor->ops = -1;
	}
	return actor;
}

static void see(const char *name, pid_t pid, long ops, int walks_whole)
{
	struct actor *actor = actor_of(name, pid);
	double now = uptime();

	if (!actor)
		return;
	actor->seen = 1;
	actor->walks_whole = walks_whole;
	/* one that was away meanwhile had nothing to do */
	if (!actor->seen_before)
		actor->ops = -1;
	if (ops == actor->ops)
		return;
	/* the first look tells no more than that it is there */
	if (actor->ops >= 0) {
		all_ops += ops - actor->ops;
		if (now - actor->since > actor->stalled)
			actor->stalled = now - actor->since;
	}
	moved_at = now;
	actor->ops = ops;
	actor->since = now;
	actor->others = all_ops;
	actor->ticks = ticks_of(pid);
	actor->walks_then = actor->walks;
}

static void see_walks(pid_t pid, long walks)
{
	int i;

	for (i = 0; i < nr_actors; i++)
		if (actors[i].pid == pid)
			actors[i].walks = walks;
}

/* Freers, as the module counts them, and walks begun by each task. */
static void see_module(void)
{
	static char text[8192];
	char *line, *rest = text, name[24];
	long count;
	int pid;

	if (read_file(CHURN_PROGRESS, text, sizeof(text)) <= 0)
		return;
	while ((line = strsep(&rest, "\n"))) {
		if (sscanf(line, "%23s %d %ld", name, &pid, &count) != 3)
			continue;
		if (!strcmp(name, "walks"))
			see_walks(pid, count);
		else
			see(name, pid, count, 0);
	}
}

static void see_workers(void)
{
	const struct worker *one;
	int i;

	for (i = 0; i < nr_workers(); i++) {
		one = worker(i);
		/* what they do in the kernel is counted by the module */
		if (one->kind != FREER && one->pid)
			see(one->name, one->pid, one->ops,
			    one->kind == READER || one->kind == WX_READER);
	}
}

/*
 * What is long here and now: on a busy host a dump takes seconds, and a lock that
 * is fair in the long run lets somebody wait for several of them.
 */
static double at_least(double seconds)
{
	double longest = 0;
	int i;

	for (i = 0; i < nr_workers(); i++)
		if (worker(i)->longest > longest)
			longest = worker(i)->longest;
	return seconds > LONG_OPS * longest ? seconds : LONG_OPS * longest;
}

/* NULL, or what is wrong with one that has not got on since. */
static const char *trouble(struct actor *actor, double patience)
{
	double still = uptime() - actor->since - patience;
	long used = ticks_of(actor->pid) - actor->ticks;
	long walks = actor->walks - actor->walks_then;
	long others = all_ops - actor->others;

	if (!actor->seen || actor->ops < 0)
		return NULL;
	if (pressed && walks > ENDLESS_WALKS && others >= walks)
		return "endless-walk";
	if (others < OTHERS)
		return NULL;
	if (still > 2 && walks > ENDLESS_WALKS)
		return "endless-walk";
	if (still > at_least(STARVED_S) && used >= 0 && used < BUSY_TICKS)
		return "starved";
	if (still > at_least(actor->walks_whole ? ENDLESS_DUMP_S : ENDLESS_S) && used >= BUSY_TICKS)
		return walks || actor->walks_whole ? "endless-walk" : "starved";
	return NULL;
}

/* Where a task sleeps; one that runs has no stack to show. */
static void say_stack(pid_t pid)
{
	char path[32], text[2048], *line, *rest = text, *frame;

	snprintf(path, sizeof(path), "/proc/%d/stack", pid);
	if (read_file(path, text, sizeof(text)) <= 0)
		return;
	while ((line = strsep(&rest, "\n"))) {
		frame = strstr(line, "] ");
		if (frame)
			say("# kvet stack task %s", frame + 2);
	}
}

static void tell(struct actor *actor, const char *kind)
{
	const char *what = strcmp(kind, "starved") ? "walks for ever" : "gets nowhere";
	char title[120];

	/* the number is left out: it tells the runs of one task apart and no more */
	snprintf(title, sizeof(title), "%.*s %s while others go on",
		 (int)strcspn(actor->name, "/"), actor->name, what);
	say("# kvet finding %s %s %s", kind, actor->name, title);
	fprintf(stderr, "kvet: %s: %s, pid %d, %ld walks begun in one operation\n", kind, title,
		actor->pid, actor->walks - actor->walks_then);
	say_stack(actor->pid);
	found = 1;
}

void press(void)
{
	pressed = !write_file(RESTLESS, "Y");
}

int watch_progress(void)
{
	double patience = option_number("stall", 0);
	const char *kind;
	int i;

	for (i = 0; i < nr_actors; i++) {
		actors[i].seen_before = actors[i].seen;
		actors[i].seen = 0;
	}
	see_module();
	see_workers();
	for (i = 0; i < nr_actors && !found; i++) {
		kind = trouble(&actors[i], patience);
		if (kind)
			tell(&actors[i], kind);
	}
	return found;
}

static int is_waiting(const struct actor *actor)
{
	double still = uptime() - actor->since;

	return actor->seen && still > (actor->walks_whole ? WAITING_DUMP_S : WAITING_S);
}

int somebody_waits(void)
{
	int i;

	for (i = 0; i < nr_actors; i++)
		if (is_waiting(&actors[i]))
			return 1;
	return 0;
}

int nobody_moves(void)
{
	return moved_at && uptime() - moved_at > 3 + option_number("stall", 0);
}

/* Who was still waiting at the end, too short to say what for. */
static void report_waiting(void)
{
	char names[400] = "";
	size_t used = 0;
	int i;

	for (i = 0; i < nr_actors && used < sizeof(names) - 32; i++)
		if (is_waiting(&actors[i]))
			used += snprintf(names + used, sizeof(names) - used, "%s%s",
					 used ? "," : "", actors[i].name);
	say("# kvet state waiting %s", used ? names : "none");
}

void report_progress(void)
{
	int i;

	report_waiting();
	for (i = 0; i < nr_actors; i++)
		say("# kvet state progress.%s %ld, still for %.1f s at most", actors[i].name,
		    actors[i].ops, actors[i].stalled);
}
