// SPDX-License-Identifier: GPL-2.0
/*
 * fork() copies the CPU mask that was asked for, while somebody sets another
 * one, which frees the first. The task that forks is a thread that sleeps all
 * the time, and its child nothing but memory for a task.
 */
#include <linux/kthread.h>
#include <linux/sched.h>
#include <linux/slab.h>

#include "kvet_engine.h"

static int (*dup_mask)(struct task_struct *dst, struct task_struct *src, int node);
static long (*set_mask)(pid_t pid, const struct cpumask *mask);
static struct task_struct *parent, *child;

static int sleeper(void *unused)
{
	while (!kthread_should_stop())
		schedule_timeout_interruptible(MAX_SCHEDULE_TIMEOUT);
	return 0;
}

static void run_fork(void)
{
	dup_mask(child, parent, NUMA_NO_NODE);
}

static void run_set(void)
{
	set_mask(parent->pid, cpu_possible_mask);
}

static int init_race(void)
{
	dup_mask = kvet_lookup("dup_user_cpus_ptr");
	set_mask = kvet_lookup("sched_setaffinity");
	if (!dup_mask || !set_mask)
		return -ENOENT;
	child = kzalloc(sizeof(*child), GFP_KERNEL);
	parent = kthread_run(sleeper, NULL, "kvet-parent");
	if (!child || IS_ERR(parent))
		return -ENOMEM;
	return 0;
}

static int setup(void)
{
	long ret = set_mask(parent->pid, cpu_possible_mask);

	if (ret)
		return ret;
	kvet_share(&parent->user_cpus_ptr, sizeof(parent->user_cpus_ptr), "user_cpus_ptr");
	kvet_watch(parent->user_cpus_ptr, 0, "CPU mask");
	return 0;
}

static void teardown(void)
{
	kfree(child->user_cpus_ptr);
	child->user_cpus_ptr = NULL;
}

static const char *const functions[] = {
	"dup_user_cpus_ptr",
	"set_cpus_allowed_common",
	"__set_cpus_allowed_ptr_locked",
	"__sched_setaffinity",
	NULL
};

static const struct kvet_side sides[] = {
	{ "fork", 'F', run_fork, "fork() copies the mask" },
	{ "set", 'S', run_set, "sched_setaffinity()" },
	{ }
};

static const struct kvet_race race = {
	.name = "sched-cpus",
	.functions = functions,
	.sides = sides,
	.init = init_race,
	.setup = setup,
	.teardown = teardown,
};

KVET_RACE(race);
