// SPDX-License-Identifier: GPL-2.0
/*
 * Where the amplifier pauses: random instructions of freers, with the helpers
 * next to them in the text, and the loads of the walk. A site that is hit too
 * often is given up again.
 */
#include <linux/delay.h>
#include <linux/kthread.h>

#include "ptdump.h"
#include "sites.h"

#define MAX_SITES	160
#define FREER_SITES	8	/* for each function */
#define NEAR		0x2000UL
#define INSN_SIZE	4

static struct site sites[MAX_SITES];
static unsigned int nr_sites;
static struct task_struct *tender;

static bool is_load(u32 insn)
{
	/* ldr xN, [xM, #imm] and ldr xN, [xM, xK, lsl] */
	return (insn & 0xffc00000) == 0xf9400000 || (insn & 0xffe0ec00) == 0xf8606800;
}

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
	site->probe.pre_handler = kvet_pause_here;
	if (load)
		site->probe.post_handler = kvet_pause_after;
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

/* Functions to pause in, or what a compiler may have made them part of. */
static const char *const freers[][3] = {
	{ "pmd_free_pte_page" },
	{ "pud_free_pmd_page" },
	{ "vmap_try_huge_pmd", "vmap_pmd_range", "vmap_range_noflush" },
	{ "vmap_try_huge_pud", "vmap_pud_range", "vmap_range_noflush" },
};

static const char *const walk[] = {
	"walk_pgd_range", "__walk_page_range", "walk_page_range_debug", "walk_page_range_novma",
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

	while (!kthread_should_stop()) {
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

/* The address of the first of these that is there; that none is counts. */
static unsigned long find_site(const char *const *names, unsigned int count)
{
	unsigned long addr;
	unsigned int i;

	for (i = 0; i < count && names[i]; i++) {
		addr = (unsigned long)kvet_lookup(names[i]);
		if (addr)
			return addr;
	}
	kvet_missing("site", names[0]);
	return 0;
}

int kvet_sites_start(void)
{
	struct rnd_state random;
	unsigned long addr;
	unsigned int i;

	prandom_seed_state(&random, kvet_seed + 5000);
	addr = find_site(walk, ARRAY_SIZE(walk));
	if (addr)
		probe_near(&random, addr, true);
	for (i = 0; i < ARRAY_SIZE(brackets); i++) {
		addr = find_site(&brackets[i], 1);
		if (addr)
			probe_some(&random, addr, FREER_SITES / 2);
	}
	for (i = 0; i < ARRAY_SIZE(freers); i++) {
		addr = find_site(freers[i], ARRAY_SIZE(freers[i]));
		if (addr)
			probe_near(&random, addr, false);
	}
	tender = kthread_run(tend, NULL, "kvet-tend");
	return PTR_ERR_OR_ZERO(tender);
}

void kvet_sites_stop(void)
{
	unsigned int i;

	if (!IS_ERR_OR_NULL(tender))
		kthread_stop(tender);
	for (i = 0; i < nr_sites; i++)
		unregister_kprobe(&sites[i].probe);
}
