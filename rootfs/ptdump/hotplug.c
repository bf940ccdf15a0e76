// SPDX-License-Identifier: GPL-2.0
/*
 * A further freer of tables: memory that comes and goes. The kernel was told
 * (mem=) to leave the end of its memory alone; that part is added, which maps
 * it into the linear map, and removed again, which frees those tables. Walkers
 * of the whole kernel half are kept out by mem_hotplug_begin() alone.
 *
 * The architecture's half of the work is all that matters here. The other half
 * keeps memblock's list up to date, which pfn_is_map_memory() reads without a
 * lock: with DEBUG_VM a table that is freed at that moment is now and then
 * taken for no memory at all, "kernel BUG in free_pages", whatever the design.
 */
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/memory.h>
#include <linux/memory_hotplug.h>
#include <linux/of.h>

#include "ptdump.h"

#ifdef CONFIG_MEMORY_HOTREMOVE

/* The memory that comes and goes, and how. */
static struct {
	u64 start, size;
	void (*begin)(void);
	void (*done)(void);
	int (*add)(int nid, u64 start, u64 size, struct mhp_params *params);
	/* a kernel that has no last argument does not look at it */
	void (*remove)(u64 start, u64 size, void *altmap, void *pgmap);
	struct rnd_state random;
	bool running;
} memory;

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
	memory.start = ALIGN(PFN_PHYS(*max_pfn_here), block);
	if (base + length < memory.start + block)
		return -ENOMEM;
	memory.size = ALIGN_DOWN(base + length - memory.start, block);
	return 0;
}

static int find_functions(void)
{
	memory.begin = kvet_lookup("mem_hotplug_begin");
	memory.done = kvet_lookup("mem_hotplug_done");
	memory.add = kvet_lookup("arch_add_memory");
	memory.remove = kvet_lookup("arch_remove_memory");
	return memory.begin && memory.done && memory.add && memory.remove ? 0 : -ENOENT;
}

static int come_and_go(void *unused)
{
	struct mhp_params params = { .pgprot = PAGE_KERNEL };
	int ret;

	while (!READ_ONCE(kvet_stopping)) {
		memory.begin();
		ret = memory.add(0, memory.start, memory.size, &params);
		memory.done();
		if (ret) {
			pr_err("kvet_ptdump: memory at 0x%llx cannot be added: %d\n", memory.start,
			       ret);
			break;
		}
		usleep_range(100, 100 + kvet_random(&memory.random, 20000));
		memory.begin();
		memory.remove(memory.start, memory.size, NULL, NULL);
		memory.done();
		kvet_count(KVET_hotplugs);
		/* a removal keeps every walker out: leave them room */
		msleep(20 + kvet_random(&memory.random, 80));
	}
	WRITE_ONCE(memory.running, false);
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
	int ret = find_functions();

	if (ret) {
		pr_err("kvet_ptdump: this kernel cannot add and remove memory\n");
		return ret;
	}
	ret = find_range();
	if (ret) {
		pr_err("kvet_ptdump: no memory is left over to add and remove; boot with mem=\n");
		return ret;
	}
	ret = register_kprobe(&free_tables);
	if (ret)
		return ret;
	prandom_seed_state(&memory.random, kvet_seed + 3000);
	memory.running = true;
	ret = PTR_ERR_OR_ZERO(kthread_run(come_and_go, NULL, "kvet-hotplug"));
	if (ret) {
		memory.running = false;
		unregister_kprobe(&free_tables);
	}
	return ret;
}

void kvet_hotplug_stop(void)
{
	while (READ_ONCE(memory.running) && kvet_wait(5))
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
