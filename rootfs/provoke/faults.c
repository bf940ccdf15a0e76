// SPDX-License-Identifier: GPL-2.0
/* Exceptions of arm64 that LKDTM does not take. */
#include <linux/io.h>
#include <linux/kobject.h>
#include <linux/mm.h>
#include <linux/proc_fs.h>
#include <linux/sched.h>
#include <linux/sched/task_stack.h>

#include "kvet_provoke.h"

/* QEMU's virt board has nothing there. */
#define NOBODY_THERE 0x0b000000

static noinline void provoke_wild_address(void)
{
	unsigned long value;

	asm volatile("ldr %0, [%1]" : "=r"(value) : "r"(0xdead000000000100UL));
}

static noinline void provoke_null_call(void)
{
	void (*nowhere)(void) = NULL;

	OPTIMIZER_HIDE_VAR(nowhere);
	nowhere();
	/* no tail call: this function stays on the stack */
	barrier();
}

static noinline void provoke_external_abort(void)
{
	void __iomem *there = ioremap(NOBODY_THERE, PAGE_SIZE);

	readl(there);
	iounmap(there);
}

static noinline void provoke_undefined(void)
{
	asm volatile(".inst 0x00000000");
}

static noinline void provoke_breakpoint(void)
{
	asm volatile("brk #0x1234");
}

static noinline void provoke_unaligned_exclusive(void)
{
	char words[32] __aligned(16) = "";
	unsigned long value;

	/* within 16 bytes FEAT_LSE2 would allow it */
	asm volatile("ldxr %0, [%1]" : "=r"(value) : "r"(words + 13) : "memory");
}

static noinline void provoke_odd_pc(void)
{
	asm volatile("br %0" : : "r"((unsigned long)provoke_odd_pc + 2));
}

/* The kernel never uses SVE for itself, so it does not expect the trap. */
static noinline void provoke_sve(void)
{
	asm volatile(".inst 0x25d8e3e0"); /* ptrue p0.d */
}

static noinline void provoke_stack_end(void)
{
	*end_of_stack(current) = 0;
	schedule();
}

static noinline void provoke_shift(void)
{
	int by = 40, bits = 1;

	OPTIMIZER_HIDE_VAR(by);
	bits <<= by;
	OPTIMIZER_HIDE_VAR(bits);
}

static noinline void provoke_raw_kobject(void)
{
	static struct kobject raw;

	kobject_get(&raw);
}

static noinline void provoke_same_name(void)
{
	proc_mkdir("kvet-twice", NULL);
	proc_mkdir("kvet-twice", NULL);
	remove_proc_entry("kvet-twice", NULL);
}

const struct provoke_test provoke_faults[] = {
	{ "wild-address", provoke_wild_address },
	{ "null-call", provoke_null_call },
	{ "external-abort", provoke_external_abort },
	{ "undefined", provoke_undefined },
	{ "breakpoint", provoke_breakpoint },
	{ "unaligned-exclusive", provoke_unaligned_exclusive },
	{ "odd-pc", provoke_odd_pc },
	{ "vector-trap", provoke_sve },
	{ "stack-end", provoke_stack_end },
	{ "canary", provoke_canary },
	{ "shift", provoke_shift },
	{ "raw-kobject", provoke_raw_kobject },
	{ "same-name", provoke_same_name },
	{ }
};
