// SPDX-License-Identifier: GPL-2.0
/*
 * The lifetime rule of kernel page tables, checked from outside:
 *
 *   1. A table should not be given back while a walk is open that could have
 *      reached it: one that was open when the freer came in, or that began
 *      while the entry still pointed to the table.
 *   2. A table must not be given back while its entry still points to it.
 *
 * The first is a suspicion and no more: a walk that takes its lock for each
 * entry may be open and hold no table. What proves a fault is an access, which
 * the quarantine turns into one. The second is proof: the MMU may go there.
 *
 * Three things are followed. Walks: walk_page_range_debug() (before 6.16
 * walk_page_range_novma()) from entry to return, that is inside whatever lock
 * or reader section a design puts round it. Freers: those of ours from setting
 * out to coming back, and everybody's by the entry of pmd_free_pte_page() and
 * pud_free_pmd_page(). Frees: every page that goes to the page allocator,
 * whatever function took it there, so that a deferred free counts when it
 * happens. Nothing here knows how a design excludes one from the other.
 *
 * A table under a PUD entry that was cleared first is out of reach, though its
 * own entry stands; so each table remembers the entry above its own as well.
 */
#include <linux/list.h>
#include <linux/ptrace.h>
#include <linux/stacktrace.h>
#include <linux/uaccess.h>

#include "findings.h"
#include "ptdump.h"
#include "walks.h"

#define MAX_TABLES	4096
#define HASH_SIZE	1024

/* A table that a freer is after and that has not been given back yet. */
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

static struct table tables[MAX_TABLES];
static struct hlist_head hash[HASH_SIZE];
static LIST_HEAD(pending);
static LIST_HEAD(unused);

/*
 * The stack of the probed function, which has not made its frame yet: its
 * caller is in the link register alone.
 */
void kvet_take_stack(struct stack *stack, struct pt_regs *regs)
{
	stack->entries[0] = instruction_pointer(regs);
	stack->entries[1] = regs->regs[30];
	stack->depth = 2 + kvet_save_stack(regs, stack->entries + 2, STACK_DEPTH - 2, 1);
	stack->pid = current->pid;
	stack->from_user = !(current->flags & PF_KTHREAD);
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

/*
 * A freer is after the table behind @entry. One that is known already has come
 * back without having been given back: what was noted then is old.
 */
static void expect_table(u64 *entry, u64 *parent, unsigned long addr, bool is_pmd_table,
			 struct stack *stack)
{
	u64 value = entry_value(entry);
	unsigned long pfn = (value & GENMASK_ULL(47, PAGE_SHIFT)) >> PAGE_SHIFT;
	struct table *table;

	if ((value & KVET_TABLE_BITS) != KVET_TABLE_BITS)
		return;
	table = find_table(pfn);
	if (!table) {
		table = list_first_entry_or_null(&unused, struct table, list);
		if (!table) {
			kvet_count(KVET_untracked);
			return;
		}
		table->pfn = pfn;
		table->reached = 0;
		table->entry = NULL;
		list_move(&table->list, &pending);
		hlist_add_head(&table->hash, &hash[pfn % HASH_SIZE]);
	}
	/* pud_free_pmd_page() may call pmd_free_pte_page(), which knows of no entry above */
	if (parent || table->entry != entry) {
		table->parent = parent;
		table->parent_value = parent ? entry_value(parent) : 0;
	}
	table->addr = addr;
	table->entry = entry;
	table->value = value;
	table->is_pmd_table = is_pmd_table;
	table->reached |= kvet_walks_over(addr);
	table->stack = *stack;
}

static void forget(struct table *table)
{
	hlist_del_init(&table->hash);
	list_move(&table->list, &unused);
}

void kvet_oracle_expect(struct pt_regs *regs, unsigned long addr, unsigned long end)
{
	struct stack stack;
	unsigned long flags;
	pud_t *pudp = NULL;
	pmd_t *pmdp;

	kvet_take_stack(&stack, regs);
	stack.side = "free";
	stack.func = "free_empty_tables";
	flags = kvet_lock();
	for (addr &= PMD_MASK; addr < end; addr += PMD_SIZE) {
		pmdp = kvet_pmd_of(addr, &pudp);
		if (pmdp)
			expect_table((u64 *)pmdp, NULL, addr, false, &stack);
	}
	kvet_unlock(flags);
}

/* The tables below a PMD table go together with it. */
static void expect_below(u64 *pudp, unsigned long addr, struct stack *stack)
{
	u64 value = entry_value(pudp), *pmds;
	unsigned int i;

	if ((value & KVET_TABLE_BITS) != KVET_TABLE_BITS)
		return;
	pmds = __va(value & GENMASK_ULL(47, PAGE_SHIFT));
	expect_table(pudp, NULL, addr, true, stack);
	for (i = 0; i < PTRS_PER_PMD; i++)
		expect_table(pmds + i, pudp, addr + i * PMD_SIZE, false, stack);
}

/* pmd_free_pte_page() or pud_free_pmd_page() begins. */
void kvet_table_come(struct pt_regs *regs, unsigned long addr, bool pud)
{
	u64 *entry = (u64 *)regs->regs[0];
	unsigned long flags;
	struct stack stack;

	kvet_take_stack(&stack, regs);
	stack.side = "free";
	stack.func = pud ? "pud_free_pmd_page" : "pmd_free_pte_page";
	flags = kvet_lock();
	kvet_meet(addr, pud);
	if (pud)
		expect_below(entry, addr & PUD_MASK, &stack);
	else
		expect_table(entry, NULL, addr, false, &stack);
	kvet_unlock(flags);
}

/* The tables that a freer of ours is after are known before it asks for anything. */
void kvet_set_out(struct kvet_arrival *arrival, unsigned long addr, unsigned long page)
{
	struct stack stack = {
		.side = "free",
		.func = arrival->pud ? "pud_free_pmd_page" : "pmd_free_pte_page",
		.pid = current->pid,
	};
	unsigned long flags;
	pud_t *pudp = NULL;
	pmd_t *pmdp;

	stack.depth = stack_trace_save(stack.entries, STACK_DEPTH, 0);
	flags = kvet_lock();
	arrival->kinds = kvet_kinds_open(addr, &arrival->last_open);
	arrival->last_walk = kvet_last_walk();
	arrival->came = false;
	if (page) {
		pmdp = kvet_pmd_of(page, &pudp);
		if (pmdp && arrival->pud)
			expect_table((u64 *)pudp, NULL, addr, true, &stack);
		if (pmdp)
			expect_table((u64 *)pmdp, arrival->pud ? (u64 *)pudp : NULL,
				     page & PMD_MASK, false, &stack);
	}
	WRITE_ONCE(arrival->task, current);
	kvet_unlock(flags);
}

/* It has come back: a table that is still in its place was not what it took. */
void kvet_come_back(struct kvet_arrival *arrival, unsigned long addr, unsigned long page)
{
	struct table *table, *next;
	unsigned long flags = kvet_lock(), size = arrival->pud ? PUD_SIZE : PMD_SIZE;

	WRITE_ONCE(arrival->task, NULL);
	if (page)
		list_for_each_entry_safe(table, next, &pending, list)
			if (table->addr - addr < size && still_mapped(table))
				forget(table);
	kvet_unlock(flags);
}

static void note(const char *kind, struct table *table, const struct stack *walk)
{
	struct finding found = {
		.kind = kind,
		.func = table->stack.func,
		.first = table->stack,
		.suspicion = !!walk,
	};

	snprintf(found.title, sizeof(found.title), "%s in %s", kind, found.func);
	snprintf(found.about, sizeof(found.about), "table 0x%lx of 0x%lx%s", table->pfn,
		 table->addr, walk ? "" : ", by the lifetime rule");
	if (walk) {
		found.second = *walk;
		found.second.side = "walk";
		kvet_amplify_suspect(current);
	}
	kvet_finding_note(&found);
}

/* A table goes back to the allocator, whoever brought it there. */
static void table_freed(struct table *table)
{
	u32 reached = table->reached & kvet_walks_over(0);

	kvet_count(KVET_table_frees);
	if (table->is_pmd_table)
		kvet_count(KVET_pud_frees);
	if (kvet_walks_over(table->addr))
		kvet_count(KVET_under_walk);
	if (still_mapped(table))
		note("table-freed-while-mapped", table, NULL);
	else if (reached)
		note("table-freed-under-walk", table, kvet_walk_stack(__ffs(reached)));
	forget(table);
}

static void look_at(unsigned long pfn, bool may_keep)
{
	unsigned int first, end;
	struct table *table;
	unsigned long flags;
	bool kept = false;

	/* nearly every page that is freed is no table: look before locking */
	if (hlist_empty(&hash[pfn % HASH_SIZE]))
		return;
	flags = kvet_lock();
	first = kvet_findings_noted();
	table = find_table(pfn);
	if (table) {
		kept = may_keep && kvet_quarantine_take(pfn, &table->stack);
		table_freed(table);
	}
	end = kvet_findings_noted();
	kvet_unlock(flags);
	if (kept)
		kvet_quarantine_unmap(pfn);
	kvet_findings_print(first, end);
}

void kvet_page_freed(unsigned long pfn, unsigned int order)
{
	unsigned long i;

	for (i = 0; i < 1UL << order; i++)
		look_at(pfn + i, !order);
}

void kvet_tables_reached(int slot, unsigned long start, unsigned long end)
{
	struct table *table;

	list_for_each_entry(table, &pending, list)
		if (start <= table->addr && table->addr < end && still_mapped(table))
			table->reached |= BIT(slot);
}

void kvet_tables_left(int slot)
{
	struct table *table;

	list_for_each_entry(table, &pending, list)
		table->reached &= ~BIT(slot);
}

void kvet_oracle_init(void)
{
	unsigned int i;

	for (i = 0; i < MAX_TABLES; i++)
		list_add(&tables[i].list, &unused);
}

unsigned long kvet_tables_lost(void)
{
	unsigned long flags, count = 0;
	struct table *table;

	flags = kvet_lock();
	list_for_each_entry(table, &pending, list)
		count += !still_mapped(table);
	kvet_unlock(flags);
	return count;
}
