// SPDX-License-Identifier: GPL-2.0
/*
 * Freers. A round leaves an empty page table standing in a range and then asks
 * for a block mapping over it, which makes the kernel free the table:
 *
 *   map one page, unmap it      the PTE table stays
 *   map 2 MiB over it           vmap_try_huge_pmd() frees the table
 *
 * and the same one level up with 1 GiB, which needs address space but no
 * memory: nobody touches what is mapped. Every eighth round takes the way a
 * driver takes, vmalloc() and vmalloc_huge(), where reuse of the range is up
 * to the allocator.
 */
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/io.h>
#include <linux/kthread.h>
#include <linux/sizes.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include "kvet_race.h"

/* An address no memory lives at; block mappings of it are never accessed. */
#define NOWHERE		(1UL << 40)
#define AREA_PMDS	4
#define MAX_THREADS	16

struct churner {
	struct task_struct *task;
	struct vm_struct *area;
	unsigned long base;
	bool pud;
	bool finished;
	bool got_block;		/* blocks are possible here: small pages mean a back-off */
	unsigned long progress;
	struct kvet_arrival arrival;
	struct rnd_state random;
};

static struct churner churners[MAX_THREADS];
static uint nr_churners;

pmd_t *kvet_pmd_of(unsigned long addr, pud_t **pudp)
{
	pgd_t *pgd = pgd_offset_pgd(kvet_sym.init_mm->pgd, addr);
	p4d_t *p4d;

	if (pgd_none(READ_ONCE(*pgd)))
		return NULL;
	p4d = p4d_offset(pgd, addr);
	if (p4d_none(READ_ONCE(*p4d)))
		return NULL;
	*pudp = pud_offset(p4d, addr);
	if (!pud_present(READ_ONCE(**pudp)) || pud_leaf(READ_ONCE(**pudp)))
		return NULL;
	return pmd_offset(*pudp, addr);
}

struct kvet_arrival *kvet_arrival_of(struct task_struct *task)
{
	uint i;

	for (i = 0; i < nr_churners; i++)
		if (churners[i].arrival.task == task)
			return &churners[i].arrival;
	return NULL;
}

/* Is @where an entry of a table that @me churns? */
static bool is_entry_of(struct churner *me, unsigned long where)
{
	pud_t *pudp = NULL;
	pmd_t *pmdp;
	uint i;

	pmdp = kvet_pmd_of(me->base, &pudp);
	if (me->pud)
		return where == (unsigned long)pudp ||
		       (pmdp && (where & PAGE_MASK) == ((unsigned long)pmdp & PAGE_MASK));
	for (i = 0; i < AREA_PMDS; i++)
		if (where == (unsigned long)kvet_pmd_of(me->base + i * PMD_SIZE, &pudp))
			return true;
	return false;
}

/* Does the entry at @where lead to a table that is churned? Safe in a probe. */
bool kvet_churned_entry(unsigned long where)
{
	unsigned long value;
	uint i;

	for (i = 0; i < nr_churners; i++)
		/* a table that went meanwhile may be unmapped */
		if (is_entry_of(&churners[i], where))
			return !get_kernel_nofault(value, (unsigned long *)where) &&
			       (value & KVET_TABLE_BITS) == KVET_TABLE_BITS;
	return false;
}

static bool is_block(unsigned long addr, bool pud)
{
	pud_t *pudp = NULL;
	pmd_t *pmdp = kvet_pmd_of(addr, &pudp);

	if (pud)
		return pudp && pud_leaf(READ_ONCE(*pudp));
	return pmdp && pmd_leaf(READ_ONCE(*pmdp));
}

static void churn_range(struct churner *me, unsigned long addr, unsigned long size)
{
	pgprot_t prot = __pgprot(PROT_DEVICE_nGnRE);
	bool pud = size == PUD_SIZE;
	unsigned long page = addr + kvet_random(&me->random, size / PAGE_SIZE) * PAGE_SIZE;
	u32 since;
	int ret;

	if (kvet_sym.map_range(page, page + PAGE_SIZE, NOWHERE, prot))
		return;
	kvet_sym.unmap_range(page, page + PAGE_SIZE);

	kvet_oracle_arrive(&me->arrival, addr);
	since = kvet_clock();
	ret = kvet_sym.map_range(addr, addr + size, NOWHERE, prot);
	kvet_waited(KVET_FREER, since);
	if (ret)
		return;
	kvet_block_asked(!is_block(addr, pud));
	if (is_block(addr, pud)) {
		me->got_block = true;
		kvet_count(KVET_huge_maps);
		if (pud)
			kvet_count(KVET_pud_maps);
	} else if (me->got_block) {
		kvet_count(KVET_backoffs);
	}
	kvet_sym.unmap_range(addr, addr + size);
}

/* The pattern of real users; the freed range usually comes back at once. */
static void churn_vmalloc(void)
{
	void *small, *huge;

	/* with large pages a block is more memory than a guest has */
	if (PMD_SIZE > SZ_32M)
		return;
	small = vmalloc(2 * PMD_SIZE);
	vfree(small);
	vm_unmap_aliases();
	huge = vmalloc_huge(PMD_SIZE, GFP_KERNEL);
	if (huge && is_block((unsigned long)huge, false))
		kvet_count(KVET_huge_maps);
	vfree(huge);
}

/* Leave the walkers their share of the processor. */
static void rest(struct churner *me)
{
	if (kvet_rest)
		usleep_range(1, 2 + kvet_random(&me->random, kvet_rest));
	else if (!kvet_random(&me->random, 16))
		usleep_range(50, 500);
	cond_resched();
}

static int churn(void *data)
{
	struct churner *me = data;
	unsigned long slot, round;

	/* one that wakes during a walk meets it, even on a single CPU */
	if (kvet_rest)
		sched_set_fifo_low(current);
	kvet_amplify_me();
	for (round = 0; !READ_ONCE(kvet_stopping); round++) {
		slot = me->base + (round % AREA_PMDS) * PMD_SIZE;
		if (me->pud && round % 4 == 3)
			churn_range(me, me->base, PUD_SIZE);
		else if (round % 8 == 7 && !kvet_rest)
			churn_vmalloc();
		else
			churn_range(me, slot, PMD_SIZE);
		kvet_count(KVET_churns);
		WRITE_ONCE(me->progress, round + 1);
		rest(me);
	}
	WRITE_ONCE(me->finished, true);
	return 0;
}

static int churner_start(struct churner *me, uint number, bool pud)
{
	unsigned long align = pud ? PUD_SIZE : PMD_SIZE;
	unsigned long size = pud ? PUD_SIZE : AREA_PMDS * PMD_SIZE;

	/* near the end, lest every short walk goes through what others have mapped */
	me->area = kvet_sym.get_vm_area(size + align, VM_IOREMAP, VMALLOC_END - 16 * PUD_SIZE,
					VMALLOC_END, __builtin_return_address(0));
	if (!me->area)
		return -ENOMEM;
	me->base = ALIGN((unsigned long)me->area->addr, align);
	me->pud = pud;
	prandom_seed_state(&me->random, kvet_seed + number);
	me->task = kthread_run(churn, me, "kvet-churn/%u", number);
	return PTR_ERR_OR_ZERO(me->task);
}

int kvet_churn_start(uint threads, bool pud)
{
	uint i;
	int ret;

	for (i = 0; i < min_t(uint, threads, MAX_THREADS); i++) {
		/* every second thread works at the PUD level where that is on */
		ret = churner_start(&churners[i], i, pud && i % 2);
		if (ret)
			return ret;
		nr_churners++;
	}
	return 0;
}

/* Lowest address that is churned: walks that start there are short. */
unsigned long kvet_churn_base(void)
{
	unsigned long lowest = ULONG_MAX;
	uint i;

	for (i = 0; i < nr_churners; i++)
		lowest = min(lowest, churners[i].base);
	return nr_churners ? lowest : VMALLOC_START;
}

/*
 * Wait some seconds for the threads to come back. One that does not is stuck
 * in the kernel: it is left alone, and said so in the report.
 */
void kvet_churn_stop(void)
{
	uint i, left;

	do {
		for (i = 0, left = 0; i < nr_churners; i++)
			left += !READ_ONCE(churners[i].finished);
	} while (left && kvet_wait(3));
}

void kvet_churn_show(struct seq_file *m)
{
	uint i, alive = 0;

	for (i = 0; i < nr_churners; i++)
		alive += READ_ONCE(churners[i].finished);
	if (READ_ONCE(kvet_stopping))
		seq_printf(m, "state churn_alive %u/%u\n", alive, nr_churners);
}

void kvet_churn_areas(struct seq_file *m)
{
	unsigned long size;
	uint i;

	for (i = 0; i < nr_churners; i++) {
		size = churners[i].pud ? PUD_SIZE : AREA_PMDS * PMD_SIZE;
		seq_printf(m, "%lx %lx\n", churners[i].base, churners[i].base + size);
	}
}
