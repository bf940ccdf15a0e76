// SPDX-License-Identifier: GPL-2.0
/*
 * Walks of init_mm: which are open, of which kind, over which addresses. The
 * oracle's lock is held where the list is looked at.
 */
#include <linux/string.h>

#include "findings.h"
#include "ptdump.h"
#include "walks.h"

#define MAX_WALKS	32

struct walk {
	unsigned long start, end;
	u64 number;		/* walks are counted from 1 on */
	enum kvet_walk_kind kind;
	struct stack stack;
};

static struct walk walks[MAX_WALKS];
static u32 open_walks;
static u64 last_walk;
static u64 last_of_kind[KVET_NR_WALK_KINDS];
static struct { pid_t pid; unsigned long walks; } walkers[MAX_WALKS];

u32 kvet_walks_over(unsigned long addr)
{
	u32 found = 0;
	unsigned int i;

	for (i = 0; i < MAX_WALKS; i++)
		if ((open_walks & BIT(i)) &&
		    (!addr || (walks[i].start <= addr && addr < walks[i].end)))
			found |= BIT(i);
	return found;
}

u32 kvet_kinds_open(unsigned long addr, u64 *last)
{
	u32 open = kvet_walks_over(addr), kinds = 0;
	unsigned int i;

	*last = 0;
	for (i = 0; i < MAX_WALKS; i++) {
		if (!(open & BIT(i)))
			continue;
		kinds |= BIT(walks[i].kind);
		*last = max(*last, walks[i].number);
	}
	return kinds;
}

u32 kvet_kinds_since(u64 number)
{
	u32 kinds = 0;
	unsigned int i;

	for (i = 0; i < KVET_NR_WALK_KINDS; i++)
		if (last_of_kind[i] > number)
			kinds |= BIT(i);
	return kinds;
}

u64 kvet_last_walk(void)
{
	return last_walk;
}

/* Is a walk up to @number still open? */
bool kvet_walk_open(u64 number)
{
	unsigned int i;

	for (i = 0; i < MAX_WALKS; i++)
		if ((open_walks & BIT(i)) && walks[i].number <= number)
			return true;
	return false;
}

const struct stack *kvet_walk_stack(int slot)
{
	return &walks[slot].stack;
}

/* Tasks of the workload have names; everybody else dumps the whole. */
static enum kvet_walk_kind kind_of_walk(void)
{
	if (!strncmp(current->comm, "kvet-wx", 7))
		return KVET_WALK_WX;
	return strncmp(current->comm, "kvet-walk", 9) ? KVET_WALK_DUMP : KVET_WALK_SHORT;
}

/*
 * A walk of these is made short: it is moved to the addresses that are churned,
 * past the linear map where a full walk spends its time. Whatever a design puts
 * round the walk, in whichever function, has been passed by now.
 */
static void shorten(struct pt_regs *regs)
{
	unsigned long base = kvet_churn_base(), end = kvet_churn_end();

	if (strcmp(current->comm, "kvet-walk") && strcmp(current->comm, "kvet-wx"))
		return;
	if (regs->regs[1] < base && end < regs->regs[2]) {
		regs->regs[1] = base;
		regs->regs[2] = end;
	}
}

/* How many walks each task has begun: one that begins for ever is seen by that. */
static void count_for_task(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(walkers); i++) {
		if (walkers[i].pid && walkers[i].pid != current->pid)
			continue;
		walkers[i].pid = current->pid;
		walkers[i].walks++;
		return;
	}
}

void kvet_walk_progress(struct seq_file *m)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(walkers) && walkers[i].pid; i++)
		seq_printf(m, "walks %d %lu\n", walkers[i].pid, READ_ONCE(walkers[i].walks));
}

/* The number of the walk's slot, -1 where there was no room. */
int kvet_walk_begun(struct pt_regs *regs)
{
	enum kvet_walk_kind kind = kind_of_walk();
	unsigned long flags;
	struct stack stack;
	struct walk *walk;
	int slot = -1;

	shorten(regs);
	kvet_take_stack(&stack, regs);
	flags = kvet_lock();
	last_of_kind[kind] = ++last_walk;
	count_for_task();
	if (~open_walks) {
		slot = ffz(open_walks);
		walk = &walks[slot];
		walk->start = regs->regs[1];
		walk->end = regs->regs[2];
		walk->number = last_walk;
		walk->kind = kind;
		walk->stack = stack;
		open_walks |= BIT(slot);
		kvet_tables_reached(slot, walk->start, walk->end);
	} else {
		kvet_count(KVET_untracked);
	}
	kvet_unlock(flags);
	kvet_count(KVET_walks);
	kvet_count(KVET_walks_dump + kind);
	return slot;
}

void kvet_walk_ended(int slot)
{
	unsigned long flags = kvet_lock();

	open_walks &= ~BIT(slot);
	kvet_tables_left(slot);
	kvet_unlock(flags);
	kvet_count(KVET_walks_done);
}
