// SPDX-License-Identifier: GPL-2.0
/* Sleeping and per-CPU data where they must not be, and what work items leave behind. */
#include <linux/kernel.h>
#include <linux/mutex.h>
#include <linux/preempt.h>
#include <linux/sched.h>
#include <linux/smp.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>

#include "kvet_provoke.h"

static DEFINE_SPINLOCK(lock);
static DEFINE_MUTEX(sleeps);

static noinline void provoke_sleep_in_atomic(void)
{
	spin_lock(&lock);
	mutex_lock(&sleeps);
	mutex_unlock(&sleeps);
	spin_unlock(&lock);
}

static noinline void provoke_atomic_switch(void)
{
	spin_lock(&lock);
	schedule();
	spin_unlock(&lock);
}

static noinline void provoke_cpu_number(void)
{
	pr_info("kvet: on some CPU, %d\n", smp_processor_id() >= 0);
}

static void leaves_preemption_off(struct work_struct *unused)
{
	preempt_disable();
}

static void provoke_work_leaks(void)
{
	static DECLARE_WORK(work, leaves_preemption_off);

	schedule_work(&work);
	flush_work(&work);
}

const struct provoke_test provoke_contexts[] = {
	{ "sleep-in-atomic", provoke_sleep_in_atomic },
	{ "schedule-in-atomic", provoke_atomic_switch },
	{ "cpu-in-preemptible", provoke_cpu_number },
	{ "work-leaks", provoke_work_leaks },
	{ }
};
