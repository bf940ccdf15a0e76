// SPDX-License-Identifier: GPL-2.0-only
/*
 * Readers of /sys/kernel/debug/kernel_page_tables, each a process of its own.
 * What they get is checked: ranges are ordered, do not overlap, lie in a region
 * of the kernel's half, have the size they claim and attributes that a mapping
 * can have; a churned range is empty or maps device memory, nothing else.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "guest.h"

#define MAX_READERS 8
#define MAX_AREAS 16
#define KERNEL_HALF 0xfff0000000000000UL
#define DUMP_BYTES (4 << 20)

static pid_t readers[MAX_READERS];
static int nr_readers;
static struct reader_counts *counts;
static char *bad_line;
static struct { unsigned long from, to; } areas[MAX_AREAS];
static int nr_areas;
static int in_region;

const struct reader_counts *reader_counts(void)
{
	return counts;
}

static unsigned long unit_of(char letter)
{
	switch (letter) {
	case 'K': return 1UL << 10;
	case 'M': return 1UL << 20;
	case 'G': return 1UL << 30;
	case 'T': return 1UL << 40;
	case 'P': return 1UL << 50;
	case 'E': return 1UL << 60;
	}
	return 0;
}

/* Ranges that the module's threads churn: what they map there is device memory. */
static void read_areas(void)
{
	char text[4096], *line, *rest = text;

	if (read_file(CHURN_AREAS, text, sizeof(text)) <= 0)
		return;
	while ((line = strsep(&rest, "\n")) && nr_areas < MAX_AREAS)
		nr_areas += sscanf(line, "%lx %lx", &areas[nr_areas].from, &areas[nr_areas].to) == 2;
}

static int is_churned(unsigned long from, unsigned long to)
{
	int i;

	for (i = 0; i < nr_areas; i++)
		if (from < areas[i].to && to > areas[i].from)
			return 1;
	return 0;
}

static int has_word(const char *text, const char *word)
{
	const char *found = strstr(text, word);
	size_t length = strlen(word);

	for (; found; found = strstr(found + 1, word))
		if ((found == text || found[-1] == ' ') && (!found[length] || found[length] == ' '))
			return 1;
	return 0;
}

/*
 * Attributes of a mapping are all of it or none: whether it may be written and
 * run, the access flag that every kernel mapping has, one memory type.
 */
static int attributes_are_sane(const char *text, int churned)
{
	if (!text[strspn(text, " ")])
		return 1;
	if (has_word(text, "RW") == has_word(text, "ro") || has_word(text, "NX") == has_word(text, "x"))
		return 0;
	if (!has_word(text, "AF") || !strstr(text, " MEM/") == !strstr(text, " DEVICE/"))
		return 0;
	return !churned || (strstr(text, " DEVICE/nGnRE") && has_word(text, "NX"));
}

static int level_is_known(const char *level)
{
	static const char *const levels[] = { "PGD", "P4D", "PUD", "PMD", "PTE" };
	unsigned int i;

	for (i = 0; i < sizeof(levels) / sizeof(*levels); i++)
		if (!strcmp(level, levels[i]))
			return 1;
	return 0;
}

/* Whether LINE may follow a range that ended at *END; moves *END on. */
static int line_is_sane(const char *line, unsigned long *end)
{
	unsigned long from, to, size;
	char unit, level[8] = "";
	int length = 0;

	if (!strncmp(line, "---[ ", 5) || !*line) {
		in_region |= !!*line;
		return 1;
	}
	if (sscanf(line, "0x%16lx-0x%16lx %lu%c %7s%n", &from, &to, &size, &unit, level, &length) < 5)
		return 0;
	if (from < *end || to - from != size * unit_of(unit) || (from & 0xfff) || (to & 0xfff))
		return 0;
	/* the dump is of the kernel's half, and a marker names the region first */
	if (from < KERNEL_HALF || !in_region || !level_is_known(level))
		return 0;
	/* a block entry starts at a multiple of its size */
	if (strstr(line, " BLK ") && !strcmp(level, "PMD") && (from & 0x1fffff))
		return 0;
	if (strstr(line, " BLK ") && !strcmp(level, "PUD") && (from & 0x3fffffff))
		return 0;
	*end = to;
	return attributes_are_sane(line + length, is_churned(from, to));
}

static void check(char *text, long length)
{
	unsigned long end = 0;
	char *line, *next;

	in_region = 0;

	for (line = text; line < text + length; line = next) {
		next = memchr(line, '\n', text + length - line);
		if (!next)
			break;
		*next++ = '\0';
		if (line_is_sane(line, &end))
			continue;
		if (!__atomic_fetch_add(&counts->garbage, 1, __ATOMIC_RELAXED))
			snprintf(bad_line, 200, "%s", line);
		return;
	}
}

static void read_dumps(void)
{
	char *text = malloc(DUMP_BYTES);
	struct timespec before, after;
	double took;
	long length;

	read_areas();
	for (;;) {
		clock_gettime(CLOCK_MONOTONIC, &before);
		length = read_file(DUMP, text, DUMP_BYTES);
		clock_gettime(CLOCK_MONOTONIC, &after);
		if (length <= 0)
			_exit(1);
		took = after.tv_sec - before.tv_sec + (after.tv_nsec - before.tv_nsec) / 1e9;
		if (took > counts->longest)
			counts->longest = took;
		__atomic_fetch_add(&counts->reads, 1, __ATOMIC_RELAXED);
		__atomic_fetch_add(&counts->bytes, length, __ATOMIC_RELAXED);
		check(text, length);
		/* a full dump keeps the short walks out for most of a second: leave them room */
		usleep(random() % 400000);
	}
}

void start_readers(int count)
{
	counts = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	bad_line = (char *)(counts + 1);
	for (nr_readers = 0; nr_readers < count && nr_readers < MAX_READERS; nr_readers++) {
		readers[nr_readers] = fork();
		if (!readers[nr_readers]) {
			srandom(option_number("seed", 1) + nr_readers);
			read_dumps();
		}
	}
}

/* Processor time that the readers have spent, in ticks. */
long reader_ticks(void)
{
	static char text[4096];
	unsigned long user, system;
	long ticks = 0;
	char path[32];
	char *rest;
	int i;

	for (i = 0; i < nr_readers; i++) {
		snprintf(path, sizeof(path), "/proc/%d/stat", readers[i]);
		if (read_file(path, text, sizeof(text)) <= 0 || !(rest = strrchr(text, ')')))
			continue;
		/* fields 14 and 15 of proc(5), counted from the name, which is the second */
		if (sscanf(rest, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
			   &user, &system) == 2)
			ticks += user + system;
	}
	return ticks;
}

/*
 * A dump that has begun goes on to its end, on a slow kernel for seconds: until
 * then locks are held and tables are in use. A reader that sleeps in the kernel
 * for ever does not die; it is left alone, and said so in the report.
 */
void stop_readers(void)
{
	int i, left = nr_readers, idle = 0;
	long now, last = -1;

	for (i = 0; i < nr_readers; i++)
		kill(readers[i], SIGKILL);
	while (left > 0 && idle < 800) {
		while (waitpid(-1, NULL, WNOHANG) > 0)
			left--;
		now = reader_ticks();
		idle = now == last ? idle + 1 : 0;
		last = now;
		usleep(left > 0 ? 5000 : 0);
	}
	say("# kvet state readers_stuck %d", left);
}

void report_readers(void)
{
	say("# kvet metric dump_reads %ld reads", counts->reads);
	say("# kvet metric dump_bytes %ld bytes", counts->bytes);
	say("# kvet metric longest_read %.6f s", counts->longest);
	if (counts->garbage) {
		say("# kvet finding ptdump-garbage ptdump_walk ptdump-garbage: %.150s", bad_line);
		fprintf(stderr, "kvet: ptdump-garbage: %.150s\n", bad_line);
	}
}
