// SPDX-License-Identifier: GPL-2.0
/*
 * Freers. A round leaves an empty page table standing in a range and then asks
 * for a block mapping over it, which makes the kernel free the table:
 *
 *   map one page, unmap it      the PTE table stays
 *   map 2 MiB over it           vmap_try_huge_pmd() frees the table
 *
 * and the same one level up with 1 GiB, which needs address space but no
 * memory: nobody touches what is mapped. Every eighth round takes the way of
 * vmalloc() and vmalloc_huge(), every fourth at the PMD level maps memory that
 * is written and read.
 *
 * A freer is a kernel thread, or a task of user space that lends itself (see
 * doors.c): a design may treat a task with an address space, or one with a
 * pending signal, in another way.
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

#include "churn.h"
#include "findings.h"
#include "ptdump.h"

/* An address no memory lives at; block mappings of it are never accessed. */
#define NOWHERE		BIT(40)
#define AWAITS_EVERY	4	/* rounds, in one of which the freer may wait for a walk */
struct churner kvet_churners[MAX_FREERS];
uint kvet_nr_churners;
static atomic_long_t between;	/* freers that have set out */

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

	for (i = 0; i < kvet_nr_churners; i++)
		if (kvet_churners[i].arrival.task == task)
			return &kvet_churners[i].arrival;
	return NULL;
}

/* Is @where an entry of a table that @me churns? Asked at every load that a walk does. */
static bool is_entry_of(struct churner *me, unsigned long where)
{
	unsigned long value;

	if (!me->pudp)
		return false;
	if (!me->pud)
		return where - (unsigned long)me->pmdp < AREA_PMDS * sizeof(pmd_t);
	if (where == (unsigned long)me->pudp)
		return true;
	value = pud_val(READ_ONCE(*me->pudp));
	return (value & KVET_TABLE_BITS) == KVET_TABLE_BITS &&
	       (where & PAGE_MASK) ==
	       (unsigned long)__va(value & GENMASK_ULL(47, PAGE_SHIFT));
}

/* Does the entry at @where lead to a table that is churned? Safe in a probe. */
bool kvet_churned_entry(unsigned long where)
{
	unsigned long value;
	uint i;

	for (i = 0; i < kvet_nr_churners; i++)
		/* a table that went meanwhile may be unmapped */
		if (is_entry_of(&kvet_churners[i], where))
			return !get_kernel_nofault(value, (unsigned long *)where) &&
			       (value & KVET_TABLE_BITS) == KVET_TABLE_BITS;
	return false;
}

bool kvet_entry_of(struct task_struct *task, unsigned long where)
{
	uint i;

	for (i = 0; i < kvet_nr_churners; i++)
		if (READ_ONCE(kvet_churners[i].arrival.task) == task)
			return is_entry_of(&kvet_churners[i], where);
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

static void set_out(struct churner *me, unsigned long addr, unsigned long page)
{
	atomic_long_t *most = &kvet_counters[KVET_most_freers];
	long now = atomic_long_inc_return(&between), before;

	do {
		before = atomic_long_read(most);
	} while (now > before && atomic_long_cmpxchg(most, before, now) != before);
	me->arrival.awaits = me->rounds % AWAITS_EVERY == 3;
	me->arrival.awaited = false;
	kvet_set_out(&me->arrival, addr, page);
}

static void come_back(struct churner *me, unsigned long addr, unsigned long page)
{
	kvet_come_back(&me->arrival, addr, page);
	atomic_long_dec(&between);
}

/* A block was asked for and mapped, in whatever size. */
static void count_block(struct churner *me, bool block, bool *got_block)
{
	if (block) {
		*got_block = true;
		kvet_count(KVET_huge_maps);
		if (me->arrival.pud)
			kvet_count(KVET_pud_maps);
	} else if (*got_block) {
		kvet_backed_off(&me->arrival);
	}
}

/* Whether what this task allocates may fail from here on, as debugfs says how often. */
static void let_allocations_fail(bool may)
{
#ifdef CONFIG_FAULT_INJECTION
	current->make_it_fail = may && kvet_faults;
#endif
}

static void churn_range(struct churner *me, unsigned long addr, unsigned long size, bool memory)
{
	pgprot_t prot = memory ? PAGE_KERNEL : __pgprot(PROT_DEVICE_nGnRE);
	phys_addr_t phys = memory ? page_to_phys(me->block) : NOWHERE;
	bool pud = size == PUD_SIZE;
	unsigned long page = addr + kvet_random(&me->random, size / PAGE_SIZE) * PAGE_SIZE;
	u32 since;
	int ret;

	if (kvet_sym.map_range(page, page + PAGE_SIZE, phys, prot))
		return;
	if (!me->pudp)
		me->pmdp = kvet_pmd_of(me->base, &me->pudp);
	/* what the TLB holds of it now must be gone when the block stands */
	if (memory)
		kvet_memory_check((void *)page, PAGE_SIZE, "vmap_page_range");
	kvet_sym.unmap_range(page, page + PAGE_SIZE);

	me->arrival.pud = pud;
	set_out(me, addr, page);
	since = kvet_clock();
	let_allocations_fail(true);
	ret = kvet_sym.map_range(addr, addr + size, phys, prot);
	let_allocations_fail(false);
	kvet_waited(KVET_FREER, since);
	if (!ret) {
		kvet_block_asked(!is_block(addr, pud));
		count_block(me, is_block(addr, pud), &me->got_block);
	}
	come_back(me, addr, page);
	/* what was mapped before an allocation failed has to go as well */
	if (!ret && kvet_mapping_check(addr, addr + size, phys) && memory)
		kvet_memory_check((void *)addr, size, "vmap_page_range");
	kvet_sym.unmap_range(addr, addr + size);
}

static void *vmalloc_in(struct churner *me, unsigned long size, unsigned long flags)
{
	return kvet_sym.vmalloc_range(size, 1, me->window, me->window + WINDOW, GFP_KERNEL,
				      PAGE_KERNEL, flags, NUMA_NO_NODE, vmalloc_in);
}

/*
 * The pattern of real users, vmalloc() and then vmalloc_huge() where the small
 * mapping was. Both functions call __vmalloc_node_range(); told to stay in a
 * window of its own, the second is sure to land on the table of the first.
 */
static void churn_vmalloc(struct churner *me)
{
	void *small, *huge;

	/* with large pages a block is more memory than a guest has */
	if (SZ_32M < PMD_SIZE || !kvet_sym.vmalloc_range)
		return;
	small = vmalloc_in(me, 8 * PAGE_SIZE, 0);
	if (small)
		kvet_memory_check(small, 8 * PAGE_SIZE, "vmalloc");
	vfree(small);
	vm_unmap_aliases();
	me->arrival.kind = KVET_FREER_VMALLOC;
	me->arrival.pud = false;
	set_out(me, me->window, small ? (unsigned long)small : 0);
	huge = vmalloc_in(me, PMD_SIZE, VM_ALLOW_HUGE_VMAP);
	if (huge)
		count_block(me, is_block((unsigned long)huge, false), &me->got_vmalloc_block);
	come_back(me, me->window, small ? (unsigned long)small : 0);
	me->arrival.kind = me->kind;
	if (huge)
		kvet_memory_check(huge, PMD_SIZE, "vmalloc_huge");
	vfree(huge);
	vm_unmap_aliases();
	kvet_count(KVET_rounds_vmalloc);
}

/* Leave the walkers their share of the processor. */
void kvet_churn_rest(struct churner *me)
{
	if (kvet_rest)
		usleep_range(1, 2 + kvet_random(&me->random, kvet_rest));
	else if (!READ_ONCE(kvet_restless) && !kvet_random(&me->random, 16))
		usleep_range(50, 500);
	cond_resched();
}

void kvet_churn_once(struct churner *me)
{
	unsigned long round = me->rounds;
	unsigned long slot = me->base + (round % AREA_PMDS) * PMD_SIZE;

	if (me->pud && round % 4 == 3)
		churn_range(me, me->base, PUD_SIZE, false);
	else if (round % 8 == 6 && !kvet_rest)
		churn_vmalloc(me);
	else
		churn_range(me, slot, PMD_SIZE, me->block && round % 4 == 1 && !kvet_rest);
	kvet_count(KVET_churns);
	kvet_count(KVET_rounds_kthread + me->kind);
	WRITE_ONCE(me->rounds, round + 1);
}
