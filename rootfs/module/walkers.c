// SPDX-License-Identifier: GPL-2.0
/*
 * Walkers. They call ptdump_walk(), the function behind the debugfs file, so
 * that whatever a design puts round the walk is in force, but let it begin at
 * the lowest churned address: the linear map, where a full dump spends its
 * time, is left out, and thousands of short walks happen instead of a few.
 * They come and go with gaps of milliseconds: a static key that counts walkers
 * must be seen to drop, too.
 */
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/vmalloc.h>

#include "kvet_race.h"

#define MAX_WALKERS	8
#define DUMP_BYTES	(64 * 1024)

struct walker {
	struct task_struct *task;
	bool finished;
	struct rnd_state random;
};

static struct walker walkers[MAX_WALKERS];
static uint nr_walkers;

static void gap(struct walker *me)
{
	u32 fixed = READ_ONCE(kvet_gap), us;

	if (fixed != KVET_GAP_RANDOM) {
		/* up to half as long again, lest walks and freers keep step */
		if (fixed)
			usleep_range(fixed, fixed + 1 + kvet_random(&me->random, fixed / 2 + 1));
		cond_resched();
		return;
	}
	/* mostly short, now and then long enough for every walker to be gone */
	us = kvet_random(&me->random, 8) ? 300 : 5000;

	usleep_range(10, 10 + kvet_random(&me->random, us));
}

static int walk_short(void *data)
{
	struct walker *me = data;
	char *buffer = vmalloc(DUMP_BYTES);

	kvet_amplify_me();
	while (buffer && !READ_ONCE(kvet_stopping)) {
		/* a full buffer makes seq_printf() stop writing, not the walk */
		struct seq_file seq = { .buf = buffer, .size = DUMP_BYTES };
		struct addr_marker markers[] = {
			{ kvet_churn_base(), "kvet" },
			{ -1, NULL },
		};
		struct ptdump_info info = {
			.mm = kvet_sym.init_mm,
			.markers = markers,
			.base_addr = markers[0].start_address,
		};
		u32 since;

		if (READ_ONCE(kvet_gap) == KVET_GAP_NEVER) {
			msleep(1);
			continue;
		}

		since = kvet_clock();
		kvet_sym.ptdump_walk(&seq, &info);
		kvet_waited(KVET_WALKER, since);
		gap(me);
	}
	vfree(buffer);
	WRITE_ONCE(me->finished, true);
	return 0;
}

static int walk_wx(void *data)
{
	struct walker *me = data;
	void (*check_wx)(void) = kvet_sym.ptdump_check_wx;

	kvet_amplify_me();
	while (!READ_ONCE(kvet_stopping)) {
		/* walks all of the kernel's half and says so on the console */
		check_wx();
		kvet_count(KVET_wx_walks);
		/* a whole walk keeps the short ones out for long: leave them room */
		kvet_sleep(500 + kvet_random(&me->random, 1500));
	}
	WRITE_ONCE(me->finished, true);
	return 0;
}

static int walker_start(int (*body)(void *), const char *name)
{
	struct walker *me = &walkers[nr_walkers];

	if (nr_walkers == MAX_WALKERS)
		return 0;
	prandom_seed_state(&me->random, kvet_seed + 1000 + nr_walkers);
	me->task = kthread_run(body, me, "kvet-%s/%u", name, nr_walkers);
	if (IS_ERR(me->task))
		return PTR_ERR(me->task);
	nr_walkers++;
	return 0;
}

int kvet_walkers_start(uint count, uint wx_count)
{
	int ret = 0;
	uint i;

	for (i = 0; i < count && !ret; i++)
		ret = walker_start(walk_short, "walk");
	for (i = 0; i < wx_count && !ret && kvet_sym.ptdump_check_wx; i++)
		ret = walker_start(walk_wx, "wx");
	return ret;
}

void kvet_walkers_stop(void)
{
	uint i, left;

	do {
		for (i = 0, left = 0; i < nr_walkers; i++)
			left += !READ_ONCE(walkers[i].finished);
	} while (left && kvet_wait(5));
}
