/* SPDX-License-Identifier: GPL-2.0 */
/*
 * kvet_engine: runs a race and watches it. Nothing here knows what the sides do.
 *
 *   main.c        parameters, the directory in debugfs, what a panic says last
 *   symbols.c     functions that are not exported to modules
 *   findings.c    what was found, kept for the report
 *   counts.c      the exposure record
 *   explore.c     the scheduler of controlled rounds, see explore.h
 *   objects.c     what the sides share, and accesses to it after it was given back
 *   frees.c       where memory is given back, and kept until the round ends
 *   loop.c        rounds at random, with delays
 *   leak.c        objects that nobody gives back
 *   memory.c      allocations that are refused to a side
 *   quarantine.c  pages that were given back, kept from the allocator and out of reach
 *
 * This header is for a race that is more than a file: it has probes, oracles and tasks of its
 * own, and lets the engine keep what they find.
 */
#ifndef KVET_INNER_H
#define KVET_INNER_H

#include <linux/debugfs.h>
#include <linux/prandom.h>
#include <linux/seq_file.h>

#include "kvet_engine.h"

struct pt_regs;
struct stack;

extern u64 kvet_seed;

/* kvet/ in debugfs. */
struct dentry *kvet_directory(void);

/* Remember that something that was expected is not there; kept for the report. */
void kvet_missing(const char *kind, const char *name);
void kvet_missing_show(struct seq_file *m);

/*
 * Probes run with interrupts off, in a debug exception. They take a bare arch_spinlock:
 * lockdep must see the code under test, not its observer.
 */
unsigned long kvet_lock(void);
void kvet_unlock(unsigned long flags);

/* stack_trace_save_regs(), which modules may not call. */
unsigned int kvet_save_stack(struct pt_regs *regs, unsigned long *store, unsigned int size,
			     unsigned int skip);

void kvet_quarantine_init(bool on);
void kvet_quarantine_stop(void);
/*
 * @pfn, an order-0 page, is on its way to the allocator, brought there by @freer:
 * false when it may go there.
 */
bool kvet_quarantine_take(unsigned long pfn, const struct stack *freer);
void kvet_quarantine_unmap(unsigned long pfn);
/* Was this page put into quarantine? */
bool kvet_quarantined(unsigned long pfn);
void kvet_quarantine_show(struct seq_file *m);

/* What kvet_hit() counted, and what the engine counts itself. */
void kvet_counts_show(struct seq_file *m);
long kvet_counted(const char *counter);
void kvet_hit_many(const char *counter, long times);

/* A random number below @bound of a thread's own sequence. */
static inline u32 kvet_random(struct rnd_state *state, u32 bound)
{
	return prandom_u32_state(state) % bound;
}

#endif /* KVET_INNER_H */
