/* SPDX-License-Identifier: GPL-2.0 */
/* Probed instructions at which the amplifier may pause. */
#ifndef KVET_SITES_H
#define KVET_SITES_H

#include <linux/kprobes.h>

struct site {
	struct kprobe probe;
	unsigned long hits;
	bool on;
	bool load;		/* of a walk, which may read entries here */
};

int kvet_sites_start(void);
void kvet_sites_stop(void);

/* The handlers of a site; the second is of loads alone. */
int kvet_pause_here(struct kprobe *probe, struct pt_regs *regs);
void kvet_pause_after(struct kprobe *probe, struct pt_regs *regs, unsigned long flags);

#endif
