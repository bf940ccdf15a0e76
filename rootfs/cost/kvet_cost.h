/* SPDX-License-Identifier: GPL-2.0 */
/*
 * kvet_cost: what an operation on kernel page tables costs, in instructions.
 *
 *   operations.c  what is measured, what is prepared before and undone after
 *   walker.c      a walk that is open, with its locks, while an operation runs
 *   measure.c     the instruction counter, the loops, the figures
 *   main.c        functions found by name, parameters, the report
 */
#ifndef KVET_COST_H
#define KVET_COST_H

#include <linux/mm.h>
#include <linux/seq_file.h>
#include <asm/ptdump.h>

struct kvet_op {
	const char *name;
	unsigned long bytes;
	unsigned int samples;	/* 0: as many as the parameter says */
	bool walked;		/* measured beside a walker, too */
	bool huge;		/* asks for block mappings: count those refused */
	void (*prepare)(const struct kvet_op *op);
	void (*run)(const struct kvet_op *op);
	void (*cleanup)(const struct kvet_op *op);
	bool (*is_block)(const struct kvet_op *op);
};

extern const struct kvet_op kvet_ops[];
extern const struct kvet_op kvet_nothing;

struct kvet_cost_symbols {
	struct mm_struct *init_mm;
	int (*map_range)(unsigned long addr, unsigned long end,
			 phys_addr_t phys, pgprot_t prot);
	void (*unmap_range)(unsigned long addr, unsigned long end);
	struct vm_struct *(*get_vm_area)(unsigned long size, unsigned long flags);
	void (*ptdump_walk)(struct seq_file *s, struct ptdump_info *info);
	void (*ptdump_check_wx)(void);
	unsigned long long (*runtime)(struct task_struct *task);
	void *walk_range;
};

extern struct kvet_cost_symbols kvet_sym;

int kvet_ops_init(u64 seed);
unsigned long kvet_ops_base(void);
void kvet_walk_from(unsigned long base);

int kvet_walker_start(void);
void kvet_walker_stop(void);
void kvet_walk_open(void);
void kvet_walk_close(void);

int kvet_counter_init(bool cycles);
int kvet_measure(unsigned int samples, unsigned int warmup, unsigned int every);
void kvet_measure_show(struct seq_file *m);

#endif /* KVET_COST_H */
