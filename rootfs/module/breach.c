// SPDX-License-Identifier: GPL-2.0
#include "breach.h"
#include "kvet_race.h"

#define MAX_REPORTS	8

static struct breach reports[MAX_REPORTS];
static unsigned int nr_reports;

void kvet_breach_note(const struct breach *breach)
{
	kvet_count(KVET_breaches);
	if (nr_reports == MAX_REPORTS)
		return;
	reports[nr_reports] = *breach;
	/* whoever sees the number, without the lock, sees the report */
	smp_store_release(&nr_reports, nr_reports + 1);
}

unsigned int kvet_breaches_noted(void)
{
	return smp_load_acquire(&nr_reports);
}

static void print_stack(const char *side, struct stack *stack)
{
	unsigned int i;

	pr_err("kvet: %s by pid %d:\n", side, stack->pid);
	for (i = 0; i < stack->depth; i++)
		pr_err(" %pS\n", (void *)stack->entries[i]);
}

void kvet_breaches_print(unsigned int first, unsigned int end)
{
	unsigned int i;

	for (i = first; i < end; i++) {
		pr_err("kvet: BREACH %s in %s: table 0x%lx of 0x%lx, by the lifetime rule\n",
		       reports[i].kind, reports[i].func, reports[i].pfn, reports[i].addr);
		print_stack("free", &reports[i].free);
		if (reports[i].walk.depth)
			print_stack("walk", &reports[i].walk);
	}
}

static void show_stack_of(struct seq_file *m, const char *side, struct stack *stack)
{
	unsigned int i;

	for (i = 0; i < stack->depth; i++)
		seq_printf(m, "stack %s %pS\n", side, (void *)stack->entries[i]);
}

void kvet_breaches_show(struct seq_file *m)
{
	unsigned int i, count = kvet_breaches_noted();

	for (i = 0; i < count; i++) {
		seq_printf(m, "finding %s %s %s in %s\n", reports[i].kind, reports[i].func,
			   reports[i].kind, reports[i].func);
		show_stack_of(m, "free", &reports[i].free);
		show_stack_of(m, "walk", &reports[i].walk);
	}
}
