// SPDX-License-Identifier: GPL-2.0
/*
 * What the sides of a round share, as the race declares it.
 *
 * Memory that was given back is not handed out again while the round lasts, so an access
 * to it is a fault of the kernel under test, whatever the design: a page has a reference
 * of the engine's own, and when that is the last one its owner has given it back, by
 * whatever function; an object is kept when it comes to kfree() and the like (frees.c).
 */
#include <linux/kallsyms.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/stacktrace.h>
#include <linux/uaccess.h>

#include "engine.h"
#include "explore.h"
#include "frees.h"

#define MAX_OBJECTS	64

static struct kvet_object objects[MAX_OBJECTS];
static unsigned int nr_objects;
static bool wanted;		/* some that kfree() and the like may give back */
static const struct kvet_object *blamed;	/* that somebody went to too late */

/* NULL when there is no room: then it is not followed, and counted. */
static struct kvet_object *add(unsigned long start, size_t size, const char *name)
{
	struct kvet_object *object = NULL;
	unsigned long flags = kvet_lock();

	if (nr_objects < MAX_OBJECTS) {
		object = &objects[nr_objects];
		memset(object, 0, sizeof(*object));
		object->start = start;
		object->size = size;
		object->name = name;
		/* whoever sees the number, without the lock, sees the object */
		smp_store_release(&nr_objects, nr_objects + 1);
	}
	kvet_unlock(flags);
	if (!object)
		kvet_hit("unfollowed");
	return object;
}

static bool is_given_back(const struct kvet_object *object)
{
	/* nobody but the engine refers to it any more: its owner gave it back */
	if (object->page)
		return page_ref_count(object->page) == 1;
	return READ_ONCE(object->how) != KVET_NOT_FREED;
}

struct kvet_object *kvet_object_at(unsigned long start)
{
	/* pairs with add() */
	unsigned int i = smp_load_acquire(&nr_objects);

	/* the last one declared there holds: an address may be used again in a round */
	while (i--)
		if (objects[i].start == start && !objects[i].share)
			return &objects[i];
	return NULL;
}

void kvet_watch(const void *start, size_t size, const char *name)
{
	WRITE_ONCE(wanted, true);
	add((unsigned long)start, size ?: ksize(start), name);
}
EXPORT_SYMBOL_GPL(kvet_watch);

void kvet_given_back(const void *start)
{
	struct kvet_object *object = kvet_object_at((unsigned long)start);

	if (!object || object->how != KVET_NOT_FREED)
		return;
	object->by.side = "given-back";
	object->by.pid = current->pid;
	object->by.depth = stack_trace_save(object->by.entries, STACK_DEPTH, 1);
	/* whoever sees that it was given back sees by whom */
	smp_store_release(&object->how, KVET_OWN_WAY);
}
EXPORT_SYMBOL_GPL(kvet_given_back);

bool kvet_was_given_back(const void *start)
{
	const struct kvet_object *object = kvet_object_at((unsigned long)start);

	return object && is_given_back(object);
}
EXPORT_SYMBOL_GPL(kvet_was_given_back);

bool kvet_objects_wanted(void)
{
	return READ_ONCE(wanted);
}

void kvet_share(const void *words, size_t size, const char *name)
{
	struct kvet_object *object = add((unsigned long)words, size, name);

	if (object)
		object->share = true;
}
EXPORT_SYMBOL_GPL(kvet_share);

void kvet_watch_page(struct page *page, const char *name)
{
	struct kvet_object *object;

	if (!get_page_unless_zero(page))
		return;
	object = add((unsigned long)page_address(page), PAGE_SIZE, name);
	if (object)
		object->page = page;
	else
		put_page(page);
}
EXPORT_SYMBOL_GPL(kvet_watch_page);

static struct kvet_object *find(unsigned long addr)
{
	/* pairs with add() */
	unsigned int i = smp_load_acquire(&nr_objects);
	struct kvet_object *found = NULL;

	while (i--) {
		if (addr - objects[i].start >= objects[i].size)
			continue;
		/* words inside an object that have a name of their own */
		if (!found || objects[i].size < found->size)
			found = &objects[i];
	}
	return found;
}

bool kvet_object_shared(unsigned long addr)
{
	return find(addr);
}

/* What stands at @addr, for a reader. */
void kvet_object_name(struct seq_file *m, unsigned long addr)
{
	const struct kvet_object *object = find(addr);

	if (!object)
		seq_printf(m, "%lx", addr);
	else if (object->page)
		seq_printf(m, "%s[%lu]", object->name, (addr - object->start) / 8);
	else if (object->share && object->size <= 8)
		seq_puts(m, object->name);
	else
		seq_printf(m, "%s+0x%lx", object->name, addr - object->start);
}

static const char *name_wild(unsigned long addr)
{
	const char *why = kvet_race->explain ? kvet_race->explain(addr) : NULL;

	if (!why && addr < PAGE_SIZE)
		why = "a null pointer is followed";
	return why ?: "nothing is mapped where it reads";
}

/* The object, given back, that @addr lies in. */
static struct kvet_object *stale(unsigned long addr)
{
	/* pairs with add() */
	unsigned int i = smp_load_acquire(&nr_objects);

	while (i--)
		if (addr - objects[i].start < objects[i].size && is_given_back(&objects[i]))
			return &objects[i];
	return NULL;
}

/* Functions that access what their first argument points to, by how their names begin. */
static const char *const accessors[] = {
	"_raw_spin_", "_raw_read_", "_raw_write_", "queued_spin_", "mutex_", "__mutex_", "down_",
	"up_", "refcount_", "__wake_up", "complete", "__list_", "rb_", "memcpy", "__memcpy",
	"memset", "__memset", "__pi_mem", "add_wait_queue", "remove_wait_queue",
};

static bool goes_there(unsigned long function)
{
	char name[KSYM_NAME_LEN];
	unsigned int i;

	snprintf(name, sizeof(name), "%ps", (void *)function);
	for (i = 0; i < ARRAY_SIZE(accessors); i++)
		if (!strncmp(name, accessors[i], strlen(accessors[i])))
			return true;
	return false;
}

/* What is wrong with an access at @pc that is about to happen; safe in a probe. */
enum kvet_outcome kvet_object_look(const struct kvet_access *access, unsigned long pc,
				   const char **what)
{
	struct kvet_object *object;
	u64 value;

	if (access->kind == KVET_CALL) {
		blamed = stale(access->value);
		if (!blamed || !goes_there(access->addr))
			return KVET_CLEAN;
		*what = blamed->name;
		return KVET_STALE;
	}
	if (access->kind != KVET_LOAD && access->kind != KVET_STORE &&
	    access->kind != KVET_RMW)
		return KVET_CLEAN;
	object = stale(access->addr);
	if (object) {
		blamed = object;
		*what = object->name;
		return KVET_STALE;
	}
	if (access->known && access->kind != KVET_STORE)
		return KVET_CLEAN;
	if (!get_kernel_nofault(value, (u64 *)(access->addr & ~7UL)))
		return KVET_CLEAN;
	/* code that expects a fault there, as that which reads a user's memory */
	if (kvet_may_fault(pc))
		return KVET_CLEAN;
	*what = name_wild(access->addr);
	return KVET_WILD;
}

/* Who gave back what a side then went to. */
void kvet_object_show(struct seq_file *m)
{
	unsigned int i;

	for (i = 0; blamed && i < blamed->by.depth; i++)
		seq_printf(m, "stack %s %pS\n", blamed->by.side, (void *)blamed->by.entries[i]);
}

/* All declarations go; memory that was kept goes to the allocator now. */
void kvet_objects_drop(void)
{
	unsigned int i, count = nr_objects;

	/* what is given back from here on goes its way */
	smp_store_release(&nr_objects, 0);
	blamed = NULL;
	for (i = 0; i < count; i++) {
		if (is_given_back(&objects[i]))
			kvet_hit("given_back");
		if (objects[i].page)
			put_page(objects[i].page);
		else if (!objects[i].share && objects[i].how == KVET_NOT_FREED)
			kvet_leak_expect(objects[i].start, objects[i].name);
		else
			kvet_free_now(&objects[i]);
	}
}
