// SPDX-License-Identifier: GPL-2.0
/*
 * What an arm64 instruction accesses, from its encoding and the registers in a
 * probe. Names of classes as in the Arm ARM, section C4.1 (loads and stores).
 */
#include <linux/ptrace.h>
#include <linux/uaccess.h>

#include "explore.h"

#define IS(insn, mask, value)	(((insn) & (mask)) == (value))

/* Integer loads and stores of one register. */
#define UNSIGNED_OFFSET(i)	IS(i, 0x3f000000, 0x39000000)
#define UNSCALED(i)		IS(i, 0x3f200000, 0x38000000)
#define REGISTER_OFFSET(i)	IS(i, 0x3f200c00, 0x38200800)
/* LSE atomics, swp among them; ldapr has its bits here as well */
#define ATOMIC(i)		IS(i, 0x3f200c00, 0x38200000)
#define LOAD_ACQUIRE_RCPC(i)	IS(i, 0x3ffffc00, 0x38bfc000)
#define PAIR(i)			IS(i, 0x3e000000, 0x28000000)
#define EXCLUSIVE_CLASS(i)	IS(i, 0x3f000000, 0x08000000)

#define RT(i)			((i) & 31)
#define RN(i)			(((i) >> 5) & 31)
#define RM(i)			(((i) >> 16) & 31)

#define SIZE(i)			((i) >> 30)
#define OPC(i)			(((i) >> 22) & 3)

static enum kvet_kind kind_of_branch(u32 insn, unsigned long offset, unsigned long size)
{
	long to;

	/* bl, blr and its signed forms */
	if (IS(insn, 0xfc000000, 0x94000000) || IS(insn, 0xfefff800, 0xd63f0000))
		return KVET_CALL;
	/* b out of the function: a tail call */
	if (IS(insn, 0xfc000000, 0x14000000)) {
		to = offset + ((s32)(insn << 6) >> 4);
		return to < 0 || to >= size ? KVET_CALL : KVET_OTHER;
	}
	return KVET_OTHER;
}

static enum kvet_kind kind_of_exclusive_class(u32 insn)
{
	bool o2 = insn & BIT(23), load = insn & BIT(22), o1 = insn & BIT(21);

	if (o1)
		return KVET_RMW;	/* cas, casp */
	if (!o2)
		return KVET_RMW;	/* ldxr, stxr: the kernel refuses a probe, and it is listed */
	return load ? KVET_LOAD : KVET_STORE;
}

/* The kind of an instruction at @offset of a function of @size bytes. */
enum kvet_kind kvet_kind_of(u32 insn, unsigned long offset, unsigned long size)
{
	if (UNSIGNED_OFFSET(insn) || UNSCALED(insn) || REGISTER_OFFSET(insn)) {
		if (SIZE(insn) == 3 && OPC(insn) == 2)
			return KVET_OTHER;	/* prefetch */
		return OPC(insn) ? KVET_LOAD : KVET_STORE;
	}
	if (LOAD_ACQUIRE_RCPC(insn))
		return KVET_LOAD;
	if (ATOMIC(insn))
		return KVET_RMW;
	if (PAIR(insn))
		return insn & BIT(22) ? KVET_LOAD : KVET_STORE;
	if (EXCLUSIVE_CLASS(insn))
		return kind_of_exclusive_class(insn);
	if (IS(insn, 0xfffff09f, 0xd503309f))
		return KVET_BARRIER;	/* dsb, dmb */
	if (IS(insn, 0xfff80000, 0xd5080000))
		return KVET_FLUSH;	/* sys: tlbi, dc, ic, at */
	return kind_of_branch(insn, offset, size);
}

/* Does this load or store work on the stack frame? Nobody else looks there. */
bool kvet_on_stack(u32 insn)
{
	return RN(insn) == 29 || RN(insn) == 31;
}

static u64 base_of(u32 insn, struct pt_regs *regs)
{
	return RN(insn) == 31 ? regs->sp : regs->regs[RN(insn)];
}

static unsigned long register_offset(u32 insn, struct pt_regs *regs)
{
	u64 index = pt_regs_read_reg(regs, RM(insn));
	u32 option = (insn >> 13) & 7;

	if (option == 2)
		index = (u32)index;	/* uxtw */
	else if (option == 6)
		index = (s32)index;	/* sxtw */
	return index << (insn & BIT(12) ? SIZE(insn) : 0);
}

static unsigned long address_of(u32 insn, struct pt_regs *regs)
{
	unsigned long base = base_of(insn, regs);

	if (UNSIGNED_OFFSET(insn))
		return base + (((insn >> 10) & 0xfff) << SIZE(insn));
	if (REGISTER_OFFSET(insn))
		return base + register_offset(insn, regs);
	if (UNSCALED(insn))
		/* post-indexed: the offset comes after the access */
		return base + (((insn >> 10) & 3) == 1 ? 0 : sign_extend32(insn >> 12, 8));
	if (PAIR(insn)) {
		/* post-indexed as above; 32 or 64 bits a register */
		if (((insn >> 23) & 3) == 1)
			return base;
		return base + sign_extend32(insn >> 15, 6) * (insn & BIT(31) ? 8 : 4);
	}
	return base;
}

static unsigned long call_target(u32 insn, struct pt_regs *regs)
{
	if (IS(insn, 0x7c000000, 0x14000000))
		return regs->pc + ((s32)(insn << 6) >> 4);
	return regs->regs[RN(insn)];
}

/* What the instruction is about to do; safe in a probe. */
void kvet_decode(u32 insn, struct pt_regs *regs, struct kvet_access *access)
{
	access->addr = 0;
	access->value = 0;
	access->known = false;
	switch (access->kind) {
	case KVET_LOAD:
	case KVET_RMW:
		access->addr = address_of(insn, regs);
		access->known = !get_kernel_nofault(access->value,
						    (u64 *)(access->addr & ~7UL));
		break;
	case KVET_STORE:
		access->addr = address_of(insn, regs);
		access->value = pt_regs_read_reg(regs, RT(insn));
		access->known = true;
		break;
	case KVET_FLUSH:
		access->value = pt_regs_read_reg(regs, RT(insn));
		access->known = true;
		break;
	case KVET_CALL:
		access->addr = call_target(insn, regs);
		/* its first argument, for whoever wants to know */
		access->value = regs->regs[0];
		break;
	default:
		break;
	}
}
