// SPDX-License-Identifier: GPL-2.0
/*
 * Walkers inside the kernel, beside those of user space, which read the files of
 * debugfs. Short walks call ptdump_walk() where cost is measured, beginning at
 * the lowest churned address: the linear map, where a full dump spends its time,
 * is left out. The W+X check is called here where a kernel has no file for it.
 * They come and go with gaps of milliseconds: a static key that counts walkers
 * must be seen to drop, too.
 */
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/vmalloc.h>

#include "findings.h"
#include "ptdump.h"

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
			usleep_range(1000, 1500);
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

#ifdef KVET_HAS_CHECK_WX

bool kvet_can_check_wx(void)
{
	return kvet_sym.ptdump_check_wx;
}

/* By the type that the tree's own header declares: a series may change it. */
void kvet_check_wx(void)
{
	typeof(&ptdump_check_wx) function = kvet_sym.ptdump_check_wx;

	if (__same_type(function, void (*)(void)))
		((void (*)(void))function)();
	else if (!((bool (*)(void))function)())
		kvet_found("wx-check-failed", "ptdump_check_wx", "the W+X check failed");
}

#else

bool kvet_can_check_wx(void)
{
	return false;
}

void kvet_check_wx(void)
{
}

#endif

static int walk_wx(void *data)
{
	struct walker *me = data;

	kvet_amplify_me();
	while (!READ_ONCE(kvet_stopping)) {
		kvet_check_wx();
		kvet_count(KVET_wx_internal);
		gap(me);
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
	/* the name says which kind of walk it is, and that it is to be short */
	me->task = kthread_run(body, me, "kvet-%s", name);
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
	if (wx_count && !kvet_can_check_wx()) {
		kvet_missing("walker", "ptdump_check_wx");
		wx_count = 0;
	}
	for (i = 0; i < wx_count && !ret; i++)
		ret = walker_start(walk_wx, "wx");
	return ret;
}

static uint still_walking(void)
{
	uint i, count = 0;

	for (i = 0; i < nr_walkers; i++)
		count += !READ_ONCE(walkers[i].finished);
	return count;
}

void kvet_walkers_stop(void)
{
	while (still_walking() && kvet_wait(5))
		;
}

void kvet_walkers_show(struct seq_file *m)
{
	seq_printf(m, "state walkers_alive %u/%u\n", nr_walkers - still_walking(), nr_walkers);
}
