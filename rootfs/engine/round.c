// SPDX-License-Identifier: GPL-2.0
/* A round of the race: what comes before the sides go, and after they are done. */
#include <linux/stacktrace.h>

#include "engine.h"
#include "explore.h"
#include "frees.h"

static bool standing;		/* set up, and not torn down yet */
static char said[96];		/* by kvet_fail() */

/* 0, or -errno of the race. */
int kvet_round_begin(void)
{
	int ret;

	kvet_round.outcome = KVET_CLEAN;
	memset(kvet_round.depth, 0, sizeof(kvet_round.depth));
	kvet_round.guilty = KVET_NOBODY;
	kvet_round.guilty_site = NULL;
	ret = kvet_race->setup();
	standing = !ret;
	return ret ?: kvet_frees_watch();
}

/* 1 when the round has failed, and stands as it is. */
int kvet_round_end(void)
{
	if (!kvet_round.outcome && kvet_race->check)
		kvet_race->check();
	if (kvet_round.outcome)
		return 1;
	if (!standing)
		return 0;
	standing = false;
	kvet_objects_drop();
	if (kvet_race->teardown)
		kvet_race->teardown();
	return 0;
}

/*
 * After a failing round: the engine's hands are off, so that what is accessed
 * next is really free memory, and the kernel's own detectors see it.
 */
void kvet_round_expose(void)
{
	standing = false;
	kvet_objects_drop();
}

void kvet_fail(const char *format, ...)
{
	struct kvet_thread *me = kvet_thread_of(current);
	va_list args;

	/* the first one tells most */
	if (READ_ONCE(kvet_round.outcome))
		return;
	va_start(args, format);
	vsnprintf(said, sizeof(said), format, args);
	va_end(args);
	kvet_round.what = said;
	if (me) {
		kvet_round.guilty = me->number;
		kvet_round.depth[me->number] =
			stack_trace_save(kvet_round.stacks[me->number], KVET_STACK_DEPTH, 1);
	}
	/* whoever sees the outcome sees what belongs to it */
	smp_store_release(&kvet_round.outcome, KVET_WRONG);
	if (me)
		complete(&kvet_round.over);
}
EXPORT_SYMBOL_GPL(kvet_fail);
