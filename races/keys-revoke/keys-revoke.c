// SPDX-License-Identifier: GPL-2.0
/* A key is read, which must not see it without its payload, while it is revoked. */
#include <linux/cred.h>
#include <linux/key.h>
#include <linux/key-type.h>
#include <keys/user-type.h>

#include "kvet_engine.h"

static long (*read_key)(key_serial_t id, char __user *buffer, size_t size);
static struct key *key;

static void run_read(void)
{
	/* without a buffer: how long the payload is */
	read_key(key->serial, NULL, 0);
}

static void run_revoke(void)
{
	key_revoke(key);
}

static int init_race(void)
{
	read_key = kvet_lookup("keyctl_read_key");
	return read_key ? 0 : -ENOENT;
}

static int setup(void)
{
	int ret;

	key = key_alloc(&key_type_user, "kvet", GLOBAL_ROOT_UID, GLOBAL_ROOT_GID,
			current_cred(), KEY_POS_ALL | KEY_USR_ALL, KEY_ALLOC_NOT_IN_QUOTA, NULL);
	if (IS_ERR(key))
		return PTR_ERR(key);
	ret = key_instantiate_and_link(key, "payload", 7, NULL, NULL);
	if (ret)
		return ret;
	kvet_share(key, sizeof(*key), "key");
	kvet_watch(rcu_access_pointer(key->payload.rcu_data0), 0, "payload");
	return 0;
}

static void teardown(void)
{
	key_put(key);
}

static const char *const functions[] = {
	"keyctl_read_key",
	"__keyctl_read_key",
	"key_validate",
	"user_read",
	"key_revoke",
	"user_revoke",
	NULL
};

static const struct kvet_side sides[] = {
	{ "read", 'R', run_read, "keyctl(KEYCTL_READ)" },
	{ "revoke", 'V', run_revoke, "keyctl(KEYCTL_REVOKE)" },
	{ }
};

static const struct kvet_race race = {
	.name = "keys-revoke",
	.functions = functions,
	.sides = sides,
	.init = init_race,
	.setup = setup,
	.teardown = teardown,
};

KVET_RACE(race);
