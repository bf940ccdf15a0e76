// SPDX-License-Identifier: GPL-2.0-only
/*
 * PID 1 of a kvet guest: mounts, runs the workload that the command line names
 * and reports through its own virtio-serial port; or gives a shell.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest.h"

static void mounts(void)
{
	mount("proc", "/proc", "proc", 0, NULL);
	mount("sysfs", "/sys", "sysfs", 0, NULL);
	mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	mount("debugfs", "/sys/kernel/debug", "debugfs", 0, NULL);
	mount("tmpfs", "/tmp", "tmpfs", 0, NULL);
	mkdir("/dev/pts", 0755);
	mount("devpts", "/dev/pts", "devpts", 0, NULL);
}

/* `NAME VALUE' of a /proc file whose lines are name and number. */
static long proc_number(const char *path, const char *name)
{
	static char text[65536];
	char *found;

	if (read_file(path, text, sizeof(text)) < 0)
		return -1;
	found = *name ? strstr(text, name) : text;
	return found ? atol(found + strcspn(found, "0123456789")) : -1;
}

/* Where the kernel keeps its vmcoreinfo note: a memory dump needs it to be read. */
static void report_vmcoreinfo(void)
{
	unsigned long address, size;
	char text[64];

	if (read_file("/sys/kernel/vmcoreinfo", text, sizeof(text)) > 0 &&
	    sscanf(text, "%lx %lx", &address, &size) == 2)
		say("# kvet state vmcoreinfo %#lx+%#lx", address, size);
}

/* What a board calls itself; a guest has a virtio port and need not say. */
static void report_board(void)
{
	char text[128];

	if (!strcmp(option("report", "port"), "console") &&
	    (read_file("/proc/device-tree/model", text, sizeof(text)) > 0 ||
	     read_file("/sys/class/dmi/id/product_name", text, sizeof(text)) > 0))
		say("# kvet state board %.*s", (int)strcspn(text, "\n"), text);
}

static void report_state(long tables_before)
{
	say("# kvet state tainted %ld", proc_number("/proc/sys/kernel/tainted", ""));
	say("# kvet state debug_locks %ld", proc_number("/proc/lockdep_stats", "debug_locks:"));
	say("# kvet state nr_page_table_pages_before %ld", tables_before);
	say("# kvet state nr_page_table_pages_after %ld",
	    proc_number("/proc/vmstat", "nr_page_table_pages"));
}

static void run(void)
{
	const char *workload = option("workload", "ptdump-race");
	long tables;

	open_report();
	say("KTAP version 1");
	say("# kvet stage init %.3f", uptime());
	report_vmcoreinfo();
	report_board();
	tables = proc_number("/proc/vmstat", "nr_page_table_pages");
	if (!strcmp(workload, "ptdump-race"))
		run_ptdump_race();
	else if (!strcmp(workload, "explore") || !strcmp(workload, "ptdump-explore"))
		run_explore();
	else if (!strcmp(workload, "test-vmalloc"))
		run_test_vmalloc();
	else if (!strcmp(workload, "vmalloc-cost"))
		run_vmalloc_cost();
	else if (!strcmp(workload, "provoke"))
		run_provoke();
	else if (!strcmp(workload, "vmalloc-contention"))
		run_vmalloc_contention();
	else if (!strcmp(workload, "given"))
		run_given();
	else
		result(0, "workload", "SKIP no such workload");
	say("# kvet stage done %.3f", uptime());
	report_state(tables);
	say("# kvet end");
}

static void shell(void)
{
	char *const argv[] = { "sh", "-l", NULL };
	char *const env[] = { "HOME=/", "TERM=vt102", "PATH=/bin:/sbin:/usr/bin:/usr/sbin",
			      "PS1=kvet# ", NULL };
	pid_t child = fork();
	int console;

	if (!child) {
		setsid();
		console = open("/dev/ttyAMA0", O_RDWR);
		dup2(console, 0);
		dup2(console, 1);
		dup2(console, 2);
		ioctl(0, TIOCSCTTY, 1);
		execve("/bin/sh", argv, env);
		_exit(127);
	}
	while (waitpid(-1, NULL, 0) != child)
		;
}

int main(int argc, char **argv)
{
	if (getpid() != 1) {
		/* `stress' in the shell: the workload of the command line, reported here */
		refuse_outside_guest();
		run();
		return 0;
	}
	mounts();
	if (!strcmp(option("mode", "run"), "shell"))
		shell();
	else
		run();
	sync();
	/* a board comes back to its own system */
	reboot(strcmp(option("end", "off"), "reboot") ? RB_POWER_OFF : RB_AUTOBOOT);
	return 0;
}
