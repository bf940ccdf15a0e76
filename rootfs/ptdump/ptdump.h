/* SPDX-License-Identifier: GPL-2.0 */
/*
 * kvet_ptdump: runs the race between replacing a kernel page table by a block
 * mapping and walking the kernel page tables, and watches it.
 *
 *   race.c        the race as the engine's controlled schedules run it: a file like any other
 *
 * and as tasks of the kernel and of user space run it at random:
 *
 *   churn.c       rounds of a freer: make and replace tables in ranges of its own
 *   freers.c      tasks of freers
 *   mappings.c    what a freer got: mappings looked up, memory written and read
 *   walkers.c     walkers that are kernel threads
 *   doors.c       freers and walkers that are tasks of user space
 *   oracle.c      the lifetime rule, checked on walks, entries and frees
 *   walks.c       which walks are open
 *   meetings.c    which kind of freer met which kind of walk, and how
 *   probes.c      where in the kernel the oracle looks; what is missing there
 *   leak.c        tables that are cut off and never given back
 *   amplify.c     delays at random instructions of freer and walker
 *   sites.c       these instructions
 *   hotplug.c     a freer of another kind: memory that comes and goes
 *   latency.c     how long both take, blocks refused, memory of page tables
 *   main.c        parameters, counters, debugfs files
 *   functions.c   functions that are not exported to modules
 *
 * What is found, and pages that are kept out of reach, are the engine's business.
 */
#ifndef KVET_PTDUMP_H
#define KVET_PTDUMP_H

#include <linux/atomic.h>
#include <linux/debugfs.h>
#include <linux/kprobes.h>
#include <linux/mm.h>
#include <linux/prandom.h>
#include <linux/seq_file.h>
#include <asm/ptdump.h>

#include "engine.h"

/* Counters of the exposure record; docs/guest-protocol.md says what each means. */
#define KVET_COUNTERS(X)						\
	X(walks) X(walks_done)						\
	X(walks_dump) X(walks_short) X(walks_wx) X(wx_internal)		\
	X(table_frees) X(pud_frees)					\
	X(overlaps) X(overlaps_pud)					\
	X(contended) X(contended_pud)					\
	X(under_walk)							\
	X(backoffs) X(backoffs_pud) X(backoffs_idle)			\
	X(meet_pmd) X(meet_pud)						\
	X(meet_dump) X(meet_short) X(meet_wx)				\
	X(meet_kthread) X(meet_user) X(meet_signal) X(meet_vmalloc)	\
	X(rounds_kthread) X(rounds_user) X(rounds_signal) X(rounds_vmalloc) \
	X(most_freers) X(vmalloc_replaced)				\
	X(huge_maps) X(pud_maps) X(mappings_checked)			\
	X(churns) X(wx_walks) X(hotplugs)				\
	X(key_flips) X(grace_periods) X(delays) X(untracked)

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

/* Kinds of walks and of freers, in the order of their counters. */
enum kvet_walk_kind { KVET_WALK_DUMP, KVET_WALK_SHORT, KVET_WALK_WX, KVET_NR_WALK_KINDS };
enum kvet_freer_kind {
	KVET_FREER_KTHREAD, KVET_FREER_USER, KVET_FREER_SIGNAL, KVET_FREER_VMALLOC
};

#define KVET_TABLE_BITS	3UL	/* low bits of an entry that points to a table */

/* Functions found by name; see functions.c. */
struct kvet_symbols {
	struct mm_struct *init_mm;
	int (*map_range)(unsigned long addr, unsigned long end,
			 phys_addr_t phys, pgprot_t prot);
	void (*unmap_range)(unsigned long addr, unsigned long end);
	void (*unmap_noflush)(unsigned long addr, unsigned long end);
	struct vm_struct *(*get_vm_area)(unsigned long size, unsigned long flags,
					 unsigned long start, unsigned long end,
					 const void *caller);
	void (*ptdump_walk)(struct seq_file *s, struct ptdump_info *info);
	void *ptdump_check_wx;	/* kvet_check_wx() knows its type */
	void *(*vmalloc_range)(unsigned long size, unsigned long align, unsigned long start,
			       unsigned long end, gfp_t gfp, pgprot_t prot,
			       unsigned long vm_flags, int node, const void *caller);
};

extern struct kvet_symbols kvet_sym;

extern uint kvet_amplify;
extern bool kvet_stopping;
void kvet_sleep(uint ms);
bool kvet_wait(uint seconds);
extern uint kvet_rest;
extern bool kvet_restless;
extern uint kvet_stall;
extern bool kvet_faults;

/* Microseconds between two walks of a walker, or one of these. */
#define KVET_GAP_RANDOM	UINT_MAX	/* as walkers come and go */
#define KVET_GAP_NEVER	(UINT_MAX - 1)	/* no walks */
extern u32 kvet_gap;

int kvet_functions_init(void);

/* The race of controlled schedules. */
extern const struct kvet_race ptdump_race;

/* A freer between setting out for a table and coming back. */
struct kvet_arrival {
	struct task_struct *task;	/* NULL: nobody */
	enum kvet_freer_kind kind;
	bool pud;
	u32 kinds;		/* of the walks that were open when it set out */
	u64 last_open;		/* the last of these, 0 for none */
	u64 last_walk;		/* the last walk begun by then */
	bool came;		/* it has come to a table */
	bool awaits;		/* it may wait for a walk, once in a round (amplify.c) */
	bool awaited;		/* and has done so */
};

int kvet_churn_start(uint threads, uint users, bool pud);
void kvet_churn_stop(void);
/* Rounds at both levels in the calling task, after the freers have been stopped. */
void kvet_churn_more(uint ms);
void kvet_churn_show(struct seq_file *m);
void kvet_churn_progress(struct seq_file *m);
/* First and last address of each churned range, one range a line. */
void kvet_churn_areas(struct seq_file *m);
unsigned long kvet_churn_base(void);
unsigned long kvet_churn_end(void);
bool kvet_churned_entry(unsigned long where);
/* Is that entry what the freer @task is after right now? */
bool kvet_entry_of(struct task_struct *task, unsigned long where);
/* The PMD entry that maps @addr, or NULL when a level above it is no table. */
pmd_t *kvet_pmd_of(unsigned long addr, pud_t **pudp);
struct kvet_arrival *kvet_arrival_of(struct task_struct *task);

/* A freer of user space: @slot is its own from claim to release. */
int kvet_user_claim(enum kvet_freer_kind kind);
void kvet_user_release(int slot);
/* Rounds for some milliseconds; -ESHUTDOWN when the workload ends. */
int kvet_user_churn(int slot, uint ms);

/* Whether @addr to @end maps @phys with nothing left out; tells a finding if not. */
bool kvet_mapping_check(unsigned long addr, unsigned long end, phys_addr_t phys);
/* Writes and reads memory that is mapped at @addr, and again by its other mapping. */
bool kvet_memory_check(void *addr, unsigned long size, const char *func);

int kvet_walkers_start(uint walkers, uint wx_walkers);
void kvet_walkers_stop(void);
void kvet_walkers_show(struct seq_file *m);
/* The W+X check by its function, where the tree declares one that can be called. */
bool kvet_can_check_wx(void);
void kvet_check_wx(void);

void kvet_doors_create(struct dentry *folder);

int kvet_probes_start(void);
void kvet_probes_stop(void);
unsigned long kvet_probes_missed(void);

void kvet_oracle_init(void);

/* What the probes tell the oracle. */
void kvet_table_come(struct pt_regs *regs, unsigned long addr, bool pud);
void kvet_page_freed(unsigned long pfn, unsigned int order);
int kvet_walk_begun(struct pt_regs *regs);
void kvet_walk_ended(int slot);
/* `walks PID COUNT' of the tasks that walked first. */
void kvet_walk_progress(struct seq_file *m);
/* A freer in @regs has come for every PTE table that maps some of @addr to @end. */
void kvet_oracle_expect(struct pt_regs *regs, unsigned long addr, unsigned long end);

/*
 * A freer of ours sets out for the tables of @addr, of which @page may have one
 * of its own, and comes back. @addr 0: it does not know where it will end up.
 */
void kvet_set_out(struct kvet_arrival *arrival, unsigned long addr, unsigned long page);
void kvet_come_back(struct kvet_arrival *arrival, unsigned long addr, unsigned long page);
/* Pages were given for a block. The freer has not come back yet. */
void kvet_backed_off(struct kvet_arrival *arrival);

/* Kinds of the walks open over @addr (0: over anything) and the last of them. */
u32 kvet_kinds_open(unsigned long addr, u64 *last);
/* Kinds of the walks begun after walk @number. */
u32 kvet_kinds_since(u64 number);
u64 kvet_last_walk(void);
bool kvet_walk_open(u64 number);
/* The freer @current has come to a table of @addr; the engine's lock is held. */
void kvet_meet(unsigned long addr, bool pud);

/* Tables known to be cut off and not given back. */
unsigned long kvet_tables_lost(void);
void kvet_leak_show(struct seq_file *m);

int kvet_hotplug_start(void);
void kvet_hotplug_stop(void);

enum kvet_waiter { KVET_FREER, KVET_WALKER, KVET_NR_SIDES };

void kvet_latency_init(bool real);
u32 kvet_clock(void);
void kvet_waited(enum kvet_waiter side, u32 since);
void kvet_block_asked(bool got_small);
void kvet_latency_show(struct seq_file *m);

int kvet_amplify_start(void);
/* From here on the current task pauses, until it says that it leaves. */
void *kvet_amplify_me(void);
void kvet_amplify_leave(void *me);
/* The freer @task broke a rule, where it paused last: pause there again. */
void kvet_amplify_suspect(struct task_struct *task);
void kvet_amplify_stop(void);

#endif /* KVET_PTDUMP_H */
