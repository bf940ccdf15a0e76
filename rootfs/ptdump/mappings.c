// SPDX-License-Identifier: GPL-2.0
/*
 * What callers get. A call that maps memory and returns success has mapped it,
 * all of it, where it said; memory of an allocator is nobody else's. A design
 * that drops a mapping, or sets an entry over one that was not freed, is found
 * here and nowhere else: no walker has to look.
 */
#include <linux/mm.h>
#include <linux/vmalloc.h>

#include "findings.h"
#include "ptdump.h"

/* The physical address that entries at @addr lead to, and how far they go; 0 for none. */
static phys_addr_t mapped_to(unsigned long addr, unsigned long *size)
{
	pud_t *pudp = NULL, pud;
	pmd_t *pmdp = kvet_pmd_of(addr, &pudp), pmd;
	pte_t pte;

	*size = PAGE_SIZE;
	if (!pudp)
		return 0;
	pud = READ_ONCE(*pudp);
	if (pud_present(pud) && pud_leaf(pud)) {
		*size = PUD_SIZE;
		return PFN_PHYS(pud_pfn(pud)) + (addr & ~PUD_MASK);
	}
	if (!pmdp)
		return 0;
	pmd = READ_ONCE(*pmdp);
	if (pmd_none(pmd))
		return 0;
	if (pmd_leaf(pmd)) {
		*size = PMD_SIZE;
		return PFN_PHYS(pmd_pfn(pmd)) + (addr & ~PMD_MASK);
	}
	pte = READ_ONCE(*pte_offset_kernel(&pmd, addr));
	return pte_present(pte) ? PFN_PHYS(pte_pfn(pte)) : 0;
}

bool kvet_mapping_check(unsigned long addr, unsigned long end, phys_addr_t phys)
{
	unsigned long size, start = addr;
	phys_addr_t found;

	for (; addr < end; addr += size) {
		found = mapped_to(addr, &size);
		if (found == phys + (addr - start))
			continue;
		kvet_found("map-without-mapping", "vmap_page_range",
			   "mapping returned success, but maps %s",
			   found ? "something else" : "nothing");
		return false;
	}
	kvet_count(KVET_mappings_checked);
	return true;
}

/* A word that no other page of no other caller holds. */
static u64 mark(void *addr)
{
	return ((u64)current->pid << 48) ^ (u64)(unsigned long)addr ^ 0x6b76657400000000ULL;
}

/* Where the kernel has the same memory, by the entries that stand now. */
static u64 *other_mapping(void *addr)
{
	unsigned long size;
	phys_addr_t phys = mapped_to((unsigned long)addr, &size);

	return phys && pfn_valid(PHYS_PFN(phys)) ? __va(phys) : NULL;
}

static void *first_wrong(void *addr, unsigned long size)
{
	unsigned long offset;
	u64 *other;

	for (offset = 0; offset < size; offset += PAGE_SIZE)
		WRITE_ONCE(*(u64 *)(addr + offset), mark(addr + offset));
	for (offset = 0; offset < size; offset += PAGE_SIZE) {
		other = other_mapping(addr + offset);
		if (!other || READ_ONCE(*other) != mark(addr + offset) ||
		    READ_ONCE(*(u64 *)(addr + offset)) != mark(addr + offset))
			return addr + offset;
	}
	return NULL;
}

/* All of it is written before any is read: a page that is there twice shows. */
bool kvet_memory_check(void *addr, unsigned long size, const char *func)
{
	void *wrong = first_wrong(addr, size);

	if (wrong)
		kvet_found("memory-corrupt", func, "memory of %s does not read back", func);
	else
		kvet_count(KVET_mappings_checked);
	return !wrong;
}
