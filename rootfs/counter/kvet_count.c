// SPDX-License-Identifier: GPL-2.0
/*
 * Counts what a workload wants to know of the kernel: entries of functions,
 * entries of one while another task is inside a second, waits for locks.
 *
 * count=NAME:FUNC[+OFFSET]     entries of FUNC, or hits of that instruction
 * count=NAME:FUNC@OPEN         the same while another task is inside OPEN
 * count=NAME:?                 waits for locks (tracepoint contention_begin)
 * count=NAME:?OPEN             waits for locks of a task that is inside OPEN
 *
 * Several of one NAME add up. /sys/kernel/debug/kvet_count/report tells the
 * counts, and how many hits the probes missed.
 */
#include <linux/atomic.h>
#include <linux/debugfs.h>
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/tracepoint.h>

#define MOST_PROBES	64
#define MOST_INSIDE	64

struct counter {
	const char *name;
	atomic64_t hits;
};

/* A function whose tasks are known while they are inside it. */
struct opened {
	struct kretprobe probe;
	struct task_struct *inside[MOST_INSIDE];
	atomic_t nr_inside;
};

struct watch {
	struct kprobe probe;
	struct counter *counter;
	struct opened *open;
	bool contended;
	bool on;
};

static char *count[MOST_PROBES];
static int nr_watches;
module_param_array(count, charp, &nr_watches, 0444);
MODULE_PARM_DESC(count, "NAME:FUNC[+OFFSET], NAME:FUNC@OPEN, NAME:? or NAME:?OPEN");

static struct watch watches[MOST_PROBES];
static struct counter counters[MOST_PROBES];
static struct opened *opens[MOST_PROBES];
static int nr_counters, nr_opens;
static struct dentry *folder;

/* How often TASK is inside; a function that calls itself counts again. */
static int times_inside(struct opened *open, struct task_struct *task)
{
	int i, times = 0;

	for (i = 0; i < MOST_INSIDE; i++)
		times += READ_ONCE(open->inside[i]) == task;
	return times;
}

static bool other_inside(struct opened *open)
{
	int all = atomic_read(&open->nr_inside);

	return all > 0 && all > times_inside(open, current);
}

static int on_open(struct kretprobe_instance *instance, struct pt_regs *regs)
{
	struct kretprobe *probe = get_kretprobe(instance);
	struct opened *open = container_of(probe, struct opened, probe);
	int *slot = (int *)instance->data;
	int i;

	for (i = 0; i < MOST_INSIDE; i++) {
		if (cmpxchg(&open->inside[i], NULL, current))
			continue;
		*slot = i;
		atomic_inc(&open->nr_inside);
		return 0;
	}
	probe->nmissed++;
	return 1;
}

static int on_close(struct kretprobe_instance *instance, struct pt_regs *regs)
{
	struct opened *open = container_of(get_kretprobe(instance), struct opened, probe);

	WRITE_ONCE(open->inside[*(int *)instance->data], NULL);
	atomic_dec(&open->nr_inside);
	return 0;
}

static int on_hit(struct kprobe *probe, struct pt_regs *regs)
{
	struct watch *watch = container_of(probe, struct watch, probe);

	if (!watch->open || other_inside(watch->open))
		atomic64_inc(&watch->counter->hits);
	return 0;
}

static struct counter *counter_of(const char *name)
{
	int i;

	for (i = 0; i < nr_counters; i++)
		if (!strcmp(counters[i].name, name))
			return &counters[i];
	counters[nr_counters].name = name;
	return &counters[nr_counters++];
}

static struct opened *opened_of(const char *name)
{
	struct opened *open;
	int i, ret;

	for (i = 0; i < nr_opens; i++)
		if (!strcmp(opens[i]->probe.kp.symbol_name, name))
			return opens[i];
	open = kzalloc(sizeof(*open), GFP_KERNEL);
	if (!open)
		return ERR_PTR(-ENOMEM);
	open->probe.kp.symbol_name = name;
	open->probe.entry_handler = on_open;
	open->probe.handler = on_close;
	open->probe.data_size = sizeof(int);
	open->probe.maxactive = MOST_INSIDE;
	ret = register_kretprobe(&open->probe);
	if (ret) {
		kfree(open);
		return ERR_PTR(ret);
	}
	opens[nr_opens++] = open;
	return open;
}

#ifdef CONFIG_TRACEPOINTS

static struct tracepoint *contention;
static bool contention_on;

static void on_contention(void *data, void *lock, unsigned int flags)
{
	int i;

	for (i = 0; i < nr_watches; i++) {
		if (!watches[i].contended || !watches[i].on)
			continue;
		if (!watches[i].open || times_inside(watches[i].open, current))
			atomic64_inc(&watches[i].counter->hits);
	}
}

static void look_for(struct tracepoint *found, void *data)
{
	if (!strcmp(found->name, "contention_begin"))
		contention = found;
}

static int watch_contention(void)
{
	int ret;

	if (contention_on)
		return 0;
	for_each_kernel_tracepoint(look_for, NULL);
	if (!contention)
		return -EOPNOTSUPP;
	ret = tracepoint_probe_register(contention, on_contention, NULL);
	contention_on = !ret;
	return ret;
}

static void unwatch_contention(void)
{
	if (!contention_on)
		return;
	tracepoint_probe_unregister(contention, on_contention, NULL);
	tracepoint_synchronize_unregister();
}

#else

static int watch_contention(void)
{
	return -EOPNOTSUPP;
}

static void unwatch_contention(void)
{
}

#endif

static int watch_function(struct watch *watch, char *where)
{
	char *open = strchr(where, '@');
	char *offset;
	unsigned int number = 0;

	if (open)
		*open++ = '\0';
	offset = strchr(where, '+');
	if (offset) {
		*offset++ = '\0';
		if (kstrtouint(offset, 0, &number))
			return -EINVAL;
	}
	if (open) {
		watch->open = opened_of(open);
		if (IS_ERR(watch->open))
			return PTR_ERR(watch->open);
	}
	watch->probe.symbol_name = where;
	watch->probe.offset = number;
	watch->probe.pre_handler = on_hit;
	return register_kprobe(&watch->probe);
}

static int watch_waits(struct watch *watch, const char *where)
{
	watch->contended = true;
	if (*where) {
		watch->open = opened_of(where);
		if (IS_ERR(watch->open))
			return PTR_ERR(watch->open);
	}
	return watch_contention();
}

static int start(struct watch *watch, char *spec)
{
	char *where = strchr(spec, ':');
	int ret;

	if (where)
		*where++ = '\0';
	watch->counter = counter_of(spec);
	if (!where)
		return -EINVAL;
	ret = *where == '?' ? watch_waits(watch, where + 1) : watch_function(watch, where);
	WRITE_ONCE(watch->on, !ret);
	if (ret)
		pr_err("kvet_count: %s: error %d\n", spec, ret);
	return ret;
}

static int report_show(struct seq_file *m, void *data)
{
	unsigned long missed = 0;
	int i;

	for (i = 0; i < nr_counters; i++)
		seq_printf(m, "exposure %s %lld\n", counters[i].name,
			   (long long)atomic64_read(&counters[i].hits));
	for (i = 0; i < nr_watches; i++) {
		missed += watches[i].probe.nmissed;
		if (!watches[i].on)
			seq_printf(m, "state not_counted %s\n", watches[i].counter->name);
	}
	for (i = 0; i < nr_opens; i++)
		missed += opens[i]->probe.nmissed;
	seq_printf(m, "state counter_missed %lu\n", missed);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(report);

static int __init kvet_count_init(void)
{
	int i;

	/* one that cannot be watched is reported, and the others are counted */
	for (i = 0; i < nr_watches; i++)
		start(&watches[i], count[i]);
	folder = debugfs_create_dir("kvet_count", NULL);
	debugfs_create_file("report", 0444, folder, NULL, &report_fops);
	return 0;
}

static void __exit kvet_count_exit(void)
{
	int i;

	debugfs_remove(folder);
	for (i = 0; i < nr_watches; i++)
		if (watches[i].on && !watches[i].contended)
			unregister_kprobe(&watches[i].probe);
	unwatch_contention();
	for (i = 0; i < nr_opens; i++) {
		unregister_kretprobe(&opens[i]->probe);
		kfree(opens[i]);
	}
}

module_init(kvet_count_init);
module_exit(kvet_count_exit);
MODULE_DESCRIPTION("Exposure counters of a kvet workload");
MODULE_LICENSE("GPL");
