// SPDX-License-Identifier: GPL-2.0
/* Counters of the exposure record, by name: a race needs no list of them. */
#include <linux/atomic.h>
#include <linux/string.h>

#include "engine.h"

#define MOST_COUNTERS	32

static struct {
	const char *name;
	atomic_long_t value;
} counters[MOST_COUNTERS];

static atomic_long_t *counter_of(const char *name, bool make)
{
	const char *known;
	unsigned int i;

	for (i = 0; i < MOST_COUNTERS; i++) {
		known = READ_ONCE(counters[i].name);
		if (!known && make)
			known = cmpxchg(&counters[i].name, NULL, name) ?: name;
		if (!known)
			return NULL;
		if (!strcmp(known, name))
			return &counters[i].value;
	}
	return NULL;
}

void kvet_hit_many(const char *counter, long times)
{
	atomic_long_t *value = counter_of(counter, true);

	if (value)
		atomic_long_add(times, value);
}
EXPORT_SYMBOL_GPL(kvet_hit_many);

void kvet_hit(const char *counter)
{
	kvet_hit_many(counter, 1);
}
EXPORT_SYMBOL_GPL(kvet_hit);

long kvet_counted(const char *counter)
{
	atomic_long_t *value = counter_of(counter, false);

	return value ? atomic_long_read(value) : 0;
}
EXPORT_SYMBOL_GPL(kvet_counted);

void kvet_counts_show(struct seq_file *m)
{
	unsigned int i;

	for (i = 0; i < MOST_COUNTERS && counters[i].name; i++)
		seq_printf(m, "exposure %s %ld\n", counters[i].name,
			   atomic_long_read(&counters[i].value));
}
EXPORT_SYMBOL_GPL(kvet_counts_show);
