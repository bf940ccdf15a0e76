// SPDX-License-Identifier: GPL-2.0-only
/*
 * The workload vmalloc-contention: the race module without its probes, in
 * phases that differ in how often walks are made. Nothing is said before the
 * end, since the host answers at times of its own.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "guest.h"

#define PHASE "/sys/kernel/debug/kvet/phase"
#define GAP "/sys/kernel/debug/kvet/gap"
#define LOCK_STAT "/proc/lock_stat"

/* Microseconds between two walks; the first is the module's word for no walks. */
static const struct phase {
	const char *name;
	unsigned int gap;
} phases[] = {
	{ "never", 4294967294U }, { "30000", 30000 }, { "10000", 10000 }, { "3000", 3000 },
	{ "1000", 1000 }, { "300", 300 }, { "100", 100 }, { "0", 0 },
};

#define NR_PHASES (int)(sizeof(phases) / sizeof(phases[0]))

static char told[256 << 10];
static size_t used;
static char text[1 << 20];
static long freers, walks;

static void __attribute__((format(printf, 1, 2))) keep(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	used += vsnprintf(told + used, sizeof(told) - used, format, args);
	va_end(args);
	if (used >= sizeof(told))
		used = sizeof(told) - 1;
}

/* The figures of one phase, NAME VALUE UNIT a line. */
static void keep_phase(const char *name)
{
	char *line, *rest = text;

	if (read_file(PHASE, text, sizeof(text)) < 0)
		return;
	while ((line = strsep(&rest, "\n"))) {
		if (*line)
			keep("gap_%s.%s\n", name, line);
		sscanf(line, "freer.n %ld", &freers);
		sscanf(line, "walker.n %ld", &walks);
	}
}

/* What times of the kernel are in: of a clock that ticks once an instruction, or real. */
static const char *clock_unit(void)
{
	if (!strcmp(option("accel", ""), "kvm"))
		return "ns";
	return strstr(told, " insns") ? "ticks" : NULL;
}

/* What the kernel counted of the lock of init_mm, for one way to take it; it says microseconds. */
static void keep_lock(const char *phase, const char *side, const char *line)
{
	double wait_most, wait_all, hold_most, hold_all;
	unsigned long contended, acquired;
	const char *unit = clock_unit();

	if (sscanf(line, "%*u %lu %*f %lf %lf %*f %*u %lu %*f %lf %lf", &contended, &wait_most,
		   &wait_all, &acquired, &hold_most, &hold_all) != 6)
		return;
	keep("gap_%s.lock_%s.contentions %lu times\n", phase, side, contended);
	keep("gap_%s.lock_%s.acquisitions %lu times\n", phase, side, acquired);
	if (!unit)
		return;
	keep("gap_%s.lock_%s.wait_longest %.0f %s\n", phase, side, wait_most * 1000, unit);
	keep("gap_%s.lock_%s.wait_total %.0f %s\n", phase, side, wait_all * 1000, unit);
	keep("gap_%s.lock_%s.hold_longest %.0f %s\n", phase, side, hold_most * 1000, unit);
	keep("gap_%s.lock_%s.hold_total %.0f %s\n", phase, side, hold_all * 1000, unit);
}

static void keep_locks(const char *phase)
{
	static const char name[] = "(init_mm).mmap_lock";
	char *line, *rest = text, *found;

	if (read_file(LOCK_STAT, text, sizeof(text)) < 0)
		return;
	while ((line = strsep(&rest, "\n"))) {
		found = strstr(line, name);
		if (!found)
			continue;
		found += strlen(name);
		if (!strncmp(found, "-R:", 3))
			keep_lock(phase, "read", found + 3);
		else if (!strncmp(found, "-W:", 3))
			keep_lock(phase, "write", found + 3);
		else if (*found == ':') /* nobody took it for reading */
			keep_lock(phase, "write", found + 1);
	}
}

static void run_phase(const struct phase *phase, double us)
{
	char number[16];

	snprintf(number, sizeof(number), "%u", phase->gap);
	write_file(GAP, number);
	/* the walk that is under way still belongs to the phase before */
	usleep(20000);
	write_file(LOCK_STAT, "0");
	read_file(PHASE, text, sizeof(text));
	usleep(us);
	keep_phase(phase->name);
	keep_locks(phase->name);
}

static void tell(void)
{
	char *line, *rest = told;

	while ((line = strsep(&rest, "\n")))
		if (*line)
			say("# kvet metric %s", line);
}

void run_vmalloc_contention(void)
{
	char params[200];
	int error, i;
	long calm = 0;

	say("1..1");
	say("# kvet stage start %.3f", uptime());
	wait_until(2);
	snprintf(params, sizeof(params),
		 "threads=%.0f walkers=%.0f wx=0 pud=%.0f amplify=0 watch=0 rest=%.0f gap=%u timed=%d",
		 option_number("threads", 2), option_number("walkers", 1),
		 option_number("pud", 0), option_number("rest", 200), phases[0].gap,
		 !strcmp(option("accel", ""), "kvm"));
	error = load_ptdump(params);
	if (error)
		say("# kvet state module_error %d", error);
	for (i = 0; i < NR_PHASES && !error; i++) {
		run_phase(&phases[i], option_number("phase_us", 100000));
		calm = i ? calm : freers;
	}
	tell();
	relay(CHURN_STOP);
	relay(CHURN_END);
	/* blocks were made with nobody about, and walks while they were made */
	result(calm > 0 && freers > 0 && walks > 0, "contention", NULL);
}
