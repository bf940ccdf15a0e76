// SPDX-License-Identifier: GPL-2.0
/*
 * A side without memory: what the explored functions ask for while it runs is
 * refused, every time. No chance is in it, as there is in fault injection, and
 * no option of the kernel is needed. Allocations of anybody else, or of what these
 * functions call, go on as they would: debug code that runs out of memory switches
 * itself off, and would hide what is looked for.
 */
#include <linux/gfp.h>
#include <linux/hardirq.h>
#include <linux/kprobes.h>

#include "engine.h"
#include "explore.h"

/* One that this kernel lacks is left out: releases call them by different names. */
static struct allocator {
	const char *name;
	u8 gfp;			/* number of that argument */
	struct kprobe probe;
} allocators[] = {
	{ "__kmalloc", 1 },
	{ "__kmalloc_noprof", 1 },
	{ "kmalloc_trace", 1 },
	{ "kmalloc_trace_noprof", 1 },
	{ "__kmalloc_cache_noprof", 1 },
	{ "__kmalloc_node", 1 },
	{ "kmalloc_node_trace", 1 },
	{ "__kmalloc_cache_node_noprof", 1 },
	{ "kmalloc_large", 1 },
	{ "__kmalloc_large_noprof", 1 },
	{ "kmem_cache_alloc", 1 },
	{ "kmem_cache_alloc_noprof", 1 },
	{ "kmem_cache_alloc_node", 1 },
	{ "kmem_cache_alloc_node_noprof", 1 },
	{ "__alloc_pages", 0 },
	{ "__alloc_pages_noprof", 0 },
	{ "alloc_pages", 0 },
	{ "alloc_pages_noprof", 0 },
	{ "__get_free_pages", 0 },
	{ "get_free_pages_noprof", 0 },
	{ "get_zeroed_page", 0 },
	{ "get_zeroed_page_noprof", 0 },
};

/* The call is the side's last event: what it got is told with it. */
static void tell_refused(void)
{
	unsigned int count = atomic_read(&kvet_round.nr_events);
	struct kvet_event *last;

	if (!count || count > KVET_MAX_EVENTS)
		return;
	last = &kvet_round.events[count - 1];
	if (last->access.kind != KVET_CALL || kvet_threads[last->side].task != current)
		return;
	last->access.value = 0;
	last->access.known = true;
}

static int refuse(struct kprobe *probe, struct pt_regs *regs)
{
	const struct allocator *asked = container_of(probe, struct allocator, probe);
	const struct kvet_side *side = kvet_this_side();

	if (!side || !side->no_memory || (preempt_count() & (HARDIRQ_MASK | SOFTIRQ_MASK)) ||
	    (regs->regs[asked->gfp] & (__force u64)__GFP_NOFAIL) ||
	    !kvet_is_explored(regs->regs[30]))
		return 0;
	kvet_hit(KVET_REFUSED);
	tell_refused();
	regs->regs[0] = 0;
	regs->pc = regs->regs[30];
	return 1;
}

/* Is one of the round's sides without memory? Then it has to get there. */
bool kvet_lacks_memory(void)
{
	unsigned int i;

	for (i = 0; i < kvet_nr_threads; i++)
		if (kvet_threads[i].side->no_memory)
			return true;
	return false;
}

/* The probes are made for the first side that wants them; 0 or -ENODEV. */
int kvet_memory_init(void)
{
	static unsigned int there;
	unsigned int i;

	if (there)
		return 0;
	for (i = 0; i < ARRAY_SIZE(allocators); i++) {
		allocators[i].probe.symbol_name = allocators[i].name;
		allocators[i].probe.pre_handler = refuse;
		there += !register_kprobe(&allocators[i].probe);
	}
	if (there)
		return 0;
	kvet_missing("probe", "kmalloc");
	return -ENODEV;
}
