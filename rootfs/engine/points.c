// SPDX-License-Identifier: GPL-2.0
/*
 * Where threads can be stopped: the loads, stores, atomics, barriers, flushes
 * and calls of the functions that the race names, each with a probe. Which of them are
 * points of a schedule is seen when they have run; see schedule.c.
 *
 * A point is named by function, offset and how often the side has come there
 * in the round, so that the name holds in every boot of the same build.
 */
#include <linux/kallsyms.h>
#include <linux/slab.h>

#include "engine.h"
#include "explore.h"

#define MAX_FUNCS	48
#define NEAR		0x2000UL
#define INSN_SIZE	4
#define LOOP		64	/* hits in one round that make a site a loop's */

struct func {
	unsigned long addr, size;
	char name[KSYM_NAME_LEN];
};

struct kvet_site kvet_sites[KVET_MAX_SITES];
unsigned int kvet_nr_sites;

static struct func funcs[MAX_FUNCS];
static unsigned int nr_funcs;
static unsigned int nr_refused, nr_loops;
static struct {
	u16 func;
	u32 offset;
} refused[64];

/* Of a series under test, say: they are points as those of the race are. */
static char *functions = "";

module_param(functions, charp, 0444);
MODULE_PARM_DESC(functions, "further functions whose instructions are points, with commas between");

unsigned long kvet_size_of(unsigned long addr)
{
	int (*lookup)(unsigned long addr, unsigned long *size, unsigned long *offset);
	unsigned long size = 0, offset = 0;

	lookup = kvet_lookup("kallsyms_lookup_size_offset");
	return lookup && lookup(addr, &size, &offset) ? size - offset : 0;
}

static int reached(struct kprobe *probe, struct pt_regs *regs)
{
	return kvet_reached(container_of(probe, struct kvet_site, probe), regs);
}

static void add_site(u16 func, u32 offset, u32 insn, enum kvet_kind kind)
{
	struct kvet_site *site = &kvet_sites[kvet_nr_sites];

	if (kvet_nr_sites == KVET_MAX_SITES)
		return;
	memset(site, 0, sizeof(*site));
	site->probe.addr = (void *)(funcs[func].addr + offset);
	site->probe.pre_handler = reached;
	site->number = kvet_nr_sites;
	site->insn = insn;
	site->func = func;
	site->offset = offset;
	site->kind = kind;
	site->on = !register_kprobe(&site->probe);
	if (site->on) {
		kvet_nr_sites++;
		return;
	}
	if (nr_refused < ARRAY_SIZE(refused)) {
		refused[nr_refused].func = func;
		refused[nr_refused].offset = offset;
	}
	nr_refused++;
}

static bool is_known(unsigned long addr)
{
	unsigned int i;

	for (i = 0; i < nr_funcs; i++)
		if (funcs[i].addr == addr)
			return true;
	return false;
}

static void add_func(unsigned long addr)
{
	struct func *func = &funcs[nr_funcs];

	if (nr_funcs == MAX_FUNCS || is_known(addr))
		return;
	func->addr = addr;
	func->size = kvet_size_of(addr);
	snprintf(func->name, sizeof(func->name), "%ps", (void *)addr);
	if (func->size)
		nr_funcs++;
}

/* Helpers that stand close in the text belong to their callers: same file, mostly. */
static void add_near(struct func *func)
{
	unsigned long offset, target;
	u32 insn;

	for (offset = 0; offset + INSN_SIZE <= func->size; offset += INSN_SIZE) {
		insn = READ_ONCE(*(u32 *)(func->addr + offset));
		if (kvet_kind_of(insn, offset, func->size) != KVET_CALL ||
		    (insn & 0x7c000000) != 0x14000000)
			continue;
		target = func->addr + offset + ((s32)(insn << 6) >> 4);
		if (abs((long)(target - func->addr)) <= NEAR && kvet_size_of(target))
			add_func(target);
	}
}

/* Checks and helpers of debug kernels that order nothing, by how their names begin. */
static const char *const idle_calls[] = {
	"__might_", "lock_is_held", "lockdep_", "debug_", "memset", "__memset", "__pi_mem",
	"memcpy", "__memcpy", "_printk", "pgattr_change_is_safe", "mmap_assert", "warn_",
	"__warn", "__asan_", "__kasan_",
};

static bool is_idle_call(unsigned long addr, u32 insn)
{
	char name[KSYM_NAME_LEN];
	unsigned int i;

	if ((insn & 0x7c000000) != 0x14000000)
		return false;
	snprintf(name, sizeof(name), "%ps", (void *)(addr + ((s32)(insn << 6) >> 4)));
	for (i = 0; i < ARRAY_SIZE(idle_calls); i++)
		if (!strncmp(name, idle_calls[i], strlen(idle_calls[i])))
			return true;
	return false;
}

static void probe_func(u16 number)
{
	struct func *func = &funcs[number];
	enum kvet_kind kind;
	u32 offset, insn;

	/* the first instruction is left to probes of whole functions */
	for (offset = INSN_SIZE; offset + INSN_SIZE <= func->size; offset += INSN_SIZE) {
		insn = READ_ONCE(*(u32 *)(func->addr + offset));
		kind = kvet_kind_of(insn, offset, func->size);
		if (kind == KVET_OTHER)
			continue;
		if ((kind == KVET_LOAD || kind == KVET_STORE) && kvet_on_stack(insn))
			continue;
		if (kind == KVET_CALL && is_idle_call(func->addr + offset, insn))
			continue;
		add_site(number, offset, insn, kind);
	}
}

/* What a compiler may have made of the name of a static function. */
static const char *const suffixes[] = {
	"", ".isra.0", ".constprop.0", ".part.0", ".constprop.0.isra.0", ".isra.0.constprop.0",
};

static void add_named(const char *name)
{
	char whole[KSYM_NAME_LEN];
	unsigned int i;
	void *addr;

	for (i = 0; i < ARRAY_SIZE(suffixes); i++) {
		snprintf(whole, sizeof(whole), "%s%s", name, suffixes[i]);
		addr = kvet_lookup(whole);
		if (addr)
			add_func((unsigned long)addr);
	}
}

static void add_named_by_host(void)
{
	char *list = kstrdup(functions, GFP_KERNEL), *next = list, *name;

	while (next && (name = strsep(&next, ",")))
		if (*name)
			add_named(name);
	kfree(list);
}

/* May an instruction fault, and be made up for? Reads of a user's memory, for one. */
bool kvet_may_fault(unsigned long pc)
{
	static const void *(*search)(unsigned long addr);

	if (!search)
		search = kvet_lookup("search_exception_tables");
	return search && search(pc);
}

int kvet_points_init(void)
{
	unsigned int i, nr_roots;

	for (i = 0; kvet_race->functions[i]; i++)
		add_named(kvet_race->functions[i]);
	add_named_by_host();
	nr_roots = nr_funcs;
	for (i = 0; i < nr_roots; i++)
		add_near(&funcs[i]);
	for (i = 0; i < nr_funcs; i++)
		probe_func(i);
	if (kvet_nr_sites)
		return 0;
	pr_err("kvet: this kernel has none of the functions of race %s\n", kvet_race->name);
	return -ENOENT;
}

/* Other sides come to other sites: all are on again. */
void kvet_points_reset(void)
{
	unsigned int i;

	for (i = 0; i < kvet_nr_sites; i++)
		if (!kvet_sites[i].on)
			kvet_sites[i].on = !enable_kprobe(&kvet_sites[i].probe);
	nr_loops = 0;
}

void kvet_site_off(struct kvet_site *site)
{
	if (site->on)
		disable_kprobe(&site->probe);
	site->on = false;
}

/* The inner loops over hundreds of entries make a round slow and say nothing new. */
unsigned int kvet_points_drop_loops(void)
{
	unsigned int i, side, dropped = 0;

	for (i = 0; i < kvet_nr_sites; i++) {
		for (side = 0; side < kvet_nr_threads; side++) {
			if (!kvet_sites[i].on || kvet_threads[side].hits[i] < LOOP)
				continue;
			kvet_site_off(&kvet_sites[i]);
			kvet_sites[i].loop = true;
			nr_loops++;
			dropped++;
		}
	}
	return dropped;
}

/* Is this the text of a side? Calls to it order nothing: what it does has probes. */
bool kvet_is_probed(unsigned long addr)
{
	return is_known(addr);
}

/* Is @pc in the text of a side? */
bool kvet_is_explored(unsigned long pc)
{
	unsigned int i;

	for (i = 0; i < nr_funcs; i++)
		if (pc - funcs[i].addr < funcs[i].size)
			return true;
	return false;
}

void kvet_points_show(struct seq_file *m)
{
	unsigned int i;

	seq_printf(m, "explore probes %u functions %u refused %u loops %u\n",
		   kvet_nr_sites, nr_funcs, nr_refused, nr_loops);
	for (i = 0; i < min_t(unsigned int, nr_refused, ARRAY_SIZE(refused)); i++)
		seq_printf(m, "explore-unprobed refused %s+0x%x\n",
			   funcs[refused[i].func].name, refused[i].offset);
	for (i = 0; i < kvet_nr_sites; i++)
		if (!kvet_sites[i].on && kvet_sites[i].loop)
			seq_printf(m, "explore-unprobed loop %s+0x%x\n",
				   funcs[kvet_sites[i].func].name, kvet_sites[i].offset);
}

int kvet_site_name(char *text, size_t size, const struct kvet_site *site)
{
	return scnprintf(text, size, "%s+0x%x", funcs[site->func].name, site->offset);
}

void kvet_site_place(struct seq_file *m, const struct kvet_site *site)
{
	seq_printf(m, "%s+0x%x/0x%lx", funcs[site->func].name, site->offset,
		   funcs[site->func].size);
}

/* FIRST[:SIDE@FUNC+OFFSET/HIT/TO...], without a character that a shell would touch. */
int kvet_schedule_name(char *text, size_t size, const struct kvet_schedule *plan)
{
	const struct kvet_point *point;
	unsigned int i;
	int n;

	if (plan->steps)
		return scnprintf(text, size, "S%u/%u/%u", plan->sample, plan->steps, plan->count);
	n = scnprintf(text, size, "%c", kvet_threads[plan->first].side->letter);
	for (i = 0; i < plan->count; i++) {
		point = &plan->points[i];
		n += scnprintf(text + n, size - n, "%c%c@", i ? ',' : ':',
			       kvet_threads[point->side].side->letter);
		if (point->site == KVET_DOZE)
			n += scnprintf(text + n, size - n, "doze+0x0");
		else
			n += kvet_site_name(text + n, size - n, &kvet_sites[point->site]);
		n += scnprintf(text + n, size - n, "/%u/%c", point->hit,
			       kvet_threads[point->to].side->letter);
	}
	return n;
}

static int side_by_letter(char letter)
{
	unsigned int i;

	for (i = 0; i < kvet_nr_threads; i++)
		if (kvet_threads[i].side->letter == letter)
			return i;
	return -EINVAL;
}

static int site_by_name(const char *name, u32 offset)
{
	unsigned int i;

	if (!strcmp(name, "doze"))
		return KVET_DOZE;
	for (i = 0; i < kvet_nr_sites; i++)
		if (kvet_sites[i].offset == offset &&
		    !strcmp(funcs[kvet_sites[i].func].name, name))
			return i;
	return -ENOENT;
}

static int parse_point(char *text, struct kvet_point *point)
{
	char name[KSYM_NAME_LEN], letter, to;
	unsigned int offset, hit;
	int side, site, target;

	BUILD_BUG_ON(KSYM_NAME_LEN <= 100);
	if (sscanf(text, "%c@%100[^+]+0x%x/%u/%c", &letter, name, &offset, &hit, &to) != 5)
		return -EINVAL;
	side = side_by_letter(letter);
	target = side_by_letter(to);
	site = site_by_name(name, offset);
	if (side < 0 || target < 0 || !hit || hit > KVET_MAX_HITS)
		return -EINVAL;
	if (site < 0)
		return site;
	*point = (struct kvet_point){ .site = site, .side = side, .hit = hit, .to = target };
	return 0;
}

/* The reverse of kvet_schedule_name(); @text is cut to pieces. */
int kvet_schedule_parse(char *text, struct kvet_schedule *plan)
{
	int side = side_by_letter(text[0]), ret = 0;
	unsigned int seed, steps, count;
	char *word;

	memset(plan, 0, sizeof(*plan));
	if (sscanf(text, "S%u/%u/%u", &seed, &steps, &count) == 3) {
		if (!steps || steps > U16_MAX || count > KVET_MAX_PREEMPTIONS)
			return -EINVAL;
		plan->sample = seed;
		plan->steps = steps;
		plan->count = count;
		return 0;
	}
	if (side < 0 || (text[1] && text[1] != ':'))
		return -EINVAL;
	plan->first = side;
	text += text[1] ? 2 : 1;
	while (!ret && (word = strsep(&text, ",")) && *word) {
		if (plan->count == KVET_MAX_PREEMPTIONS)
			return -E2BIG;
		ret = parse_point(word, &plan->points[plan->count++]);
	}
	return ret;
}
