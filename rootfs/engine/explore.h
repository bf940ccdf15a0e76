/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Controlled schedules: the threads of two or three sides meet, and only the
 * one that holds the token passes a probed instruction.
 *
 *   explore.c   the threads: token, stops, who is blocked, what went wrong
 *   points.c    which instructions are probed, and what a schedule is called
 *   decode.c    what an arm64 instruction accesses
 *   round.c     what comes before the sides go, and after they are done
 *   objects.c   what the sides share
 *   schedule.c  which schedules there are, and which comes next
 *   sample.c    schedules drawn at random, where there are too many
 *   files.c     debugfs: the guest's program names a schedule, then runs it
 */
#ifndef KVET_EXPLORE_H
#define KVET_EXPLORE_H

#include <linux/completion.h>
#include <linux/kprobes.h>
#include <linux/sched.h>
#include <linux/seq_file.h>

#include "kvet_engine.h"

#define KVET_MAX_SITES		768
#define KVET_MAX_EVENTS		4096
#define KVET_MAX_PREEMPTIONS	4
#define KVET_MAX_HITS		3	/* of one site that are points of a side */
#define KVET_DOZE		0xffff	/* stands for a site: where a side dozes */
#define KVET_NAME_LEN		256	/* of a schedule, as text */
#define KVET_STACK_DEPTH	24
#define KVET_NOBODY		KVET_MAX_SIDES

enum kvet_kind {
	KVET_OTHER,		/* nothing of interest */
	KVET_LOAD,
	KVET_STORE,
	KVET_RMW,		/* an atomic of one instruction */
	KVET_BARRIER,
	KVET_FLUSH,		/* TLB or cache maintenance */
	KVET_CALL,
	KVET_DOZED,		/* no access: sleeps, and will wake without the others */
	KVET_SWITCHED,		/* the token went on, by plan */
	KVET_BLOCKED,		/* for the holder sleeps */
	KVET_SPUN,		/* for the holder got nowhere */
	KVET_ENDED,		/* for the holder was done */
};

struct kvet_access {
	enum kvet_kind kind;
	unsigned long addr;	/* what is accessed, or called */
	u64 value;		/* read there, or about to be written */
	bool known;		/* value is valid */
};

/* A probed instruction. */
struct kvet_site {
	struct kprobe probe;
	u32 insn;
	u16 number;
	u16 func;		/* index of its function */
	u32 offset;		/* in that */
	enum kvet_kind kind;
	bool on;
	bool loop;		/* came to too often in a round */
	bool seen, worth;	/* of the recording: come to, and a point */
};

/* The hit-th time in a round that a side comes to a site. */
struct kvet_point {
	u16 site;
	u8 side;
	u8 hit;
	u8 to;			/* who gets the token here */
};

struct kvet_schedule {
	u32 sample;		/* drawn at random from this seed, of so many */
	u16 steps;		/* points of all sides; 0: preempted at @points */
	u8 first;		/* who begins */
	u8 count;
	u16 leg;		/* accesses between the last two preemptions */
	struct kvet_point points[KVET_MAX_PREEMPTIONS];
};

/* What happened in a round, in order. */
struct kvet_event {
	struct kvet_access access;
	u16 site;
	u8 side;
	u8 hit;
	u8 others;		/* mask of sides that could have gone on instead */
	bool fresh;		/* came here with the token: a preemption is possible */
	bool shared;		/* on what the race declared */
};

struct kvet_thread {
	struct task_struct *task;
	const struct kvet_side *side;
	u8 number;
	struct completion go;
	struct pt_regs saved;
	bool inside;		/* of its run: stops at sites */
	bool busy;		/* saved is in use: from the diversion to resume() */
	bool again;		/* the stop is over: let the instruction go */
	bool parked;		/* waits for the token, at a site or at the gate */
	bool done;
	bool came;		/* has come to a site in this round */
	bool dozes;		/* seen asleep, in a wait that ends by itself */
	u8 nr_dozes;
	unsigned int turns;	/* waited here, in vain */
	u64 asleep_since;	/* when this side first saw the holder asleep */
	u8 hits[KVET_MAX_SITES];
};

enum kvet_outcome {
	KVET_CLEAN,
	KVET_STALE,		/* an access to what was given back */
	KVET_WILD,		/* an access where nothing is mapped */
	KVET_DEADLOCK,		/* all sleep, and nobody is left to wake them */
	KVET_STUCK,		/* runs, and gets nowhere */
	KVET_WRONG,		/* the race says so */
};

/* The round that is on, or was last. */
struct kvet_round {
	struct kvet_schedule plan;
	unsigned int next;	/* preemption to come */
	int token;		/* side that may go on */
	atomic_t missing;	/* at the gate */
	atomic_t running;
	u64 progress;		/* when somebody last passed a site */
	struct completion over;
	bool released;		/* no stops any more */
	enum kvet_outcome outcome;
	u8 guilty;		/* side, or KVET_NOBODY */
	struct kvet_site *guilty_site;
	const char *what;	/* about the outcome, in words */
	atomic_t nr_events;
	u32 nr_spun;
	/* of a schedule that is sampled: where it changes priorities, and these */
	unsigned int step;
	unsigned int changes[KVET_MAX_PREEMPTIONS];
	int priority[KVET_MAX_SIDES];
	struct kvet_event events[KVET_MAX_EVENTS];
	unsigned int depth[KVET_MAX_SIDES];
	unsigned long stacks[KVET_MAX_SIDES][KVET_STACK_DEPTH];
};

extern struct kvet_thread kvet_threads[KVET_MAX_SIDES];
extern unsigned int kvet_nr_threads;
extern struct kvet_round kvet_round;

/* main.c */
extern const struct kvet_race *kvet_race;

/* symbols.c */
int kvet_symbols_init(void);

/* explore.c */
int kvet_sides_choose(char *names);
int kvet_reached(struct kvet_site *site, struct pt_regs *regs);
int kvet_explore_init(void);
struct kvet_thread *kvet_thread_of(struct task_struct *task);
void kvet_round_run(const struct kvet_schedule *plan);
void kvet_round_release(void);

/* decode.c */
enum kvet_kind kvet_kind_of(u32 insn, unsigned long offset, unsigned long size);
bool kvet_on_stack(u32 insn);
void kvet_decode(u32 insn, struct pt_regs *regs, struct kvet_access *access);

/* points.c */
extern struct kvet_site kvet_sites[KVET_MAX_SITES];
extern unsigned int kvet_nr_sites;
int kvet_points_init(void);
bool kvet_may_fault(unsigned long pc);
void kvet_points_reset(void);
void kvet_site_off(struct kvet_site *site);
unsigned int kvet_points_drop_loops(void);
unsigned long kvet_size_of(unsigned long addr);
bool kvet_is_probed(unsigned long addr);
bool kvet_is_explored(unsigned long pc);
void kvet_points_show(struct seq_file *m);
int kvet_site_name(char *text, size_t size, const struct kvet_site *site);
void kvet_site_place(struct seq_file *m, const struct kvet_site *site);
int kvet_schedule_name(char *text, size_t size, const struct kvet_schedule *plan);
int kvet_schedule_parse(char *text, struct kvet_schedule *plan);

/* round.c */
int kvet_round_begin(void);
int kvet_round_end(void);
void kvet_round_expose(void);

/* objects.c */
bool kvet_object_shared(unsigned long addr);
void kvet_object_name(struct seq_file *m, unsigned long addr);
enum kvet_outcome kvet_object_look(const struct kvet_access *access, unsigned long pc,
				   const char **what);
void kvet_objects_drop(void);
void kvet_object_show(struct seq_file *m);
bool kvet_objects_wanted(void);

/* memory.c */
#define KVET_REFUSED	"allocations_refused"
int kvet_memory_init(void);
bool kvet_lacks_memory(void);

/* leak.c */
void kvet_leak_expect(unsigned long start, const char *name);
void kvet_leak_gone(unsigned long start);
void kvet_leaks_look(void);

/* loop.c */
int kvet_loop_some(unsigned int rounds);
int kvet_loop(unsigned int ms);
void kvet_loop_pause(void);
bool kvet_loop_wants_pause(struct kvet_thread *me);
bool kvet_loops(void);

/* schedule.c */
int kvet_schedules_begin(unsigned int bound, bool all);
const struct kvet_schedule *kvet_schedules_next(void);
int kvet_schedules_run(void);
int kvet_schedules_only(const struct kvet_schedule *plan);
void kvet_schedules_show(struct seq_file *m);
bool kvet_is_point(const struct kvet_event *event);
void kvet_schedules_sample(void);

/* sample.c */
void kvet_sample_draw(struct kvet_round *round);
bool kvet_sample_changes(struct kvet_round *round, struct kvet_thread *me);
int kvet_sample_next(const struct kvet_round *round, unsigned int from);

/* files.c */
int kvet_explore_start(struct dentry *directory);
void kvet_explore_last_words(void);

#endif /* KVET_EXPLORE_H */
