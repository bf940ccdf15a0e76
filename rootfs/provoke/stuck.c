// SPDX-License-Identifier: GPL-2.0
/* What takes too long; the guest has set the watchdogs to a few seconds. */
#include <linux/delay.h>
#include <linux/jiffies.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/mutex.h>
#include <linux/netdevice.h>
#include <linux/preempt.h>
#include <linux/rcupdate.h>
#include <linux/workqueue.h>

#include "kvet_provoke.h"

static DEFINE_MUTEX(kept);

/* Seconds of the clock, which also passes while interrupts are off. */
static noinline void spins(unsigned int seconds)
{
	u64 until = ktime_get_mono_fast_ns() + seconds * NSEC_PER_SEC;

	while (ktime_get_mono_fast_ns() < until)
		cpu_relax();
}

static noinline void provoke_rcu_stall(void)
{
	/* someone has to wait for this reader */
	start_poll_synchronize_rcu();
	rcu_read_lock();
	preempt_disable();
	spins(12);
	preempt_enable();
	rcu_read_unlock();
}

static noinline void provoke_soft_lockup(void)
{
	preempt_disable();
	spins(8);
	preempt_enable();
}

static noinline void provoke_hard_lockup(void)
{
	unsigned long flags;

	local_irq_save(flags);
	spins(14);
	local_irq_restore(flags);
}

static int keeps_lock(void *unused)
{
	mutex_lock(&kept);
	schedule_timeout_interruptible(12 * HZ);
	mutex_unlock(&kept);
	return 0;
}

static noinline void asks_for_it(void)
{
	mutex_lock(&kept);
	mutex_unlock(&kept);
}

static void provoke_hung_task(void)
{
	kthread_run(keeps_lock, NULL, "kvet-keeps");
	msleep(200);
	asks_for_it();
}

static void work_spins(struct work_struct *unused)
{
	spins(12);
}

static void work_waits(struct work_struct *unused)
{
}

static void provoke_work_stuck(void)
{
	static DECLARE_WORK(busy, work_spins);
	static DECLARE_WORK(behind, work_waits);

	schedule_work_on(0, &busy);
	schedule_work_on(0, &behind);
	flush_work(&behind);
}

static void device_setup(struct net_device *dev)
{
}

static const struct net_device_ops device_ops = { };
static struct net_device *device;

static void lets_device_go(struct work_struct *unused)
{
	dev_put(device);
}

static void provoke_device_kept(void)
{
	static DECLARE_DELAYED_WORK(later, lets_device_go);

	device = alloc_netdev(0, "kvet%d", NET_NAME_UNKNOWN, device_setup);
	device->netdev_ops = &device_ops;
	if (register_netdev(device))
		return;
	dev_hold(device);
	schedule_delayed_work(&later, 6 * HZ);
	unregister_netdev(device);
	free_netdev(device);
}

const struct provoke_test provoke_stuck[] = {
	{ "rcu-stall", provoke_rcu_stall },
	{ "soft-lockup", provoke_soft_lockup },
	{ "hard-lockup", provoke_hard_lockup },
	{ "hung-task", provoke_hung_task },
	{ "work-stuck", provoke_work_stuck },
	{ "device-kept", provoke_device_kept },
	{ }
};
