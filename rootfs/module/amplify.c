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
 */
#include <linux/delay.h>
#include <linux/hash.h>
#include <linux/kthread.h>

#include "kvet_race.h"

#define MAX_SITES	48
#define FREER_SITES	8	/* for each function */
#define WALK_SITES	8
#define MAX_TASKS	24
#define NEAR		0x2000UL
#define INSN_SIZE	4

struct site {
	struct kprobe probe;
	unsigned long hits;
	bool on;
};

struct pausing {
	struct task_struct *task;
	struct pt_regs saved;
	u32 pause_us;
	bool busy;		/* saved is in use: from the diversion to resume() */
	bool again;		/* the pause is over: let the instruction go */
};

static struct site sites[MAX_SITES];
static unsigned int nr_sites;
static struct pausing pausing[MAX_TASKS];
static atomic_t nr_tasks;
static atomic_t passes;

static struct pausing *pausing_of(struct task_struct *task)
{
	int i, count = min(atomic_read(&nr_tasks), MAX_TASKS);

	for (i = 0; i < count; i++)
		if (pausing[i].task == task)
			return &pausing[i];
	return NULL;
}

/* Threads of ours alone pause; each says so once, before it begins. */
void kvet_amplify_me(void)
{
	int i = atomic_inc_return(&nr_tasks) - 1;

	if (i < MAX_TASKS)
		WRITE_ONCE(pausing[i].task, current);
}

static noinline void pause(void)
{
	struct pausing *me = pausing_of(current);

	if (me)
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
	me->again = true;
	me->busy = false;
	return 1;
}

static int pause_here(struct kprobe *probe, struct pt_regs *regs)
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
	/* three passes of four go through at full speed, few wait long */
	if (READ_ONCE(kvet_stopping) || (roll & 3))
		return 0;
	kvet_count(KVET_delays);
	me->pause_us = (roll >> 8) % ((roll >> 2) & 7 ? 40 : 400);
	me->busy = true;
	me->saved = *regs;
	regs->pc = (unsigned long)pause;
	regs->regs[30] = (unsigned long)resume;
	/* the probed code may have a frame half made: stay clear of it */
	regs->sp -= 64;
	return 1;
}

static struct kprobe resume_probe = { .pre_handler = resume_here };

static unsigned long size_of(unsigned long addr)
{
	int (*lookup)(unsigned long addr, unsigned long *size, unsigned long *offset);
	unsigned long size = 0, offset = 0;

	lookup = kvet_lookup("kallsyms_lookup_size_offset");
	return lookup && lookup(addr, &size, &offset) ? size - offset : 0;
}

static void add_site(unsigned long addr)
{
	struct site *site = &sites[nr_sites];
	unsigned int i;

	for (i = 0; i < nr_sites; i++)
		if (sites[i].probe.addr == (void *)addr)
			return;
	if (nr_sites == MAX_SITES)
		return;
	site->probe.addr = (void *)addr;
	site->probe.pre_handler = pause_here;
	/* some instructions cannot be probed: others will be */
	site->on = !register_kprobe(&site->probe);
	if (site->on)
		nr_sites++;
	else
		memset(site, 0, sizeof(*site));
}

static bool is_load(u32 insn)
{
	/* ldr xN, [xM, #imm] and ldr xN, [xM, xK] */
	return (insn & 0xffc00000) == 0xf9400000 || (insn & 0xffe00c00) == 0xf8600800;
}

/* Probe up to @count instructions of the function at @addr, loads alone if so asked. */
static void probe_function(struct rnd_state *random, unsigned long addr, unsigned int count,
			   bool loads)
{
	unsigned long size = size_of(addr);
	unsigned int i, tries;

	for (i = 0, tries = 0; i < count && size > INSN_SIZE && tries < 400; tries++) {
		unsigned long n = 1 + kvet_random(random, size / INSN_SIZE - 1);

		if (loads && !is_load(READ_ONCE(*((u32 *)addr + n))))
			continue;
		add_site(addr + n * INSN_SIZE);
		i++;
	}
}

/* Static helpers stand next to their callers in the text: follow calls that stay close. */
static void probe_near(struct rnd_state *random, unsigned long addr, unsigned int count, bool loads)
{
	unsigned long size = size_of(addr), offset, target;
	unsigned long seen[8];
	unsigned int i, nr_seen = 0;

	probe_function(random, addr, count, loads);
	for (offset = 0; offset + INSN_SIZE <= size; offset += INSN_SIZE) {
		u32 insn = READ_ONCE(*(u32 *)(addr + offset));

		/* bl, and b out of the function */
		if ((insn & 0x7c000000) != 0x14000000)
			continue;
		target = addr + offset + ((s32)(insn << 6) >> 4);
		if (target - addr < size || abs((long)(target - addr)) > NEAR)
			continue;
		for (i = 0; i < nr_seen && seen[i] != target; i++)
			;
		if (i < nr_seen || nr_seen == ARRAY_SIZE(seen))
			continue;
		seen[nr_seen++] = target;
		probe_function(random, target, count, loads);
	}
}

static const char *const freers[] = {
	"pmd_free_pte_page",
	"pud_free_pmd_page",
	"vmap_try_huge_pmd",
	"vmap_try_huge_pud",
};

static const char *const brackets[] = {
	"ptdump_walk_pgd",
	"ptdump_walk",
};

/*
 * Gives up what is hit too often. A thread of its own: the others may wait for
 * a walk that is slow because of such a site.
 */
static int tend(void *unused)
{
	unsigned long walks;
	unsigned int i;

	while (!READ_ONCE(kvet_stopping)) {
		walks = atomic_long_read(&kvet_counters[KVET_walks]);
		for (i = 0; i < nr_sites; i++) {
			if (!sites[i].on || sites[i].hits < 1500 + 400 * walks)
				continue;
			sites[i].on = false;
			disable_kprobe(&sites[i].probe);
		}
		msleep(20);
	}
	return 0;
}

int kvet_amplify_start(void)
{
	struct rnd_state random;
	unsigned long addr;
	unsigned int i;
	int ret;

	resume_probe.addr = (void *)resume;
	ret = register_kprobe(&resume_probe);
	if (ret)
		return ret;
	prandom_seed_state(&random, kvet_seed + 5000);
	addr = (unsigned long)kvet_lookup("walk_pgd_range");
	if (addr)
		probe_near(&random, addr, WALK_SITES, true);
	for (i = 0; i < ARRAY_SIZE(brackets); i++) {
		addr = (unsigned long)kvet_lookup(brackets[i]);
		if (addr)
			probe_function(&random, addr, FREER_SITES / 2, false);
	}
	for (i = 0; i < ARRAY_SIZE(freers); i++) {
		addr = (unsigned long)kvet_lookup(freers[i]);
		if (addr)
			probe_near(&random, addr, FREER_SITES, false);
	}
	return PTR_ERR_OR_ZERO(kthread_run(tend, NULL, "kvet-tend"));
}

void kvet_amplify_stop(void)
{
	unsigned int i;

	for (i = 0; i < nr_sites; i++)
		unregister_kprobe(&sites[i].probe);
	if (resume_probe.addr)
		unregister_kprobe(&resume_probe);
}
