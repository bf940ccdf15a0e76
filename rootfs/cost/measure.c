// SPDX-License-Identifier: GPL-2.0
/*
 * The counter and the loops.
 *
 * The PMU event INST_RETIRED counts instructions that were carried out. QEMU
 * has it under -icount alone, where it is exact to the instruction; the cycle
 * counter and CNTVCT follow virtual time there, which leaps when the CPU is
 * idle: a wait would look like work. Who waits is told by the scheduler's run
 * time of the measuring thread, which is virtual time: one instruction of it
 * is one nanosecond with shift=0.
 *
 * Each round begins right behind a timer tick, which is 4 ms or 4 million
 * instructions before the next one, so that no round shorter than this holds
 * an interrupt; the sleep until then lets deferred work run, which the figure
 * of whole rounds holds.
 *
 * The figure of a loop is the first quartile of its rounds, less that of doing
 * nothing: a whole number of instructions, those of the shortest common way.
 * An allocation that meets an empty list now and then does not move it, nor do
 * two ways that are equally frequent, as the median would be moved.
 */
#include <linux/ktime.h>
#include <linux/math64.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <asm/sysreg.h>

#include "kvet_cost.h"

#define INST_RETIRED	8
#define CPU_CYCLES	0x11
#define MAX_FIGURES	64
#define MAX_SAMPLES	1024

struct figure {
	const char *situation;
	const char *op;
	unsigned int samples;
	unsigned int same;	/* samples that are equal to the typical one */
	unsigned int asked;	/* block mappings asked for */
	unsigned int small;	/* and not given */
	u32 typical, own, longest, ns;
	u64 sum, round;
};

static struct figure figures[MAX_FIGURES];
static unsigned int nr_figures;
static u32 all[MAX_SAMPLES], own[MAX_SAMPLES], ns[MAX_SAMPLES];
static struct figure *idle;
static bool real;	/* hardware: cycles, and nanoseconds that mean something */

static u32 count(void)
{
	isb();
	return read_sysreg(pmevcntr0_el0);
}

/*
 * Instructions where they are exact, or @cycles: on hardware each takes a time
 * of its own. A version of 0 or 15: there is no PMU, and its registers trap.
 */
int kvet_counter_init(bool cycles)
{
	u32 event = cycles ? CPU_CYCLES : INST_RETIRED;
	u32 version = (read_sysreg(id_aa64dfr0_el1) >> 8) & 15;
	u32 before;

	real = cycles;
	if (!version || version == 15 || !(read_sysreg(pmceid0_el0) & BIT(event)))
		return -EOPNOTSUPP;
	write_sysreg(event, pmevtyper0_el0);
	write_sysreg(BIT(0), pmcntenset_el0);
	write_sysreg(read_sysreg(pmcr_el0) | BIT(0), pmcr_el0);
	before = count();
	return count() == before ? -EOPNOTSUPP : 0;
}

static int by_size(const void *a, const void *b)
{
	u32 one = *(const u32 *)a, other = *(const u32 *)b;

	return one < other ? -1 : one > other;
}

static void next_tick(void)
{
	schedule_timeout_uninterruptible(1);
}

/* One round, the @i'th of @f or a warm-up without it. */
static void one_round(const struct kvet_op *op, bool walked, struct figure *f, unsigned int i)
{
	u64 ran, ran_after, began, ended;
	u32 first, from, to;

	next_tick();
	first = count();
	op->prepare(op);
	if (walked)
		kvet_walk_open();
	ran = kvet_sym.runtime(current);
	began = ktime_get_ns();
	from = count();
	op->run(op);
	to = count();
	ended = ktime_get_ns();
	ran_after = kvet_sym.runtime(current);
	if (walked)
		kvet_walk_close();
	if (f && op->huge) {
		f->asked++;
		f->small += !op->is_block(op);
	}
	op->cleanup(op);
	next_tick();
	if (!f)
		return;
	all[i] = to - from;
	own[i] = ran_after - ran;
	ns[i] = ended - began;
	f->round += (u32)(count() - first);
}

/* Sorts @values. */
static u32 first_quartile(u32 *values, unsigned int n)
{
	sort(values, n, sizeof(*values), by_size, NULL);
	return values[n / 4];
}

static void summarise(struct figure *f)
{
	unsigned int i;

	f->typical = first_quartile(all, f->samples);
	f->own = first_quartile(own, f->samples);
	f->ns = first_quartile(ns, f->samples);
	f->longest = all[f->samples - 1];
	for (i = 0; i < f->samples; i++) {
		f->same += all[i] == f->typical;
		f->sum += all[i];
	}
}

/* A walk is open in every @every'th round; 0: in none. */
static struct figure *loop(const struct kvet_op *op, const char *situation,
			   unsigned int samples, unsigned int warmup,
			   unsigned int every)
{
	struct figure *f = &figures[nr_figures++];
	unsigned int i;

	f->situation = situation;
	f->op = op->name;
	f->samples = min_t(unsigned int, op->samples ?: samples, MAX_SAMPLES);
	for (i = 0; i < min(warmup, op->samples / 4 ?: warmup); i++)
		one_round(op, every == 1, NULL, 0);
	for (i = 0; i < f->samples; i++)
		one_round(op, every && i % every == 0, f, i);
	summarise(f);
	return f;
}

static void all_ops(const char *situation, unsigned int samples,
		    unsigned int warmup, unsigned int every)
{
	const struct kvet_op *op;

	for (op = kvet_ops; op->name; op++)
		if ((!every || op->walked) && nr_figures < MAX_FIGURES)
			loop(op, situation, samples, warmup, every);
}

int kvet_measure(unsigned int samples, unsigned int warmup, unsigned int every)
{
	int ret;

	idle = loop(&kvet_nothing, "none", samples, warmup, 0);
	all_ops("none", samples, warmup, 0);
	ret = kvet_walker_start();
	if (ret)
		return ret;
	all_ops("some", samples, warmup, every);
	all_ops("always", samples, warmup, 1);
	kvet_walker_stop();
	return 0;
}

static void show(struct seq_file *m, const struct figure *f, const char *name,
		 s64 hundredths, const char *unit)
{
	u64 size = abs(hundredths);
	u32 rest;

	size = div_u64_rem(size, 100, &rest);
	seq_printf(m, "metric %s.%s.%s %s%llu.%02u %s\n", f->situation, f->op, name,
		   hundredths < 0 ? "-" : "", size, rest, unit);
}

static s64 mean(const struct figure *f, u64 sum)
{
	return div_u64(sum * 100, f->samples);
}

static void show_figure(struct seq_file *m, const struct figure *f)
{
	s64 nothing = idle->typical * 100LL;
	const char *unit = real ? "cycles" : "insns";

	show(m, f, "typical", f->typical * 100LL - nothing, unit);
	/* the scheduler counts nanoseconds, which are instructions under -icount alone */
	if (!real)
		show(m, f, "own", ((s64)f->own - idle->own) * 100, unit);
	else
		show(m, f, "ns", ((s64)f->ns - idle->ns) * 100, "ns");
	show(m, f, "mean", mean(f, f->sum) - nothing, unit);
	show(m, f, "round", mean(f, f->round), unit);
	show(m, f, "longest", f->longest * 100LL - nothing, unit);
	show(m, f, "same", div_u64(f->same * 10000ULL, f->samples), "percent");
	if (f->asked)
		show(m, f, "small", div_u64(f->small * 10000ULL, f->asked), "percent");
}

void kvet_measure_show(struct seq_file *m)
{
	unsigned int i;

	for (i = 0; i < nr_figures; i++)
		show_figure(m, &figures[i]);
}
