// SPDX-License-Identifier: GPL-2.0
/*
 * Objects that nobody gives back. One that is kept is no leak: it may be in a pool, or
 * go back by a work, or after a grace period. A leak grows with the rounds: what is left
 * over gets time, and is then looked at through two further batches of rounds.
 */
#include <linux/delay.h>
#include <linux/rcupdate.h>

#include "engine.h"
#include "explore.h"
#include "findings.h"

#define MOST		512
#define SETTLE_MS	1000
#define STEP_MS		50
#define BATCH		32	/* rounds */

static struct {
	unsigned long start;	/* 0: none */
	const char *name;
} left[MOST];
static atomic_t nr_left;

void kvet_leak_expect(unsigned long start, const char *name)
{
	unsigned long flags = kvet_lock();
	unsigned int i;

	for (i = 0; i < MOST && left[i].start; i++)
		;
	if (i < MOST) {
		left[i].name = name;
		left[i].start = start;
		atomic_inc(&nr_left);
	}
	kvet_unlock(flags);
}

void kvet_leak_gone(unsigned long start)
{
	unsigned long flags;
	unsigned int i;

	if (!start || !atomic_read(&nr_left))
		return;
	flags = kvet_lock();
	for (i = 0; i < MOST; i++) {
		if (left[i].start != start)
			continue;
		left[i].start = 0;
		atomic_dec(&nr_left);
	}
	kvet_unlock(flags);
}

/* What is still there after deferred work had its time. */
static unsigned int settled(void)
{
	unsigned int waited;

	rcu_barrier();
	for (waited = 0; atomic_read(&nr_left) && waited < SETTLE_MS; waited += STEP_MS)
		msleep(STEP_MS);
	return atomic_read(&nr_left);
}

static const char *name_of_one(void)
{
	unsigned int i;

	for (i = 0; i < MOST; i++)
		if (left[i].start)
			return left[i].name;
	return "object";
}

static void forget(void)
{
	unsigned long flags = kvet_lock();

	memset(left, 0, sizeof(left));
	atomic_set(&nr_left, 0);
	kvet_unlock(flags);
}

void kvet_leaks_look(void)
{
	unsigned int before = settled(), batch, now;

	if (before == MOST) {
		/* no room to see more of them: begin again */
		forget();
		if (kvet_loop_some(BATCH))
			return;
		before = settled();
	}
	for (batch = 0; before && batch < 2; batch++) {
		if (kvet_loop_some(BATCH))
			return;
		now = settled();
		if (now <= before)
			return;
		before = now;
	}
	if (before)
		kvet_found("object-leak", kvet_race->name, "a %s is never given back",
			   name_of_one());
}
