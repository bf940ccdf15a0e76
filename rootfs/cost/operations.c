// SPDX-License-Identifier: GPL-2.0
/*
 * The operations. Only run() is measured; prepare() makes the state that it
 * meets, cleanup() undoes it, so that all rounds of a loop are alike.
 *
 * "fresh" asks for a block where no table stands, "table" where an empty one
 * does, which the kernel frees. The map operations work in address ranges of
 * their own and need no memory, so nothing but the page tables is in them.
 */
#include <linux/io.h>
#include <linux/printk.h>
#include <linux/vmalloc.h>

#include "kvet_cost.h"

/* An address no memory lives at; mappings of it are never accessed. */
#define NOWHERE		(1UL << 40)
#define DUMP_BYTES	(256 * 1024)

static unsigned long base;	/* address space for ranges of 2 MiB; walks begin here */
static unsigned long base_1g;	/* the GiB below it: where no block is made its tables fill up */
static unsigned long page;	/* which page of a range makes its table stand */
static void *held;
static char *dump;
static int loglevel;

unsigned long kvet_ops_base(void)
{
	return base;
}

int kvet_ops_init(u64 seed)
{
	struct vm_struct *area = kvet_sym.get_vm_area(3 * PUD_SIZE, VM_IOREMAP);

	dump = vmalloc(DUMP_BYTES);
	if (!area || !dump)
		return -ENOMEM;
	base_1g = ALIGN((unsigned long)area->addr, PUD_SIZE);
	base = base_1g + PUD_SIZE;
	page = seed % PTRS_PER_PTE * PAGE_SIZE;
	return 0;
}

/* Whether a block maps @addr: of 1 GiB where @bytes are as many, else of 2 MiB. */
static bool block_at(unsigned long addr, unsigned long bytes)
{
	pgd_t *pgd = pgd_offset_pgd(kvet_sym.init_mm->pgd, addr);
	p4d_t *p4d;
	pud_t *pud;
	pmd_t *pmd;

	if (pgd_none(READ_ONCE(*pgd)))
		return false;
	p4d = p4d_offset(pgd, addr);
	if (p4d_none(READ_ONCE(*p4d)))
		return false;
	pud = pud_offset(p4d, addr);
	if (!pud_present(READ_ONCE(*pud)))
		return false;
	if (pud_leaf(READ_ONCE(*pud)) || bytes >= PUD_SIZE)
		return pud_leaf(READ_ONCE(*pud));
	pmd = pmd_offset(pud, addr);
	return pmd_present(READ_ONCE(*pmd)) && pmd_leaf(READ_ONCE(*pmd));
}

static bool held_is_block(const struct kvet_op *op)
{
	return held && block_at((unsigned long)held, op->bytes);
}

static unsigned long range_of(const struct kvet_op *op)
{
	return op->bytes == PUD_SIZE ? base_1g : base;
}

static bool range_is_block(const struct kvet_op *op)
{
	return block_at(range_of(op), op->bytes);
}

static void do_nothing(const struct kvet_op *op)
{
}

static void do_vmalloc(const struct kvet_op *op)
{
	held = vmalloc(op->bytes);
}

static void do_vmalloc_huge(const struct kvet_op *op)
{
	held = vmalloc_huge(op->bytes, GFP_KERNEL);
}

static void do_vfree(const struct kvet_op *op)
{
	vfree(held);
}

/* Give back at once what vfree() keeps for later, address space included. */
static void free_and_purge(const struct kvet_op *op)
{
	vfree(held);
	vm_unmap_aliases();
}

static void purge(const struct kvet_op *op)
{
	vm_unmap_aliases();
}

/* Leave tables standing in the range that the next vmalloc_huge() is given. */
static void leave_tables(const struct kvet_op *op)
{
	held = vmalloc(op->bytes + PMD_SIZE);
	free_and_purge(op);
}

static void do_ioremap(const struct kvet_op *op)
{
	held = (void __force *)ioremap(NOWHERE, op->bytes);
}

static void do_iounmap(const struct kvet_op *op)
{
	iounmap((void __iomem __force *)held);
}

static void iounmap_and_purge(const struct kvet_op *op)
{
	do_iounmap(op);
	vm_unmap_aliases();
}

static int map(unsigned long from, unsigned long bytes)
{
	return kvet_sym.map_range(from, from + bytes, NOWHERE,
				  __pgprot(PROT_DEVICE_nGnRE));
}

static void do_map(const struct kvet_op *op)
{
	map(range_of(op), op->bytes);
}

static void do_unmap(const struct kvet_op *op)
{
	unsigned long from = range_of(op);

	kvet_sym.unmap_range(from, from + op->bytes);
}

/* One page mapped and unmapped: an empty table (at 1 GiB two levels) stands. */
static void leave_table(const struct kvet_op *op)
{
	unsigned long from = range_of(op) + page;

	if (!map(from, PAGE_SIZE))
		kvet_sym.unmap_range(from, from + PAGE_SIZE);
}

static void walk_from(unsigned long from)
{
	/* a full buffer makes seq_printf() stop writing, not the walk */
	struct seq_file seq = { .buf = dump, .size = DUMP_BYTES };
	struct addr_marker markers[] = { { from, "kvet" }, { -1, NULL } };
	struct ptdump_info info = {
		.mm = kvet_sym.init_mm,
		.markers = markers,
		.base_addr = from,
	};

	kvet_sym.ptdump_walk(&seq, &info);
}

void kvet_walk_from(unsigned long from)
{
	walk_from(from);
}

static void do_dump(const struct kvet_op *op)
{
	walk_from(PAGE_OFFSET);
}

static void do_check_wx(const struct kvet_op *op)
{
	kvet_sym.ptdump_check_wx();
}

/* It says so on the console each time: the UART is not part of its cost. */
static void console_off(const struct kvet_op *op)
{
	loglevel = console_loglevel;
	console_loglevel = CONSOLE_LOGLEVEL_SILENT;
}

static void console_on(const struct kvet_op *op)
{
	console_loglevel = loglevel;
}

const struct kvet_op kvet_nothing = {
	.name = "nothing", .walked = true,
	.prepare = do_nothing, .run = do_nothing, .cleanup = do_nothing,
};

#define VMALLOC_OPS(pages, beside)					\
	{ .name = "vmalloc_" #pages, .bytes = (pages) * PAGE_SIZE, .walked = beside, \
	  .prepare = do_nothing, .run = do_vmalloc, .cleanup = free_and_purge }, \
	{ .name = "vfree_" #pages, .bytes = (pages) * PAGE_SIZE,	\
	  .prepare = do_vmalloc, .run = do_vfree, .cleanup = purge }

#define HUGE_OPS(mib)							\
	{ .name = "vmalloc_huge_" #mib "m_fresh", .bytes = (mib) << 20, \
	  .huge = true, .prepare = do_nothing, .run = do_vmalloc_huge,	\
	  .cleanup = free_and_purge, .is_block = held_is_block },	\
	{ .name = "vmalloc_huge_" #mib "m_table", .bytes = (mib) << 20, \
	  .huge = true, .walked = true, .prepare = leave_tables,	\
	  .run = do_vmalloc_huge, .cleanup = free_and_purge,		\
	  .is_block = held_is_block }

const struct kvet_op kvet_ops[] = {
	VMALLOC_OPS(1, true),
	VMALLOC_OPS(16, false),
	VMALLOC_OPS(512, false),
	HUGE_OPS(2),
	HUGE_OPS(4),
	{ .name = "ioremap_2m", .bytes = PMD_SIZE, .huge = true,
	  .prepare = do_nothing, .run = do_ioremap, .cleanup = iounmap_and_purge,
	  .is_block = held_is_block },
	{ .name = "iounmap_2m", .bytes = PMD_SIZE,
	  .prepare = do_ioremap, .run = do_iounmap, .cleanup = purge },
	{ .name = "map_2m_fresh", .bytes = PMD_SIZE, .huge = true, .walked = true,
	  .prepare = do_nothing, .run = do_map, .cleanup = do_unmap,
	  .is_block = range_is_block },
	{ .name = "map_2m_table", .bytes = PMD_SIZE, .huge = true, .walked = true,
	  .prepare = leave_table, .run = do_map, .cleanup = do_unmap,
	  .is_block = range_is_block },
	{ .name = "dump", .samples = 8,
	  .prepare = do_nothing, .run = do_dump, .cleanup = do_nothing },
	{ .name = "check_wx", .samples = 8,
	  .prepare = console_off, .run = do_check_wx, .cleanup = console_on },
	{ .name = "map_1g_table", .bytes = PUD_SIZE, .huge = true, .walked = true,
	  .samples = 16, .prepare = leave_table, .run = do_map,
	  .cleanup = do_unmap, .is_block = range_is_block },
	{ }
};
