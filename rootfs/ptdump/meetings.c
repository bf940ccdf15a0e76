// SPDX-License-Identifier: GPL-2.0
/*
 * Meetings of freers and walks, by which a design excludes one from the other
 * or fails to. They are the exposure of a run: counted for each level of the
 * table, each kind of walk and each kind of freer, so that one kind cannot
 * stand in for another that never came.
 */
#include "ptdump.h"

static void count_meeting(const struct kvet_arrival *arrival, u32 kinds, bool pud)
{
	unsigned int i;

	kvet_count(pud ? KVET_meet_pud : KVET_meet_pmd);
	for (i = 0; i < KVET_NR_WALK_KINDS; i++)
		if (kinds & BIT(i))
			kvet_count(KVET_meet_dump + i);
	if (arrival)
		kvet_count(KVET_meet_kthread + arrival->kind);
}

void kvet_meet(unsigned long addr, bool pud)
{
	struct kvet_arrival *arrival = kvet_arrival_of(current);
	u64 last;
	u32 open = kvet_kinds_open(addr, &last);

	if (arrival && arrival->kind == KVET_FREER_VMALLOC && !arrival->came)
		kvet_count(KVET_vmalloc_replaced);
	if (arrival)
		arrival->came = true;
	if (open) {
		kvet_count(KVET_overlaps);
		if (pud)
			kvet_count(KVET_overlaps_pud);
		count_meeting(arrival, open, pud);
	}
	/* all the walks that were open when it set out have ended: it met them */
	if (!arrival || !arrival->last_open || kvet_walk_open(arrival->last_open))
		return;
	arrival->last_open = 0;
	kvet_count(KVET_contended);
	if (pud)
		kvet_count(KVET_contended_pud);
	if (!open)
		count_meeting(arrival, arrival->kinds, pud);
}

/* Only a walk that was open at some time since it set out explains pages for a block. */
void kvet_backed_off(struct kvet_arrival *arrival)
{
	unsigned long flags = kvet_lock();
	u64 last;
	u32 kinds = arrival->kinds | kvet_kinds_since(arrival->last_walk) |
		    kvet_kinds_open(0, &last);

	kvet_unlock(flags);
	if (!kinds) {
		kvet_count(KVET_backoffs_idle);
		return;
	}
	kvet_count(KVET_backoffs);
	if (arrival->pud)
		kvet_count(KVET_backoffs_pud);
	if (!arrival->came)
		count_meeting(arrival, kinds, arrival->pud);
}
