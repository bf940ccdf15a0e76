// SPDX-License-Identifier: GPL-2.0
/*
 * Rounds at random: the sides run as they would, and pause at instructions that
 * chance picks, of those at which schedules switch. A pause has interrupts as the
 * probed code has them, and sleeps where that may.
 */
#include <linux/delay.h>
#include <linux/ktime.h>
#include <linux/sched.h>

#include "engine.h"
#include "explore.h"

#define ODDS		16	/* of a pass, one in which is a pause */
#define SHORT_US	20
#define LONG_US		400	/* one pause in eight */

static bool looping;

bool kvet_loops(void)
{
	return READ_ONCE(looping);
}

/* Two sides have come to the race's own code, and neither is done. */
static void count_meeting(struct kvet_thread *me)
{
	unsigned int i;

	WRITE_ONCE(me->came, true);
	for (i = 0; i < kvet_nr_threads; i++)
		if (i != me->number && READ_ONCE(kvet_threads[i].came) &&
		    !READ_ONCE(kvet_threads[i].done))
			kvet_hit("met");
}

bool kvet_loop_wants_pause(struct kvet_thread *me)
{
	if (!me->came)
		count_meeting(me);
	return !kvet_pick(ODDS);
}

void kvet_loop_pause(void)
{
	u32 us = kvet_pick(kvet_pick(8) ? SHORT_US : LONG_US);

	kvet_hit("delays");
	if (preemptible() && !rcu_preempt_depth() && READ_ONCE(current->__state) == TASK_RUNNING)
		usleep_range(us, us + 10);
	else
		udelay(us);
}

static int run_once(void)
{
	const struct kvet_schedule plan = { };
	int ret = kvet_round_begin();

	if (ret)
		return ret;
	kvet_round_run(&plan);
	ret = kvet_round_end();
	if (!ret)
		kvet_points_drop_loops();
	cond_resched();
	return ret;
}

/* So many rounds, as loops or schedules run them: 0, 1 when one failed, or -errno. */
int kvet_loop_some(unsigned int rounds)
{
	int ret = 0;

	while (!ret && rounds--)
		ret = run_once();
	return ret;
}

/* 0 when the time is up, 1 when a round failed, or -errno of the race. */
int kvet_loop(unsigned int ms)
{
	ktime_t end = ktime_add_ms(ktime_get(), ms);
	int ret = 0;

	looping = true;
	while (!ret && ktime_before(ktime_get(), end)) {
		ret = run_once();
		if (ret >= 0)
			kvet_hit("rounds");
	}
	looping = false;
	return ret;
}
