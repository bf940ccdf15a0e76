// SPDX-License-Identifier: GPL-2.0
/*
 * Schedules drawn at random, where there are too many to run them all: PCT
 * (Burckhardt et al., ASPLOS 2010). Each side has a priority, and the highest
 * that can go on does. At d - 1 points, drawn from all, the one that is on falls
 * below all others. Of n sides with k points a bug that needs d orderings is
 * found by one schedule with a probability of at least 1 / (n k^(d-1)).
 *
 * Everything follows from the seed and the number of points, which are the
 * schedule's name: the same name runs the same schedule again.
 */
#include <linux/prandom.h>

#include "engine.h"
#include "explore.h"

/* Priorities and points of change of a round that begins. */
void kvet_sample_draw(struct kvet_round *round)
{
	struct rnd_state random;
	unsigned int i, other;

	prandom_seed_state(&random, round->plan.sample);
	round->step = 0;
	for (i = 0; i < kvet_nr_threads; i++)
		round->priority[i] = i + 1;
	for (i = kvet_nr_threads - 1; i; i--) {
		other = kvet_random(&random, i + 1);
		swap(round->priority[i], round->priority[other]);
	}
	for (i = 0; i < round->plan.count; i++)
		round->changes[i] = 1 + kvet_random(&random, round->plan.steps);
	for (i = 0; i < kvet_nr_threads; i++)
		if (round->priority[i] == kvet_nr_threads)
			round->plan.first = i;
}

/* Has @me, at its next point, to give way to the others? */
bool kvet_sample_changes(struct kvet_round *round, struct kvet_thread *me)
{
	unsigned int i;

	round->step++;
	for (i = 0; i < round->plan.count; i++) {
		if (round->changes[i] != round->step)
			continue;
		/* each change a priority of its own, below those of the beginning */
		round->priority[me->number] = -(int)(i + 1);
		return true;
	}
	return false;
}

/* The side of highest priority, but for @from, that waits to go on; else one that sleeps. */
int kvet_sample_next(const struct kvet_round *round, unsigned int from)
{
	int best = -1, sleeper = -1;
	unsigned int i;

	for (i = 0; i < kvet_nr_threads; i++) {
		if (i == from || READ_ONCE(kvet_threads[i].done))
			continue;
		if (!READ_ONCE(kvet_threads[i].parked))
			sleeper = i;
		else if (best < 0 || round->priority[i] > round->priority[best])
			best = i;
	}
	return best < 0 ? sleeper : best;
}
