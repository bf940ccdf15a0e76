// SPDX-License-Identifier: GPL-2.0-only
/* The workloads: each starts freers and walkers, waits, and tells what happened. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest.h"

#define SYSLOG_READ_ALL 3
#define SYSLOG_CONSOLE_LEVEL 8
#define BEGUN_AGAIN 8	/* walks more than checks that are no chance: kvet/run/exposure.py */
#define PRESS_S 10

/* The number behind NAME in the module's counters. */
static long counter(const char *name)
{
	static char text[65536];
	char key[64], *found;

	snprintf(key, sizeof(key), "exposure %s ", name);
	if (read_file(CHURN_STATS, text, sizeof(text)) < 0)
		return -1;
	found = strstr(text, key);
	return found ? strtol(found + strlen(key), NULL, 10) : -1;
}

/* Wait SECONDS, or until somebody is found to get nowhere; the counters go to the report. */
static void wait_and_report(double seconds)
{
	double until = uptime() + seconds;

	while (uptime() < until) {
		usleep(250000);
		relay(CHURN_STATS);
		if (watch_progress())
			return;
	}
}

/* Counters with the least that is wanted of them, NAME:LEAST with commas between. */
struct floor {
	int wanted, begun, reached;
};

static struct floor look_at_floor(const char *entry)
{
	struct floor floor = {};
	int least, length;
	char name[32];
	long count;

	while (sscanf(entry, "%31[a-z_]:%d%n", name, &least, &length) == 2) {
		count = counter(name);
		floor.wanted++;
		floor.begun += count > 0;
		floor.reached += count >= least;
		entry += length + (entry[length] == ',');
	}
	return floor;
}

/*
 * Whether the race has begun, but none of the counters of kvet.floor has reached
 * its least or not all of those of kvet.floor_each have: a slow host needs more time.
 */
static int wants_exposure(void)
{
	struct floor any = look_at_floor(option("floor", ""));
	struct floor each = look_at_floor(option("floor_each", ""));

	return (any.begun || each.begun) &&
	       ((any.wanted && !any.reached) || each.reached < each.wanted);
}

/* A rule was broken and nothing proves yet that it matters: an access would. */
static int wants_proof(void)
{
	return option_number("amplify", 0) && counter("suspicions") > 0 && !counter("breaches");
}

/* Where a kernel has no file for a walk the module calls the function behind it. */
static int start_module(int threads)
{
	int users = threads ? option_number("users", 0) + option_number("signals", 0) : 0;
	char params[400];

	snprintf(params, sizeof(params),
		 "threads=%d users=%d walkers=%.0f wx=%.0f pud=%.0f amplify=%.0f hotplug=%.0f quarantine=%.0f stall=%.0f faults=%d",
		 threads, users,
		 has_door(DUMP) ? 0 : option_number("walkers", 1),
		 has_door(DUMP_WX) ? 0 : option_number("wx", 0), option_number("pud", 0),
		 option_number("amplify", 0), option_number("hotplug", 0),
		 option_number("quarantine", 0), option_number("stall", 0),
		 option_number("faults", 0) > 0);
	return load_ptdump(params);
}

static void start_walkers(void)
{
	if (has_door(DUMP)) {
		start_tasks(READER, option_number("readers", 1));
		start_tasks(WALKER, option_number("walkers", 1));
	}
	if (has_door(DUMP_WX))
		start_tasks(WX_READER, option_number("wx", 0));
	if (has_door(DUMP))
		start_tasks(DOOMED_WALKER, option_number("doomed", 0));
}

static void start_freers(void)
{
	start_tasks(FREER, option_number("users", 0));
	start_tasks(DOOMED_FREER, option_number("signals", 0));
}

/*
 * Each freer gets its first block before a walk can be in its way: from then on
 * small pages are a back-off. On a slow host a walk is open nearly all the time, and
 * a freer of a design that never waits for it might get none at all.
 */
static void await_first_rounds(void)
{
	double until = uptime() + 0.3;

	while (uptime() < until && (counter("rounds_kthread") < option_number("threads", 2) ||
				    counter("rounds_user") < option_number("users", 0) ||
				    counter("rounds_signal") < option_number("signals", 0)))
		usleep(2000);
}

/* Read a file of the module that takes its time, with signs of life meanwhile. */
static void relay_slowly(const char *path)
{
	pid_t child = fork();

	if (!child) {
		relay(path);
		_exit(0);
	}
	while (waitpid(child, NULL, WNOHANG) != child) {
		usleep(50000);
		say("# kvet stage stop %.3f", uptime());
	}
}

/* Threads that wait for each other for ever, or one that is found out: time does not help. */
static int is_over(void)
{
	return watch_progress() || nobody_moves();
}

/*
 * A check for W+X mappings that begins again when it is disturbed ends all the same
 * where freers rest: they stop that, and it is looked at more often than it ends.
 */
static void press_checks(void)
{
	double until = uptime() + PRESS_S, told = 0;

	if (!has_door(DUMP_WX) || counter("walks_wx") - counter("wx_walks") < BEGUN_AGAIN)
		return;
	press();
	while (uptime() < until && !is_over()) {
		usleep(10000);
		if (uptime() < told + 0.25)
			continue;
		relay(CHURN_STATS);
		told = uptime();
	}
}

static void race(void)
{
	double seconds = option_number("seconds", 4);
	int tries, most = 8 * seconds;

	wait_and_report(seconds);
	for (tries = 0; tries < most && wants_exposure() && !is_over(); tries++)
		wait_and_report(0.25);
	press_checks();
	for (tries = 0; tries < 32 && wants_proof() && !is_over(); tries++)
		wait_and_report(0.25);
	for (tries = 0; tries < 80 && somebody_waits() && !is_over(); tries++)
		wait_and_report(0.25);
	/* on a slow kernel the first dump may take longer: a run without one says nothing */
	for (tries = 0; tries < 40 && option_number("readers", 1) && has_door(DUMP) &&
	     !ops_of(READER) && !is_over(); tries++)
		wait_and_report(0.25);
}

static void end_race(void)
{
	say("# kvet stage stop %.3f", uptime());
	report_progress();
	/* walkers go on while the module looks for what was lost */
	relay_slowly(CHURN_STOP);
	stop_tasks();
	relay(CHURN_END);
	report_tasks();
	report_missing_doors();
}

/* Allocations of tasks that ask for it fail, PERCENT of them, without a word. */
static void inject_faults(const char *percent)
{
	static const char *const folders[] = { "failslab", "fail_page_alloc" };
	static const char *const settings[][2] = {
		{ "task-filter", "Y" }, { "verbose", "0" }, { "interval", "1" }, { "times", "-1" },
		/* without this only those that may not sleep would fail, and orders above 0 */
		{ "ignore-gfp-wait", "N" }, { "min-order", "0" },
	};
	char path[100];
	unsigned int i, j;

	for (i = 0; i < 2; i++) {
		for (j = 0; j < sizeof(settings) / sizeof(settings[0]); j++) {
			snprintf(path, sizeof(path), "/sys/kernel/debug/%s/%s", folders[i],
				 settings[j][0]);
			if (!access(path, F_OK))
				write_file(path, settings[j][1]);
		}
		snprintf(path, sizeof(path), "/sys/kernel/debug/%s/probability", folders[i]);
		if (!access(path, F_OK))
			write_file(path, percent);
	}
}

void run_ptdump_race(void)
{
	int error;

	say("1..2");
	/* a W+X check says so at level 6; everything that a detector reads is below it */
	klogctl(SYSLOG_CONSOLE_LEVEL, NULL, 6);
	say("# kvet stage start %.3f", uptime());
	if (option_number("faults", 0))
		inject_faults(option("faults", "0"));
	error = start_module(option_number("threads", 2));
	if (error) {
		say("# kvet state module_error %d", error);
		report_missing_doors();
		result(0, "churn", "the workload module did not load");
		result(0, "dump-reads", NULL);
		return;
	}
	start_freers();
	await_first_rounds();
	start_walkers();
	race();
	end_race();
	result(counter("churns") > 0 && counter("walks") > 0, "churn", NULL);
	result(ops_of(READER) > 0 || !option_number("readers", 1), "dump-reads", NULL);
}

/* Counts test_vmalloc's own summary lines in the kernel log. */
static void count_summaries(long *passed, long *failed)
{
	static char text[1 << 20];
	char *line, *rest = text;
	long ok, bad;
	int length;

	*passed = *failed = 0;
	length = klogctl(SYSLOG_READ_ALL, text, sizeof(text) - 1);
	if (length < 0)
		return;
	text[length] = '\0';
	while ((line = strsep(&rest, "\n"))) {
		line = strstr(line, "passed: ");
		if (line && sscanf(line, "passed: %ld failed: %ld", &ok, &bad) == 2) {
			*passed += ok;
			*failed += bad;
		}
	}
}

/* Loads a module that works in its init, with signs of life meanwhile; 0 or -errno. */
static int load_while_reporting(const char *name, const char *params)
{
	pid_t child = fork();
	int status;

	if (!child)
		_exit(-load_module(name, params));
	while (waitpid(child, &status, WNOHANG) != child) {
		usleep(250000);
		relay(CHURN_STATS);
		watch_progress();
	}
	return WIFEXITED(status) ? -WEXITSTATUS(status) : -1;
}

void run_test_vmalloc(void)
{
	long passed = 0, failed = 0;
	char params[128];
	int error;

	say("1..2");
	say("# kvet stage start %.3f", uptime());
	/* with no thread of its own the module only watches */
	error = start_module(0);
	if (error)
		say("# kvet state module_error %d", error);
	start_walkers();
	snprintf(params, sizeof(params), "nr_threads=%.0f test_loop_count=%.0f run_test_mask=%.0f",
		 option_number("threads", 2), option_number("loops", 50),
		 option_number("mask", 1023));
	/* runs all tests in its init and then refuses to stay: -EAGAIN is success */
	error = load_while_reporting("test_vmalloc", params);
	end_race();
	count_summaries(&passed, &failed);
	say("# kvet metric vmalloc_tests_passed %ld tests", passed);
	say("# kvet metric vmalloc_tests_failed %ld tests", failed);
	result(error == -11 && passed > 0 && !failed, "churn", NULL);
	result(ops_of(READER) > 0, "dump-reads", NULL);
}
