/* SPDX-License-Identifier: GPL-2.0 */
/* Breaches of the lifetime rule: noted by the oracle, printed and told afterwards. */
#ifndef KVET_BREACH_H
#define KVET_BREACH_H

#include <linux/seq_file.h>

#define STACK_DEPTH	12

struct stack {
	unsigned int depth;
	unsigned long entries[STACK_DEPTH];
	pid_t pid;
};

struct breach {
	const char *kind;
	const char *func;
	unsigned long pfn, addr;	/* the table, and the first address it maps */
	struct stack free, walk;	/* walk: depth 0 where none was open */
};

/* Keeps the first few; the caller holds the oracle's lock. */
void kvet_breach_note(const struct breach *breach);
unsigned int kvet_breaches_noted(void);

/* Prints those from number @first up to @end; takes no lock. */
void kvet_breaches_print(unsigned int first, unsigned int end);
void kvet_breaches_show(struct seq_file *m);

#endif
