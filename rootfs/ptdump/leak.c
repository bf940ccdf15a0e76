// SPDX-License-Identifier: GPL-2.0
/*
 * Tables that are cut off and that nobody gives back. One that is kept is no
 * leak: a design may hold a few tables for later, or give them back by a work
 * seconds after. A leak grows with the rounds, for as long as there are rounds:
 * so what is left over gets seconds, and is then looked at through two further
 * phases of rounds, beside the walkers of user space, which go on meanwhile.
 */
#include <linux/delay.h>
#include <linux/rcupdate.h>
#include <linux/workqueue.h>

#include "findings.h"
#include "ptdump.h"

#define SETTLE_MS	4000
#define PHASE_MS	1500
#define STEP_MS		50

/* What is still cut off after deferred work had its time. */
static unsigned long settled(void)
{
	unsigned long count;
	uint waited;

	rcu_barrier();
	for (waited = 0; (count = kvet_tables_lost()) && waited < SETTLE_MS; waited += STEP_MS)
		msleep(STEP_MS);
	return count;
}

void kvet_leak_show(struct seq_file *m)
{
	unsigned long first = settled(), second, third;

	seq_printf(m, "state tables_cut_off %lu\n", first);
	if (!first)
		return;
	kvet_churn_more(PHASE_MS);
	second = settled();
	if (second <= first)
		return;
	kvet_churn_more(PHASE_MS);
	third = settled();
	seq_printf(m, "state tables_cut_off %lu\n", third);
	if (third > second)
		kvet_found("page-table-leak", "pmd_free_pte_page",
			   "page tables cut off and never given back");
}
