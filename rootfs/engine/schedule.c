// SPDX-License-Identifier: GPL-2.0
/*
 * Which schedules there are: iterative context bounding (Musuvathi and Qadeer,
 * PLDI 2007). First those without a preemption, then with one, two and so on.
 * A schedule's children have one preemption more, behind its last, at a point
 * that its own round has passed while somebody else could have gone on. So the
 * points of a second leg are those of that very run, whatever the first
 * preemption has made of it.
 *
 * Preemptions before an access that concerns nobody else change nothing: the
 * points are accesses to what the race has declared, to what several sides touch
 * and one of them writes, and everything that orders or excludes: calls,
 * barriers, atomics, flushes.
 */
#include <linux/sort.h>
#include <linux/vmalloc.h>

#include "engine.h"
#include "explore.h"

#define MOST_SCHEDULES	(1U << 19)	/* of one number of preemptions */
#define MOST_SHARED	64
#define MOST_TRIES	3

struct level {
	struct kvet_schedule *list;
	unsigned int count, room, ran;
	bool sorted, full;
};

static struct level levels[KVET_MAX_PREEMPTIONS + 1];
static unsigned int bound, at;
static bool every_access;
static unsigned int nr_points, nr_unreached, nr_repeats, nr_spun;

/* hits of each side at each site that were counted as points; the last site: dozes */
static u8 counted[KVET_MAX_SIDES][KVET_MAX_SITES + 1];
static struct kvet_schedule sample;
static unsigned int nr_samples;
static bool only_sample;

static unsigned long shared[MOST_SHARED];
static unsigned int nr_shared;

static bool touches(const struct kvet_event *event)
{
	return event->access.kind == KVET_LOAD || event->access.kind == KVET_STORE ||
	       event->access.kind == KVET_RMW;
}

static bool is_shared(unsigned long addr)
{
	unsigned int i;

	for (i = 0; i < nr_shared; i++)
		if (shared[i] == (addr & ~7UL))
			return true;
	return false;
}

bool kvet_is_point(const struct kvet_event *event)
{
	if (event->access.kind >= KVET_SWITCHED || event->hit > KVET_MAX_HITS)
		return false;
	if (event->access.kind == KVET_DOZED)
		return true;
	if (!kvet_sites[event->site].on)
		return false;
	if (every_access)
		return true;
	if (event->access.kind == KVET_CALL)
		return !kvet_is_probed(event->access.addr);
	if (!touches(event))
		return true;
	return event->access.kind == KVET_RMW || event->shared || is_shared(event->access.addr);
}

static unsigned int nr_events(void)
{
	return min_t(unsigned int, atomic_read(&kvet_round.nr_events), KVET_MAX_EVENTS);
}

/* From a round that was recorded: words that several sides touch, and one writes. */
static void find_shared(void)
{
	const struct kvet_event *one, *other;
	unsigned int i, j;

	for (i = 0; i < nr_events() && nr_shared < MOST_SHARED; i++) {
		one = &kvet_round.events[i];
		if (!touches(one) || one->access.kind == KVET_LOAD ||
		    is_shared(one->access.addr))
			continue;
		for (j = 0; j < nr_events(); j++) {
			other = &kvet_round.events[j];
			if (!touches(other) || other->side == one->side ||
			    (one->access.addr ^ other->access.addr) & ~7UL)
				continue;
			shared[nr_shared++] = one->access.addr & ~7UL;
			break;
		}
	}
}

static int push(struct level *level, const struct kvet_schedule *plan)
{
	struct kvet_schedule *more;
	unsigned int room;

	if (level->count == level->room) {
		room = max(64U, 2 * level->room);
		if (room > MOST_SCHEDULES) {
			level->full = true;
			return -ENOSPC;
		}
		more = vmalloc(array_size(room, sizeof(*more)));
		if (!more)
			return -ENOMEM;
		memcpy(more, level->list, level->count * sizeof(*more));
		vfree(level->list);
		level->list = more;
		level->room = room;
	}
	level->list[level->count++] = *plan;
	return 0;
}

/* A point is one, in however many orders of the sides it was passed. */
static void count_point(const struct kvet_event *event)
{
	u8 *known = event->site == KVET_DOZE ? &counted[event->side][KVET_MAX_SITES] :
					       &counted[event->side][event->site];

	nr_points += !(*known & BIT(event->hit));
	*known |= BIT(event->hit);
}

static int add_children(const struct kvet_schedule *plan)
{
	struct level *level = &levels[plan->count + 1];
	unsigned int i, to, passed = 0, leg = 0;
	struct kvet_schedule child = *plan;
	const struct kvet_event *event;
	int ret = 0;

	child.count++;
	for (i = 0; i < nr_events() && !ret; i++) {
		event = &kvet_round.events[i];
		passed += event->access.kind == KVET_SWITCHED;
		if (passed < plan->count)
			continue;
		leg++;
		if (!event->fresh || !kvet_is_point(event))
			continue;
		if (!plan->count && event->others)
			count_point(event);
		for (to = 0; to < kvet_nr_threads && !ret; to++) {
			if (!(event->others & BIT(to)))
				continue;
			child.leg = leg;
			child.points[plan->count] = (struct kvet_point){
				.site = event->site,
				.side = event->side,
				.hit = event->hit,
				.to = to,
			};
			ret = push(level, &child);
		}
	}
	return ret == -ENOSPC ? 0 : ret;
}

/* One round for itself: set up, run and torn down. */
static int run_once(const struct kvet_schedule *plan)
{
	int ret = kvet_round_begin();

	if (ret)
		return ret;
	kvet_round_run(plan);
	ret = kvet_round_end();
	if (!ret)
		kvet_points_drop_loops();
	return ret;
}

static void mark_worth(void)
{
	unsigned int i;

	for (i = 0; i < nr_events(); i++) {
		if (kvet_round.events[i].access.kind >= KVET_DOZED)
			continue;
		kvet_sites[kvet_round.events[i].site].seen = true;
		if (kvet_is_point(&kvet_round.events[i]))
			kvet_sites[kvet_round.events[i].site].worth = true;
	}
}

/* Runs each side alone, in all orders, and does with what happened what @look does. */
static int record(void (*look)(void))
{
	struct kvet_schedule plan = { };
	int ret = 0;

	for (plan.first = 0; plan.first < kvet_nr_threads && !ret; plan.first++) {
		ret = run_once(&plan);
		if (!ret && look)
			look();
	}
	return ret;
}

/*
 * -EOPNOTSUPP where the count that the sides need stays as it is: nothing to explore.
 * Probes are as the sides before have left them: what looped there may do so here
 * for each page of a gigabyte, which takes half a minute with all probes on.
 */
static int try_sides(void)
{
	const char *needs = kvet_lacks_memory() ? KVET_REFUSED : kvet_race->needs;
	long before = needs ? kvet_counted(needs) : 0;
	int ret = needs ? record(NULL) : 0;

	return !ret && needs && kvet_counted(needs) == before ? -EOPNOTSUPP : ret;
}

/*
 * Finds out what the sides share, what is a loop, and which probes are worth
 * their time: not those that were come to, and made no point. Those that nobody
 * has come to stay, for a path that is taken under another schedule.
 */
static int prepare(void)
{
	unsigned int i;
	int ret;

	nr_shared = 0;
	ret = try_sides();
	if (ret)
		return ret;
	kvet_points_reset();
	for (i = 0; i < kvet_nr_sites; i++) {
		kvet_sites[i].loop = false;
		kvet_sites[i].seen = false;
		kvet_sites[i].worth = false;
	}
	ret = record(find_shared);
	if (!ret)
		ret = record(mark_worth);
	for (i = 0; i < kvet_nr_sites && !ret; i++)
		if (kvet_sites[i].seen && !kvet_sites[i].worth)
			kvet_site_off(&kvet_sites[i]);
	return ret;
}

/* 0, 1 when a side alone fails already, or -errno. */
int kvet_schedules_begin(unsigned int most, bool all)
{
	struct kvet_schedule plan = { };
	unsigned int i;
	int ret;

	bound = min_t(unsigned int, most, KVET_MAX_PREEMPTIONS);
	every_access = all;
	at = 0;
	nr_points = 0;
	memset(counted, 0, sizeof(counted));
	nr_unreached = 0;
	nr_repeats = 0;
	nr_spun = 0;
	nr_samples = 0;
	only_sample = false;
	memset(&sample, 0, sizeof(sample));
	for (i = 0; i <= KVET_MAX_PREEMPTIONS; i++) {
		vfree(levels[i].list);
		memset(&levels[i], 0, sizeof(levels[i]));
	}
	ret = prepare();
	for (; plan.first < kvet_nr_threads && !ret; plan.first++)
		ret = push(&levels[0], &plan);
	return ret;
}

/* Instead of all the schedules: this one. */
int kvet_schedules_only(const struct kvet_schedule *plan)
{
	unsigned int i;

	for (i = 0; i <= KVET_MAX_PREEMPTIONS; i++)
		levels[i].count = 0;
	if (plan->steps) {
		sample = *plan;
		only_sample = true;
		at = bound + 1;
		return 0;
	}
	bound = plan->count;
	at = bound;
	return push(&levels[at], plan);
}

static int by_leg(const void *one, const void *other)
{
	const struct kvet_schedule *a = one, *b = other;

	return (int)a->leg - (int)b->leg;
}

/* From now on schedules are drawn at random: there is no time for all. */
void kvet_schedules_sample(void)
{
	sample.steps = min_t(unsigned int, nr_points, U16_MAX) ?: 1;
	sample.count = bound;
	sample.sample = kvet_seed + 1;
}

/* The next in turn, or NULL when all were run. */
const struct kvet_schedule *kvet_schedules_next(void)
{
	if (sample.steps)
		return only_sample && nr_samples ? NULL : &sample;
	while (at <= bound && levels[at].ran == levels[at].count)
		at++;
	if (at > bound)
		return NULL;
	if (!levels[at].sorted) {
		sort(levels[at].list, levels[at].count, sizeof(*levels[at].list), by_leg, NULL);
		levels[at].sorted = true;
	}
	return &levels[at].list[levels[at].ran];
}

/* Runs what kvet_schedules_next() gave; 1 when it failed. */
int kvet_schedules_run(void)
{
	struct kvet_schedule plan;
	unsigned int tries = 0;
	int ret;

	if (sample.steps) {
		ret = run_once(&sample);
		nr_samples++;
		sample.sample++;
		return ret;
	}
	plan = levels[at].list[levels[at].ran++];
	do {
		/* a wait may end sooner than when the point was seen: try again */
		nr_repeats += !!tries;
		ret = run_once(&plan);
		if (ret)
			return ret;
	} while (kvet_round.next < plan.count && ++tries < MOST_TRIES);
	nr_unreached += kvet_round.next < plan.count;
	nr_spun += !!kvet_round.nr_spun;
	return at < bound ? add_children(&plan) : 0;
}

void kvet_schedules_show(struct seq_file *m)
{
	unsigned int i;

	seq_printf(m, "explore points %u shared %u unreached %u repeats %u timeouts %u\n",
		   nr_points, nr_shared, nr_unreached, nr_repeats, nr_spun);
	if (nr_samples)
		seq_printf(m, "explore sampled %u sides %u steps %u changes %u\n", nr_samples,
			   kvet_nr_threads, sample.steps, sample.count);
	for (i = 0; i <= bound; i++)
		seq_printf(m, "explore preemptions %u run %u of %u%s\n", i, levels[i].ran,
			   levels[i].count, levels[i].full ? " full" : "");
}
