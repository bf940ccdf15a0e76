// SPDX-License-Identifier: GPL-2.0
/* Mistakes with locks. What stays locked has a lock of its own: other tests may follow. */
#include <linux/completion.h>
#include <linux/debug_locks.h>
#include <linux/delay.h>
#include <linux/irq_work.h>
#include <linux/kthread.h>
#include <linux/lockdep.h>
#include <linux/mutex.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/spinlock.h>

#include "kvet_provoke.h"

static DEFINE_MUTEX(first);
static DEFINE_MUTEX(second);
static DEFINE_MUTEX(outer);
static DEFINE_MUTEX(inner);
static DEFINE_MUTEX(never_taken);
static DEFINE_MUTEX(stays_taken);
static DEFINE_MUTEX(dies_taken);
static DEFINE_SPINLOCK(not_raw);
static DEFINE_SPINLOCK(in_irq);
static DEFINE_SPINLOCK(elsewhere);
static DEFINE_RAW_SPINLOCK(raw);
static int __rcu *watched;

static noinline void takes_second_in_first(void)
{
	mutex_lock(&first);
	mutex_lock(&second);
	mutex_unlock(&second);
	mutex_unlock(&first);
}

static noinline void takes_first_in_second(void)
{
	mutex_lock(&second);
	mutex_lock(&first);
	mutex_unlock(&first);
	mutex_unlock(&second);
}

static void provoke_circle(void)
{
	takes_second_in_first();
	takes_first_in_second();
}

/* Two locks of one class. */
static noinline void provoke_recursion(void)
{
	static struct mutex pair[2];
	unsigned int i;

	for (i = 0; i < 2; i++)
		mutex_init(&pair[i]);
	mutex_lock(&pair[0]);
	mutex_lock(&pair[1]);
	mutex_unlock(&pair[1]);
	mutex_unlock(&pair[0]);
}

static noinline void takes_lock_in_irq(struct irq_work *unused)
{
	spin_lock(&in_irq);
	spin_unlock(&in_irq);
}

static void interrupt(void)
{
	static struct irq_work work = IRQ_WORK_INIT_HARD(takes_lock_in_irq);

	irq_work_queue(&work);
	irq_work_sync(&work);
}

static noinline void takes_with_interrupts_on(spinlock_t *lock)
{
	spin_lock(lock);
	spin_unlock(lock);
}

static noinline void takes_in_order(void)
{
	unsigned long flags;

	spin_lock_irqsave(&in_irq, flags);
	spin_lock(&elsewhere);
	spin_unlock(&elsewhere);
	spin_unlock_irqrestore(&in_irq, flags);
}

static void provoke_irq_state(void)
{
	takes_with_interrupts_on(&in_irq);
	interrupt();
}

static void provoke_irq_order(void)
{
	interrupt();
	takes_with_interrupts_on(&elsewhere);
	takes_in_order();
}

static void provoke_irq_inversion(void)
{
	takes_with_interrupts_on(&elsewhere);
	takes_in_order();
	interrupt();
}

static noinline void provoke_unlock_of_free(void)
{
	mutex_unlock(&never_taken);
}

static noinline void provoke_held_freed(void)
{
	struct mutex *lock = kmalloc(sizeof(*lock), GFP_KERNEL);

	mutex_init(lock);
	mutex_lock(lock);
	kfree(lock);
}

static noinline void provoke_kept_in_user_space(void)
{
	mutex_lock(&stays_taken);
}

static int dies_with_lock(void *done)
{
	mutex_lock(&dies_taken);
	complete(done);
	return 0;
}

static void provoke_kept_at_exit(void)
{
	DECLARE_COMPLETION_ONSTACK(done);

	kthread_run(dies_with_lock, &done, "kvet-dies");
	wait_for_completion(&done);
}

static noinline void provoke_nest_not_held(void)
{
	mutex_lock_nest_lock(&inner, &outer);
	mutex_unlock(&inner);
}

static noinline void provoke_wait_context(void)
{
	raw_spin_lock(&raw);
	spin_lock(&not_raw);
	spin_unlock(&not_raw);
	raw_spin_unlock(&raw);
}

static noinline void provoke_unprotected_read(void)
{
	rcu_dereference(watched);
}

static noinline void provoke_keyless(void)
{
	spinlock_t *lock = kzalloc(sizeof(*lock), GFP_KERNEL);

	spin_lock(lock);
	spin_unlock(lock);
}

static noinline void provoke_lock_depth(void)
{
	static struct lock_class_key keys[MAX_LOCK_DEPTH];
	static struct mutex locks[MAX_LOCK_DEPTH];
	int i;

	for (i = 0; i < MAX_LOCK_DEPTH; i++) {
		__mutex_init(&locks[i], "deep", &keys[i]);
		mutex_lock(&locks[i]);
	}
	while (i--)
		mutex_unlock(&locks[i]);
}

/* Runs when the writer has gone, without locks of its own that lockdep had not seen. */
static int turns_lockdep_on(void *unused)
{
	msleep(100);
	debug_locks = 1;
	return 0;
}

/* Lockdep reports once and turns itself off; the next test wants it again. */
static void provoke_rearm(void)
{
	kthread_run(turns_lockdep_on, NULL, "kvet-rearm");
}

const struct provoke_test provoke_locks[] = {
	{ "rearm", provoke_rearm },
	{ "circle", provoke_circle },
	{ "recursion", provoke_recursion },
	{ "irq-state", provoke_irq_state },
	{ "irq-order", provoke_irq_order },
	{ "irq-inversion", provoke_irq_inversion },
	{ "unlock-of-free", provoke_unlock_of_free },
	{ "held-freed", provoke_held_freed },
	{ "kept-in-user-space", provoke_kept_in_user_space },
	{ "kept-at-exit", provoke_kept_at_exit },
	{ "nest-not-held", provoke_nest_not_held },
	{ "wait-context", provoke_wait_context },
	{ "rcu-unprotected", provoke_unprotected_read },
	{ "keyless", provoke_keyless },
	{ "lock-depth", provoke_lock_depth },
	{ }
};
