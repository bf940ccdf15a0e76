// SPDX-License-Identifier: GPL-2.0
/* Parameters, counters and the debugfs file that the guest's init reads. */
#include <linux/delay.h>
#include <linux/rwsem.h>
#include <linux/module.h>
#include <linux/of.h>
#include <linux/panic_notifier.h>

#include "kvet_race.h"

atomic_long_t kvet_counters[KVET_NR_COUNTERS];
u64 kvet_seed = 1;
bool kvet_stopping;
uint kvet_amplify;
uint kvet_rest;
u32 kvet_gap = KVET_GAP_RANDOM;

static uint threads = 2;
static uint walkers = 1;
static uint wx;
static bool pud;
static bool hotplug;
static bool watch = true;
static bool timed;

module_param_named(seed, kvet_seed, ullong, 0444);
MODULE_PARM_DESC(seed, "seed of every random choice");
module_param_named(amplify, kvet_amplify, uint, 0444);
MODULE_PARM_DESC(amplify, "1: delays at random instructions of freer and walker");
module_param(threads, uint, 0444);
MODULE_PARM_DESC(threads, "churn threads; 0: only observe");
module_param(walkers, uint, 0444);
MODULE_PARM_DESC(walkers, "threads that walk the churned range alone");
module_param(wx, uint, 0444);
MODULE_PARM_DESC(wx, "threads that run the W+X check");
module_param(pud, bool, 0444);
MODULE_PARM_DESC(pud, "every second churn thread works at the PUD level");
module_param(hotplug, bool, 0444);
MODULE_PARM_DESC(hotplug, "add and remove the memory that mem= left over");
module_param(watch, bool, 0444);
MODULE_PARM_DESC(watch, "check the lifetime rule by probes; off where cost is measured");
module_param(timed, bool, 0444);
MODULE_PARM_DESC(timed, "time is real on this machine (KVM): report it");
module_param_named(rest, kvet_rest, uint, 0444);
MODULE_PARM_DESC(rest, "freers are real-time threads that rest up to so many us after a round");
module_param_named(gap, kvet_gap, uint, 0444);
MODULE_PARM_DESC(gap, "us between two walks of a walker, 0 none, 4294967294 no walks");

static const char *const counter_names[] = {
#define KVET_NAME(name) #name,
	KVET_COUNTERS(KVET_NAME)
#undef KVET_NAME
};

static struct dentry *folder;

static int report_show(struct seq_file *m, void *v)
{
	unsigned int i;

	for (i = 0; i < KVET_NR_COUNTERS; i++)
		seq_printf(m, "exposure %s %ld\n", counter_names[i],
			   atomic_long_read(&kvet_counters[i]));
	kvet_churn_show(m);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(report);

/* Lets a reader of the dump know which ranges are the churn threads' own. */
static int areas_show(struct seq_file *m, void *v)
{
	kvet_churn_areas(m);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(areas);
/* What happened since this was read last. */
static int phase_show(struct seq_file *m, void *v)
{
	kvet_latency_show(m);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(phase);

static DECLARE_WAIT_QUEUE_HEAD(stopped);

/* Sleep for so many milliseconds, or until the workload ends. */
void kvet_sleep(uint ms)
{
	wait_event_timeout(stopped, READ_ONCE(kvet_stopping), msecs_to_jiffies(ms));
}

static unsigned long stopped_at;

static void stop(void)
{
	stopped_at = jiffies;
	WRITE_ONCE(kvet_stopping, true);
	wake_up_all(&stopped);
}

/* Sleep a moment, unless the workload was stopped more than so many seconds ago. */
bool kvet_wait(uint seconds)
{
	if (time_after(jiffies, stopped_at + seconds * HZ))
		return false;
	msleep(10);
	return true;
}

static bool init_mm_lock_free(void)
{
	unsigned int tries;

	for (tries = 0; tries < 100; tries++) {
		if (down_write_trylock(&kvet_sym.init_mm->mmap_lock)) {
			up_write(&kvet_sym.init_mm->mmap_lock);
			return true;
		}
		msleep(10);
	}
	return false;
}

/* Reading this ends the workload and gives the findings and the last state. */
static int stop_show(struct seq_file *m, void *v)
{
	stop();
	kvet_hotplug_stop();
	kvet_churn_stop();
	kvet_walkers_stop();
	report_show(m, v);
	if (watch)
		kvet_oracle_show(m);
	seq_printf(m, "state init_mm_lock %s\n", init_mm_lock_free() ? "free" : "held");
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(stop);

/*
 * The last words of a panic are followed by a reset at once. The host needs a
 * moment to ask QEMU to keep the guest's memory instead.
 */
static int linger(struct notifier_block *block, unsigned long event, void *reason)
{
	mdelay(300);
	return NOTIFY_DONE;
}

static struct notifier_block on_panic = { .notifier_call = linger };

static int __init kvet_race_init(void)
{
	int ret;

	/* this module breaks the machine on purpose: only QEMU's board will do */
	if (!of_machine_is_compatible("linux,dummy-virt"))
		return -ENODEV;

	ret = kvet_symbols_init();
	if (!ret && watch)
		ret = kvet_oracle_start();
	if (!ret)
		ret = atomic_notifier_chain_register(&panic_notifier_list, &on_panic);
	if (!ret && kvet_amplify)
		ret = kvet_amplify_start();
	if (ret)
		goto fail;
	folder = debugfs_create_dir("kvet", NULL);
	debugfs_create_file("report", 0400, folder, NULL, &report_fops);
	debugfs_create_file("stop", 0400, folder, NULL, &stop_fops);
	debugfs_create_file("areas", 0400, folder, NULL, &areas_fops);
	debugfs_create_file("phase", 0400, folder, NULL, &phase_fops);
	debugfs_create_u32("gap", 0600, folder, &kvet_gap);
	kvet_latency_init(timed);
	ret = kvet_churn_start(threads, pud);
	if (!ret)
		ret = kvet_walkers_start(walkers, wx);
	if (!ret && hotplug)
		ret = kvet_hotplug_start();
	if (!ret)
		return 0;
	stop();
	kvet_churn_stop();
	kvet_walkers_stop();
	debugfs_remove(folder);
fail:
	atomic_notifier_chain_unregister(&panic_notifier_list, &on_panic);
	kvet_amplify_stop();
	kvet_oracle_stop();
	return ret;
}

/* No exit: a stuck thread may be in here, and the guest is gone after the run. */
module_init(kvet_race_init);
MODULE_DESCRIPTION("Races page-table freeing against page-table walks");
MODULE_LICENSE("GPL");
