// SPDX-License-Identifier: GPL-2.0
/*
 * The amplifier: delays at random instructions of freer and walker. Which
 * window a design leaves open is not known beforehand, so every instruction
 * has its chance; the seed of the attempt decides which ones get a probe.
 */
#include <linux/delay.h>
#include <linux/hash.h>
#include <linux/kallsyms.h>

#include "kvet_race.h"

#define PROBES_EACH	5
#define MAX_DELAY_US	40
#define INSN_SIZE	4

static const char *const functions[] = {
	"pmd_free_pte_page",
	"pud_free_pmd_page",
	"vmap_try_huge_pmd",
	"vmap_try_huge_pud",
	"ptdump_walk_pgd",
	"ptdump_walk",
};

static struct kprobe probes[ARRAY_SIZE(functions) * PROBES_EACH];
static bool registered[ARRAY_SIZE(probes)];
static atomic_t passes;

static int delay_here(struct kprobe *probe, struct pt_regs *regs)
{
	u32 roll = hash_64(kvet_seed + atomic_inc_return(&passes), 32);

	/* three passes of four go through at full speed */
	if (READ_ONCE(kvet_stopping) || (roll & 3))
		return 0;
	kvet_count(KVET_delays);
	udelay((roll >> 2) % MAX_DELAY_US);
	return 0;
}

static unsigned long size_of(unsigned long addr)
{
	int (*lookup)(unsigned long addr, unsigned long *size, unsigned long *offset);
	unsigned long size = 0, offset = 0;

	lookup = kvet_lookup("kallsyms_lookup_size_offset");
	return lookup && lookup(addr, &size, &offset) ? size : 0;
}

int kvet_amplify_start(void)
{
	struct rnd_state random;
	unsigned int f, i;

	prandom_seed_state(&random, kvet_seed + 5000);
	for (f = 0; f < ARRAY_SIZE(functions); f++) {
		unsigned long addr = (unsigned long)kvet_lookup(functions[f]);
		unsigned long size = addr ? size_of(addr) : 0;

		for (i = 0; i < PROBES_EACH && size >= INSN_SIZE; i++) {
			unsigned int n = f * PROBES_EACH + i;

			probes[n].addr = (void *)addr +
				kvet_random(&random, size / INSN_SIZE) * INSN_SIZE;
			probes[n].pre_handler = delay_here;
			/* some instructions cannot be probed: others will be */
			registered[n] = !register_kprobe(&probes[n]);
		}
	}
	return 0;
}

void kvet_amplify_stop(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(probes); i++)
		if (registered[i])
			unregister_kprobe(&probes[i]);
}
