// SPDX-License-Identifier: GPL-2.0
/* Functions of mm that modules may not link to, found through kallsyms. */
#include "kvet_race.h"

struct kvet_symbols kvet_sym;

static unsigned long (*lookup_name)(const char *name);

void *kvet_lookup(const char *name)
{
	return (void *)lookup_name(name);
}

static void *first_of(const char *one, const char *other)
{
	void *found = kvet_lookup(one);

	return found ?: kvet_lookup(other);
}

int kvet_symbols_init(void)
{
	struct kprobe probe = { .symbol_name = "kallsyms_lookup_name" };
	int ret = register_kprobe(&probe);

	if (ret)
		return ret;
	lookup_name = (void *)probe.addr;
	unregister_kprobe(&probe);

	kvet_sym.init_mm = kvet_lookup("init_mm");
	/* 6.9 split this off ioremap_page_range(), which now insists on an area */
	kvet_sym.map_range = first_of("vmap_page_range", "ioremap_page_range");
	kvet_sym.unmap_range = kvet_lookup("vunmap_range");
	kvet_sym.get_vm_area = kvet_lookup("__get_vm_area_caller");
	kvet_sym.ptdump_walk = kvet_lookup("ptdump_walk");
	kvet_sym.save_stack = kvet_lookup("stack_trace_save_regs");
	kvet_sym.ptdump_check_wx = kvet_lookup("ptdump_check_wx");

	if (!kvet_sym.init_mm || !kvet_sym.map_range || !kvet_sym.unmap_range ||
	    !kvet_sym.get_vm_area || !kvet_sym.ptdump_walk || !kvet_sym.save_stack) {
		pr_err("kvet_race: a function of this kernel was not found\n");
		return -ENOENT;
	}
	return 0;
}
