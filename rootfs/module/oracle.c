// SPDX-License-Identifier: GPL-2.0
/*
 * The lifetime rule of kernel page tables, checked from outside:
 *
 *   1. A table must not be given back while a walk is open that could have
 *      reached it: one that was open when the freer came in, or that began
 *      while the entry still pointed to the table.
 *   2. A table must not be given back while its entry still points to it.
 *
 * A stale read is luck: a freed table is soon a table again, and neither poison
 * nor an unmapped page sees it. A breach of the rule is seen every time.
 *
 * Three things are followed by probes. Walks: walk_page_range_debug() (before
 * 6.16 walk_page_range_novma()) from entry to return, that is inside whatever
 * lock or reader section a design puts round it. Freers: the entry of
 * pmd_free_pte_page() and pud_free_pmd_page(), whatever they do inside. Frees:
 * the page allocator, so that a deferred free counts when it happens. Nothing
 * here knows how a design excludes one from the other.
 *
 * A table under a PUD entry that was cleared first is out of reach, though its
 * own entry stands; so each table remembers the entry above its own as well.
 *
 * Handlers run with interrupts off, in a debug exception. They take a bare
 * arch_spinlock: lockdep must see the code under test, not its observer.
 */
#include <linux/list.h>
#include <linux/ptrace.h>
#include <linux/stacktrace.h>
#include <linux/uaccess.h>

#include <linux/delay.h>
#include <linux/rcupdate.h>

#include "breach.h"
#include "kvet_race.h"

#define MAX_WALKS	32
#define MAX_TABLES	4096
#define HASH_SIZE	1024

struct walk {
	unsigned long start, end;
	u64 number;		/* walks are counted from 1 on */
	struct stack stack;
};

/* A table that a freer has come for and that has not been given back yet. */
struct table {
	struct hlist_node hash;
	struct list_head list;
	unsigned long pfn;
	unsigned long addr;
	u64 *entry, *parent;
	u64 value, parent_value;
	u32 reached;		/* open walks that may have read the entry */
	bool is_pmd_table;
	struct stack stack;
};

static arch_spinlock_t lock = __ARCH_SPIN_LOCK_UNLOCKED;
static struct walk walks[MAX_WALKS];
static u32 open_walks;
static u64 last_walk;
static struct table tables[MAX_TABLES];
static struct hlist_head hash[HASH_SIZE];
static LIST_HEAD(pending);
static LIST_HEAD(unused);

static unsigned long oracle_lock(void)
{
	unsigned long flags;

	local_irq_save(flags);
	arch_spin_lock(&lock);
	return flags;
}

static void oracle_unlock(unsigned long flags)
{
	arch_spin_unlock(&lock);
	local_irq_restore(flags);
}

/*
 * The stack of the probed function, which has not made its frame yet: its
 * caller is in the link register alone.
 */
static void take_stack(struct stack *stack, struct pt_regs *regs)
{
	stack->entries[0] = instruction_pointer(regs);
	stack->entries[1] = regs->regs[30];
	stack->depth = 2 + kvet_sym.save_stack(regs, stack->entries + 2, STACK_DEPTH - 2, 1);
	stack->pid = current->pid;
}

static u64 entry_value(u64 *entry)
{
	u64 value;

	/* the table that holds the entry may be gone itself by now */
	return get_kernel_nofault(value, entry) ? 0 : value;
}

static bool still_mapped(struct table *table)
{
	if (table->parent && entry_value(table->parent) != table->parent_value)
		return false;
	return entry_value(table->entry) == table->value;
}

static struct table *find_table(unsigned long pfn)
{
	struct table *table;

	hlist_for_each_entry(table, &hash[pfn % HASH_SIZE], hash)
		if (table->pfn == pfn)
			return table;
	return NULL;
}

static u32 walks_over(unsigned long addr)
{
	u32 found = 0;
	unsigned int i;

	for (i = 0; i < MAX_WALKS; i++)
		if ((open_walks & BIT(i)) && walks[i].start <= addr && addr < walks[i].end)
			found |= BIT(i);
	return found;
}

/*
 * A thread of ours is about to ask for a block at @addr: was a walk open that
 * covers it? A design may make the freer wait long before it comes to a table.
 */
void kvet_oracle_arrive(struct kvet_arrival *arrival, unsigned long addr)
{
	unsigned long flags = oracle_lock();

	arrival->last_walk = walks_over(addr) ? last_walk : 0;
	arrival->task = current;
	oracle_unlock(flags);
}

/* It has come to the table: all the walks that were open then have ended, so it met them. */
static void look_at_arrival(unsigned long addr)
{
	struct kvet_arrival *arrival = kvet_arrival_of(current);
	u32 open = walks_over(addr);
	unsigned int i;

	if (!arrival || !arrival->last_walk)
		return;
	for (i = 0; i < MAX_WALKS; i++)
		if ((open & BIT(i)) && walks[i].number <= arrival->last_walk)
			return;
	arrival->last_walk = 0;
	kvet_count(KVET_contended);
}

/* A freer has come for the table behind @entry. */
static void table_pending(u64 *entry, u64 *parent, unsigned long addr, bool is_pmd_table,
			  struct stack *stack)
{
	u64 value = entry_value(entry);
	unsigned long pfn = (value & GENMASK_ULL(47, PAGE_SHIFT)) >> PAGE_SHIFT;
	struct table *table;

	if ((value & KVET_TABLE_BITS) != KVET_TABLE_BITS || find_table(pfn))
		return;
	table = list_first_entry_or_null(&unused, struct table, list);
	if (!table) {
		kvet_count(KVET_untracked);
		return;
	}
	table->pfn = pfn;
	table->addr = addr;
	table->entry = entry;
	table->parent = parent;
	table->value = value;
	table->parent_value = parent ? entry_value(parent) : 0;
	table->is_pmd_table = is_pmd_table;
	table->reached = walks_over(addr);
	table->stack = *stack;
	if (table->reached)
		kvet_count(KVET_overlaps);
	list_move(&table->list, &pending);
	hlist_add_head(&table->hash, &hash[pfn % HASH_SIZE]);
}

void kvet_oracle_expect(struct pt_regs *regs, unsigned long addr, unsigned long end)
{
	struct stack stack;
	unsigned long flags;
	pud_t *pudp = NULL;
	pmd_t *pmdp;

	take_stack(&stack, regs);
	flags = oracle_lock();
	for (addr &= PMD_MASK; addr < end; addr += PMD_SIZE) {
		pmdp = kvet_pmd_of(addr, &pudp);
		if (pmdp)
			table_pending((u64 *)pmdp, NULL, addr, false, &stack);
	}
	oracle_unlock(flags);
}

static int pmd_free_enter(struct kprobe *probe, struct pt_regs *regs)
{
	unsigned long flags;
	struct stack stack;

	take_stack(&stack, regs);
	flags = oracle_lock();
	look_at_arrival(regs->regs[1]);
	table_pending((u64 *)regs->regs[0], NULL, regs->regs[1], false, &stack);
	oracle_unlock(flags);
	return 0;
}

/* The tables below go together with the one that holds their entries. */
static int pud_free_enter(struct kprobe *probe, struct pt_regs *regs)
{
	u64 *pudp = (u64 *)regs->regs[0];
	unsigned long addr = regs->regs[1] & PUD_MASK, flags;
	u64 value = entry_value(pudp), *pmds;
	struct stack stack;
	unsigned int i;

	if ((value & KVET_TABLE_BITS) != KVET_TABLE_BITS)
		return 0;
	take_stack(&stack, regs);
	pmds = __va(value & GENMASK_ULL(47, PAGE_SHIFT));
	flags = oracle_lock();
	look_at_arrival(addr);
	table_pending(pudp, NULL, addr, true, &stack);
	for (i = 0; i < PTRS_PER_PMD; i++)
		table_pending(pmds + i, pudp, addr + i * PMD_SIZE, false, &stack);
	oracle_unlock(flags);
	return 0;
}

static void breach(const char *kind, struct table *table, struct walk *walk)
{
	struct breach found = {
		.kind = kind,
		.func = table->is_pmd_table ? "pud_free_pmd_page" : "pmd_free_pte_page",
		.pfn = table->pfn,
		.addr = table->addr,
		.free = table->stack,
	};

	/* the linear map lies below vmalloc's range, and only hot-unplug frees tables there */
	if (table->addr < VMALLOC_START)
		found.func = "free_empty_tables";
	if (walk)
		found.walk = walk->stack;
	kvet_breach_note(&found);
}

/* A page goes back to the allocator. */
static void page_freed(unsigned long pfn)
{
	struct table *table = find_table(pfn);
	u32 reached;

	if (!table)
		return;
	kvet_count(KVET_table_frees);
	if (table->is_pmd_table)
		kvet_count(KVET_pud_frees);
	if (walks_over(table->addr))
		kvet_count(KVET_under_walk);
	reached = table->reached & open_walks;
	if (reached)
		breach("table-freed-under-walk", table, &walks[__ffs(reached)]);
	else if (still_mapped(table))
		breach("table-freed-while-mapped", table, NULL);
	hlist_del_init(&table->hash);
	list_move(&table->list, &unused);
}

static void look_at_free(unsigned long pfn)
{
	unsigned long flags;
	unsigned int first, end;

	/* nearly every page that is freed is no table: look before locking */
	if (hlist_empty(&hash[pfn % HASH_SIZE]))
		return;
	flags = oracle_lock();
	first = kvet_breaches_noted();
	page_freed(pfn);
	end = kvet_breaches_noted();
	oracle_unlock(flags);
	kvet_breaches_print(first, end);
}

static int free_page_enter(struct kprobe *probe, struct pt_regs *regs)
{
	if (!regs->regs[1])
		look_at_free(page_to_pfn((struct page *)regs->regs[0]));
	return 0;
}

/* The last reference to a page is gone: another way for a table to be given back. */
static int put_page_enter(struct kprobe *probe, struct pt_regs *regs)
{
	look_at_free(page_to_pfn((struct page *)regs->regs[0]));
	return 0;
}

static int free_address_enter(struct kprobe *probe, struct pt_regs *regs)
{
	if (regs->regs[0] && !regs->regs[1])
		look_at_free(virt_to_pfn((void *)regs->regs[0]));
	return 0;
}

static int walk_enter(struct kretprobe_instance *instance, struct pt_regs *regs)
{
	int *slot = (int *)instance->data;
	struct table *table;
	unsigned long flags;
	struct stack stack;

	*slot = -1;
	if ((struct mm_struct *)regs->regs[0] != kvet_sym.init_mm)
		return 1;
	take_stack(&stack, regs);
	flags = oracle_lock();
	if (~open_walks) {
		*slot = ffz(open_walks);
		walks[*slot].start = regs->regs[1];
		walks[*slot].end = regs->regs[2];
		walks[*slot].number = ++last_walk;
		walks[*slot].stack = stack;
		open_walks |= BIT(*slot);
		list_for_each_entry(table, &pending, list)
			if (walks[*slot].start <= table->addr &&
			    table->addr < walks[*slot].end && still_mapped(table))
				table->reached |= BIT(*slot);
	}
	oracle_unlock(flags);
	kvet_count(KVET_walks);
	return *slot < 0;
}

static int walk_return(struct kretprobe_instance *instance, struct pt_regs *regs)
{
	int slot = *(int *)instance->data;
	struct table *table;
	unsigned long flags;

	flags = oracle_lock();
	open_walks &= ~BIT(slot);
	list_for_each_entry(table, &pending, list)
		table->reached &= ~BIT(slot);
	oracle_unlock(flags);
	kvet_count(KVET_walks_done);
	return 0;
}

static int key_flip_enter(struct kprobe *probe, struct pt_regs *regs)
{
	kvet_count(KVET_key_flips);
	return 0;
}

static int grace_period_enter(struct kprobe *probe, struct pt_regs *regs)
{
	kvet_count(KVET_grace_periods);
	return 0;
}

static struct kprobe probes[] = {
	{ .symbol_name = "pmd_free_pte_page", .pre_handler = pmd_free_enter },
	{ .symbol_name = "pud_free_pmd_page", .pre_handler = pud_free_enter },
	{ .symbol_name = "__free_pages", .pre_handler = free_page_enter },
	{ .symbol_name = "free_pages", .pre_handler = free_address_enter },
	{ .symbol_name = "__folio_put", .pre_handler = put_page_enter },
	{ .symbol_name = "jump_label_update", .pre_handler = key_flip_enter },
	{ .symbol_name = "synchronize_rcu", .pre_handler = grace_period_enter },
};
#define NEEDED_PROBES 5	/* the first ones; the others only count */

static bool registered[ARRAY_SIZE(probes)];

static struct kretprobe walk_probe = {
	.entry_handler = walk_enter,
	.handler = walk_return,
	.data_size = sizeof(int),
	.maxactive = MAX_WALKS,
};

static const char *const walk_functions[] = {
	"walk_page_range_debug",
	"walk_page_range_novma",
};

static int probe_walks(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(walk_functions); i++) {
		if (!kvet_lookup(walk_functions[i]))
			continue;
		walk_probe.kp.symbol_name = walk_functions[i];
		return register_kretprobe(&walk_probe);
	}
	pr_err("kvet_race: this kernel's page-table walk was not found\n");
	return -ENOENT;
}

int kvet_oracle_start(void)
{
	unsigned int i;
	int ret;

	for (i = 0; i < MAX_TABLES; i++)
		list_add(&tables[i].list, &unused);
	ret = probe_walks();
	for (i = 0; i < ARRAY_SIZE(probes) && !ret; i++) {
		ret = register_kprobe(&probes[i]);
		registered[i] = !ret;
		if (ret && i >= NEEDED_PROBES)
			ret = 0;
		else if (ret)
			pr_err("kvet_race: cannot probe %s: %d\n", probes[i].symbol_name, ret);
	}
	return ret;
}

void kvet_oracle_stop(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(probes); i++)
		if (registered[i])
			unregister_kprobe(&probes[i]);
	if (walk_probe.kp.symbol_name)
		unregister_kretprobe(&walk_probe);
}

static unsigned long lost_tables(void)
{
	unsigned long flags, count = 0;
	struct table *table;

	flags = oracle_lock();
	list_for_each_entry(table, &pending, list)
		count += !still_mapped(table);
	oracle_unlock(flags);
	return count;
}

/*
 * Tables that nobody gave back and that no entry leads to any more. Frees that
 * were put off (RCU, work queues) get their time first.
 */
static unsigned long leaked_tables(void)
{
	unsigned long count;
	uint tries;

	rcu_barrier();
	for (tries = 0; (count = lost_tables()) && tries < 50; tries++)
		msleep(10);
	return count;
}

void kvet_oracle_show(struct seq_file *m)
{
	unsigned long leaked = leaked_tables();

	kvet_breaches_show(m);
	seq_printf(m, "state tables_leaked %lu\n", leaked);
}
