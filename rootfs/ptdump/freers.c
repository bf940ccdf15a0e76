// SPDX-License-Identifier: GPL-2.0
/*
 * The tasks of freers, from their start to their end: kernel threads, and tasks
 * of user space that lend themselves for a while (doors.c). Each has ranges of
 * its own, so that nobody else changes what it looks at.
 */
#include <linux/jiffies.h>
#include <linux/kthread.h>
#include <linux/sched.h>
#include <linux/sizes.h>
#include <linux/vmalloc.h>

#include "churn.h"

/* Near the end of the range, lest every short walk goes through what others have mapped. */
#define PLACE		ALIGN_DOWN(VMALLOC_END - 40 * PUD_SIZE, PUD_SIZE)

static int churn(void *data)
{
	struct churner *me = data;

	WRITE_ONCE(me->pid, current->pid);
	/* one that wakes during a walk meets it, even on a single CPU */
	if (kvet_rest)
		sched_set_fifo_low(current);
	kvet_amplify_me();
	while (!READ_ONCE(kvet_stopping)) {
		kvet_churn_once(me);
		kvet_churn_rest(me);
	}
	WRITE_ONCE(me->inside, false);
	return 0;
}

int kvet_user_claim(enum kvet_freer_kind kind)
{
	uint i;

	for (i = 0; i < kvet_nr_churners; i++) {
		if (!kvet_churners[i].user || atomic_cmpxchg(&kvet_churners[i].claimed, 0, 1))
			continue;
		kvet_churners[i].kind = kind;
		kvet_churners[i].arrival.kind = kind;
		WRITE_ONCE(kvet_churners[i].pid, current->pid);
		return i;
	}
	return -EBUSY;
}

void kvet_user_release(int slot)
{
	/* whoever claims it next sees it as it was left */
	atomic_set_release(&kvet_churners[slot].claimed, 0);
}

int kvet_user_churn(int slot, uint ms)
{
	unsigned long until = jiffies + msecs_to_jiffies(ms);
	struct churner *me = &kvet_churners[slot];
	void *pausing = kvet_amplify_me();

	WRITE_ONCE(me->inside, true);
	while (!READ_ONCE(kvet_stopping) && time_before(jiffies, until)) {
		kvet_churn_once(me);
		kvet_churn_rest(me);
	}
	WRITE_ONCE(me->inside, false);
	kvet_amplify_leave(pausing);
	return READ_ONCE(kvet_stopping) ? -ESHUTDOWN : 0;
}

void kvet_churn_more(uint ms)
{
	unsigned long until = jiffies + msecs_to_jiffies(ms);
	uint i;

	while (time_before(jiffies, until))
		for (i = 0; i < kvet_nr_churners; i++)
			/* one that is stuck has its arrival in use */
			if (!READ_ONCE(kvet_churners[i].inside))
				kvet_churn_once(&kvet_churners[i]);
}

static int churner_init(struct churner *me, uint number, bool pud)
{
	unsigned long align = pud ? PUD_SIZE : PMD_SIZE;
	unsigned long size = pud ? PUD_SIZE : AREA_PMDS * PMD_SIZE;

	/* the PMD level shares one PMD table, in halves: a short walk has few to go through */
	unsigned long place = pud ? PLACE + PUD_SIZE : PLACE;
	unsigned long end = pud ? VMALLOC_END : PLACE + PUD_SIZE / 2;

	me->area = kvet_sym.get_vm_area(size + align, VM_IOREMAP, place, end,
					__builtin_return_address(0));
	if (!me->area)
		return -ENOMEM;
	me->base = ALIGN((unsigned long)me->area->addr, align);
	me->window = PLACE + PUD_SIZE / 2 + number * WINDOW;
	me->pud = pud;
	if (PMD_SIZE <= SZ_2M)
		me->block = alloc_pages(GFP_KERNEL | __GFP_NOWARN, PMD_SHIFT - PAGE_SHIFT);
	prandom_seed_state(&me->random, kvet_seed + number);
	return 0;
}

static int churner_start(struct churner *me, uint number)
{
	me->kind = KVET_FREER_KTHREAD;
	me->arrival.kind = me->kind;
	me->inside = true;
	me->task = kthread_run(churn, me, "kvet-churn/%u", number);
	return PTR_ERR_OR_ZERO(me->task);
}

int kvet_churn_start(uint threads, uint users, bool pud)
{
	uint i, all = min_t(uint, threads + users, MAX_FREERS);
	int ret = 0;

	for (i = 0; i < all && !ret; i++) {
		/* every second freer works at the PUD level where that is on */
		ret = churner_init(&kvet_churners[i], i, pud && i % 2);
		kvet_churners[i].user = i >= threads;
		/* walks begin at the lowest range: all of them have to be there first */
		kvet_nr_churners += !ret;
	}
	for (i = 0; i < min(threads, all) && !ret; i++)
		ret = churner_start(&kvet_churners[i], i);
	return ret;
}

/* What is churned lies between these: walks that stay there are short. */
unsigned long kvet_churn_base(void)
{
	return kvet_nr_churners ? PLACE : VMALLOC_START;
}

unsigned long kvet_churn_end(void)
{
	unsigned long highest = PLACE + PUD_SIZE;
	uint i;

	for (i = 0; i < kvet_nr_churners; i++)
		if (kvet_churners[i].pud)
			highest = max(highest, kvet_churners[i].base + PUD_SIZE);
	return highest;
}

static uint still_inside(void)
{
	uint i, count = 0;

	for (i = 0; i < kvet_nr_churners; i++)
		count += READ_ONCE(kvet_churners[i].inside);
	return count;
}

/*
 * Wait some seconds for the freers to come back. One that does not is stuck
 * in the kernel: it is left alone, and said so in the report.
 */
void kvet_churn_stop(void)
{
	while (still_inside() && kvet_wait(3))
		;
}

void kvet_churn_show(struct seq_file *m)
{
	if (READ_ONCE(kvet_stopping))
		seq_printf(m, "state churn_alive %u/%u\n", kvet_nr_churners - still_inside(),
			   kvet_nr_churners);
}

/* NAME PID ROUNDS of each freer that has a task. */
void kvet_churn_progress(struct seq_file *m)
{
	static const char *const kinds[] = { "churn", "user", "signal" };
	struct churner *me;
	uint i;

	for (i = 0; i < kvet_nr_churners; i++) {
		me = &kvet_churners[i];
		if (READ_ONCE(me->inside))
			seq_printf(m, "%s/%u %d %lu\n", kinds[me->kind], i,
				   READ_ONCE(me->pid), READ_ONCE(me->rounds));
	}
}

void kvet_churn_areas(struct seq_file *m)
{
	unsigned long size;
	uint i;

	for (i = 0; i < kvet_nr_churners; i++) {
		size = kvet_churners[i].pud ? PUD_SIZE : AREA_PMDS * PMD_SIZE;
		seq_printf(m, "%lx %lx\n", kvet_churners[i].base, kvet_churners[i].base + size);
	}
}
