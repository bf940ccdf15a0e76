// SPDX-License-Identifier: GPL-2.0
/*
 * A further freer of tables: memory that comes and goes. The kernel was told
 * (mem=) to leave the end of its memory alone; that part is added, which maps
 * it into the linear map, and removed again, which frees those tables. Walkers
 * of the whole kernel half are kept out by mem_hotplug_begin() alone.
 */
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/memory.h>
#include <linux/memory_hotplug.h>
#include <linux/of.h>

#include "kvet_race.h"

#ifdef CONFIG_MEMORY_HOTREMOVE

static u64 start, size;
static struct rnd_state random;
static bool finished = true;

/* Memory of the device tree beyond what the kernel uses, in whole memory blocks. */
static int find_range(void)
{
	unsigned long *max_pfn_here = kvet_lookup("max_pfn");
	struct device_node *node = of_find_node_by_type(NULL, "memory");
	u64 block = memory_block_size_bytes(), base = 0, length = 0;
	int ret;

	if (!node || !max_pfn_here)
		return -ENODEV;
	ret = of_property_read_u64_index(node, "reg", 0, &base) ?:
	      of_property_read_u64_index(node, "reg", 1, &length);
	of_node_put(node);
	if (ret)
		return ret;
	start = ALIGN(PFN_PHYS(*max_pfn_here), block);
	if (base + length < start + block)
		return -ENOMEM;
	size = ALIGN_DOWN(base + length - start, block);
	return 0;
}

static int come_and_go(void *unused)
{
	while (!READ_ONCE(kvet_stopping)) {
		if (add_memory(0, start, size, MHP_NONE)) {
			pr_err("kvet_race: memory at 0x%llx cannot be added\n", start);
			break;
		}
		usleep_range(100, 100 + kvet_random(&random, 20000));
		if (remove_memory(start, size)) {
			pr_err("kvet_race: memory at 0x%llx cannot be removed\n", start);
			break;
		}
		kvet_count(KVET_hotplugs);
		/* a removal keeps every walker out: leave them room */
		msleep(20 + kvet_random(&random, 80));
	}
	WRITE_ONCE(finished, true);
	return 0;
}

/* The freer comes in: every PTE table below its range may go. */
static int free_tables_enter(struct kprobe *probe, struct pt_regs *regs)
{
	unsigned long addr = regs->regs[0], end = regs->regs[1];

	kvet_oracle_expect(regs, addr, end);
	return 0;
}

static struct kprobe free_tables = {
	.symbol_name = "free_empty_tables",
	.pre_handler = free_tables_enter,
};

int kvet_hotplug_start(void)
{
	int ret = find_range();

	if (ret) {
		pr_err("kvet_race: no memory is left over to add and remove; boot with mem=\n");
		return ret;
	}
	ret = register_kprobe(&free_tables);
	if (ret)
		return ret;
	prandom_seed_state(&random, kvet_seed + 3000);
	finished = false;
	ret = PTR_ERR_OR_ZERO(kthread_run(come_and_go, NULL, "kvet-hotplug"));
	if (ret)
		unregister_kprobe(&free_tables);
	return ret;
}

void kvet_hotplug_stop(void)
{
	while (!READ_ONCE(finished) && kvet_wait(5))
		;
}

#else

int kvet_hotplug_start(void)
{
	return -EOPNOTSUPP;
}

void kvet_hotplug_stop(void)
{
}

#endif
