// SPDX-License-Identifier: GPL-2.0
/*
 * The owner of a socket is changed through its path, which holds no reference
 * of the file, while the last reference of the file is put.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/net.h>
#include <net/sock.h>

#include "kvet_engine.h"

static struct file *file;
static struct dentry *dentry;

static void run_chown(void)
{
	struct iattr attr = { .ia_valid = ATTR_UID, .ia_uid = GLOBAL_ROOT_UID };

	inode_lock(d_inode(dentry));
	notify_change(&nop_mnt_idmap, dentry, &attr, NULL);
	inode_unlock(d_inode(dentry));
}

static void run_close(void)
{
	__fput_sync(file);
}

static int setup(void)
{
	struct socket *sock;
	int ret = sock_create_kern(&init_net, AF_UNIX, SOCK_DGRAM, 0, &sock);

	if (ret)
		return ret;
	file = sock_alloc_file(sock, 0, NULL);
	if (IS_ERR(file))
		return PTR_ERR(file);
	dentry = dget(file->f_path.dentry);
	kvet_share(&sock->sk, sizeof(sock->sk), "sock->sk");
	kvet_watch(sock->sk, sock->sk->sk_prot->obj_size, "sock");
	return 0;
}

static void teardown(void)
{
	dput(dentry);
}

static const char *const functions[] = {
	"sockfs_setattr",
	"__sock_release",
	"unix_release",
	NULL
};

static const struct kvet_side sides[] = {
	{ "chown", 'O', run_chown, "fchownat()" },
	{ "close", 'C', run_close, "close()" },
	{ }
};

static const struct kvet_race race = {
	.name = "socket-chown",
	.functions = functions,
	.sides = sides,
	.setup = setup,
	.teardown = teardown,
};

KVET_RACE(race);
