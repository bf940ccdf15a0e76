// SPDX-License-Identifier: GPL-2.0
/*
 * Where in the kernel the oracle looks: kprobes on walks and freers, the
 * tracepoints of the page allocator, which know no freeing function from
 * another. A required one that this kernel does not have, or refuses, is
 * reported as missing: what is not seen must not pass for what did not happen.
 */
#include <linux/tracepoint.h>
#include <linux/version.h>

#include "ptdump.h"

#define MAX_ACTIVE	32

static int pmd_free_enter(struct kprobe *probe, struct pt_regs *regs)
{
	kvet_table_come(regs, regs->regs[1], false);
	return 0;
}

static int pud_free_enter(struct kprobe *probe, struct pt_regs *regs)
{
	kvet_table_come(regs, regs->regs[1], true);
	return 0;
}

static int key_flip_enter(struct kprobe *probe, struct pt_regs *regs)
{
	kvet_count(KVET_key_flips);
	return 0;
}

static int grace_period_enter(struct kprobe *probe, struct pt_regs *regs)
{
	kvet_count(KVET_grace_periods);
	return 0;
}

static int wx_enter(struct kprobe *probe, struct pt_regs *regs)
{
	kvet_count(KVET_wx_walks);
	return 0;
}

static struct oracle_probe {
	struct kprobe probe;
	const char *kind;	/* of what is missing without it; NULL: it only counts */
	bool on;
} probes[] = {
	{ { .symbol_name = "pmd_free_pte_page", .pre_handler = pmd_free_enter }, "probe" },
	{ { .symbol_name = "pud_free_pmd_page", .pre_handler = pud_free_enter }, "probe" },
	{ { .symbol_name = "ptdump_check_wx", .pre_handler = wx_enter }, "walker" },
	{ { .symbol_name = "jump_label_update", .pre_handler = key_flip_enter } },
	{ { .symbol_name = "synchronize_rcu", .pre_handler = grace_period_enter } },
};

static int walk_enter(struct kretprobe_instance *instance, struct pt_regs *regs)
{
	int *slot = (int *)instance->data;

	if ((struct mm_struct *)regs->regs[0] != kvet_sym.init_mm)
		return 1;
	*slot = kvet_walk_begun(regs);
	return *slot < 0;
}

static int walk_return(struct kretprobe_instance *instance, struct pt_regs *regs)
{
	kvet_walk_ended(*(int *)instance->data);
	return 0;
}

static struct kretprobe walk_probe = {
	.entry_handler = walk_enter,
	.handler = walk_return,
	.data_size = sizeof(int),
	.maxactive = MAX_ACTIVE,
};

static const char *const walk_functions[] = {
	"walk_page_range_debug",
	"walk_page_range_novma",
};

static bool walks_probed;

static void probe_walks(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(walk_functions) && !walks_probed; i++) {
		if (!kvet_lookup(walk_functions[i]))
			continue;
		walk_probe.kp.symbol_name = walk_functions[i];
		walks_probed = !register_kretprobe(&walk_probe);
	}
	if (!walks_probed)
		kvet_missing("probe", walk_functions[0]);
}

#ifdef CONFIG_TRACEPOINTS

static void on_free(void *data, struct page *page, unsigned int order)
{
	kvet_page_freed(page_to_pfn(page), order);
}

static void on_free_batched(void *data, struct page *page)
{
	kvet_page_freed(page_to_pfn(page), 0);
}

static struct trace {
	const char *name;
	void *probe;
	bool required;
	struct tracepoint *point;
} traces[] = {
	{ "mm_page_free", on_free, true },
	/* the same pages once more, where a kernel has two ways in */
	{ "mm_page_free_batched", on_free_batched, false },
};

static void look_for(struct tracepoint *point, void *priv)
{
	struct trace *trace = priv;

	if (!strcmp(point->name, trace->name))
		trace->point = point;
}

static void trace_frees(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(traces); i++) {
		for_each_kernel_tracepoint(look_for, &traces[i]);
		if (traces[i].point &&
		    tracepoint_probe_register(traces[i].point, traces[i].probe, NULL))
			traces[i].point = NULL;
		if (!traces[i].point && traces[i].required)
			kvet_missing("probe", traces[i].name);
	}
}

static void untrace_frees(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(traces); i++)
		if (traces[i].point)
			tracepoint_probe_unregister(traces[i].point, traces[i].probe, NULL);
	tracepoint_synchronize_unregister();
}

#else

static void trace_frees(void)
{
	kvet_missing("probe", "mm_page_free");
}

static void untrace_frees(void)
{
}

#endif

int kvet_probes_start(void)
{
	unsigned int i;

	kvet_oracle_init();
	probe_walks();
	for (i = 0; i < ARRAY_SIZE(probes); i++) {
		probes[i].on = !register_kprobe(&probes[i].probe);
		if (!probes[i].on && probes[i].kind)
			kvet_missing(probes[i].kind, probes[i].probe.symbol_name);
	}
	trace_frees();
	/* without walks there is nothing to judge, whatever else is seen */
	return walks_probed ? 0 : -ENOENT;
}

void kvet_probes_stop(void)
{
	unsigned int i;

	untrace_frees();
	for (i = 0; i < ARRAY_SIZE(probes); i++)
		if (probes[i].on)
			unregister_kprobe(&probes[i].probe);
	if (walks_probed)
		unregister_kretprobe(&walk_probe);
}

/* Hits that were not followed: on top of another probe, or more walks than instances. */
unsigned long kvet_probes_missed(void)
{
	unsigned long missed = walk_probe.nmissed + walk_probe.kp.nmissed;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(probes); i++)
		if (probes[i].kind)
			missed += probes[i].probe.nmissed;
	return missed;
}
