/* SPDX-License-Identifier: GPL-2.0-only */
/* What the guest's programs share: the command line, the report port, small files. */
#ifndef KVET_GUEST_H
#define KVET_GUEST_H

#include <stddef.h>
#include <sys/types.h>
#include <time.h>

#define CHURN_STATS "/sys/kernel/debug/kvet/report"
#define CHURN_STOP "/sys/kernel/debug/kvet/stop"
#define CHURN_END "/sys/kernel/debug/kvet/end"
#define CHURN_PROGRESS "/sys/kernel/debug/kvet/progress"
#define CHURN_AREAS "/sys/kernel/debug/kvet/areas"
#define RESTLESS "/sys/module/kvet_ptdump/parameters/restless"
#define DOOR_PAUSE "/sys/kernel/debug/kvet/pause"
#define DOOR_USER "/sys/kernel/debug/kvet/user"
#define DOOR_SIGNAL "/sys/kernel/debug/kvet/signal"
#define DUMP "/sys/kernel/debug/kernel_page_tables"
#define DUMP_WX "/sys/kernel/debug/check_wx_pages"
#define DUMP_EFI "/sys/kernel/debug/efi_page_tables"

/* Value of kvet.NAME on the kernel command line, or FALLBACK. */
const char *option(const char *name, const char *fallback);
double option_number(const char *name, double fallback);

/* Ends the program unless the kernel command line is that of a kvet guest. */
void refuse_outside_guest(void);

/* Opens the port called kvet.report, or the kernel's log with kvet.report=console; say() writes a line to it, whole or not at all. */
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
/* Writes VALUE to a file, made when absent; returns 0, or -1 and errno. */
int write_file(const char *path, const char *value);
/* Passes each line of FILE on to the report with `# kvet ' before it. */
void relay(const char *path);

/* One result line of KTAP. */
void result(int ok, const char *name, const char *note);

/* Workloads; each returns when its time is up. */
void run_ptdump_race(void);
void run_explore(void);
void run_test_vmalloc(void);
void run_vmalloc_cost(void);
void run_provoke(void);
void run_vmalloc_contention(void);
void run_given(void);

/* Loads /lib/modules/NAME.ko with PARAMS; returns 0 or -errno. */
int load_module(const char *name, const char *params);
/* Loads the engine, and the race between page tables freed and walked with PARAMS. */
int load_ptdump(const char *params);

/* Ranges that the module churns: a dump may say only certain things of them. */
void read_areas(void);
/* The first line of a dump that cannot be true, or NULL; cuts TEXT into lines. */
const char *bad_dump_line(char *text, long length);

/* What the processes of the workload do; the module knows them by their names. */
enum task_kind { READER, WALKER, DOOMED_WALKER, WX_READER, FREER, DOOMED_FREER };
/* Starts COUNT processes of KIND, each of which works until it is killed. */
void start_tasks(enum task_kind kind, int count);
void stop_tasks(void);
/* Operations that all processes of KIND have done. */
long ops_of(enum task_kind kind);
void report_tasks(void);
/* Which files of debugfs the kernel has. */
int has_door(const char *path);
void report_missing_doors(void);

/* A process of the workload, for whoever watches it. */
struct worker {
	char name[20];
	pid_t pid;
	enum task_kind kind;
	long ops;		/* so far */
	double longest;		/* of them, in seconds */
};
int nr_workers(void);
const struct worker *worker(int i);

/* Processor time of a task in ticks of a hundredth of a second, -1 when it is gone. */
long ticks_of(pid_t pid);
/* Looks at who got on since the last time; true once somebody got nowhere for too long. */
int watch_progress(void);
/* Whether somebody has not got on for a moment: more time will tell. */
int somebody_waits(void);
/*
 * From now on freers do not rest: whoever begins again and again in one operation
 * is kept from its end by them, and not by chance.
 */
void press(void);
/* Whether nobody at all has got on for three seconds. */
int nobody_moves(void);
void report_progress(void);

#endif
