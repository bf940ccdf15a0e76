/* SPDX-License-Identifier: GPL-2.0 */
/* A freer: its ranges, its task and how far it is. */
#ifndef KVET_CHURN_H
#define KVET_CHURN_H

#include "ptdump.h"

#define MAX_FREERS	16
#define AREA_PMDS	4
#define WINDOW		(4 * PMD_SIZE)	/* of vmalloc's own addresses, for each freer */

struct churner {
	struct task_struct *task;	/* of a kernel thread */
	struct vm_struct *area;
	unsigned long base;
	unsigned long window;
	pud_t *pudp;		/* of the range; the table that holds it stays */
	pmd_t *pmdp;		/* likewise, where @pud is not set */
	struct page *block;	/* PMD_SIZE of memory, or NULL */
	bool pud;
	bool user;		/* waits for a task of user space */
	enum kvet_freer_kind kind;	/* of the task; a round may count as another's */
	atomic_t claimed;	/* and has one */
	bool inside;		/* works right now */
	bool got_block;		/* blocks are possible here: small pages mean a back-off */
	bool got_vmalloc_block;
	pid_t pid;
	unsigned long rounds;
	struct kvet_arrival arrival;
	struct rnd_state random;
};

extern struct churner kvet_churners[MAX_FREERS];
extern uint kvet_nr_churners;

void kvet_churn_once(struct churner *me);
/* Leave the walkers their share of the processor. */
void kvet_churn_rest(struct churner *me);

#endif
