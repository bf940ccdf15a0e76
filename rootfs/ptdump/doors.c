// SPDX-License-Identifier: GPL-2.0
/*
 * Doors for tasks of user space, files below kvet/ in debugfs:
 *
 *   user, signal   a write of N lends the task as a freer for N milliseconds
 *   pause          a task that holds it open pauses where the amplifier wants it to
 */
#include <linux/fs.h>
#include <linux/uaccess.h>

#include "ptdump.h"

static int freer_open(struct inode *inode, struct file *file)
{
	long kind = (long)inode->i_private;
	int slot = kvet_user_claim(kind);

	if (slot < 0)
		return slot;
	file->private_data = (void *)(long)slot;
	return 0;
}

static int freer_release(struct inode *inode, struct file *file)
{
	kvet_user_release((long)file->private_data);
	return 0;
}

static ssize_t freer_write(struct file *file, const char __user *text, size_t length, loff_t *at)
{
	uint ms;
	int ret = kstrtouint_from_user(text, length, 10, &ms);

	if (!ret)
		ret = kvet_user_churn((long)file->private_data, ms);
	return ret ?: length;
}

static const struct file_operations freer_fops = {
	.owner = THIS_MODULE,
	.open = freer_open,
	.release = freer_release,
	.write = freer_write,
};

static int pause_open(struct inode *inode, struct file *file)
{
	file->private_data = kvet_amplify_me();
	return 0;
}

static int pause_release(struct inode *inode, struct file *file)
{
	kvet_amplify_leave(file->private_data);
	return 0;
}

static const struct file_operations pause_fops = {
	.owner = THIS_MODULE,
	.open = pause_open,
	.release = pause_release,
};

void kvet_doors_create(struct dentry *folder)
{
	debugfs_create_file("user", 0200, folder, (void *)KVET_FREER_USER, &freer_fops);
	debugfs_create_file("signal", 0200, folder, (void *)KVET_FREER_SIGNAL, &freer_fops);
	debugfs_create_file("pause", 0400, folder, NULL, &pause_fops);
}
