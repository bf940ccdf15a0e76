// SPDX-License-Identifier: GPL-2.0
/*
 * How the guest's program runs an exploration, through debugfs:
 *
 *   sides   read: which can meet, as kvet.sides has them, for a host that names none;
 *           write "FORM SIDE,SIDE [SCHEDULE]": which form of rounds, which sides, and
 *           perhaps the one schedule that is wanted; records the sides
 *   next    read: the schedule that comes next, empty when all were run;
 *           write "run": run it; write "sample": from now on draw them at random
 *   loop    write MS: rounds at random for so long, in place of schedules
 *   result  read: what came of it
 *   end     read: the exposure record, and what was found beside the rounds
 *   counts  read: the exposure record
 *   release write: let a failing round run on, as the kernel would
 *
 * So the program has told the host which schedule runs before it does, and a
 * crash is never without a name.
 */
#include <linux/debugfs.h>
#include <linux/uaccess.h>

#include "engine.h"
#include "explore.h"
#include "findings.h"

static uint preemptions = 2;
static bool every_access;
static char sides_text[64];
static char name[KVET_NAME_LEN];
static bool failed, running;
static const char *nothing;	/* why there is nothing to explore */
static unsigned long rounds;
static u64 began;

module_param(preemptions, uint, 0644);
MODULE_PARM_DESC(preemptions, "most preemptions of a schedule");
module_param_named(every_access, every_access, bool, 0444);
MODULE_PARM_DESC(every_access, "every probed access is a point, not only those that conflict");

static const char *const outcomes[] = {
	[KVET_CLEAN] = "clean",
	[KVET_STALE] = "stale-access",
	[KVET_WILD] = "wild-access",
	[KVET_DEADLOCK] = "schedule-deadlock",
	[KVET_STUCK] = "schedule-stuck",
	[KVET_WRONG] = "check-failed",
};

/* Of a race that has rounds of one form only. */
#define ONE_FORM	"round"

static int choose(const char *form)
{
	if (kvet_race->choose)
		return kvet_race->choose(form);
	return strcmp(form, ONE_FORM) ? -EINVAL : 0;
}

/* 0, 1 when a side alone fails already, or -errno: -EOPNOTSUPP with a reason in @nothing. */
static int record(const char *form)
{
	static char barren[64];		/* forms of rounds in which nothing happened */
	bool poor = kvet_lacks_memory();
	char word[16];
	int ret;

	nothing = kvet_race->nothing ?: "the sides do not meet";
	snprintf(word, sizeof(word), " %s ", form);
	/* what sides with memory do not do is not done without */
	if (poor && strstr(barren, word))
		return -EOPNOTSUPP;
	ret = kvet_schedules_begin(preemptions, every_access);
	if (ret != -EOPNOTSUPP)
		nothing = NULL;
	else if (poor)
		nothing = "no memory is asked for";
	else
		strlcat(barren, word, sizeof(barren));
	return ret;
}

static int begin(char *text)
{
	char *form = strsep(&text, " "), *sides = strsep(&text, " ");
	struct kvet_schedule only;
	int ret;

	if (!sides)
		return -EINVAL;
	snprintf(sides_text, sizeof(sides_text), "%s %s", form, sides);
	ret = choose(form);
	if (!ret)
		ret = kvet_sides_choose(sides);
	if (!ret && text && *text) {
		/* before the loops are dropped, all sites have their names */
		ret = kvet_schedule_parse(text, &only);
		if (ret)
			return ret;
	}
	if (!ret)
		ret = record(form);
	if (!ret && text && *text)
		ret = kvet_schedules_only(&only);
	began = ktime_get_mono_fast_ns();
	rounds = 0;
	failed = ret > 0;
	/* a side alone, in the first of the rounds that record them */
	if (failed)
		kvet_schedule_name(name, sizeof(name), &kvet_round.plan);
	return min(ret, 0);
}

static int sides_show(struct seq_file *m, void *v)
{
	const struct kvet_side *side = kvet_race->sides;

	if (kvet_race->sets) {
		seq_printf(m, "%s\n", kvet_race->sets);
		return 0;
	}
	for (; side->name; side++)
		seq_printf(m, "%s%s", side == kvet_race->sides ? ONE_FORM ":" : ",", side->name);
	seq_puts(m, "\n");
	return 0;
}

static int sides_open(struct inode *inode, struct file *file)
{
	return single_open(file, sides_show, NULL);
}

static ssize_t sides_write(struct file *file, const char __user *buffer, size_t size,
			   loff_t *pos)
{
	char text[KVET_NAME_LEN + sizeof(sides_text)];
	int ret;

	if (size >= sizeof(text))
		return -E2BIG;
	if (copy_from_user(text, buffer, size))
		return -EFAULT;
	text[size] = '\0';
	ret = begin(strim(text));
	return ret ?: size;
}

static const struct file_operations sides_fops = {
	.open = sides_open,
	.read = seq_read,
	.write = sides_write,
	.llseek = seq_lseek,
	.release = single_release,
};

static int next_show(struct seq_file *m, void *v)
{
	const struct kvet_schedule *plan = failed ? NULL : kvet_schedules_next();

	if (!plan)
		return 0;
	kvet_schedule_name(name, sizeof(name), plan);
	seq_printf(m, "%lu %s\n", rounds, name);
	return 0;
}

static int next_open(struct inode *inode, struct file *file)
{
	return single_open(file, next_show, NULL);
}

static ssize_t next_write(struct file *file, const char __user *buffer, size_t size,
			  loff_t *pos)
{
	char word[8] = "";
	int ret;

	if (failed || !kvet_schedules_next())
		return -ENODATA;
	if (size < sizeof(word) && !copy_from_user(word, buffer, size) &&
	    !strncmp(word, "sample", 6)) {
		kvet_schedules_sample();
		return size;
	}
	running = true;
	ret = kvet_schedules_run();
	running = false;
	failed = ret > 0;
	rounds++;
	return ret < 0 ? ret : size;
}

static const struct file_operations next_fops = {
	.open = next_open,
	.read = seq_read,
	.write = next_write,
	.llseek = seq_lseek,
	.release = single_release,
};

static void show_stack_of(struct seq_file *m, struct kvet_thread *thread)
{
	unsigned int i, depth = kvet_round.depth[thread->number];

	for (i = 0; i < depth; i++)
		seq_printf(m, "stack %s %pS\n", thread->side->name,
			   (void *)kvet_round.stacks[thread->number][i]);
}

static void show_finding(struct seq_file *m)
{
	const char *kind = outcomes[kvet_round.outcome];
	unsigned int i, guilty = kvet_round.guilty;
	char site[KSYM_NAME_LEN], what[128];

	strscpy(site, kvet_round.outcome == KVET_WRONG ? kvet_race->name : "schedule",
		sizeof(site));
	if (guilty != KVET_NOBODY && kvet_round.depth[guilty])
		snprintf(site, sizeof(site), "%ps", (void *)kvet_round.stacks[guilty][0]);
	if (kvet_round.outcome == KVET_STALE)
		snprintf(what, sizeof(what), "a %s is accessed after it was freed",
			 kvet_round.what);
	else
		strscpy(what, kvet_round.what, sizeof(what));
	seq_printf(m, "explore what %s\n", what);
	seq_printf(m, "finding %s %s %s, in %s\n", kind, site, what, site);
	for (i = 0; i < kvet_nr_threads; i++)
		show_stack_of(m, &kvet_threads[i]);
	kvet_object_show(m);
}

static const char *const kinds[] = {
	[KVET_LOAD] = "load",
	[KVET_STORE] = "store",
	[KVET_RMW] = "atomic",
	[KVET_BARRIER] = "barrier",
	[KVET_FLUSH] = "flush",
	[KVET_CALL] = "call",
	[KVET_DOZED] = "dozes",
	[KVET_SWITCHED] = "preempted",
	[KVET_BLOCKED] = "blocked",
	[KVET_SPUN] = "spins",
	[KVET_ENDED] = "ended",
};

/* One event a line: SIDE KIND FUNC+OFFSET/SIZE HIT WHERE VALUE. */
static void show_event(struct seq_file *m, const struct kvet_event *event)
{
	seq_printf(m, "explore-event %c %s ", kvet_threads[event->side].side->letter,
		   kinds[event->access.kind]);
	if (event->access.kind >= KVET_DOZED) {
		seq_printf(m, "%c\n", kvet_threads[event->others ? __ffs(event->others) :
						  event->side].side->letter);
		return;
	}
	kvet_site_place(m, &kvet_sites[event->site]);
	seq_printf(m, " %u ", event->hit);
	if (event->access.kind == KVET_CALL)
		seq_printf(m, "%ps", (void *)event->access.addr);
	else if (event->access.kind != KVET_BARRIER && event->access.kind != KVET_FLUSH)
		kvet_object_name(m, event->access.addr);
	else
		seq_puts(m, "-");
	if (event->access.known)
		seq_printf(m, " %llx", event->access.value);
	seq_puts(m, "\n");
}

static void show_events(struct seq_file *m)
{
	int i, count = min(atomic_read(&kvet_round.nr_events), KVET_MAX_EVENTS);

	for (i = 0; i < count; i++)
		if (kvet_round.events[i].access.kind >= KVET_SWITCHED || i == count - 1 ||
		    kvet_is_point(&kvet_round.events[i]))
			show_event(m, &kvet_round.events[i]);
}

static int result_show(struct seq_file *m, void *v)
{
	u64 us = div_u64(ktime_get_mono_fast_ns() - began, 1000);

	unsigned int i;

	seq_printf(m, "explore sides %s\n", sides_text);
	for (i = 0; i < kvet_nr_threads; i++)
		seq_printf(m, "explore side %c %s\n", kvet_threads[i].side->letter,
			   kvet_threads[i].side->title ?: kvet_threads[i].side->name);
	kvet_points_show(m);
	kvet_schedules_show(m);
	seq_printf(m, "explore rounds %lu us %llu failed %d\n", rounds, us, failed);
	if (nothing)
		seq_printf(m, "explore what %s\n", nothing);
	if (!failed)
		return 0;
	seq_printf(m, "explore failing %s\n", name);
	show_finding(m);
	show_events(m);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(result);

static ssize_t release_write(struct file *file, const char __user *buffer, size_t size,
			     loff_t *pos)
{
	if (failed && strcmp(name, "random")) {
		kvet_round_expose();
		kvet_round_release();
	}
	return size;
}

static const struct file_operations release_fops = {
	.write = release_write,
};

/* The last words of a kernel that crashed in a round. */
void kvet_explore_last_words(void)
{
	if (running || failed)
		pr_emerg("kvet: schedule %s of %s\n", name, sides_text);
}

/* Rounds at random for so many milliseconds; fewer when one fails. */
static ssize_t loop_write(struct file *file, const char __user *buffer, size_t size,
			  loff_t *pos)
{
	unsigned int ms;
	int ret = kstrtouint_from_user(buffer, size, 10, &ms);

	if (!ret && failed)
		ret = -ENODATA;
	if (!ret) {
		strscpy(name, "random", sizeof(name));
		running = true;
		ret = kvet_loop(ms);
		running = false;
		failed = ret > 0;
	}
	return ret < 0 ? ret : size;
}

static const struct file_operations loop_fops = {
	.write = loop_write,
};

/* The last state, when no more rounds are to come; runs some where objects are left over. */
static int end_show(struct seq_file *m, void *v)
{
	if (!failed)
		kvet_leaks_look();
	kvet_counts_show(m);
	kvet_findings_show(m);
	kvet_missing_show(m);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(end);

static int counts_show(struct seq_file *m, void *v)
{
	kvet_counts_show(m);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(counts);

int kvet_explore_start(struct dentry *directory)
{
	int ret = kvet_explore_init();

	if (!ret)
		ret = kvet_points_init();
	if (ret)
		return ret;
	debugfs_create_file("sides", 0600, directory, NULL, &sides_fops);
	debugfs_create_file("next", 0600, directory, NULL, &next_fops);
	debugfs_create_file("result", 0400, directory, NULL, &result_fops);
	debugfs_create_file("counts", 0400, directory, NULL, &counts_fops);
	debugfs_create_file("loop", 0200, directory, NULL, &loop_fops);
	debugfs_create_file("end", 0400, directory, NULL, &end_fops);
	debugfs_create_file("release", 0200, directory, NULL, &release_fops);
	return 0;
}
