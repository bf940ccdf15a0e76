/* SPDX-License-Identifier: GPL-2.0 */
/* What the kernel's own crash tests (LKDTM) lack: one function a mistake. */
#ifndef KVET_PROVOKE_H
#define KVET_PROVOKE_H

struct provoke_test {
	const char *name;
	void (*run)(void);
};

/* Each list ends with an entry without a name. */
extern const struct provoke_test provoke_memory[], provoke_faults[], provoke_locks[],
	provoke_contexts[], provoke_stuck[];

void provoke_canary(void);

#endif
