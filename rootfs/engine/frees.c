// SPDX-License-Identifier: GPL-2.0
/*
 * Where objects are given back. One that the race declared does not reach the
 * allocator while the round lasts: the probe returns to the caller in place of the
 * function, as if that had been done, and the object is kept. So its memory does not
 * become something else, and whoever goes there is at fault. Everybody else's
 * objects go their way.
 */
#include <linux/kprobes.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "engine.h"
#include "explore.h"
#include "frees.h"

/* False when it is none of ours. */
static bool keep(unsigned long start, enum kvet_free how, struct kmem_cache *cache,
		 struct pt_regs *regs)
{
	struct kvet_object *object = start ? kvet_object_at(start) : NULL;
	struct stack by = { .side = "given-back" };
	unsigned long flags;
	bool twice;

	if (!object) {
		kvet_leak_gone(start);
		return false;
	}
	by.entries[0] = instruction_pointer(regs);
	by.entries[1] = regs->regs[30];
	by.depth = 2 + kvet_save_stack(regs, by.entries + 2, STACK_DEPTH - 2, 1);
	by.pid = current->pid;
	flags = kvet_lock();
	twice = object->how != KVET_NOT_FREED;
	if (!twice) {
		object->by = by;
		object->cache = cache;
		/* whoever sees that it was given back sees by whom */
		smp_store_release(&object->how, how);
	}
	kvet_unlock(flags);
	if (twice)
		kvet_fail("a %s is given back twice", object->name);
	return true;
}

static int leave(struct pt_regs *regs)
{
	regs->pc = regs->regs[30];
	return 1;
}

static int on_kfree(struct kprobe *probe, struct pt_regs *regs)
{
	return keep(regs->regs[0], KVET_KFREE, NULL, regs) ? leave(regs) : 0;
}

static int on_vfree(struct kprobe *probe, struct pt_regs *regs)
{
	return keep(regs->regs[0], KVET_VFREE, NULL, regs) ? leave(regs) : 0;
}

static int on_cache_free(struct kprobe *probe, struct pt_regs *regs)
{
	struct kmem_cache *cache = (struct kmem_cache *)regs->regs[0];

	return keep(regs->regs[1], KVET_CACHE_FREE, cache, regs) ? leave(regs) : 0;
}

/* kfree_rcu() brings many at once; those that are kept are taken out of the list. */
static int on_bulk_free(struct kprobe *probe, struct pt_regs *regs)
{
	struct kmem_cache *cache = (struct kmem_cache *)regs->regs[0];
	void **list = (void **)regs->regs[2];
	enum kvet_free how = cache ? KVET_CACHE_FREE : KVET_KFREE;
	unsigned long i, left = 0, count = regs->regs[1];

	for (i = 0; i < count; i++)
		if (!keep((unsigned long)list[i], how, cache, regs))
			list[left++] = list[i];
	regs->regs[1] = left;
	return left ? 0 : leave(regs);
}

static struct kprobe probes[] = {
	{ .symbol_name = "kfree", .pre_handler = on_kfree },
	{ .symbol_name = "vfree", .pre_handler = on_vfree },
	{ .symbol_name = "kmem_cache_free", .pre_handler = on_cache_free },
	{ .symbol_name = "kmem_cache_free_bulk", .pre_handler = on_bulk_free },
};

static bool watching;

/* Not before a race declares an object: a race of pages alone needs no probe here. */
int kvet_frees_watch(void)
{
	unsigned int i;
	int ret;

	if (watching || !kvet_objects_wanted())
		return 0;
	watching = true;
	for (i = 0; i < ARRAY_SIZE(probes); i++) {
		ret = register_kprobe(&probes[i]);
		/* without kfree() nothing can be said */
		if (ret && !i)
			return ret;
		if (ret)
			kvet_missing("probe", probes[i].symbol_name);
	}
	return 0;
}

void kvet_free_now(const struct kvet_object *object)
{
	void *start = (void *)object->start;

	switch (object->how) {
	case KVET_KFREE:
		kfree(start);
		break;
	case KVET_VFREE:
		vfree(start);
		break;
	case KVET_CACHE_FREE:
		kmem_cache_free(object->cache, start);
		break;
	default:
		break;
	}
}
