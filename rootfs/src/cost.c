// SPDX-License-Identifier: GPL-2.0-only
/* The workload vmalloc-cost: a module that counts in its init, and its figures. */
#include <stdio.h>
#include <string.h>

#include "guest.h"

/* Counters of cycles are each CPU's own: with one left nobody moves away from his. */
static void leave_one_cpu(void)
{
	char path[64];
	int cpu;

	for (cpu = 1; cpu < 64; cpu++) {
		snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/online", cpu);
		if (write_file(path, "0"))
			break;
	}
}

void run_vmalloc_cost(void)
{
	int real = !strcmp(option("accel", ""), "kvm");
	char params[160];
	int error;

	say("1..1");
	say("# kvet stage start %.3f", uptime());
	wait_until(2);
	if (real)
		leave_one_cpu();
	snprintf(params, sizeof(params), "seed=%.0f samples=%.0f warmup=%.0f every=%.0f cycles=%d",
		 option_number("seed", 1), option_number("samples", 64),
		 option_number("warmup", 16), option_number("every", 8), real);
	error = load_module("kvet_cost", params);
	if (error)
		say("# kvet state module_error %d", error);
	else
		relay(CHURN_STATS);
	/* -EOPNOTSUPP: this machine does not count instructions */
	result(!error, "cost", NULL);
}
