// SPDX-License-Identifier: GPL-2.0
/* Functions that modules may not link to, found through kallsyms. */
#include <linux/kprobes.h>

#include "engine.h"
#include "explore.h"

static unsigned long (*lookup_name)(const char *name);
static unsigned int (*save_stack)(struct pt_regs *regs, unsigned long *store,
				  unsigned int size, unsigned int skip);

void *kvet_lookup(const char *name)
{
	return (void *)lookup_name(name);
}
EXPORT_SYMBOL_GPL(kvet_lookup);

static char missing[512];

void kvet_missing(const char *kind, const char *name)
{
	size_t used = strlen(missing);

	snprintf(missing + used, sizeof(missing) - used, "%s%s:%s", used ? "," : "", kind, name);
	pr_err("kvet: %s %s is not there\n", kind, name);
}
EXPORT_SYMBOL_GPL(kvet_missing);

void kvet_missing_show(struct seq_file *m)
{
	seq_printf(m, "state missing %s\n", missing[0] ? missing : "none");
}
EXPORT_SYMBOL_GPL(kvet_missing_show);

unsigned int kvet_save_stack(struct pt_regs *regs, unsigned long *store, unsigned int size,
			     unsigned int skip)
{
	return save_stack(regs, store, size, skip);
}
EXPORT_SYMBOL_GPL(kvet_save_stack);

int kvet_symbols_init(void)
{
	struct kprobe probe = { .symbol_name = "kallsyms_lookup_name" };
	int ret = register_kprobe(&probe);

	if (ret)
		return ret;
	lookup_name = (void *)probe.addr;
	unregister_kprobe(&probe);

	save_stack = kvet_lookup("stack_trace_save_regs");
	if (!save_stack) {
		pr_err("kvet: this kernel has no stack_trace_save_regs()\n");
		return -ENOENT;
	}
	return 0;
}
