// SPDX-License-Identifier: GPL-2.0
/* Mistakes with memory that LKDTM does not make: leaks, guarded objects, pages, counters. */
#include <linux/delay.h>
#include <linux/fs.h>
#include <linux/jiffies.h>
#include <linux/kfence.h>
#include <linux/mm.h>
#include <linux/namei.h>
#include <linux/percpu_counter.h>
#include <linux/slab.h>
#include <linux/timer.h>
#include <linux/vmalloc.h>

#include "kvet_provoke.h"

#define GUARDED 64

/* Access that no compiler instrumentation sees. */
static noinline __no_sanitize_address void poke(volatile char *where)
{
	*where = 0x42;
}

static noinline void loses_memory(void)
{
	void *lost = kmalloc(256, GFP_KERNEL);

	OPTIMIZER_HIDE_VAR(lost);
}

static noinline void provoke_leak(void)
{
	unsigned int i;

	for (i = 0; i < 3; i++)
		loses_memory();
}

/* An object that the sampling allocator happens to guard. */
static char *guarded_object(void)
{
	unsigned long until = jiffies + 20 * HZ;
	char *object;

	while (time_before(jiffies, until)) {
		object = kmalloc(GUARDED, GFP_KERNEL);
		if (object && is_kfence_address(object))
			return object;
		kfree(object);
		cond_resched();
	}
	return NULL;
}

static noinline void provoke_guarded_stale_read(void)
{
	char *object = guarded_object();

	if (!object)
		return;
	kfree(object);
	READ_ONCE(*object);
}

static noinline void provoke_guarded_overflow(void)
{
	char *object = guarded_object();
	char *page;

	if (!object)
		return;
	/* the object ends or begins at a page; the guard page is on that side */
	page = (char *)((unsigned long)object & PAGE_MASK);
	READ_ONCE(*(object == page ? page - 8 : page + PAGE_SIZE + 8));
	kfree(object);
}

static noinline void provoke_guarded_free(void)
{
	char *object = guarded_object();

	if (!object)
		return;
	kfree(object);
	kfree(object);
}

static noinline void provoke_guarded_corruption(void)
{
	char *object = guarded_object();

	if (!object)
		return;
	/* between the object and the guard page, or before it: found when freed */
	poke(((unsigned long)object & ~PAGE_MASK) ? object - 1 : object + GUARDED);
	kfree(object);
}

static noinline void provoke_red_zone(void)
{
	slab_flags_t checked = SLAB_CONSISTENCY_CHECKS | SLAB_RED_ZONE | SLAB_STORE_USER;
	struct kmem_cache *cache = kmem_cache_create("kvet_red", 64, 0, checked, NULL);
	char *object = kmem_cache_alloc(cache, GFP_KERNEL);

	poke(object + 64);
	kmem_cache_free(cache, object);
	kmem_cache_destroy(cache);
}

static noinline void provoke_cache_in_use(void)
{
	struct kmem_cache *cache = kmem_cache_create("kvet_left", 64, 0, SLAB_STORE_USER, NULL);
	void *object = kmem_cache_alloc(cache, GFP_KERNEL);

	OPTIMIZER_HIDE_VAR(object);
	kmem_cache_destroy(cache);
}

static noinline void provoke_bad_page(void)
{
	struct page *page = alloc_page(GFP_KERNEL);

	page->mapping = (void *)0x42000;
	__free_page(page);
}

static noinline void provoke_bad_rss(void)
{
	percpu_counter_add(&current->mm->rss_stat[MM_ANONPAGES], 3);
}

static noinline void provoke_tables_left(void)
{
	mm_inc_nr_ptes(current->mm);
}

static noinline void provoke_too_big(void)
{
	size_t size = (size_t)INT_MAX + 1;

	OPTIMIZER_HIDE_VAR(size);
	kvfree(kvmalloc(size, GFP_KERNEL));
}

static noinline void provoke_zero_bytes(void)
{
	unsigned long size = 0;

	OPTIMIZER_HIDE_VAR(size);
	vfree(vmalloc(size));
}

static void timer_runs(struct timer_list *unused)
{
}

static noinline void provoke_armed_freed(void)
{
	struct timer_list *timer = kmalloc(sizeof(*timer), GFP_KERNEL);

	timer_setup(timer, timer_runs, 0);
	mod_timer(timer, jiffies + 3600 * HZ);
	kfree(timer);
}

/* What the guest mounts, and unmounts after these two. */
#define MOUNTED "/tmp/provoke/file"

static noinline void provoke_inode_kept(void)
{
	struct path path;

	if (kern_path(MOUNTED, LOOKUP_FOLLOW, &path))
		return;
	ihold(d_inode(path.dentry));
	path_put(&path);
}

static noinline void provoke_dentry_kept(void)
{
	struct path path;

	if (kern_path(MOUNTED, LOOKUP_FOLLOW, &path))
		return;
	dget(path.dentry);
	path_put(&path);
}

const struct provoke_test provoke_memory[] = {
	{ "leak", provoke_leak },
	{ "guarded-stale-read", provoke_guarded_stale_read },
	{ "guarded-overflow", provoke_guarded_overflow },
	{ "guarded-free", provoke_guarded_free },
	{ "guarded-corruption", provoke_guarded_corruption },
	{ "red-zone", provoke_red_zone },
	{ "cache-in-use", provoke_cache_in_use },
	{ "bad-page", provoke_bad_page },
	{ "bad-rss", provoke_bad_rss },
	{ "tables-left", provoke_tables_left },
	{ "too-big", provoke_too_big },
	{ "zero-bytes", provoke_zero_bytes },
	{ "armed-freed", provoke_armed_freed },
	{ "inode-kept", provoke_inode_kept },
	{ "dentry-kept", provoke_dentry_kept },
	{ }
};
