// SPDX-License-Identifier: GPL-2.0
/* Both ends of a pipe are closed at the same time: the last one has to free it, and no other. */
#include <linux/file.h>
#include <linux/fs.h>

#include "kvet_engine.h"

static int (*create_pipe)(struct file **ends, int flags);
static struct file *ends[2];
static void *pipe;

static int find(void)
{
	create_pipe = kvet_lookup("create_pipe_files");
	return create_pipe ? 0 : -ENOENT;
}

static int open_both(void)
{
	int ret = create_pipe(ends, 0);

	if (ret)
		return ret;
	pipe = ends[0]->private_data;
	kvet_watch(pipe, 0, "pipe");
	return 0;
}

static void close_reader(void)
{
	__fput_sync(ends[0]);
}

static void close_writer(void)
{
	__fput_sync(ends[1]);
}

static void look(void)
{
	if (kvet_was_given_back(pipe))
		kvet_hit("freed");
	else
		kvet_fail("both ends are closed, and nobody freed the pipe");
}

static const struct kvet_side sides[] = {
	{ "reader", 'R', close_reader, "the reader closes its end" },
	{ "writer", 'W', close_writer, "the writer closes its end" },
	{ }
};

static const char *const functions[] = { "pipe_release", "put_pipe_info", "free_pipe_info", NULL };

static const struct kvet_race race = {
	.name = "pipe-close",
	.functions = functions,
	.sides = sides,
	.init = find,
	.setup = open_both,
	.check = look,
};

KVET_RACE(race);
