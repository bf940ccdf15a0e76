// SPDX-License-Identifier: GPL-2.0
/*
 * The amplifier: pauses at random instructions of freer and walker. Which
 * window a design leaves open is not known beforehand, so every instruction
 * has its chance; the seed of the attempt decides which ones get a probe.
 *
 * A pause must leave interrupts as the probed code has them: raising a static
 * key interrupts every CPU and waits, so a pause with interrupts off closes
 * the very window it should open. The probe therefore does not wait itself. It
 * saves the registers and lets the thread run pause() in place of the probed
 * instruction; pause() returns to resume(), whose probe puts the registers
 * back, and the instruction is tried again, this time without a pause.
 *
 * Freers are probed all over, with the helpers next to them in the text. The
 * generic walk is probed at its loads, where it looks at an entry once more.
 * What is hit too often, the inner loops over PTEs, is given up again: it
 * would make a walk crawl.
 *
 * At a load that reads a churned entry a walk waits in one of two ways. Before
 * the load, until the entry changes: the walk has seen the old value and takes a
 * second look. After it, until the table is given back: the walk goes on with a
 * table that it does not own, and the quarantine makes that a fault. A freer in
 * its turn waits at times until a walk waits like that at the entry it is after,
 * and often where one broke a rule: an access is to prove it.
 */
#include <linux/delay.h>
#include <linux/hash.h>
#include <linux/kthread.h>
#include <linux/uaccess.h>

#include "findings.h"
#include "ptdump.h"
#include "sites.h"

#define MAX_TASKS	32
#define STEP_US		5
#define GIVE_BACK_US	1000	/* from a cleared entry to the page's being given back */
#define AWAIT_US	5000	/* for a walk to come to the entry */
#define MEET_US		5000	/* of a walk that came, for the freer to go on */
#define SUSPECT_US	30000	/* the same where a rule was broken */
#define STALL_AFTER	20	/* walks, before one is stopped for long */

struct pausing {
	struct task_struct *task;
	struct pt_regs saved;
	u32 pause_us;
	unsigned long *entry;	/* that is read here, if it is churned */
	unsigned long value;	/* of it, when the pause began */
	bool after;		/* the load has been done: wait for its table to go */
	bool await;		/* a freer: wait for a walk to come to the entry */
	struct site *site;	/* where it paused last */
	bool planned;		/* a pause behind the load that is about to be done */
	bool busy;		/* saved is in use: from the diversion to resume() */
	bool again;		/* the pause is over: let the instruction go */
};

static struct pausing pausing[MAX_TASKS];
static atomic_t passes;
static atomic_t stalls;
static struct site *suspect;

static struct pausing *pausing_of(struct task_struct *task)
{
	int i;

	for (i = 0; i < MAX_TASKS; i++)
		if (READ_ONCE(pausing[i].task) == task)
			return &pausing[i];
	return NULL;
}

/* Threads of ours alone pause; each says so once, before it begins. */
void *kvet_amplify_me(void)
{
	int i;

	if (!kvet_amplify)
		return NULL;
	for (i = 0; i < MAX_TASKS; i++) {
		if (cmpxchg(&pausing[i].task, NULL, current))
			continue;
		pausing[i].busy = false;
		pausing[i].again = false;
		pausing[i].planned = false;
		return &pausing[i];
	}
	kvet_count(KVET_untracked);
	return NULL;
}

/* Also for a task that has died: its files are closed by another one at times. */
void kvet_amplify_leave(void *me)
{
	if (me)
		WRITE_ONCE(((struct pausing *)me)->task, NULL);
}

static bool is_gone(unsigned long value)
{
	return kvet_quarantined((value & GENMASK_ULL(47, PAGE_SHIFT)) >> PAGE_SHIFT);
}

/* Whether the probed code may sleep where it is: then others get the processor. */
static bool may_sleep(void)
{
	return preemptible() && !rcu_preempt_depth() &&
	       READ_ONCE(current->__state) == TASK_RUNNING;
}

/* Let a moment of a longer wait go by; the time that is left of @us. */
static u32 a_moment(ktime_t began, u32 us)
{
	s64 gone;

	if (may_sleep())
		usleep_range(2 * STEP_US, 10 * STEP_US);
	else
		udelay(STEP_US);
	gone = ktime_us_delta(ktime_get(), began);
	return gone < us ? us - gone : 0;
}

/* Wait for the entry to change, and then, if asked to, for its table to be given back. */
static void wait_for_change(struct pausing *me)
{
	ktime_t began = ktime_get();
	unsigned long now;
	bool changed;

	do {
		changed = get_kernel_nofault(now, me->entry) || now != me->value;
	} while (!changed && a_moment(began, me->pause_us));
	if (!changed || !me->after)
		return;
	began = ktime_get();
	while (!is_gone(me->value) && a_moment(began, GIVE_BACK_US))
		;
}

/* A walk has read the entry that the freer @task is after, and holds the table behind it. */
static bool walk_holds_entry_of(struct task_struct *task)
{
	int i;

	for (i = 0; i < MAX_TASKS; i++)
		if (READ_ONCE(pausing[i].busy) && READ_ONCE(pausing[i].after) &&
		    pausing[i].entry && kvet_entry_of(task, (unsigned long)pausing[i].entry))
			return true;
	return false;
}

void kvet_amplify_suspect(struct task_struct *task)
{
	struct pausing *me = pausing_of(task);

	if (me)
		WRITE_ONCE(suspect, me->site);
}

static void wait_for_walk(struct pausing *me)
{
	ktime_t began = ktime_get();

	while (!READ_ONCE(kvet_stopping) && !walk_holds_entry_of(current) &&
	       a_moment(began, me->pause_us))
		;
}

static noinline void pause(void)
{
	struct pausing *me = pausing_of(current);

	if (!me)
		return;
	if (me->await) {
		wait_for_walk(me);
		return;
	}
	if (me->entry && !get_kernel_nofault(me->value, me->entry))
		wait_for_change(me);
	else
		udelay(me->pause_us);
}

static noinline void resume(void)
{
	barrier();
}

static int resume_here(struct kprobe *probe, struct pt_regs *regs)
{
	struct pausing *me = pausing_of(current);

	if (!me)
		return 0;
	*regs = me->saved;
	/* after a load the thread goes on behind it, and does not come here again */
	me->again = !me->after;
	me->busy = false;
	return 1;
}

/* Where such a load reads from. */
static unsigned long load_address(u32 insn, struct pt_regs *regs)
{
	u32 base = (insn >> 5) & 31, index = (insn >> 16) & 31;
	unsigned long addr = base == 31 ? regs->sp : regs->regs[base];

	if ((insn & 0xffc00000) == 0xf9400000)
		return addr + ((insn >> 10) & 0xfff) * 8;
	return addr + (pt_regs_read_reg(regs, index) << ((insn >> 12) & 1 ? 3 : 0));
}

/* A freer waits for a walk to come to this entry. */
static bool freer_awaits(unsigned long where)
{
	int i;

	for (i = 0; i < MAX_TASKS; i++)
		if (READ_ONCE(pausing[i].busy) && READ_ONCE(pausing[i].await) &&
		    kvet_entry_of(READ_ONCE(pausing[i].task), where))
			return true;
	return false;
}

/* One walk is stopped for seconds in its middle, where the workload asks for it. */
static bool is_time_to_stall(void)
{
	return kvet_stall && !strcmp(current->comm, "kvet-walk") &&
	       atomic_long_read(&kvet_counters[KVET_walks_short]) >= STALL_AFTER &&
	       !atomic_cmpxchg(&stalls, 0, 1);
}

/* A freer waits for a walk once in a round: in some of them anywhere, else where a rule broke. */
static bool may_await(struct site *site, u32 roll, bool suspicious)
{
	struct kvet_arrival *arrival = kvet_arrival_of(current);

	if (!arrival)
		return false;
	/* where a rule was broken every round is worth it, and that place more than others */
	if (!arrival->awaits && !(suspicious && !arrival->awaited))
		return false;
	if ((roll >> 20) & (suspicious && site == READ_ONCE(suspect) ? 1 : 7))
		return false;
	arrival->awaits = false;
	arrival->awaited = true;
	return true;
}

/*
 * Plan a pause on this pass: mostly none, seldom a long one. False for none.
 *
 * A walk reads thousands of entries, of which the few that are churned matter:
 * there it waits for the entry to change, for as long as a freer takes. Where a
 * rule was broken the pauses are more frequent: an access is to prove it.
 */
static bool plan_pause(struct pausing *me, struct site *site, struct pt_regs *regs, u32 roll)
{
	bool suspicious = kvet_suspicions();
	u32 odds = 4, longest = (roll >> 6) & 7 ? 40 : 400;
	unsigned long addr;

	me->entry = NULL;
	me->after = false;
	me->await = false;
	if (site->load) {
		/* a dump of everything is long enough as it is */
		odds = strcmp(current->comm, "kvet-dump") ? 64 : UINT_MAX;
		addr = load_address(le32_to_cpu(site->probe.opcode), regs);
		if (kvet_churned_entry(addr)) {
			me->entry = (unsigned long *)addr;
			me->after = (roll >> 5) & 1;
			odds = suspicious ? 2 : 8;
			longest = 2000;
			if (freer_awaits(addr)) {
				me->after = true;
				me->pause_us = MEET_US;
				return true;
			}
		}
	} else if (may_await(site, roll, suspicious)) {
		me->await = true;
		me->pause_us = suspicious ? SUSPECT_US : AWAIT_US;
		return true;
	}
	me->pause_us = roll % odds ? 0 : (roll >> 9) % longest;
	if (me->entry && is_time_to_stall()) {
		me->after = true;
		me->pause_us = kvet_stall * USEC_PER_SEC;
	}
	return me->pause_us;
}

/* Let the thread run pause() and come back to what @regs say now. */
static void divert(struct pausing *me, struct pt_regs *regs)
{
	kvet_count(KVET_delays);
	me->saved = *regs;
	WRITE_ONCE(me->busy, true);
	regs->pc = (unsigned long)pause;
	regs->regs[30] = (unsigned long)resume;
	/* the probed code may have a frame half made: stay clear of it */
	regs->sp -= 64;
}

int kvet_pause_here(struct kprobe *probe, struct pt_regs *regs)
{
	struct site *site = container_of(probe, struct site, probe);
	struct pausing *me = pausing_of(current);
	u32 roll;

	site->hits++;
	/*
	 * An interrupt on top of a pause may get here as well, through a page it
	 * frees: it is not ours to stop, and the saved registers are taken.
	 */
	if (!me || me->busy || (preempt_count() & (HARDIRQ_MASK | SOFTIRQ_MASK)))
		return 0;
	if (me->again) {
		me->again = false;
		return 0;
	}
	roll = hash_64(kvet_seed + atomic_inc_return(&passes), 32);
	if (READ_ONCE(kvet_stopping) || !plan_pause(me, site, regs, roll))
		return 0;
	me->site = site;
	me->planned = me->after;
	if (me->planned)
		return 0;
	divert(me, regs);
	return 1;
}

/* The probed load has been done. */
void kvet_pause_after(struct kprobe *probe, struct pt_regs *regs, unsigned long flags)
{
	struct pausing *me = pausing_of(current);

	if (!me || !me->planned || (preempt_count() & (HARDIRQ_MASK | SOFTIRQ_MASK)))
		return;
	me->planned = false;
	divert(me, regs);
}

static struct kprobe resume_probe = { .pre_handler = resume_here };

int kvet_amplify_start(void)
{
	int ret;

	resume_probe.addr = (void *)resume;
	ret = register_kprobe(&resume_probe);
	if (ret)
		resume_probe.addr = NULL;
	return ret ?: kvet_sites_start();
}

void kvet_amplify_stop(void)
{
	kvet_sites_stop();
	if (resume_probe.addr)
		unregister_kprobe(&resume_probe);
}
