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
#include <linux/uaccess.h>

#include "kvet_race.h"

#define MAX_SITES	160
#define FREER_SITES	8	/* for each function */
#define MAX_TASKS	24
#define NEAR		0x2000UL
#define INSN_SIZE	4
#define STEP_US		5

struct site {
	struct kprobe probe;
	unsigned long hits;
	bool on;
	bool load;		/* of a walk, which may read entries here */
};

struct pausing {
	struct task_struct *task;
	struct pt_regs saved;
	u32 pause_us;
	unsigned long *entry;	/* that is about to be read, if it is churned */
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
	unsigned long before, now;
	u32 left;

	if (!me)
		return;
	if (!me->entry || get_kernel_nofault(before, me->entry)) {
		udelay(me->pause_us);
		return;
	}
	for (left = me->pause_us; left >= STEP_US; left -= STEP_US) {
		udelay(STEP_US);
		/* what was to happen in the meantime has happened */
		if (get_kernel_nofault(now, me->entry) || now != before)
			return;
	}
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

static bool is_load(u32 insn)
{
	/* ldr xN, [xM, #imm] and ldr xN, [xM, xK, lsl] */
	return (insn & 0xffc00000) == 0xf9400000 || (insn & 0xffe0ec00) == 0xf8606800;
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

/*
 * Plan a pause on this pass: mostly none, seldom a long one. False for none.
 *
 * A walk reads thousands of entries, of which the few that are churned matter:
 * there it waits for the entry to change, for as long as a freer takes.
 */
static bool plan_pause(struct pausing *me, struct site *site, struct pt_regs *regs, u32 roll)
{
	u32 odds = 4, longest = (roll >> 6) & 7 ? 40 : 400;
	unsigned long addr;

	me->entry = NULL;
	if (site->load) {
		odds = 64;
		addr = load_address(le32_to_cpu(site->probe.opcode), regs);
		if (kvet_churned_entry(addr)) {
			me->entry = (unsigned long *)addr;
			odds = 8;
			longest = 2000;
		}
	}
	me->pause_us = roll % odds ? 0 : (roll >> 9) % longest;
	return me->pause_us;
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
	if (READ_ONCE(kvet_stopping) || !plan_pause(me, site, regs, roll))
		return 0;
	kvet_count(KVET_delays);
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

static void add_site(unsigned long addr, bool load)
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
	site->load = load;
	/* some instructions cannot be probed: others will be */
	site->on = !register_kprobe(&site->probe);
	if (site->on)
		nr_sites++;
	else
		memset(site, 0, sizeof(*site));
}

/* Probe up to @count random instructions of the function at @addr. */
static void probe_some(struct rnd_state *random, unsigned long addr, unsigned int count)
{
	unsigned long size = size_of(addr);
	unsigned int i;

	for (i = 0; i < count && size > INSN_SIZE; i++)
		add_site(addr + (1 + kvet_random(random, size / INSN_SIZE - 1)) * INSN_SIZE, false);
}

/* Probe each load of the function at @addr that may read an entry. */
static void probe_loads(unsigned long addr)
{
	unsigned long size = size_of(addr), offset;
	u32 insn, base;

	for (offset = INSN_SIZE; offset + INSN_SIZE <= size; offset += INSN_SIZE) {
		insn = READ_ONCE(*(u32 *)(addr + offset));
		base = (insn >> 5) & 31;
		/* no entry is on the stack */
		if (is_load(insn) && base != 29 && base != 31)
			add_site(addr + offset, true);
	}
}

static void probe_function(struct rnd_state *random, unsigned long addr, bool loads)
{
	if (loads)
		probe_loads(addr);
	else
		probe_some(random, addr, FREER_SITES);
}

/* Static helpers stand next to their callers in the text: follow calls that stay close. */
static void probe_near(struct rnd_state *random, unsigned long addr, bool loads)
{
	unsigned long size = size_of(addr), offset, target;
	unsigned long seen[8];
	unsigned int i, nr_seen = 0;

	probe_function(random, addr, loads);
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
		probe_function(random, target, loads);
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
 * Is a site not worth what it costs? The loads that matter look once more at an
 * entry that was found in use, a few times in a walk over the churned range.
 */
static bool is_costly(struct site *site, unsigned long walks)
{
	return site->hits > (site->load ? 200 + 50 * walks : 1500 + 400 * walks);
}

/*
 * Gives up what costs too much. A thread of its own: the others may wait for a
 * walk that is slow because of such a site.
 */
static int tend(void *unused)
{
	unsigned long walks;
	unsigned int i;

	while (!READ_ONCE(kvet_stopping)) {
		walks = atomic_long_read(&kvet_counters[KVET_walks]);
		for (i = 0; i < nr_sites; i++) {
			if (!sites[i].on || !is_costly(&sites[i], walks))
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
		probe_near(&random, addr, true);
	for (i = 0; i < ARRAY_SIZE(brackets); i++) {
		addr = (unsigned long)kvet_lookup(brackets[i]);
		if (addr)
			probe_some(&random, addr, FREER_SITES / 2);
	}
	for (i = 0; i < ARRAY_SIZE(freers); i++) {
		addr = (unsigned long)kvet_lookup(freers[i]);
		if (addr)
			probe_near(&random, addr, false);
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
