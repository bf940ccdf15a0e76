/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A race in C: sides that meet in the kernel, in a file of its own.
 *
 * A round is setup(), all sides at once, each in a thread of its own, check() and
 * teardown(). Under controlled schedules there is a round for each order of the sides'
 * instructions; at random there are as many as there is time for, with delays at random
 * instructions. docs/workloads.md leads through an example.
 */
#ifndef KVET_ENGINE_H
#define KVET_ENGINE_H

#include <linux/mm.h>
#include <linux/module.h>

#define KVET_MAX_SIDES	3

struct kvet_side {
	const char *name;	/* a word: "reader" */
	char letter;		/* in schedules and diagrams: 'R' */
	void (*run)(void);	/* its part of a round; may sleep, has to end by itself */
	const char *title;	/* of its column, if the name says too little */
	bool no_memory;		/* the race's functions get none while it runs */
};

struct kvet_race {
	const char *name;
	/* where the sides meet: the instructions of these kernel functions, and of helpers that
	 * stand next to them, are the points of schedules; one that is not there is left out
	 */
	const char *const *functions;	/* the last is NULL */
	const struct kvet_side *sides;	/* the name of the last is NULL */
	int (*setup)(void);	/* makes what they meet on, and declares it; -errno ends the run */
	void (*check)(void);	/* all are done: kvet_fail() for what must not be */
	void (*teardown)(void);	/* after check(): gives back what is left; not after a failure */

	/* These may be left out. */
	int (*init)(void);	/* once, before anything else; -errno: this kernel will not do */
	const char *sets;	/* FORM:SIDE,SIDE+FORM:... for rounds of several forms or sides */
	int (*choose)(const char *form);	/* the form of the rounds to come */
	const char *needs;	/* a count: none in rounds of each side alone, nothing to explore */
	const char *nothing;	/* and what that means, in words */
	/* which mistake leads to @addr, where nothing is mapped; in a probe: must not sleep */
	const char *(*explain)(unsigned long addr);
};

/* Once, at the end of the file. */
#define KVET_RACE(race)						\
	static int __init kvet_this_race(void)			\
	{							\
		return kvet_race_add(&(race));			\
	}							\
	module_init(kvet_this_race);				\
	MODULE_DESCRIPTION("A race for kvet");			\
	MODULE_LICENSE("GPL")

int kvet_race_add(const struct kvet_race *race);

/*
 * What the sides share, declared in setup() or by a side, for this round. Accesses to it are
 * points. One after it was given back is a finding: by kfree(), kvfree(), kfree_rcu(),
 * kmem_cache_free() for an object, the last reference for a page (of order 0). The engine sees
 * that and keeps the memory until the round ends, so nobody else gets it. An object that is
 * still there when all rounds are over has leaked, if there are more and more of them.
 */
void kvet_watch(const void *object, size_t size, const char *name);	/* 0: all of kmalloc()'s */
void kvet_watch_page(struct page *page, const char *name);
/* Given back in a way of its own (to a pool, say): nobody may touch it from here on. */
void kvet_given_back(const void *object);
/* Has it been, in this round? For check(). */
bool kvet_was_given_back(const void *object);
/* Shared words that are not given back: nothing but points. */
void kvet_share(const void *words, size_t size, const char *name);

/* A finding of a side or of check(); under controlled schedules the round fails. */
void kvet_fail(const char *format, ...) __printf(1, 2);
/* Counts in the exposure record: `floor:' of workload.yaml may ask for it. A word, a constant. */
void kvet_hit(const char *counter);

/* The side that the current task is inside of, or NULL; for probes of a race's own. */
const struct kvet_side *kvet_this_side(void);

/* A function or variable that modules may not link to; NULL when this kernel has none. */
void *kvet_lookup(const char *name);
/* Below @bound, from the seed of the attempt. */
u32 kvet_pick(u32 bound);

#endif /* KVET_ENGINE_H */
