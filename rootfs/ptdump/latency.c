// SPDX-License-Identifier: GPL-2.0
/*
 * How long freer and walker wait, how many blocks they were refused and how
 * much memory the page tables take, since this was last asked for.
 *
 * The unit is the instruction where the PMU counts them, which QEMU's does
 * under -icount alone: what this CPU carried out between call and return, that
 * of others included, idling not. On real hardware (KVM) it is the nanosecond.
 * Under plain emulation no unit means anything, and waits are not told.
 */
#include <linux/ktime.h>
#include <linux/log2.h>
#include <linux/math64.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/vmstat.h>
#include <asm/sysreg.h>

#include "ptdump.h"

#define INST_RETIRED	8
#define BUCKETS		33	/* 2^0 to 2^31, and what took nothing */

struct latency {
	unsigned long n;
	u32 longest;
	u64 sum;
	unsigned long buckets[BUCKETS];
};

static DEFINE_SPINLOCK(latency_lock);
static struct latency latencies[KVET_NR_SIDES];
static unsigned long asked, small;
static unsigned long free_at_start, least_free = ULONG_MAX;
static u32 began;
static u64 began_ns;
static bool counts_insns, timed;

static const char *const sides[] = { "freer", "walker" };

/* Free pages, those on the lists of the CPUs included. */
static unsigned long free_pages_now(void)
{
	unsigned long found = 0;
	struct zone *zone;
	int cpu;

	for (zone = NODE_DATA(0)->node_zones;
	     zone < NODE_DATA(0)->node_zones + MAX_NR_ZONES; zone++) {
		if (!populated_zone(zone))
			continue;
		found += zone_page_state_snapshot(zone, NR_FREE_PAGES);
		for_each_online_cpu(cpu)
			found += per_cpu_ptr(zone->per_cpu_pageset, cpu)->count;
	}
	return found;
}

/* A field of 0 or 15: no PMU, and its registers trap. */
static bool has_pmu(void)
{
	u32 version = (read_sysreg(id_aa64dfr0_el1) >> 8) & 15;

	return version && version != 15;
}

/* @real: on hardware the event is there as well, but of each CPU apart. */
void kvet_latency_init(bool real)
{
	timed = real;
	if (!timed && has_pmu() && (read_sysreg(pmceid0_el0) & BIT(INST_RETIRED))) {
		write_sysreg(INST_RETIRED, pmevtyper0_el0);
		write_sysreg(BIT(0), pmcntenset_el0);
		write_sysreg(read_sysreg(pmcr_el0) | BIT(0), pmcr_el0);
		counts_insns = true;
	}
	free_at_start = free_pages_now();
	began = kvet_clock();
	began_ns = ktime_get_ns();
}

u32 kvet_clock(void)
{
	if (!counts_insns)
		return (u32)ktime_get_ns();
	isb();
	return read_sysreg(pmevcntr0_el0);
}

void kvet_waited(enum kvet_waiter side, u32 since)
{
	u32 took = kvet_clock() - since;
	struct latency *of = &latencies[side];

	spin_lock(&latency_lock);
	of->n++;
	of->sum += took;
	of->longest = max(of->longest, took);
	of->buckets[took ? 1 + ilog2(took) : 0]++;
	spin_unlock(&latency_lock);
}

/* A block was asked for; it was refused when pages are @small. */
void kvet_block_asked(bool got_small)
{
	unsigned long now = free_pages_now();

	spin_lock(&latency_lock);
	asked++;
	small += got_small;
	least_free = min(least_free, now);
	spin_unlock(&latency_lock);
}

static void show_side(struct seq_file *m, enum kvet_waiter side, const char *unit)
{
	struct latency *of = &latencies[side];
	unsigned int i;

	seq_printf(m, "%s.n %lu calls\n", sides[side], of->n);
	if (!of->n || !unit)
		return;
	seq_printf(m, "%s.mean %llu %s\n", sides[side], div64_ul(of->sum, of->n), unit);
	seq_printf(m, "%s.longest %u %s\n", sides[side], of->longest, unit);
	for (i = 0; i < BUCKETS; i++)
		if (of->buckets[i])
			seq_printf(m, "%s.below_2e%u %lu calls\n", sides[side], i,
				   of->buckets[i]);
}

/* NAME VALUE UNIT of everything since the last time. */
void kvet_latency_show(struct seq_file *m)
{
	const char *unit = counts_insns ? "insns" : timed ? "ns" : NULL;
	u32 now = kvet_clock();
	u64 now_ns = ktime_get_ns();

	spin_lock(&latency_lock);
	show_side(m, KVET_FREER, unit);
	show_side(m, KVET_WALKER, unit);
	seq_printf(m, "blocks.asked %lu requests\n", asked);
	seq_printf(m, "blocks.small %lu requests\n", small);
	/* of the clock: what was carried out, and what was idle */
	if (unit)
		seq_printf(m, "phase.length %u %s\n", now - began, unit);
	seq_printf(m, "phase.clock %llu %s\n", now_ns - began_ns, timed ? "ns" : "ticks");
	if (asked)
		seq_printf(m, "tables.most %lu pages\n",
			   free_at_start > least_free ? free_at_start - least_free : 0);
	memset(latencies, 0, sizeof(latencies));
	asked = 0;
	small = 0;
	least_free = ULONG_MAX;
	began = now;
	began_ns = now_ns;
	spin_unlock(&latency_lock);
}
