// SPDX-License-Identifier: GPL-2.0
/* Functions found by name, parameters, and the file that the guest's init reads. */
#include <linux/completion.h>
#include <linux/debugfs.h>
#include <linux/jiffies.h>
#include <linux/kprobes.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/of.h>
#include <linux/sched.h>

#include "kvet_cost.h"

struct kvet_cost_symbols kvet_sym;

static u64 seed = 1;
static uint samples = 64;
static uint warmup = 16;
static uint every = 8;
static uint start = 3;
static bool cycles;

module_param(seed, ullong, 0444);
MODULE_PARM_DESC(seed, "which page makes a table stand, and how long the warm-up is");
module_param(samples, uint, 0444);
MODULE_PARM_DESC(samples, "rounds of each loop");
module_param(warmup, uint, 0444);
MODULE_PARM_DESC(warmup, "rounds before them that do not count");
module_param(every, uint, 0444);
MODULE_PARM_DESC(every, "now and then: a walk is open in every so many-th round");
module_param(start, uint, 0444);
MODULE_PARM_DESC(start, "seconds after boot when measuring starts, whatever came before");

module_param(cycles, bool, 0444);
MODULE_PARM_DESC(cycles, "real hardware (KVM): count cycles and take nanoseconds");

static DECLARE_COMPLETION(measured);
static int outcome;

static unsigned long (*lookup_name)(const char *name);

static void *first_of(const char *one, const char *other)
{
	void *found = (void *)lookup_name(one);

	return found ?: (void *)lookup_name(other);
}

static int symbols_init(void)
{
	struct kprobe probe = { .symbol_name = "kallsyms_lookup_name" };
	int ret = register_kprobe(&probe);

	if (ret)
		return ret;
	lookup_name = (void *)probe.addr;
	unregister_kprobe(&probe);

	kvet_sym.init_mm = (void *)lookup_name("init_mm");
	/* 6.9 split this off ioremap_page_range(), which now insists on an area */
	kvet_sym.map_range = first_of("vmap_page_range", "ioremap_page_range");
	kvet_sym.unmap_range = (void *)lookup_name("vunmap_range");
	kvet_sym.get_vm_area = (void *)lookup_name("get_vm_area");
	kvet_sym.ptdump_walk = (void *)lookup_name("ptdump_walk");
	kvet_sym.ptdump_check_wx = (void *)lookup_name("ptdump_check_wx");
	kvet_sym.runtime = (void *)lookup_name("task_sched_runtime");
	kvet_sym.walk_range = first_of("walk_page_range_debug", "walk_page_range_novma");
	if (!kvet_sym.init_mm || !kvet_sym.map_range || !kvet_sym.unmap_range ||
	    !kvet_sym.get_vm_area || !kvet_sym.ptdump_walk || !kvet_sym.runtime ||
	    !kvet_sym.ptdump_check_wx || !kvet_sym.walk_range) {
		pr_err("kvet_cost: a function of this kernel was not found\n");
		return -ENOENT;
	}
	return 0;
}

static int measure(void *unused)
{
	unsigned long begin = INITIAL_JIFFIES + start * HZ;

	/* the host's answers to what init said came at times of their own */
	while (time_before(jiffies, begin))
		schedule_timeout_uninterruptible(HZ / 100);
	sched_set_fifo(current);
	outcome = kvet_measure(samples, warmup + seed % 8, every);
	complete(&measured);
	return 0;
}

static int report_show(struct seq_file *m, void *v)
{
	kvet_measure_show(m);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(report);

/* All is done when it is loaded. */
static int __init kvet_cost_init(void)
{
	struct task_struct *task;
	int ret;

	if (!of_machine_is_compatible("linux,dummy-virt"))
		return -ENODEV;
	ret = symbols_init();
	if (!ret)
		ret = kvet_counter_init(cycles);
	if (!ret)
		ret = kvet_ops_init(seed);
	if (ret)
		return ret;
	task = kthread_run(measure, NULL, "kvet-cost");
	if (IS_ERR(task))
		return PTR_ERR(task);
	wait_for_completion(&measured);
	debugfs_create_file("report", 0400, debugfs_create_dir("kvet", NULL), NULL,
			    &report_fops);
	return outcome;
}

/* No exit: the guest is gone after the run. */
module_init(kvet_cost_init);
MODULE_DESCRIPTION("Counts the instructions of operations on kernel page tables");
MODULE_LICENSE("GPL");
