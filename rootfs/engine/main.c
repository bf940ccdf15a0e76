// SPDX-License-Identifier: GPL-2.0
/* Parameters, the directory in debugfs, and the race that was added. */
#include <linux/delay.h>
#include <linux/of.h>
#include <linux/panic_notifier.h>

#include "engine.h"
#include "explore.h"
#include "findings.h"

u64 kvet_seed = 1;
EXPORT_SYMBOL_GPL(kvet_seed);

const struct kvet_race *kvet_race;

module_param_named(seed, kvet_seed, ullong, 0444);
MODULE_PARM_DESC(seed, "seed of every random choice");

static arch_spinlock_t engine_lock = __ARCH_SPIN_LOCK_UNLOCKED;
static struct dentry *directory;
static struct rnd_state picks;

unsigned long kvet_lock(void)
{
	unsigned long flags;

	local_irq_save(flags);
	arch_spin_lock(&engine_lock);
	return flags;
}
EXPORT_SYMBOL_GPL(kvet_lock);

void kvet_unlock(unsigned long flags)
{
	arch_spin_unlock(&engine_lock);
	local_irq_restore(flags);
}
EXPORT_SYMBOL_GPL(kvet_unlock);

u32 kvet_pick(u32 bound)
{
	unsigned long flags = kvet_lock();
	u32 picked = kvet_random(&picks, bound);

	kvet_unlock(flags);
	return picked;
}
EXPORT_SYMBOL_GPL(kvet_pick);

struct dentry *kvet_directory(void)
{
	return directory;
}
EXPORT_SYMBOL_GPL(kvet_directory);

/* What a schedule's name needs: letters that are not mixed up. */
static bool is_sound(const struct kvet_race *race)
{
	const struct kvet_side *side, *other;
	unsigned int count = 0;

	if (!race->name || !race->functions || !race->sides || !race->setup)
		return false;
	for (side = race->sides; side->name; side++) {
		if (!side->run || side->letter < 'A' || side->letter > 'Z')
			return false;
		for (other = race->sides; other < side; other++)
			if (other->letter == side->letter || !strcmp(other->name, side->name))
				return false;
		count++;
	}
	return count > 1;
}

int kvet_race_add(const struct kvet_race *race)
{
	int ret;

	if (kvet_race)
		return -EBUSY;
	if (!is_sound(race)) {
		pr_err("kvet: a race needs name, functions, setup and two sides with letters of their own, A to Z\n");
		return -EINVAL;
	}
	kvet_race = race;
	ret = race->init ? race->init() : 0;
	if (!ret)
		ret = kvet_explore_start(directory);
	if (ret)
		kvet_race = NULL;
	return ret;
}
EXPORT_SYMBOL_GPL(kvet_race_add);

/*
 * The last words of a panic are followed by a reset at once. The host needs a
 * moment to ask QEMU to keep the guest's memory instead.
 */
static int linger(struct notifier_block *block, unsigned long event, void *reason)
{
	kvet_explore_last_words();
	/* a machine that counts instructions would spend seconds on this */
	if (!kvet_race || kvet_loops())
		mdelay(300);
	return NOTIFY_DONE;
}

static struct notifier_block on_panic = { .notifier_call = linger };

static int __init kvet_engine_init(void)
{
	int ret;

	/* races break the machine on purpose: only QEMU's board will do */
	if (!of_machine_is_compatible("linux,dummy-virt"))
		return -ENODEV;
	ret = kvet_symbols_init();
	if (ret)
		return ret;
	prandom_seed_state(&picks, kvet_seed + 9000);
	directory = debugfs_create_dir("kvet", NULL);
	return atomic_notifier_chain_register(&panic_notifier_list, &on_panic);
}

/* No exit: a stuck thread may be in here, and the guest is gone after the run. */
module_init(kvet_engine_init);
MODULE_DESCRIPTION("Runs a race under controlled schedules or at random, and watches it");
MODULE_LICENSE("GPL");
