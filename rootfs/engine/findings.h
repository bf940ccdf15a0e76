/* SPDX-License-Identifier: GPL-2.0 */
/* What was found: noted at once, printed and told afterwards. */
#ifndef KVET_FINDINGS_H
#define KVET_FINDINGS_H

#include <linux/seq_file.h>

#define STACK_DEPTH	12

struct stack {
	const char *side;	/* whose it is: a word */
	const char *func;	/* of a freer: the function that it begins in */
	unsigned int depth;	/* 0: there is none */
	unsigned long entries[STACK_DEPTH];
	pid_t pid;
	bool from_user;		/* of a task of user space, which came in by a file */
};

struct finding {
	const char *kind;
	const char *func;
	char title[96];
	char about[80];		/* for the console, in place of the title: what exactly */
	struct stack first, second;
	bool suspicion;		/* a broken rule, which proves nothing by itself */
};

/* Keeps the first few of each; the caller holds the engine's lock. */
void kvet_finding_note(const struct finding *finding);
unsigned int kvet_findings_noted(void);
/* How often a rule was broken, or something was proved. */
long kvet_suspicions(void);
long kvet_breaches(void);

/* Prints those from number @first up to @end; takes no lock. */
void kvet_findings_print(unsigned int first, unsigned int end);
void kvet_stack_print(const struct stack *stack);
void kvet_findings_show(struct seq_file *m);

/* A finding of the current task itself, with its stack; for thread context. */
void kvet_found(const char *kind, const char *func, const char *format, ...) __printf(3, 4);

#endif
