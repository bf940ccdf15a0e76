/* SPDX-License-Identifier: GPL-2.0 */
/* What the lists of walks and of tables ask each other; the oracle's lock is held. */
#ifndef KVET_WALKS_H
#define KVET_WALKS_H

#include <linux/types.h>

struct stack;
struct pt_regs;

/* Bits of the slots of walks that are open over @addr; 0: over anything. */
u32 kvet_walks_over(unsigned long addr);
const struct stack *kvet_walk_stack(int slot);

/* The walk in @slot has begun and may reach what is mapped between these; it has ended. */
void kvet_tables_reached(int slot, unsigned long start, unsigned long end);
void kvet_tables_left(int slot);

/* Of a probed function; without the lock. */
void kvet_take_stack(struct stack *stack, struct pt_regs *regs);

#endif
