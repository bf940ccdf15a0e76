// SPDX-License-Identifier: GPL-2.0
/*
 * The scheduler of controlled rounds. Each side is a thread bound to a CPU of
 * its own, and only the one that holds the token passes a probed instruction.
 *
 * A side without the token is stopped at its next site the way the amplifier
 * pauses threads: the probe saves the registers and lets the thread run wait()
 * in place of the instruction, with interrupts as the probed code has them;
 * wait() returns to resume(), whose probe puts the registers back.
 *
 * The token moves on at the preemptions of the round's schedule, when its
 * holder has ended, and when the holder sleeps or gets nowhere: whoever waits
 * for the token watches its holder. When everybody sleeps nobody is left to
 * watch; the thread that ordered the round sees that, and it is a deadlock.
 */
#include <linux/delay.h>
#include <linux/hardirq.h>
#include <linux/kthread.h>
#include <linux/timekeeping.h>

#include "engine.h"
#include "explore.h"

#define ASLEEP_NS	(20 * NSEC_PER_USEC)
/* an expedited grace period, where no reader is stopped, takes about a millisecond */
#define DOZE_NS		(8 * NSEC_PER_MSEC)
/* longer than patching a static key takes, or writing a line to the console */
#define SPIN_NS		(2 * NSEC_PER_MSEC)
#define SHORT_WAIT	64	/* turns of a side that waits */
#define LONG_WAIT	1000	/* turns of an empty loop: two microseconds */
#define DOZE_WAIT_US	100
#define LOOK_MS		50
#define DEADLOCK_LOOKS	20	/* a second */
#define STUCK_LOOKS	100	/* five seconds */

struct kvet_thread kvet_threads[KVET_MAX_SIDES];
unsigned int kvet_nr_threads;
struct kvet_round kvet_round;

struct kvet_thread *kvet_thread_of(struct task_struct *task)
{
	unsigned int i;

	for (i = 0; i < kvet_nr_threads; i++)
		if (kvet_threads[i].task == task)
			return &kvet_threads[i];
	return NULL;
}

static bool is_asleep(struct task_struct *task)
{
	return READ_ONCE(task->__state) != TASK_RUNNING && !READ_ONCE(task->on_cpu);
}

static bool could_go_on(struct kvet_thread *side)
{
	return !READ_ONCE(side->done) && (READ_ONCE(side->parked) || READ_ONCE(side->dozes) ||
					 !is_asleep(side->task));
}

static struct kvet_event *note(struct kvet_thread *side, enum kvet_kind kind)
{
	unsigned int n = atomic_inc_return(&kvet_round.nr_events) - 1;
	struct kvet_event *event;

	if (n >= KVET_MAX_EVENTS)
		return NULL;
	event = &kvet_round.events[n];
	memset(event, 0, sizeof(*event));
	event->access.kind = kind;
	event->side = side->number;
	return event;
}

static void pass_token(struct kvet_thread *from, unsigned int to, enum kvet_kind why)
{
	struct kvet_event *event = note(from, why);

	if (event)
		event->others = BIT(to);
	WRITE_ONCE(kvet_round.progress, ktime_get_mono_fast_ns());
	/* what the holder did is seen by whoever goes on */
	smp_store_release(&kvet_round.token, to);
}

/* Who goes on when @from cannot: the next in turn that is ready, else the next that sleeps. */
static int next_after(unsigned int from)
{
	unsigned int i, number;
	int sleeper = -1;

	if (kvet_round.plan.steps)
		return kvet_sample_next(&kvet_round, from);
	for (i = 1; i < kvet_nr_threads; i++) {
		number = (from + i) % kvet_nr_threads;
		if (READ_ONCE(kvet_threads[number].parked))
			return number;
		if (!READ_ONCE(kvet_threads[number].done) && sleeper < 0)
			sleeper = number;
	}
	return sleeper;
}

static unsigned int (*save_task_stack)(struct task_struct *task, unsigned long *store,
				       unsigned int size, unsigned int skip);

/* Waits that end whatever the other sides do, unless one of them is what is waited for. */
static struct {
	const char *name;
	unsigned long addr, size;
} dozes[] = {
	{ "synchronize_rcu" },
	{ "synchronize_rcu_expedited" },
	{ "__wait_rcu_gp" },
	{ "__synchronize_srcu" },
	{ "synchronize_rcu_tasks_generic" },
	{ "rcu_barrier" },
	{ "msleep" },
	{ "usleep_range_state" },
};

/* Is a side stopped where a grace period cannot end before it goes on? */
static bool holds_readers(void)
{
	unsigned int i;

	for (i = 0; i < kvet_nr_threads; i++) {
		if (!READ_ONCE(kvet_threads[i].parked))
			continue;
#ifdef CONFIG_PREEMPT_RCU
		if (READ_ONCE(kvet_threads[i].task->rcu_read_lock_nesting) > 0)
			return true;
#endif
		if (task_thread_info(kvet_threads[i].task)->preempt_count & PREEMPT_MASK)
			return true;
	}
	return false;
}

/* Does a thread that sleeps wait for time, or for a grace period that will end? */
static bool is_dozing(struct task_struct *task)
{
	unsigned long stack[KVET_STACK_DEPTH];
	unsigned int i, j, depth;

	if (!save_task_stack || holds_readers())
		return false;
	depth = save_task_stack(task, stack, ARRAY_SIZE(stack), 0);
	for (i = 0; i < depth; i++)
		for (j = 0; j < ARRAY_SIZE(dozes); j++)
			if (stack[i] - dozes[j].addr < dozes[j].size)
				return true;
	return false;
}

static bool is_next(struct kvet_thread *side, u16 site, u8 hit)
{
	struct kvet_point *point = &kvet_round.plan.points[kvet_round.next];

	return !kvet_round.plan.steps && kvet_round.next < kvet_round.plan.count &&
	       point->side == side->number &&
	       point->site == site && point->hit == hit;
}

/* @me has just seen that @holder sleeps. */
static void see_asleep(struct kvet_thread *me, struct kvet_thread *holder)
{
	struct kvet_event *event;

	WRITE_ONCE(holder->dozes, is_dozing(holder->task));
	if (!holder->dozes)
		return;
	holder->nr_dozes++;
	event = note(holder, KVET_DOZED);
	if (!event)
		return;
	event->site = KVET_DOZE;
	event->hit = holder->nr_dozes;
	event->fresh = true;
	event->others = BIT(me->number);
}

/* Takes the token from a holder that sleeps or gets nowhere. */
static void watch_holder(struct kvet_thread *me)
{
	int holder = READ_ONCE(kvet_round.token);
	u64 now = ktime_get_mono_fast_ns();
	struct kvet_thread *other;
	enum kvet_kind why;

	if (holder == me->number || next_after(holder) != me->number)
		return;
	other = &kvet_threads[holder];
	if (is_asleep(other->task)) {
		if (!me->asleep_since) {
			see_asleep(me, other);
			me->asleep_since = now;
		}
		why = KVET_BLOCKED;
		if (other->dozes && is_next(other, KVET_DOZE, other->nr_dozes)) {
			kvet_round.next++;
			why = KVET_SWITCHED;
		} else if (now - me->asleep_since < (other->dozes ? DOZE_NS : ASLEEP_NS)) {
			return;
		}
	} else {
		me->asleep_since = 0;
		/* it may have got on since the clock was read: less than nothing */
		if ((s64)(now - READ_ONCE(kvet_round.progress)) < (s64)SPIN_NS)
			return;
		why = KVET_SPUN;
	}
	me->asleep_since = 0;
	if (cmpxchg(&kvet_round.token, holder, me->number) != holder)
		return;
	kvet_round.nr_spun += why == KVET_SPUN;
	note(other, why)->others = BIT(me->number);
	WRITE_ONCE(kvet_round.progress, now);
}

/*
 * Lets the others go on. Where instructions are counted they are the clock, and to
 * hand the processor over costs the host as much as thousands of them. So who waits
 * for long, maybe for a holder that spins and hands over at each turn, lets time pass
 * by itself; for a holder that dozes nobody has to run at all.
 */
static void relax(struct kvet_thread *me)
{
	int holder = READ_ONCE(kvet_round.token);
	unsigned int i;

	if (holder >= 0 && READ_ONCE(kvet_threads[holder].dozes))
		udelay(DOZE_WAIT_US);
	else if (me->turns < SHORT_WAIT)
		me->turns++;
	else
		for (i = 0; i < LONG_WAIT; i++)
			barrier();
	cpu_relax();
}

/* Until the token comes; a side that did something wrong waits here for its release. */
static noinline void wait_here(void)
{
	struct kvet_thread *me = kvet_thread_of(current);

	if (!me)
		return;
	if (kvet_loops()) {
		kvet_loop_pause();
		return;
	}
	me->asleep_since = 0;
	me->turns = 0;
	if (kvet_round.outcome)
		complete(&kvet_round.over);
	WRITE_ONCE(me->parked, true);
	while (!READ_ONCE(kvet_round.released)) {
		if (!kvet_round.outcome) {
			/* pairs with pass_token() */
			if (smp_load_acquire(&kvet_round.token) == me->number)
				break;
			watch_holder(me);
		}
		relax(me);
	}
	WRITE_ONCE(me->parked, false);
}

static noinline void resume(void)
{
	barrier();
}

static int resume_here(struct kprobe *probe, struct pt_regs *regs)
{
	struct kvet_thread *me = kvet_thread_of(current);

	if (!me || !me->busy)
		return 0;
	*regs = me->saved;
	me->again = true;
	me->busy = false;
	return 1;
}

static struct kprobe resume_probe = { .pre_handler = resume_here };

static int stop_here(struct kvet_thread *me, struct pt_regs *regs)
{
	me->busy = true;
	me->saved = *regs;
	regs->pc = (unsigned long)wait_here;
	regs->regs[30] = (unsigned long)resume;
	/* the probed code may have a frame half made: stay clear of it */
	regs->sp -= 64;
	return 1;
}

/* Does the schedule take the token from @me here? */
static bool preempted_here(struct kvet_thread *me, struct kvet_site *site)
{
	struct kvet_point *point = &kvet_round.plan.points[kvet_round.next];

	if (!is_next(me, site->number, me->hits[site->number]))
		return false;
	kvet_round.next++;
	pass_token(me, point->to, KVET_SWITCHED);
	return true;
}

/* Does a schedule that is sampled let another side go on here? */
static bool sampled_here(struct kvet_thread *me, struct kvet_site *site, struct pt_regs *regs)
{
	struct kvet_event event = {
		.access.kind = site->kind,
		.site = site->number,
		.hit = me->hits[site->number],
	};
	int next;

	if (!kvet_round.plan.steps)
		return false;
	kvet_decode(site->insn, regs, &event.access);
	event.shared = kvet_object_shared(event.access.addr);
	if (!kvet_is_point(&event) || !kvet_sample_changes(&kvet_round, me))
		return false;
	next = kvet_sample_next(&kvet_round, me->number);
	if (next < 0 || !could_go_on(&kvet_threads[next]) ||
	    kvet_round.priority[next] < kvet_round.priority[me->number])
		return false;
	pass_token(me, next, KVET_SWITCHED);
	return true;
}

/* The holder of the token passes a site: note what it accesses, and look at that. */
static bool is_bad(struct kvet_thread *me, struct kvet_site *site, struct pt_regs *regs, bool fresh)
{
	struct kvet_event *event = kvet_loops() ? NULL : note(me, site->kind), spare = { };
	enum kvet_outcome outcome;
	unsigned int i;

	if (!event)
		event = &spare;
	event->access.kind = site->kind;
	kvet_decode(site->insn, regs, &event->access);
	event->site = site->number;
	event->hit = me->hits[site->number];
	event->fresh = fresh;
	event->shared = kvet_object_shared(event->access.addr);
	for (i = 0; i < kvet_nr_threads; i++)
		if (i != me->number && could_go_on(&kvet_threads[i]))
			event->others |= BIT(i);
	/* at random the others go on when one has failed: what it did is kept */
	if (READ_ONCE(kvet_round.outcome))
		return false;
	outcome = kvet_object_look(&event->access, instruction_pointer(regs), &kvet_round.what);
	if (!outcome)
		return false;
	kvet_round.guilty = me->number;
	kvet_round.guilty_site = site;
	kvet_round.stacks[me->number][0] = instruction_pointer(regs);
	kvet_round.depth[me->number] = 1 +
		kvet_save_stack(regs, kvet_round.stacks[me->number] + 1,
				KVET_STACK_DEPTH - 1, 1);
	/* whoever sees the outcome sees what belongs to it */
	smp_store_release(&kvet_round.outcome, outcome);
	return true;
}

int kvet_reached(struct kvet_site *site, struct pt_regs *regs)
{
	struct kvet_thread *me = kvet_thread_of(current);
	bool again;

	/*
	 * An interrupt on top of a side may get here as well, through a page it
	 * frees: it is not ours to stop, and the saved registers may be taken.
	 */
	if (!me || !me->inside || me->busy ||
	    (READ_ONCE(kvet_round.released) && !kvet_loops()) ||
	    (preempt_count() & (HARDIRQ_MASK | SOFTIRQ_MASK)))
		return 0;
	WRITE_ONCE(me->dozes, false);
	again = me->again;
	me->again = false;
	if (kvet_loops()) {
		if (!again && me->hits[site->number] < U8_MAX)
			me->hits[site->number]++;
		if (!again && kvet_loop_wants_pause(me))
			return stop_here(me, regs);
		is_bad(me, site, regs, false);
		return 0;
	}
	if (!again) {
		if (me->hits[site->number] < U8_MAX)
			me->hits[site->number]++;
		if (READ_ONCE(kvet_round.token) != me->number || preempted_here(me, site) ||
		    sampled_here(me, site, regs))
			return stop_here(me, regs);
	}
	WRITE_ONCE(kvet_round.progress, ktime_get_mono_fast_ns());
	return is_bad(me, site, regs, !again) ? stop_here(me, regs) : 0;
}

/* Nobody starts before all are there; the last to come gives the token to the first. */
static void pass_gate(struct kvet_thread *me)
{
	WRITE_ONCE(me->parked, true);
	if (atomic_dec_and_test(&kvet_round.missing)) {
		WRITE_ONCE(kvet_round.progress, ktime_get_mono_fast_ns());
		/* the round is complete for whoever sees that it has begun */
		smp_store_release(&kvet_round.token, kvet_round.plan.first);
	}
	while (READ_ONCE(kvet_round.token) < 0)
		cpu_relax();
	wait_here();
}

static int side_main(void *data)
{
	struct kvet_thread *me = data;
	int next;

	for (;;) {
		wait_for_completion(&me->go);
		pass_gate(me);
		WRITE_ONCE(me->inside, true);
		me->side->run();
		WRITE_ONCE(me->inside, false);
		WRITE_ONCE(me->done, true);
		next = next_after(me->number);
		if (READ_ONCE(kvet_round.token) == me->number && next >= 0)
			pass_token(me, next, KVET_ENDED);
		if (atomic_dec_and_test(&kvet_round.running))
			complete(&kvet_round.over);
	}
	return 0;
}

/* A thread is made once, whatever side it then is. */
static int make_thread(struct kvet_thread *thread)
{
	if (thread->task)
		return 0;
	init_completion(&thread->go);
	thread->task = kthread_create(side_main, thread, "kvet-side/%u", thread->number);
	if (IS_ERR(thread->task)) {
		int error = PTR_ERR(thread->task);

		thread->task = NULL;
		return error;
	}
	kthread_bind(thread->task, thread->number % num_online_cpus());
	wake_up_process(thread->task);
	return 0;
}

static int add_side(const char *name)
{
	struct kvet_thread *thread = &kvet_threads[kvet_nr_threads];
	const struct kvet_side *side = kvet_race->sides;

	while (side->name && strcmp(side->name, name))
		side++;
	if (!side->name) {
		kvet_missing("side", name);
		return -ENODEV;
	}
	if (kvet_nr_threads == KVET_MAX_SIDES)
		return -EINVAL;
	thread->side = side;
	thread->number = kvet_nr_threads++;
	return make_thread(thread);
}

/* Sides by name, with commas between: "dump,block". */
int kvet_sides_choose(char *names)
{
	char *name;
	int ret = 0;

	kvet_nr_threads = 0;
	while (!ret && (name = strsep(&names, ",")))
		ret = add_side(name);
	if (!ret && kvet_nr_threads < 2)
		ret = -EINVAL;
	if (!ret && kvet_lacks_memory())
		ret = kvet_memory_init();
	return ret;
}

const struct kvet_side *kvet_this_side(void)
{
	struct kvet_thread *me = kvet_thread_of(current);

	return me && READ_ONCE(me->inside) ? me->side : NULL;
}
EXPORT_SYMBOL_GPL(kvet_this_side);

static void take_stacks(void)
{
	unsigned int i;

	for (i = 0; i < kvet_nr_threads; i++)
		if (!kvet_threads[i].done && !kvet_round.depth[i] && save_task_stack)
			kvet_round.depth[i] = save_task_stack(kvet_threads[i].task,
							      kvet_round.stacks[i],
							      KVET_STACK_DEPTH, 0);
}

static bool all_asleep(void)
{
	unsigned int i;

	for (i = 0; i < kvet_nr_threads; i++)
		if (!READ_ONCE(kvet_threads[i].done) && !is_asleep(kvet_threads[i].task))
			return false;
	return true;
}

/* Waits for the round's end, whatever that is. */
static void await_round(void)
{
	unsigned int looks = 0, asleep = 0;
	u64 before = 0;

	while (!wait_for_completion_timeout(&kvet_round.over, msecs_to_jiffies(LOOK_MS))) {
		if (READ_ONCE(kvet_round.progress) != before)
			looks = 0;
		before = READ_ONCE(kvet_round.progress);
		asleep = looks && all_asleep() ? asleep + 1 : 0;
		if (asleep >= DEADLOCK_LOOKS) {
			kvet_round.what = "all sides sleep, and nobody is left to wake them";
			kvet_round.outcome = KVET_DEADLOCK;
		} else if (++looks >= STUCK_LOOKS) {
			kvet_round.what = "a side runs, and gets nowhere";
			kvet_round.outcome = KVET_STUCK;
		} else {
			continue;
		}
		break;
	}
	if (kvet_round.outcome)
		take_stacks();
}

/* Runs the sides of a round by @plan; it has been set up. */
void kvet_round_run(const struct kvet_schedule *plan)
{
	struct kvet_round *round = &kvet_round;
	unsigned int i;

	round->plan = *plan;
	round->next = 0;
	round->token = -1;
	if (round->plan.steps)
		kvet_sample_draw(round);
	round->released = kvet_loops();
	round->nr_spun = 0;
	atomic_set(&round->nr_events, 0);
	atomic_set(&round->missing, kvet_nr_threads);
	atomic_set(&round->running, kvet_nr_threads);
	reinit_completion(&round->over);
	for (i = 0; i < kvet_nr_threads; i++) {
		kvet_threads[i].done = false;
		kvet_threads[i].again = false;
		kvet_threads[i].came = false;
		kvet_threads[i].dozes = false;
		kvet_threads[i].nr_dozes = 0;
		memset(kvet_threads[i].hits, 0, sizeof(kvet_threads[i].hits));
	}
	/* the first, on this very CPU, would wait at the gate for those not called yet */
	preempt_disable();
	for (i = 0; i < kvet_nr_threads; i++)
		complete(&kvet_threads[i].go);
	preempt_enable();
	await_round();
}

/* After a failing round: let the sides go on as they would, and see what comes of it. */
void kvet_round_release(void)
{
	/* the instruction runs in its own place then, and an oops names that */
	if (kvet_round.guilty_site)
		kvet_site_off(kvet_round.guilty_site);
	WRITE_ONCE(kvet_round.released, true);
}

int kvet_explore_init(void)
{
	unsigned int i;

	init_completion(&kvet_round.over);
	save_task_stack = kvet_lookup("stack_trace_save_tsk");
	for (i = 0; i < ARRAY_SIZE(dozes); i++) {
		dozes[i].addr = (unsigned long)kvet_lookup(dozes[i].name);
		dozes[i].size = dozes[i].addr ? kvet_size_of(dozes[i].addr) : 0;
	}
	resume_probe.addr = (void *)resume;
	return register_kprobe(&resume_probe);
}
