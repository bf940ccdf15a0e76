// SPDX-License-Identifier: GPL-2.0
/* Functions of mm that modules may not link to, found through kallsyms. */
#include "ptdump.h"

struct kvet_symbols kvet_sym;

static void *first_of(const char *one, const char *other)
{
	void *found = kvet_lookup(one);

	return found ?: kvet_lookup(other);
}

int kvet_functions_init(void)
{
	kvet_sym.init_mm = kvet_lookup("init_mm");
	/* 6.9 split this off ioremap_page_range(), which now insists on an area */
	kvet_sym.map_range = first_of("vmap_page_range", "ioremap_page_range");
	kvet_sym.unmap_range = kvet_lookup("vunmap_range");
	kvet_sym.unmap_noflush = first_of("vunmap_range_noflush", "vunmap_range");
	kvet_sym.get_vm_area = kvet_lookup("__get_vm_area_caller");
	kvet_sym.ptdump_walk = kvet_lookup("ptdump_walk");
	kvet_sym.ptdump_check_wx = kvet_lookup("ptdump_check_wx");
	kvet_sym.vmalloc_range = first_of("__vmalloc_node_range_noprof", "__vmalloc_node_range");
	if (!kvet_sym.vmalloc_range)
		kvet_missing("walker", "__vmalloc_node_range");

	if (!kvet_sym.init_mm || !kvet_sym.map_range || !kvet_sym.unmap_range ||
	    !kvet_sym.get_vm_area || !kvet_sym.ptdump_walk) {
		pr_err("kvet_ptdump: a function of this kernel was not found\n");
		return -ENOENT;
	}
	return 0;
}
