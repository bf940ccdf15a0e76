// SPDX-License-Identifier: GPL-2.0
/* A directory in /proc is read while its entries are removed. */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/proc_fs.h>

#include "kvet_engine.h"

#define DIRECTORY	"kvet"
#define PDE_BYTES	128	/* struct proc_dir_entry is private; no less than its links */

static const struct proc_ops no_ops = { };
static const char *const names[] = { "a", "b", "c" };
static struct proc_dir_entry *directory;
static struct file *file;

static bool take_name(struct dir_context *context, const char *name, int length, loff_t offset,
		      u64 ino, unsigned int type)
{
	return true;
}

static void run_read(void)
{
	struct dir_context context = { .actor = take_name };

	iterate_dir(file, &context);
}

static void run_remove(void)
{
	remove_proc_entry("a", directory);
	remove_proc_entry("b", directory);
}

static int setup(void)
{
	struct proc_dir_entry *entry;
	unsigned int i;

	directory = proc_mkdir(DIRECTORY, NULL);
	if (!directory)
		return -ENOMEM;
	for (i = 0; i < ARRAY_SIZE(names); i++) {
		entry = proc_create(names[i], 0444, directory, &no_ops);
		if (!entry)
			return -ENOMEM;
		kvet_watch(entry, PDE_BYTES, "directory entry");
	}
	file = filp_open("/proc/" DIRECTORY, O_RDONLY | O_DIRECTORY, 0);
	return PTR_ERR_OR_ZERO(file);
}

static void teardown(void)
{
	fput(file);
	remove_proc_entry("c", directory);
	remove_proc_entry(DIRECTORY, NULL);
}

static const char *const functions[] = {
	"proc_readdir_de",
	"pde_put",
	"remove_proc_entry",
	"pde_erase",
	"rb_next",
	NULL
};

static const struct kvet_side sides[] = {
	{ "read", 'R', run_read, "getdents()" },
	{ "remove", 'D', run_remove, "remove_proc_entry()" },
	{ }
};

static const struct kvet_race race = {
	.name = "proc-readdir",
	.functions = functions,
	.sides = sides,
	.setup = setup,
	.teardown = teardown,
};

KVET_RACE(race);
