/* SPDX-License-Identifier: GPL-2.0 */
/*
 * kvet_race: runs the race between replacing a kernel page table by a block
 * mapping and walking the kernel page tables, and checks the rule it breaks.
 *
 *   churn.c    freers: make and replace tables in address ranges of their own
 *   walkers.c  walkers: the kernel's own dump walk, over the churned ranges
 *   oracle.c   the lifetime rule, checked by probes on walks, entries and frees
 *   amplify.c  delays at random instructions of freer and walker
 *   latency.c  how long both take, blocks refused, memory of page tables
 *   main.c     parameters, counters, debugfs files
 *   symbols.c  functions that are not exported to modules
 */
#ifndef KVET_RACE_H
#define KVET_RACE_H

#include <linux/atomic.h>
#include <linux/debugfs.h>
#include <linux/kprobes.h>
#include <linux/mm.h>
#include <linux/prandom.h>
#include <linux/seq_file.h>
#include <asm/ptdump.h>

/* Counters of the exposure record; the names go to the report as they are. */
#define KVET_COUNTERS(X)						\
	X(walks)		/* walks of init_mm begun */		\
	X(walks_done)		/* and ended */				\
	X(table_frees)		/* page tables given back */		\
	X(pud_frees)		/* of these, PMD tables */		\
	X(overlaps)		/* a freer came in while a walk was open */ \
	X(contended)		/* walks open when a freer set out had ended when it came */ \
	X(under_walk)		/* tables given back while a walk was open */ \
	X(backoffs)		/* block asked for, pages given */	\
	X(huge_maps)		/* block asked for and given */		\
	X(pud_maps)		/* of these, at the PUD level */	\
	X(churns)		/* rounds of all churn threads */	\
	X(wx_walks)		/* check_wx walks done */		\
	X(hotplugs)		/* memory added and removed again */	\
	X(key_flips)		/* jump label updates */		\
	X(grace_periods)	/* grace periods somebody waited for */	\
	X(delays)		/* delays the amplifier put in */	\
	X(untracked)		/* frees the oracle had no room for */	\
	X(breaches)

enum kvet_counter {
#define KVET_ENUM(name) KVET_##name,
	KVET_COUNTERS(KVET_ENUM)
#undef KVET_ENUM
	KVET_NR_COUNTERS
};

extern atomic_long_t kvet_counters[KVET_NR_COUNTERS];

static inline void kvet_count(enum kvet_counter counter)
{
	atomic_long_inc(&kvet_counters[counter]);
}

#define KVET_TABLE_BITS	3UL	/* low bits of an entry that points to a table */

/* Functions found by name; see symbols.c. */
struct kvet_symbols {
	struct mm_struct *init_mm;
	int (*map_range)(unsigned long addr, unsigned long end,
			 phys_addr_t phys, pgprot_t prot);
	void (*unmap_range)(unsigned long addr, unsigned long end);
	struct vm_struct *(*get_vm_area)(unsigned long size, unsigned long flags,
					 unsigned long start, unsigned long end,
					 const void *caller);
	void (*ptdump_walk)(struct seq_file *s, struct ptdump_info *info);
	void *ptdump_check_wx;
	unsigned int (*save_stack)(struct pt_regs *regs, unsigned long *store,
				   unsigned int size, unsigned int skip);
};

extern struct kvet_symbols kvet_sym;

extern u64 kvet_seed;
extern uint kvet_amplify;
extern bool kvet_stopping;
void kvet_sleep(uint ms);
bool kvet_wait(uint seconds);
extern uint kvet_rest;

/* Microseconds between two walks of a walker, or one of these. */
#define KVET_GAP_RANDOM	UINT_MAX	/* as walkers come and go */
#define KVET_GAP_NEVER	(UINT_MAX - 1)	/* no walks */
extern u32 kvet_gap;

void *kvet_lookup(const char *name);
int kvet_symbols_init(void);

int kvet_churn_start(uint threads, bool pud);
void kvet_churn_stop(void);
void kvet_churn_show(struct seq_file *m);
/* First and last address of each churned range, one range a line. */
void kvet_churn_areas(struct seq_file *m);
unsigned long kvet_churn_base(void);
bool kvet_churned_entry(unsigned long where);
/* The PMD entry that maps @addr, or NULL when a level above it is no table. */
pmd_t *kvet_pmd_of(unsigned long addr, pud_t **pudp);

int kvet_walkers_start(uint walkers, uint wx_walkers);
void kvet_walkers_stop(void);

int kvet_oracle_start(void);
void kvet_oracle_stop(void);
void kvet_oracle_show(struct seq_file *m);

/* A freer on its way to a table, and the last walk that was open when it set out. */
struct kvet_arrival {
	struct task_struct *task;
	u64 last_walk;
};

void kvet_oracle_arrive(struct kvet_arrival *arrival, unsigned long addr);
struct kvet_arrival *kvet_arrival_of(struct task_struct *task);
/* A freer in @regs has come for every PTE table that maps some of @addr to @end. */
void kvet_oracle_expect(struct pt_regs *regs, unsigned long addr, unsigned long end);

int kvet_hotplug_start(void);
void kvet_hotplug_stop(void);

enum kvet_side { KVET_FREER, KVET_WALKER, KVET_NR_SIDES };

void kvet_latency_init(bool real);
u32 kvet_clock(void);
void kvet_waited(enum kvet_side side, u32 since);
void kvet_block_asked(bool got_small);
void kvet_latency_show(struct seq_file *m);

int kvet_amplify_start(void);
void kvet_amplify_me(void);
void kvet_amplify_stop(void);

/* A random number below @bound of a thread's own sequence. */
static inline u32 kvet_random(struct rnd_state *state, u32 bound)
{
	return prandom_u32_state(state) % bound;
}

#endif /* KVET_RACE_H */
