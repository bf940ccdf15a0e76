// SPDX-License-Identifier: GPL-2.0
#include <linux/stacktrace.h>

#include "engine.h"
#include "findings.h"

#define MAX_REPORTS	16
#define MAX_EACH	(MAX_REPORTS / 2)	/* suspicions must not crowd proof out */

static struct finding reports[MAX_REPORTS];
static unsigned int nr_reports;
static atomic_long_t nr_of[2];

void kvet_finding_note(const struct finding *finding)
{
	if (atomic_long_inc_return(&nr_of[finding->suspicion]) > MAX_EACH)
		return;
	reports[nr_reports] = *finding;
	/* whoever sees the number, without the lock, sees the report */
	smp_store_release(&nr_reports, nr_reports + 1);
}
EXPORT_SYMBOL_GPL(kvet_finding_note);

unsigned int kvet_findings_noted(void)
{
	/* pairs with the release in kvet_finding_note() */
	return smp_load_acquire(&nr_reports);
}
EXPORT_SYMBOL_GPL(kvet_findings_noted);

long kvet_suspicions(void)
{
	return atomic_long_read(&nr_of[true]);
}
EXPORT_SYMBOL_GPL(kvet_suspicions);

long kvet_breaches(void)
{
	return atomic_long_read(&nr_of[false]);
}
EXPORT_SYMBOL_GPL(kvet_breaches);

void kvet_found(const char *kind, const char *func, const char *format, ...)
{
	struct finding found = {
		.kind = kind, .func = func, .first.side = "free", .first.pid = current->pid,
	};
	unsigned int first, end;
	unsigned long flags;
	va_list args;

	va_start(args, format);
	vsnprintf(found.title, sizeof(found.title), format, args);
	va_end(args);
	found.first.depth = stack_trace_save(found.first.entries, STACK_DEPTH, 1);
	flags = kvet_lock();
	first = kvet_findings_noted();
	kvet_finding_note(&found);
	end = kvet_findings_noted();
	kvet_unlock(flags);
	kvet_findings_print(first, end);
}
EXPORT_SYMBOL_GPL(kvet_found);

void kvet_stack_print(const struct stack *stack)
{
	unsigned int i;

	pr_err("kvet: %s by pid %d:\n", stack->side, stack->pid);
	for (i = 0; i < stack->depth; i++)
		pr_err(" %pS\n", (void *)stack->entries[i]);
}

static void print(struct finding *report)
{
	const char *about = report->about[0] ? report->about : report->title;

	if (report->suspicion) {
		pr_notice("kvet: suspicion %s: %s, by pid %d\n", report->title, about,
			  report->first.pid);
		return;
	}
	pr_err("kvet: BREACH %s in %s: %s\n", report->kind, report->func, about);
	kvet_stack_print(&report->first);
	if (report->second.depth)
		kvet_stack_print(&report->second);
}

void kvet_findings_print(unsigned int first, unsigned int end)
{
	unsigned int i;

	for (i = first; i < end; i++)
		print(&reports[i]);
}
EXPORT_SYMBOL_GPL(kvet_findings_print);

static void show_stack_of(struct seq_file *m, struct stack *stack)
{
	unsigned int i;

	for (i = 0; i < stack->depth; i++)
		seq_printf(m, "stack %s %pS\n", stack->side, (void *)stack->entries[i]);
}

void kvet_findings_show(struct seq_file *m)
{
	unsigned int i, count = kvet_findings_noted();

	for (i = 0; i < count; i++) {
		seq_printf(m, "%s %s %s %s\n", reports[i].suspicion ? "suspicion" : "finding",
			   reports[i].kind, reports[i].func, reports[i].title);
		show_stack_of(m, &reports[i].first);
		show_stack_of(m, &reports[i].second);
		if (reports[i].second.depth)
			seq_printf(m, "door %s\n",
				   reports[i].second.from_user ? "file" : "internal");
	}
}
EXPORT_SYMBOL_GPL(kvet_findings_show);
