// SPDX-License-Identifier: GPL-2.0-only
/* The workload provoke: makes the mistakes that kvet.crash names, one after the other. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest.h"

#define OWN_TESTS "/sys/kernel/debug/kvet-provoke/run"
#define KERNEL_TESTS "/sys/kernel/debug/provoke-crash/DIRECT"
#define KMEMLEAK "/sys/kernel/debug/kmemleak"
#define MOUNTED "/tmp/provoke"
#define PATIENCE_S 200

/* Between these lines of the console stands what the kernel said about NAME. */
static void mark(const char *what, const char *name)
{
	char line[128];

	snprintf(line, sizeof(line), "kvet: provoke %s %s\n", what, name);
	write_file("/dev/kmsg", line);
}

/* Watchdogs bark within seconds, each before the next; and an oops ends its task alone. */
static void set_watchdogs(const char *name)
{
	int stuck_cpu = !strcmp(name, "soft-lockup") || !strcmp(name, "hard-lockup");

	write_file("/proc/sys/kernel/panic_on_oops", option_number("fatal", 0) ? "1" : "0");
	write_file("/proc/sys/kernel/watchdog_thresh", stuck_cpu ? "2" : "30");
	write_file("/proc/sys/kernel/hung_task_timeout_secs", "3");
	write_file("/proc/sys/net/core/netdev_unregister_timeout_secs", "1");
	write_file("/sys/module/rcupdate/parameters/rcu_cpu_stall_timeout",
		   strcmp(name, "rcu-stall") ? "60" : "4");
	write_file("/sys/module/workqueue/parameters/watchdog_thresh",
		   strcmp(name, "work-stuck") ? "60" : "4");
	write_file("/sys/module/kmemleak/parameters/verbose", "1");
}

static int needs_mount(const char *name)
{
	return !strcmp(name, "inode-kept") || !strcmp(name, "dentry-kept");
}

/* What a test needs around it. */
static void before(const char *name)
{
	if (!needs_mount(name))
		return;
	mkdir(MOUNTED, 0700);
	mount("tmpfs", MOUNTED, "tmpfs", 0, NULL);
	write_file(MOUNTED "/file", "kept\n");
}

static void after(const char *name)
{
	if (!strcmp(name, "leak")) {
		/* an object is a leak once it is five seconds old */
		sleep(7);
		write_file(KMEMLEAK, "scan");
		sleep(1);
		write_file(KMEMLEAK, "scan");
	}
	if (needs_mount(name))
		umount(MOUNTED);
}

/* LKDTM's names are in capitals. */
static void child(const char *name)
{
	before(name);
	if (write_file(name[0] < 'a' ? KERNEL_TESTS : OWN_TESTS, name))
		mark("returned", name);
	after(name);
	_exit(0);
}

static void provoke(const char *name)
{
	double until = uptime() + PATIENCE_S;
	pid_t pid;

	set_watchdogs(name);
	mark("begin", name);
	pid = fork();
	if (!pid)
		child(name);
	while (waitpid(pid, NULL, WNOHANG) != pid && uptime() < until) {
		usleep(250000);
		say("# provoking %s", name);
	}
	/* what the kernel says late still belongs to it */
	usleep(500000);
	mark("end", name);
}

void run_provoke(void)
{
	char names[512];
	char *name, *rest = names;

	say("1..1");
	say("# kvet stage start %.3f", uptime());
	snprintf(names, sizeof(names), "%s", option("crash", "WARNING"));
	load_module("kvet_provoke", "");
	while ((name = strsep(&rest, "+")))
		provoke(name);
	result(1, "provoke", NULL);
}
