// SPDX-License-Identifier: GPL-2.0
/*
 * The race as the engine runs it. Before each round an empty page table stands in
 * a range; the freer maps a block over that, and the kernel frees it, while a walk
 * may be on its way through.
 *
 * A walk comes in by the file of debugfs, of the dump or of the W+X check, as a
 * user's read does: a design may take its lock anywhere behind that. A probe at the
 * generic walk's entry narrows it to the first two pages of the range. Where a tree
 * lacks the file, the function is called.
 *
 * A design may treat a task with an address space in another way, or one that is
 * being killed. The threads of a round are the kernel's own; those of such sides
 * look like these for the length of their run, to whoever asks.
 */
#include <linux/fs.h>
#include <linux/kthread.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sizes.h>
#include <linux/vmalloc.h>

#include "ptdump.h"

/* An address no memory lives at; block mappings of it are never accessed. */
#define NOWHERE		(1UL << 40)
#define DUMP_BYTES	(16 * 1024)

/* The first of a walk's and the second's; each has a buffer of its own. */
static char *buffers[2];
static struct mm_struct *user_mm;	/* of the program that names the sides */

/* Two of the dump: whoever reads one that another reads waits for it. */
static struct {
	const char *name;
	struct file *file;
} doors[] = {
	{ "/sys/kernel/debug/kernel_page_tables" },
	{ "/sys/kernel/debug/kernel_page_tables" },
	{ "/sys/kernel/debug/check_wx_pages" },
};

#define WX	2	/* of these */

static struct {
	struct vm_struct *area;
	unsigned long base;
	bool pud;
	unsigned int held;	/* tables that the engine watches */
	bool block;		/* stands in the range's entry */
} range;

static unsigned long range_size(void)
{
	return range.pud ? PUD_SIZE : PMD_SIZE;
}

static void open_doors(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(doors); i++)
		if (!doors[i].file)
			doors[i].file = filp_open(doors[i].name, O_RDONLY, 0);
}

static bool has_door(unsigned int door)
{
	return !IS_ERR_OR_NULL(doors[door].file) && doors[door].file->f_op->read;
}

/* False where there is no such file. */
static bool read_door(unsigned int door)
{
	struct file *file = doors[door].file;
	loff_t pos = 0;

	if (!has_door(door))
		return false;
	/* no address of user space: the dump is made, and its copy refused */
	file->f_op->read(file, (char __force __user *)buffers[0], DUMP_BYTES, &pos);
	return true;
}

/* The level of the table; the range, one gigabyte for both, is made when first asked for. */
static int choose(const char *level)
{
	range.pud = !strcmp(level, "pud");
	if (!range.pud && strcmp(level, "pmd"))
		return -EINVAL;
	if (!user_mm)
		user_mm = get_task_mm(current);
	if (!user_mm)
		return -EINVAL;
	if (range.area)
		return 0;
	range.area = kvet_sym.get_vm_area(2 * PUD_SIZE, VM_IOREMAP, VMALLOC_END - 16 * PUD_SIZE,
					  VMALLOC_END, __builtin_return_address(0));
	if (!range.area)
		return -ENOMEM;
	range.base = ALIGN((unsigned long)range.area->addr, PUD_SIZE);
	return 0;
}

/* An entry is shared, and so is the table that it leads to, which somebody may free. */
static void declare(const void *entry, u64 value, const char *entry_name, const char *table_name)
{
	kvet_share(entry, sizeof(value), entry_name);
	if (!table_name || (value & KVET_TABLE_BITS) != KVET_TABLE_BITS)
		return;
	kvet_watch_page(pfn_to_page((value & GENMASK_ULL(47, PAGE_SHIFT)) >> PAGE_SHIFT),
			table_name);
	range.held++;
}

/* An empty table in the range, as unmapping leaves it. */
static int build(void)
{
	unsigned long base = range.base;
	pud_t *pudp = NULL;
	pmd_t *pmdp;
	int ret;

	/* with larger pages arm64 has no block of that size: all of it would be mapped by less */
	if (range.pud && PAGE_SIZE != SZ_4K)
		return -EOPNOTSUPP;
	ret = kvet_sym.map_range(base, base + PAGE_SIZE, NOWHERE, __pgprot(PROT_DEVICE_nGnRE));
	if (ret)
		return ret;
	kvet_sym.unmap_range(base, base + PAGE_SIZE);
	pmdp = kvet_pmd_of(base, &pudp);
	if (!pmdp)
		return -EFAULT;
	range.held = 0;
	declare(pmdp, pmd_val(READ_ONCE(*pmdp)), "PMD-entry", "PTE-table");
	declare(pudp, pud_val(READ_ONCE(*pudp)), "PUD-entry", range.pud ? "PMD-table" : NULL);
	return range.held ? 0 : -EFAULT;
}

/* Was the entry replaced by a block? */
static void count_block(void)
{
	pud_t *pudp = NULL;
	pmd_t *pmdp = kvet_pmd_of(range.base, &pudp);

	range.block = range.pud ? pudp && pud_leaf(READ_ONCE(*pudp)) :
				  pmdp && pmd_leaf(READ_ONCE(*pmdp));
	kvet_hit(range.block ? "huge_maps" : "backoffs");
}

/*
 * A block has one entry in the TLB. To unmap one flushes it for each of its pages, and
 * an emulator stops all CPUs for each of these 512: of an empty range one page will do.
 */
static void unmap(void)
{
	unsigned long size = range_size();

	if (range.block) {
		kvet_sym.unmap_noflush(range.base, range.base + size);
		size = PAGE_SIZE;
	}
	kvet_sym.unmap_range(range.base, range.base + size);
}

static const char *explain(unsigned long addr)
{
	unsigned long nowhere = (unsigned long)__va(NOWHERE);

	if ((addr & PAGE_MASK) == (unsigned long)__va(0))
		return "an entry that was cleared is used as a pointer to a table";
	if (addr >= nowhere && addr < nowhere + PUD_SIZE)
		return "an entry that maps a block is used as a pointer to a table";
	return NULL;
}

static void walk(unsigned int door)
{
	/* a full buffer makes seq_printf() stop writing, not the walk */
	struct seq_file seq = { .buf = buffers[door], .size = DUMP_BYTES };
	struct addr_marker markers[] = {
		{ range.base, "kvet" },
		{ -1, NULL },
	};
	struct ptdump_info info = {
		.mm = kvet_sym.init_mm,
		.markers = markers,
		.base_addr = range.base,
	};

	if (!read_door(door))
		kvet_sym.ptdump_walk(&seq, &info);
}

static void walk_dump(void)
{
	walk(0);
}

static void walk_dump_too(void)
{
	walk(1);
}

static void walk_wx(void)
{
	if (!read_door(WX))
		kvet_check_wx();
}

static void free_by_block(void)
{
	kvet_sym.map_range(range.base, range.base + range_size(), NOWHERE,
			   __pgprot(PROT_DEVICE_nGnRE));
}

static void free_as_user(void)
{
	kthread_use_mm(user_mm);
	current->flags &= ~PF_KTHREAD;
	free_by_block();
	current->flags |= PF_KTHREAD;
	kthread_unuse_mm(user_mm);
}

static void run_killed(void (*run)(void))
{
	sigaddset(&current->pending.signal, SIGKILL);
	set_thread_flag(TIF_SIGPENDING);
	run();
	clear_thread_flag(TIF_SIGPENDING);
	sigdelset(&current->pending.signal, SIGKILL);
}

static void free_killed(void)
{
	run_killed(free_by_block);
}

static void walk_killed(void)
{
	run_killed(walk_dump_too);
}

/* The last is left out where the check cannot be called. */
static struct kvet_side sides[] = {
	{ "dump", 'W', walk_dump, "walk (dump)" },
	{ "dump2", 'V', walk_dump_too, "walk (second dump)" },
	{ "killed", 'K', walk_killed, "walk (dump by a task that is being killed)" },
	{ "block", 'F', free_by_block, "free (block over a table)" },
	{ "user", 'U', free_as_user,
	  "free (block over a table, by a task of user space)" },
	{ "signal", 'S', free_killed,
	  "free (block over a table, by a task that is being killed)" },
	{ "nomem", 'M', free_by_block, "free (block over a table, without memory)", true },
	{ "dump-nomem", 'N', walk_dump_too, "walk (dump, without memory)", true },
	{ "wx", 'X', walk_wx, "walk (W+X check)" },
	{ }
};

static bool walks(const struct kvet_side *side)
{
	return side && strchr("WXVKN", side->letter);
}

static int narrow(struct kprobe *probe, struct pt_regs *regs)
{
	if (!walks(kvet_this_side()))
		return 0;
	regs->regs[1] = range.base;
	regs->regs[2] = range.base + 2 * PAGE_SIZE;
	return 0;
}

static struct kprobe limit = { .pre_handler = narrow };

/*
 * The W+X check says on the console that all is well, a thousand times a second
 * here: that one line is left out, any other of the check is printed.
 */
static int hush(struct kprobe *probe, struct pt_regs *regs)
{
	const char *format = (const char *)regs->regs[0];

	if (!kvet_this_side() || !strstr(format, "W+X mappings: passed"))
		return 0;
	regs->regs[0] = 0;
	regs->pc = regs->regs[30];
	return 1;
}

static struct kprobe printer = { .symbol_name = "_printk", .pre_handler = hush };

static const char *const walk_functions[] = {
	"walk_page_range_debug",
	"walk_page_range_novma",
};

static int prepare(void)
{
	unsigned int i;

	open_doors();
	if (!kvet_can_check_wx() && !has_door(WX))
		sides[ARRAY_SIZE(sides) - 2].name = NULL;
	for (i = 0; i < ARRAY_SIZE(buffers); i++) {
		buffers[i] = vmalloc(DUMP_BYTES);
		if (!buffers[i])
			return -ENOMEM;
	}
	/* without it the console says more, and nothing is lost */
	if (register_kprobe(&printer))
		kvet_missing("probe", "_printk");
	for (i = 0; i < ARRAY_SIZE(walk_functions); i++) {
		if (!kvet_lookup(walk_functions[i]))
			continue;
		limit.symbol_name = walk_functions[i];
		return register_kprobe(&limit);
	}
	pr_err("kvet_ptdump: this kernel's page-table walk was not found\n");
	return -ENOENT;
}

/* Entry points of walk and freer. */
static const char *const functions[] = {
	"walk_pgd_range",
	"walk_page_range_debug",
	"walk_page_range_novma",
	"ptdump_walk_pgd",
	"ptdump_walk",
	"ptdump_check_wx",
	"ptdump_pgd_entry",
	"ptdump_p4d_entry",
	"ptdump_pud_entry",
	"ptdump_pmd_entry",
	"ptdump_pte_entry",
	"vmap_range_noflush",
	"vmap_try_huge_pmd",
	"vmap_try_huge_pud",
	"pmd_free_pte_page",
	"pud_free_pmd_page",
	"pmd_set_huge",
	"pud_set_huge",
	NULL
};

const struct kvet_race ptdump_race = {
	.name = "ptdump",
	.functions = functions,
	.sides = sides,
	.init = prepare,
	.setup = build,
	.check = count_block,
	.teardown = unmap,
	.sets = "pmd:dump,block+pud:dump,block",
	.choose = choose,
	.needs = "huge_maps",
	.nothing = "no table is ever replaced by a block",
	.explain = explain,
};
