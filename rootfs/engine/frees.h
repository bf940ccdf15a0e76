/* SPDX-License-Identifier: GPL-2.0 */
/* Objects that the sides of a round share, and where they are given back. */
#ifndef KVET_FREES_H
#define KVET_FREES_H

#include "findings.h"

/* By which function an object was given back; it is called again for what was kept. */
enum kvet_free { KVET_NOT_FREED, KVET_KFREE, KVET_VFREE, KVET_CACHE_FREE, KVET_OWN_WAY };

struct kvet_object {
	unsigned long start, size;
	const char *name;
	struct page *page;	/* with a reference of the engine's own */
	bool share;		/* words that nobody gives back */
	enum kvet_free how;
	struct kmem_cache *cache;
	struct stack by;	/* who gave it back */
};

/* The object that begins there, declared in this round, or NULL. */
struct kvet_object *kvet_object_at(unsigned long start);

/* Before a round, and after it: what its sides declared is seen from the next one on. */
int kvet_frees_watch(void);
/* To the allocator, for good. */
void kvet_free_now(const struct kvet_object *object);

#endif
