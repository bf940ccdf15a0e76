// SPDX-License-Identifier: GPL-2.0-only
/*
 * Workloads of one's own: starts the sides that /kvet/plan names, passes on what
 * they print, and counts how often each ran and how it ended.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sides.h"

#define COUNTS "/sys/kernel/debug/kvet_count/report"
#define WORK "/kvet/work"
#define PATHS "/kvet/work:/bin:/sbin:/usr/bin:/usr/sbin:/usr/local/bin"
#define MOST_OUTPUT (2 << 20)	/* bytes that one side may have passed on */
#define NOT_STARTED 126

static struct plan plan;
static double began;

/* What a program may want to know: KVET_SEED, KVET_SECONDS and each parameter. */
static void export_options(void)
{
	static char text[4096];
	char name[64], *word, *rest = text, *value;

	read_file("/proc/cmdline", text, sizeof(text));
	while ((word = strsep(&rest, " \n"))) {
		if (strncmp(word, "kvet.", 5) || !(value = strchr(word, '=')))
			continue;
		*value++ = '\0';
		snprintf(name, sizeof(name), "KVET_%s", word + 5);
		setenv(name, value, 1);
	}
	setenv("PATH", PATHS, 1);
	setenv("HOME", "/tmp", 1);
}

/* In a child: a module comes and goes; the exit code is the error of loading it. */
static int run_module(const struct command *command)
{
	char **args = &plan.args[command->first];
	char params[1024] = "";
	size_t used = 0;
	int i, error;

	for (i = 1; args[i] && used < sizeof(params); i++)
		used += snprintf(params + used, sizeof(params) - used, "%s%s", used ? " " : "",
				 args[i]);
	error = -load_module(args[0], params);
	if (error)
		return error;
	if (command->stay < 0)
		return 0;
	usleep(command->stay * 1e6);
	return syscall(SYS_delete_module, args[0], O_NONBLOCK) ? 255 : 0;
}

static void run_child(const struct command *command, int out)
{
	char **args = &plan.args[command->first];
	int none = open("/dev/null", O_RDONLY);

	setpgid(0, 0);
	dup2(none, 0);
	dup2(out, 1);
	dup2(out, 2);
	if (command->is_module)
		_exit(run_module(command));
	if (!chdir(WORK))
		execvp(args[0], args);
	dprintf(2, "cannot start %s: %s\n", args[0], strerror(errno));
	_exit(NOT_STARTED);
}

static int start_side(struct side *side)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC))
		return -1;
	side->pid = fork();
	if (!side->pid)
		run_child(&plan.commands[side->first + side->at], ends[1]);
	close(ends[1]);
	fcntl(ends[0], F_SETFL, O_NONBLOCK);
	side->out = ends[0];
	return side->pid < 0 ? -1 : 0;
}

static void tell_line(struct side *side)
{
	side->line[side->filled] = '\0';
	side->told += side->filled + 1;
	if (side->told < MOST_OUTPUT)
		say("# kvet out %s %s", plan.commands[side->first + side->at].name, side->line);
	else
		side->lost++;
	side->filled = 0;
}

/* Passes on what a side has printed so far. */
static void read_output(struct side *side)
{
	char buffer[4096];
	ssize_t got, i;

	while (side->out >= 0 && (got = read(side->out, buffer, sizeof(buffer))) > 0) {
		for (i = 0; i < got; i++) {
			if (buffer[i] == '\n')
				tell_line(side);
			else if (side->filled < sizeof(side->line) - 1)
				side->line[side->filled++] = buffer[i];
		}
	}
}

static void close_output(struct side *side)
{
	read_output(side);
	if (side->filled)
		tell_line(side);
	close(side->out);
	side->out = -1;
}

/* The command that ran has ended: count it, and go to the next. */
static void take_end(struct side *side, int status)
{
	struct command *command = &plan.commands[side->first + side->at];
	int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);

	/* what it left in the background goes with it */
	kill(-side->pid, SIGKILL);
	close_output(side);
	side->pid = 0;
	if (!side->loop)
		say("# kvet ended %s %d", command->name, code);
	if (code != command->expect) {
		command->bad++;
		command->last = code;
		if (code == NOT_STARTED && !command->is_module)
			side->over = 1;
	}
	if (++side->at == side->nr) {
		side->at = 0;
		side->runs++;
		side->over |= !side->loop;
	}
}

static void collect(void)
{
	int i, status;
	pid_t pid;

	for (i = 0; i < plan.nr_sides; i++)
		read_output(&plan.sides[i]);
	/* orphans come here as well */
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		for (i = 0; i < plan.nr_sides; i++)
			if (plan.sides[i].pid == pid)
				take_end(&plan.sides[i], status);
}

static void wait_for_output(int ms)
{
	struct pollfd fds[MOST_SIDES];
	int i, nr = 0;

	for (i = 0; i < plan.nr_sides; i++)
		if (plan.sides[i].out >= 0)
			fds[nr++] = (struct pollfd){ plan.sides[i].out, POLLIN, 0 };
	poll(fds, nr, ms);
}

static long count_of(const char *name)
{
	static char text[16384];
	char key[64], *found;
	int i;

	if (!strncmp(name, "runs_", 5)) {
		for (i = 0; i < plan.nr_sides; i++)
			if (!strcmp(plan.sides[i].name, name + 5))
				return plan.sides[i].runs;
		return 0;
	}
	if (read_file(COUNTS, text, sizeof(text)) < 0)
		return 0;
	snprintf(key, sizeof(key), "exposure %s ", name);
	found = strstr(text, key);
	return found ? atol(found + strlen(key)) : 0;
}

/* How many counters of NAME:LEAST,NAME:LEAST have their least; *WANTED is set to all. */
static int reached(const char *list, int *wanted)
{
	int least, length, nr = 0;
	char name[32];

	*wanted = 0;
	while (sscanf(list, "%31[a-z0-9_]:%d%n", name, &least, &length) == 2) {
		/* results of tests are counted by the host */
		nr += !strcmp(name, "tests") || count_of(name) >= least;
		++*wanted;
		list += length + (list[length] == ',');
	}
	return nr;
}

static int has_exposure(void)
{
	int wanted, nr = reached(option("floor", ""), &wanted);

	if (wanted && !nr)
		return 0;
	nr = reached(option("floor_each", ""), &wanted);
	return nr == wanted;
}

static void tell_counts(void)
{
	int i;

	relay(COUNTS);
	for (i = 0; i < plan.nr_sides; i++)
		say("# kvet exposure runs_%s %ld", plan.sides[i].name, plan.sides[i].runs);
}

/* Starts whoever does nothing and may; returns whether somebody still has to end by himself. */
static int go_on(int time_is_up)
{
	int i, busy = 0;

	for (i = 0; i < plan.nr_sides; i++) {
		struct side *side = &plan.sides[i];

		if (!side->over && !side->pid && !(side->loop && time_is_up) && start_side(side))
			side->over = 1;
		busy |= !side->over && !side->loop;
	}
	return busy;
}

static int all_over(void)
{
	int i;

	for (i = 0; i < plan.nr_sides; i++)
		if (!plan.sides[i].over)
			return 0;
	return 1;
}

/*
 * Until the time is up; up to three times as long for what ends by itself, and
 * for a race that was not run often enough yet.
 */
static void run_sides(double seconds)
{
	double told = 0, now = began;
	int busy = 1;

	while (!all_over() && now < began + 3 * seconds) {
		int late = now > began + seconds;

		busy = go_on(late && !busy && has_exposure());
		if (late && !busy && has_exposure())
			break;
		wait_for_output(20);
		collect();
		now = uptime();
		if (now > told + 0.25) {
			tell_counts();
			told = now;
		}
	}
}

static int running(void)
{
	int i, nr = 0;

	for (i = 0; i < plan.nr_sides; i++)
		nr += plan.sides[i].pid > 0;
	return nr;
}

/* What runs for ever is ended; one that is deaf to that is stuck in the kernel. */
static void stop_sides(void)
{
	double until = uptime() + 10;
	char stuck[256] = "";
	size_t used = 0;
	int i, status;

	for (i = 0; i < plan.nr_sides; i++) {
		struct side *side = &plan.sides[i];

		if (side->pid <= 0)
			continue;
		if (!side->loop)
			say("# kvet ended %s late", plan.commands[side->first + side->at].name);
		/* a module is removed by its own process, which has little left to do */
		if (!plan.commands[side->first + side->at].is_module)
			kill(-side->pid, SIGKILL);
	}
	while (running() && uptime() < until) {
		for (i = 0; i < plan.nr_sides; i++) {
			struct side *side = &plan.sides[i];

			read_output(side);
			if (side->pid <= 0 || waitpid(side->pid, &status, WNOHANG) != side->pid)
				continue;
			close_output(side);
			side->pid = 0;
			/* one run that lasts as long as the workload is a run */
			side->runs += side->loop;
		}
		usleep(50000);
		say("# kvet stage stop %.3f", uptime());
	}
	for (i = 0; i < plan.nr_sides && used < sizeof(stuck); i++)
		if (plan.sides[i].pid > 0)
			used += snprintf(stuck + used, sizeof(stuck) - used, "%s%s",
					 used ? "," : "", plan.sides[i].name);
	if (used) {
		write_file("/proc/sysrq-trigger", "w");
		say("# kvet state sides_stuck %s", stuck);
	}
}

static void tell_ends(void)
{
	int i;

	for (i = 0; i < plan.nr_commands; i++) {
		struct command *command = &plan.commands[i];

		if (command->bad)
			say("# kvet exit %s %d %d %ld", command->name, command->last,
			    command->expect, command->bad);
	}
	for (i = 0; i < plan.nr_sides; i++) {
		struct side *side = &plan.sides[i];

		if (side->lost)
			say("# kvet state lines_lost_%s %ld", side->name, side->lost);
		/* what could not be started says nothing of the kernel */
		result(plan.commands[side->first + side->at].last != NOT_STARTED, side->name, NULL);
	}
}

static int start_counter(void)
{
	int error = plan.watches[0] ? load_module("kvet_count", plan.watches) : 0;

	if (error)
		say("# kvet state module_error %d", error);
	return error;
}

void run_given(void)
{
	int i;

	if (read_plan(&plan)) {
		result(0, "plan", NULL);
		return;
	}
	say("1..%d", plan.nr_sides);
	export_options();
	system("/bin/busybox --install -s /bin");
	say("# kvet stage start %.3f", uptime());
	if (start_counter()) {
		result(0, "counter", NULL);
		return;
	}
	for (i = 0; i < plan.nr_needed; i++)
		load_module(plan.needed[i], "");
	began = uptime();
	run_sides(option_number("seconds", 5));
	say("# kvet stage stop %.3f", uptime());
	tell_counts();
	stop_sides();
	tell_counts();
	tell_ends();
}
