/* SPDX-License-Identifier: GPL-2.0-only */
/* What the guest's programs share: the command line, the report port, small files. */
#ifndef KVET_GUEST_H
#define KVET_GUEST_H

#include <stddef.h>
#include <time.h>

#define CHURN_STATS "/sys/kernel/debug/kvet/report"
#define CHURN_STOP "/sys/kernel/debug/kvet/stop"
#define CHURN_AREAS "/sys/kernel/debug/kvet/areas"
#define DUMP "/sys/kernel/debug/kernel_page_tables"

/* Value of kvet.NAME on the kernel command line, or FALLBACK. */
const char *option(const char *name, const char *fallback);
double option_number(const char *name, double fallback);

/* Ends the program unless the kernel command line is that of a kvet guest. */
void refuse_outside_guest(void);

/* Opens the port called kvet.report; say() writes a line to it, whole or not at all. */
void open_report(void);
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

double uptime(void);
/*
 * The host takes what was said when it gets to it, and says so by an interrupt.
 * What follows begins at one time in all boots, whenever that was.
 */
void wait_until(time_t seconds);
/* Reads a small file, cut at SIZE - 1; returns its length or -1. */
long read_file(const char *path, char *buffer, size_t size);
/* Writes VALUE to a file, made when absent; returns 0 or -1. */
int write_file(const char *path, const char *value);
/* Passes each line of FILE on to the report with `# kvet ' before it. */
void relay(const char *path);

/* One result line of KTAP. */
void result(int ok, const char *name, const char *note);

/* Workloads; each returns when its time is up. */
void run_ptdump_race(void);
void run_test_vmalloc(void);
void run_vmalloc_cost(void);
void run_provoke(void);
void run_vmalloc_contention(void);

/* Loads /lib/modules/NAME.ko with PARAMS; returns 0 or -errno. */
int load_module(const char *name, const char *params);

/* Readers of the dump, each a process; counts are shared with the parent. */
struct reader_counts {
	long reads;
	long bytes;
	long garbage;
	double longest;
};
void start_readers(int count);
void stop_readers(void);
long reader_ticks(void);
const struct reader_counts *reader_counts(void);
void report_readers(void);

#endif
