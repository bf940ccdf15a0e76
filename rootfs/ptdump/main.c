// SPDX-License-Identifier: GPL-2.0
/* Parameters, counters and the debugfs file that the guest's init reads. */
#include <linux/delay.h>
#include <linux/rwsem.h>
#include <linux/module.h>

#include "findings.h"
#include "ptdump.h"

atomic_long_t kvet_counters[KVET_NR_COUNTERS];
bool kvet_stopping;
uint kvet_amplify;
uint kvet_rest;
bool kvet_restless;
uint kvet_stall;
bool kvet_faults;
u32 kvet_gap = KVET_GAP_RANDOM;

static uint threads = 2;
static uint users;
static uint walkers = 1;
static uint wx;
static bool pud;
static bool hotplug;
static bool watch = true;
static bool quarantine;
static bool timed;
static bool explore;

module_param_named(amplify, kvet_amplify, uint, 0444);
MODULE_PARM_DESC(amplify, "1: delays at random instructions of freer and walker");
module_param(threads, uint, 0444);
MODULE_PARM_DESC(threads, "freers that are kernel threads");
module_param(users, uint, 0444);
MODULE_PARM_DESC(users, "ranges for freers of user space; neither these nor threads: only observe");
module_param(walkers, uint, 0444);
MODULE_PARM_DESC(walkers, "kernel threads that walk the churned range alone");
module_param(wx, uint, 0444);
MODULE_PARM_DESC(wx, "kernel threads that run the W+X check");
module_param(pud, bool, 0444);
MODULE_PARM_DESC(pud, "every second freer works at the PUD level");
module_param(hotplug, bool, 0444);
MODULE_PARM_DESC(hotplug, "add and remove the memory that mem= left over");
module_param(watch, bool, 0444);
MODULE_PARM_DESC(watch, "check the lifetime rule by probes; off where cost is measured");
module_param(quarantine, bool, 0444);
MODULE_PARM_DESC(quarantine, "keep tables that were given back, unmapped");
module_param_named(stall, kvet_stall, uint, 0444);
MODULE_PARM_DESC(stall, "stop one walk in its middle for so many seconds; needs amplify");
module_param_named(faults, kvet_faults, bool, 0444);
MODULE_PARM_DESC(faults, "freers let their allocations fail, as the fault injection of debugfs says");
module_param(timed, bool, 0444);
MODULE_PARM_DESC(timed, "time is real on this machine (KVM): report it");
module_param_named(rest, kvet_rest, uint, 0444);
MODULE_PARM_DESC(rest, "freers are real-time threads that rest up to so many us after a round");
module_param_named(restless, kvet_restless, bool, 0600);
MODULE_PARM_DESC(restless, "freers do not rest at all, from when this is written on");
module_param_named(gap, kvet_gap, uint, 0444);
MODULE_PARM_DESC(gap, "us between two walks of a walker, 0 none, 4294967294 no walks");

module_param(explore, bool, 0444);
MODULE_PARM_DESC(explore, "controlled schedules instead of a race");

static const char *const counter_names[] = {
#define KVET_NAME(name) #name,
	KVET_COUNTERS(KVET_NAME)
#undef KVET_NAME
};

static void counters_show(struct seq_file *m)
{
	unsigned int i;

	seq_printf(m, "exposure suspicions %ld\n", kvet_suspicions());
	seq_printf(m, "exposure breaches %ld\n", kvet_breaches());
	kvet_counts_show(m);
	for (i = 0; i < KVET_NR_COUNTERS; i++)
		seq_printf(m, "exposure %s %ld\n", counter_names[i],
			   atomic_long_read(&kvet_counters[i]));
}

static int report_show(struct seq_file *m, void *v)
{
	counters_show(m);
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

/* NAME PID ROUNDS of each freer; `walks PID COUNT' of walkers. */
static int progress_show(struct seq_file *m, void *v)
{
	kvet_churn_progress(m);
	kvet_walk_progress(m);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(progress);

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
	usleep_range(10000, 12000);
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
		usleep_range(10000, 12000);
	}
	return false;
}

/*
 * Reading this stops the freers and looks for tables that were lost; walkers of
 * user space should go on meanwhile. It may take some seconds.
 */
static int stop_show(struct seq_file *m, void *v)
{
	stop();
	kvet_hotplug_stop();
	kvet_churn_stop();
	kvet_walkers_stop();
	kvet_churn_show(m);
	kvet_walkers_show(m);
	if (watch)
		kvet_leak_show(m);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(stop);

/* The last state and the findings, when nobody walks any more. */
static int end_show(struct seq_file *m, void *v)
{
	counters_show(m);
	if (watch) {
		kvet_findings_show(m);
		kvet_missing_show(m);
		kvet_quarantine_show(m);
		seq_printf(m, "state nmissed %lu\n", kvet_probes_missed());
	}
	seq_printf(m, "state init_mm_lock %s\n", init_mm_lock_free() ? "free" : "held");
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(end);

static void create_files(struct dentry *folder)
{
	debugfs_create_file("report", 0400, folder, NULL, &report_fops);
	debugfs_create_file("stop", 0400, folder, NULL, &stop_fops);
	debugfs_create_file("end", 0400, folder, NULL, &end_fops);
	debugfs_create_file("areas", 0400, folder, NULL, &areas_fops);
	debugfs_create_file("progress", 0400, folder, NULL, &progress_fops);
	debugfs_create_file("phase", 0400, folder, NULL, &phase_fops);
	debugfs_create_u32("gap", 0600, folder, &kvet_gap);
	kvet_doors_create(folder);
}

/* What watches, before anything that is to be watched. */
static int start_watching(void)
{
	int ret = 0;

	if (watch) {
		kvet_quarantine_init(quarantine);
		ret = kvet_probes_start();
	}
	if (!ret && kvet_amplify)
		ret = kvet_amplify_start();
	return ret;
}

static int start_race(void)
{
	int ret = kvet_churn_start(threads, users, pud);

	if (kvet_faults && !IS_ENABLED(CONFIG_FAULT_INJECTION))
		kvet_missing("faults", "CONFIG_FAULT_INJECTION");
	if (!ret)
		ret = kvet_walkers_start(walkers, wx);
	if (!ret && hotplug)
		ret = kvet_hotplug_start();
	return ret;
}

static int __init kvet_ptdump_init(void)
{
	int ret;

	ret = kvet_functions_init();
	if (!ret && explore)
		return kvet_race_add(&ptdump_race);
	if (ret)
		return ret;
	ret = start_watching();
	if (!ret) {
		create_files(kvet_directory());
		kvet_latency_init(timed);
		ret = start_race();
	}
	if (!ret)
		return 0;
	stop();
	kvet_hotplug_stop();
	kvet_churn_stop();
	kvet_walkers_stop();
	debugfs_remove(kvet_directory());
	kvet_amplify_stop();
	if (watch)
		kvet_probes_stop();
	kvet_quarantine_stop();
	return ret;
}

/* No exit: a stuck thread may be in here, and the guest is gone after the run. */
module_init(kvet_ptdump_init);
MODULE_DESCRIPTION("Races page-table freeing against page-table walks");
MODULE_LICENSE("GPL");
