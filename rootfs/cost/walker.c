// SPDX-License-Identifier: GPL-2.0
/*
 * A walk that is open exactly while an operation runs, on one CPU.
 *
 * The walker calls ptdump_walk(), so that all that a design puts round a walk
 * is in force. Where the walk proper begins a probe leads it through begin(),
 * which wakes the measuring thread; that one has real-time priority and takes
 * the CPU at once. The walker was preempted, it does not sleep: designs that
 * hold an RCU reader section there may do so. When the operation must wait for
 * the walk, the walker goes on, and its instructions are the wait.
 */
#include <linux/completion.h>
#include <linux/kprobes.h>
#include <linux/kthread.h>

#include "kvet_cost.h"

static DECLARE_COMPLETION(go);
static DECLARE_COMPLETION(is_open);
static DECLARE_COMPLETION(is_done);
static struct task_struct *walker;
static bool armed, stopping;

static long begin(u64 a, u64 b, u64 c, u64 d, u64 e, u64 f)
{
	long (*walk)(u64, u64, u64, u64, u64, u64) = kvet_sym.walk_range;

	complete(&is_open);
	return walk(a, b, c, d, e, f);
}

static int divert(struct kprobe *probe, struct pt_regs *regs)
{
	if (current != walker || !armed)
		return 0;
	armed = false;
	regs->pc = (unsigned long)begin;
	return 1;
}

static struct kprobe probe = { .pre_handler = divert };

static int walk(void *unused)
{
	for (;;) {
		wait_for_completion(&go);
		if (stopping)
			break;
		kvet_walk_from(kvet_ops_base());
		complete(&is_done);
	}
	complete(&is_done);
	return 0;
}

int kvet_walker_start(void)
{
	int ret;

	probe.addr = kvet_sym.walk_range;
	ret = register_kprobe(&probe);
	if (ret)
		return ret;
	stopping = false;
	walker = kthread_run(walk, NULL, "kvet-cost-walk");
	if (!IS_ERR(walker))
		return 0;
	unregister_kprobe(&probe);
	return PTR_ERR(walker);
}

void kvet_walker_stop(void)
{
	stopping = true;
	complete(&go);
	wait_for_completion(&is_done);
	unregister_kprobe(&probe);
}

/* Returns inside the walk of the walker. */
void kvet_walk_open(void)
{
	armed = true;
	complete(&go);
	wait_for_completion(&is_open);
}

void kvet_walk_close(void)
{
	wait_for_completion(&is_done);
}
