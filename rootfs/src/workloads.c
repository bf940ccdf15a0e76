// SPDX-License-Identifier: GPL-2.0-only
/* The workloads: each starts freers and walkers, waits, and tells what happened. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest.h"

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

/* What grows while somebody gets on, and the uptime at which it last did. */
struct progress {
	long count;
	double at;
};

static struct progress race, reading;

static void sample(struct progress *progress, long count)
{
	if (count != progress->count || !progress->at)
		progress->at = uptime();
	progress->count = count;
}

/* Threads that wait for each other for ever: more time does not help them. */
static int stuck(const struct progress *progress)
{
	return uptime() - progress->at > 3;
}

/* Wait SECONDS; every quarter of a second the counters go to the report. */
static void wait_and_report(double seconds)
{
	double until = uptime() + seconds;

	while (uptime() < until) {
		usleep(250000);
		relay(CHURN_STATS);
		/* a reader may be at one dump for long, but then it is busy */
		sample(&reading, reader_ticks());
		sample(&race, counter("churns") + counter("walks_done") + reading.count);
	}
}

/*
 * Whether the race has begun but none of the counters of kvet.floor, NAME:LEAST
 * with commas between, has reached its least: a slow host needs more time.
 */
static int wants_exposure(void)
{
	const char *entry = option("floor", "");
	int begun = 0, least, length;
	char name[32];
	long count;

	while (sscanf(entry, "%31[a-z_]:%d%n", name, &least, &length) == 2) {
		count = counter(name);
		if (count >= least)
			return 0;
		begun |= count > 0;
		entry += length + (entry[length] == ',');
	}
	return begun;
}

static int start_module(int threads)
{
	char params[256];

	snprintf(params, sizeof(params), "seed=%.0f threads=%d walkers=%.0f wx=%.0f pud=%.0f amplify=%.0f hotplug=%.0f",
		 option_number("seed", 1), threads, option_number("walkers", 1),
		 option_number("wx", 0), option_number("pud", 0), option_number("amplify", 0),
		 option_number("hotplug", 0));
	return load_module("kvet_race", params);
}

static void wait_for_floor(void)
{
	int tries, most = 8 * option_number("seconds", 4);

	for (tries = 0; tries < most && wants_exposure() && !stuck(&race); tries++)
		wait_and_report(0.25);
}

/* On a slow kernel the first dump may take longer: a run without one says nothing. */
static void wait_for_a_dump(void)
{
	int tries;

	for (tries = 0; tries < 40 && !reader_counts()->reads && !stuck(&reading); tries++)
		wait_and_report(0.25);
}

void run_ptdump_race(void)
{
	int error;

	say("1..2");
	say("# kvet stage start %.3f", uptime());
	error = start_module(option_number("threads", 2));
	if (error) {
		say("# kvet state module_error %d", error);
		result(0, "churn", "the workload module did not load");
		result(0, "dump-reads", NULL);
		return;
	}
	start_readers(option_number("readers", 1));
	wait_and_report(option_number("seconds", 4));
	wait_for_floor();
	if (option_number("readers", 1))
		wait_for_a_dump();
	say("# kvet stage stop %.3f", uptime());
	stop_readers();
	relay(CHURN_STOP);
	report_readers();
	result(counter("churns") > 0 && counter("walks") > 0, "churn", NULL);
	result(reader_counts()->reads > 0 || !option_number("readers", 1), "dump-reads", NULL);
}

#define SYSLOG_READ_ALL 3

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
	start_readers(option_number("readers", 1));
	snprintf(params, sizeof(params), "nr_threads=%.0f test_loop_count=%.0f run_test_mask=%.0f",
		 option_number("threads", 2), option_number("loops", 50),
		 option_number("mask", 1023));
	/* runs all tests in its init and then refuses to stay: -EAGAIN is success */
	error = load_while_reporting("test_vmalloc", params);
	say("# kvet stage stop %.3f", uptime());
	stop_readers();
	relay(CHURN_STOP);
	report_readers();
	count_summaries(&passed, &failed);
	say("# kvet metric vmalloc_tests_passed %ld tests", passed);
	say("# kvet metric vmalloc_tests_failed %ld tests", failed);
	result(error == -11 && passed > 0 && !failed, "churn", NULL);
	result(reader_counts()->reads > 0, "dump-reads", NULL);
}
