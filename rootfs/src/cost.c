// SPDX-License-Identifier: GPL-2.0-only
/* The workload vmalloc-cost: a module that counts in its init, and its figures. */
#include <stdio.h>
#include <string.h>

#include "guest.h"

void run_vmalloc_cost(void)
{
	char params[160];
	int error;

	say("1..1");
	say("# kvet stage start %.3f", uptime());
	wait_until(2);
	snprintf(params, sizeof(params), "seed=%.0f samples=%.0f warmup=%.0f every=%.0f cycles=%d",
		 option_number("seed", 1), option_number("samples", 64),
		 option_number("warmup", 16), option_number("every", 8),
		 !strcmp(option("accel", ""), "kvm"));
	error = load_module("kvet_cost", params);
	if (error)
		say("# kvet state module_error %d", error);
	else
		relay(CHURN_STATS);
	/* -EOPNOTSUPP: this machine does not count instructions */
	result(!error, "cost", NULL);
}
