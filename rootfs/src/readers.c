// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a reader of kernel_page_tables gets is checked: ranges are ordered, do not
 * overlap, lie in a region of the kernel's half, have the size they claim and
 * attributes that a mapping can have; a churned range is empty or maps what the
 * module maps there, nothing else.
 */
#include <stdio.h>
#include <string.h>

#include "guest.h"

#define MAX_AREAS 16
#define KERNEL_HALF 0xfff0000000000000UL

static struct { unsigned long from, to; } areas[MAX_AREAS];
static int nr_areas;
static int in_region;

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

void read_areas(void)
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
	if (has_word(text, "RW") == has_word(text, "ro"))
		return 0;
	if (has_word(text, "NX") == has_word(text, "x"))
		return 0;
	if (!has_word(text, "AF") || !strstr(text, " MEM/") == !strstr(text, " DEVICE/"))
		return 0;
	return !churned || (has_word(text, "NX") &&
			    (has_word(text, "DEVICE/nGnRE") || has_word(text, "MEM/NORMAL") ||
			     has_word(text, "MEM/NORMAL-TAGGED")));
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

const char *bad_dump_line(char *text, long length)
{
	unsigned long end = 0;
	char *line, *next;

	in_region = 0;

	for (line = text; line < text + length; line = next) {
		next = memchr(line, '\n', text + length - line);
		if (!next)
			break;
		*next++ = '\0';
		if (!line_is_sane(line, &end))
			return line;
	}
	return NULL;
}
