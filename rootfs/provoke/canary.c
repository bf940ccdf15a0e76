// SPDX-License-Identifier: GPL-2.0
/* Writes past an array on the stack, over the canary. */
#include <linux/compiler.h>
#include <linux/types.h>

#include "kvet_provoke.h"

void provoke_canary(void)
{
	char small[16];
	char *end = small;
	unsigned int i;

	OPTIMIZER_HIDE_VAR(end);
	for (i = 0; i < 64; i++)
		WRITE_ONCE(end[i], 'a');
}
