// SPDX-License-Identifier: GPL-2.0-only
/* A watched file is written to while it is renamed, from a short name to a long one. */
#include <err.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#define DIRECTORY "/tmp/watched"
#define SHORT_NAME DIRECTORY "/f"

static char long_name[] = DIRECTORY "/"
	"a-name-that-does-not-fit-into-the-entry-itself-and-is-much-longer-than-the-other-"
	"so-that-what-was-allocated-for-the-short-one-does-not-hold-it-and-its-end-falls-"
	"into-the-object-behind-it-where-it-is-seen";
static int file;

static void *rename_file(void *unused)
{
	for (;;) {
		rename(SHORT_NAME, long_name);
		rename(long_name, SHORT_NAME);
	}
	return unused;
}

static void *write_file(void *unused)
{
	for (;;)
		pwrite(file, "x", 1, 0);
	return unused;
}

int main(int argc, char **argv)
{
	int events = inotify_init();

	mkdir(DIRECTORY, 0755);
	file = open(SHORT_NAME, O_RDWR | O_CREAT, 0644);
	if (file < 0 || inotify_add_watch(events, DIRECTORY, IN_MODIFY) < 0)
		err(2, DIRECTORY);
	pthread_create(&(pthread_t){ 0 }, NULL, rename_file, NULL);
	pthread_create(&(pthread_t){ 0 }, NULL, write_file, NULL);
	sleep(atoi(argv[1]));
	return 0;
}
