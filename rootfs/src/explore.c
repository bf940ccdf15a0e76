// SPDX-License-Identifier: GPL-2.0-only
/*
 * Controlled schedules: tells the host which one comes next, then lets the
 * module run it, until all were run, one fails, or the time is up.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "guest.h"

#define SIDES "/sys/kernel/debug/kvet/sides"
#define NEXT "/sys/kernel/debug/kvet/next"
#define RESULT "/sys/kernel/debug/kvet/result"
#define LOOP "/sys/kernel/debug/kvet/loop"
#define END "/sys/kernel/debug/kvet/end"
#define RELEASE "/sys/kernel/debug/kvet/release"
#define EXPEDITED "/sys/kernel/rcu_expedited"
#define COUNTS "/sys/kernel/debug/kvet/counts"
#define PREEMPTIONS "/sys/module/kvet_engine/parameters/preemptions"

struct totals {
	long rounds;
	int failed;
	int nothing;	/* sets of sides that have nothing to explore */
};

/*
 * Names and runs schedules until UNTIL; returns 1 when the time ran out, -1 on an error.
 * The file stays open: to open one twice is a good part of what a round takes.
 */
static int run_schedules(double until, struct totals *totals)
{
	int fd = open(NEXT, O_RDWR | O_CLOEXEC), ret = fd < 0 ? -1 : 0;
	char name[512];
	ssize_t got;

	while (!ret && (got = pread(fd, name, sizeof(name) - 1, 0)) > 0) {
		if (uptime() > until) {
			ret = 1;
			break;
		}
		name[got] = '\0';
		name[strcspn(name, "\n")] = '\0';
		say("# kvet schedule %s", name);
		if (write(fd, "run", 3) < 0)
			ret = -1;
		else
			totals->rounds++;
	}
	if (fd >= 0)
		close(fd);
	return ret;
}

/* Did the module's result say that a schedule failed? */
static int has_failed(void)
{
	static char text[65536];

	return read_file(RESULT, text, sizeof(text)) > 0 && strstr(text, "explore failing ");
}

/* Rounds at random, with delays, in place of schedules; as above. */
static int run_at_random(double until, struct totals *totals)
{
	for (; uptime() < until && !has_failed(); totals->rounds++) {
		say("# kvet stage random %.3f", uptime());
		if (write_file(LOOP, "250"))
			return -1;
	}
	return 0;
}

/* A form of rounds and its sides: `pmd dump,block'. */
static int explore(const char *sides, const char *schedule, double until, struct totals *totals)
{
	char text[600];
	int ret;

	snprintf(text, sizeof(text), "%s %s", sides, schedule);
	say("# kvet exploring %s", sides);
	if (write_file(SIDES, text)) {
		/* a side that this kernel lacks: the module's last state says which */
		if (errno == ENODEV) {
			say("# kvet explored missing");
			return 0;
		}
		if (errno != EOPNOTSUPP)
			return -1;
		totals->nothing++;
		relay(RESULT);
		say("# kvet explored nothing");
		return 0;
	}
	if (option_number("random", 0)) {
		ret = has_failed() ? 0 : run_at_random(until, totals);
		relay(RESULT);
		say("# kvet explored %s", has_failed() ? "failed" : "all");
		return ret;
	}
	/* what there is no time for is sampled in the last quarter of it */
	ret = run_schedules(uptime() + (until - uptime()) * 3 / 4, totals);
	if (ret > 0 && !write_file(NEXT, "sample"))
		ret = run_schedules(until, totals);
	if (ret < 0)
		return ret;
	relay(RESULT);
	say("# kvet explored %s", ret ? "out-of-time" : has_failed() ? "failed" : "all");
	return ret;
}

/* The engine and the race, which adds itself to it. */
static int start_modules(void)
{
	char params[700], name[80];
	int error;

	snprintf(params, sizeof(params), "seed=%.0f preemptions=%.0f every_access=%d functions=%s",
		 option_number("seed", 1), option_number("preemptions", 2),
		 !strcmp(option("points", "conflicts"), "all"), option("functions", ""));
	error = load_module("kvet_engine", params);
	if (error)
		return error;
	snprintf(name, sizeof(name), "kvet_%s", option("race", "ptdump"));
	return load_module(name, strcmp(name, "kvet_ptdump") ? "" : "explore=1");
}

/* The sides that the command line asks for, else those that the race has. */
static void find_sides(char *list, size_t size)
{
	const char *asked = option("sides", "");

	if (*asked)
		snprintf(list, size, "%s", asked);
	else if (read_file(SIDES, list, size) < 0)
		*list = '\0';
	list[strcspn(list, "\n")] = '\0';
}

/* kvet.sides: FORM:SIDE,SIDE with a plus sign between. */
static void explore_all(double until, struct totals *totals)
{
	char list[512], *next = list, *sides;
	int left = 1;

	find_sides(list, sizeof(list));
	for (sides = list; *sides; sides++)
		left += *sides == '+';
	/* each has its share of what the ones before have left */
	for (; !totals->failed && (sides = strsep(&next, "+")); left--) {
		sides[strcspn(sides, ":")] = ' ';
		if (explore(sides, option("schedule", ""),
			    uptime() + (until - uptime()) / left, totals) < 0)
			result(0, "sides", sides);
		totals->failed = has_failed();
	}
}

/*
 * Grace periods are expedited, or each round with one takes long. Once more, with
 * one preemption at most and grace periods as a running system has them.
 */
static void explore_slowly(struct totals *totals)
{
	const char *only = option("schedule", "");
	char first[512];

	if (totals->failed || !totals->rounds || *only || !option_number("normal_gp", 0) ||
	    write_file(EXPEDITED, "0") || write_file(PREEMPTIONS, "1"))
		return;
	say("# kvet grace-periods normal");
	find_sides(first, sizeof(first));
	first[strcspn(first, "+")] = '\0';
	first[strcspn(first, ":")] = ' ';
	if (explore(first, only, uptime() + 3, totals) < 0)
		result(0, "sides", "normal grace periods");
	totals->failed = has_failed();
}

void run_explore(void)
{
	struct totals totals = { 0 };
	double until;
	int error;

	say("1..1");
	say("# kvet stage start %.3f", uptime());
	error = start_modules();
	if (error) {
		say("# kvet state module_error %d", error);
		result(0, "schedules", "the workload module did not load");
		return;
	}
	say("# kvet stage ready %.3f", uptime());
	until = uptime() + option_number("seconds", 10);
	explore_all(until, &totals);
	explore_slowly(&totals);
	say("# kvet stage stop %.3f", uptime());
	say("# kvet exposure schedules %ld", totals.rounds);
	relay(END);
	result(totals.rounds > 0 || totals.nothing, "schedules", NULL);
	if (totals.failed && option_number("confirm", 1)) {
		/* what the kernel's own detectors make of it, when it goes on */
		write_file(RELEASE, "on");
		sleep(1);
	}
}
