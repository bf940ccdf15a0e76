// SPDX-License-Identifier: GPL-2.0
/*
 * Quarantine: a table that is given back never becomes anything else, and any
 * access to it by its address in the linear map faults at once, with the stack
 * of whoever went there. It knows no design, and cannot blame one that holds
 * no table.
 *
 * The page is marked as broken memory while the page allocator prepares to take
 * it (in the tracepoint mm_page_free, which every way to free a page passes):
 * the allocator never hands out such a page. Its reference count and its type
 * are what the freer made them. Then it is unmapped as DEBUG_PAGEALLOC would do
 * it; KASAN, which may have the linear map in blocks, poisons it instead.
 *
 * What is kept is lost to the guest: no more than an eighth of its memory.
 */
#include <linux/bitmap.h>
#include <linux/kasan.h>
#include <linux/kdebug.h>
#include <linux/set_memory.h>
#include <linux/vmalloc.h>
#include <asm/tlbflush.h>

#include "engine.h"
#include "findings.h"

#define PART_OF_MEMORY	8
#define MAX_PAGES	65536

/* Who gave a page back; the fault tells who came for it. */
struct kept {
	unsigned long pfn;
	u64 at_ns;
	pid_t pid;
	struct stack freer;	/* who cut it off; a deferred free has another pid */
};

static struct kept *kept;
static unsigned long nr_kept, most;
static const char *why_not = "off";

static int (*set_invalid)(struct page *page);
static void (*map_pages)(struct page *page, int numpages, int enable);
static void (*poison)(struct page *page, unsigned int order, bool init);
static bool (*is_present)(struct page *page);

bool kvet_quarantine_take(unsigned long pfn, const struct stack *freer)
{
#ifdef CONFIG_MEMORY_FAILURE
	if (!kept)
		return false;
	if (nr_kept == most) {
		kvet_hit("quarantine_full");
		return false;
	}
	SetPageHWPoison(pfn_to_page(pfn));
	kept[nr_kept] = (struct kept){ .pfn = pfn, .at_ns = ktime_get_mono_fast_ns(),
				       .pid = current->pid, .freer = *freer };
	/* whoever sees the number sees the page */
	smp_store_release(&nr_kept, nr_kept + 1);
	kvet_hit("quarantined");
	return true;
#else
	return false;
#endif
}
EXPORT_SYMBOL_GPL(kvet_quarantine_take);

void kvet_quarantine_unmap(unsigned long pfn)
{
	struct page *page = pfn_to_page(pfn);
	unsigned long addr = (unsigned long)page_address(page);

	if (map_pages) {
		map_pages(page, 1, 0);
	} else if (set_invalid) {
		set_invalid(page);
		flush_tlb_kernel_range(addr, addr + PAGE_SIZE);
	}
	if (poison)
		poison(page, 0, false);
}
EXPORT_SYMBOL_GPL(kvet_quarantine_unmap);

bool kvet_quarantined(unsigned long pfn)
{
#ifdef CONFIG_MEMORY_FAILURE
	return kept && pfn_valid(pfn) && PageHWPoison(pfn_to_page(pfn));
#else
	return false;
#endif
}
EXPORT_SYMBOL_GPL(kvet_quarantined);

static const struct kept *find(unsigned long pfn)
{
	/* pairs with the release in kvet_quarantine_take() */
	unsigned long i = smp_load_acquire(&nr_kept);

	while (i--)
		if (kept[i].pfn == pfn)
			return &kept[i];
	return NULL;
}

/* The kernel is about to die: does a register lead to a page that is kept here? */
static int tell_history(struct notifier_block *block, unsigned long event, void *data)
{
	struct die_args *args = data;
	const struct kept *page;
	unsigned int i;

	if (event != DIE_OOPS || !args->regs || user_mode(args->regs))
		return NOTIFY_DONE;
	for (i = 0; i < ARRAY_SIZE(args->regs->regs); i++) {
		if (!virt_addr_valid((void *)args->regs->regs[i]))
			continue;
		page = find(virt_to_pfn((void *)args->regs->regs[i]));
		if (!page)
			continue;
		pr_err("kvet: ACCESS to table 0x%lx by %s, given back %llu us ago by pid %d, door %s\n",
		       page->pfn, current->comm,
		       div_u64(ktime_get_mono_fast_ns() - page->at_ns, 1000), page->pid,
		       current->flags & PF_KTHREAD ? "internal" : "file");
		kvet_stack_print(&page->freer);
		break;
	}
	return NOTIFY_DONE;
}

static struct notifier_block on_die = { .notifier_call = tell_history };

/* Whether a page can be put out of reach: tried on one of our own. */
static bool can_unmap(void)
{
	struct page *page = alloc_page(GFP_KERNEL);
	bool gone;

	if (!page)
		return false;
	kvet_quarantine_unmap(page_to_pfn(page));
	gone = poison || (is_present && !is_present(page));
	/* it stays out of reach, and is therefore not given back */
	if (!gone)
		__free_page(page);
	return gone;
}

static void find_functions(void)
{
	is_present = kvet_lookup("kernel_page_present");
#ifdef CONFIG_KASAN_GENERIC
	poison = kvet_lookup("__kasan_poison_pages");
#endif
#ifdef CONFIG_DEBUG_PAGEALLOC
	if (debug_pagealloc_enabled_static())
		map_pages = kvet_lookup("__kernel_map_pages");
#endif
	if (!map_pages)
		set_invalid = kvet_lookup("set_direct_map_invalid_noflush");
}

void kvet_quarantine_init(bool on)
{
	if (!on)
		return;
	if (!IS_ENABLED(CONFIG_MEMORY_FAILURE)) {
		why_not = "none: no CONFIG_MEMORY_FAILURE";
		return;
	}
	find_functions();
	if (!can_unmap()) {
		why_not = "none: the linear map is in blocks, boot with rodata=full";
		return;
	}
	most = min_t(unsigned long, totalram_pages() / PART_OF_MEMORY, MAX_PAGES);
	kept = vzalloc(array_size(most, sizeof(*kept)));
	if (!kept) {
		why_not = "none: no memory";
		return;
	}
	register_die_notifier(&on_die);
}
EXPORT_SYMBOL_GPL(kvet_quarantine_init);

/* After a failed start; what is kept stays kept. */
void kvet_quarantine_stop(void)
{
	if (kept)
		unregister_die_notifier(&on_die);
}
EXPORT_SYMBOL_GPL(kvet_quarantine_stop);

void kvet_quarantine_show(struct seq_file *m)
{
	if (kept)
		seq_printf(m, "state quarantine %lu of %lu pages\n", READ_ONCE(nr_kept), most);
	else
		seq_printf(m, "state quarantine %s\n", why_not);
}
EXPORT_SYMBOL_GPL(kvet_quarantine_show);
