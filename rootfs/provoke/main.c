// SPDX-License-Identifier: GPL-2.0
/* A debugfs file: the test whose name is written to it runs in the writer's context. */
#include <linux/debugfs.h>
#include <linux/module.h>
#include <linux/uaccess.h>

#include "kvet_provoke.h"

static struct dentry *folder;

static const struct provoke_test *find(const char *name)
{
	const struct provoke_test *lists[] = { provoke_memory, provoke_faults, provoke_locks,
					       provoke_contexts, provoke_stuck };
	const struct provoke_test *test;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(lists); i++)
		for (test = lists[i]; test->name; test++)
			if (!strcmp(test->name, name))
				return test;
	return NULL;
}

static ssize_t provoke_write(struct file *file, const char __user *text, size_t size, loff_t *pos)
{
	const struct provoke_test *test;
	char name[32] = "";

	if (size >= sizeof(name) || copy_from_user(name, text, size))
		return -EINVAL;
	test = find(name);
	if (!test)
		return -ENOENT;
	test->run();
	return size;
}

static const struct file_operations provoke_fops = {
	.owner = THIS_MODULE,
	.write = provoke_write,
};

static int __init kvet_provoke_init(void)
{
	folder = debugfs_create_dir("kvet-provoke", NULL);
	debugfs_create_file("run", 0200, folder, NULL, &provoke_fops);
	return 0;
}

static void __exit kvet_provoke_exit(void)
{
	debugfs_remove(folder);
}

module_init(kvet_provoke_init);
module_exit(kvet_provoke_exit);
MODULE_DESCRIPTION("kvet: mistakes on purpose, for logs of what the kernel says about them");
MODULE_LICENSE("GPL");
