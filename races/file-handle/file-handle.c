// SPDX-License-Identifier: GPL-2.0-only
/* A file handle's length changes in memory while open_by_handle_at() reads it. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct {
	struct file_handle head;
	unsigned char id[MAX_HANDLE_SZ];
} handle;

static void *change_length(void *unused)
{
	volatile unsigned int *length = &handle.head.handle_bytes;

	for (;;) {
		*length = 4;
		*length = 12;
	}
	return unused;
}

static void *open_handle(void *unused)
{
	int tmp = open("/tmp", O_RDONLY | O_DIRECTORY);

	for (;;) {
		int file = open_by_handle_at(tmp, &handle.head, O_RDONLY);

		if (file >= 0)
			close(file);
	}
	return unused;
}

int main(int argc, char **argv)
{
	handle.head.handle_type = 1;
	handle.head.handle_bytes = 12;
	pthread_create(&(pthread_t){ 0 }, NULL, change_length, NULL);
	pthread_create(&(pthread_t){ 0 }, NULL, open_handle, NULL);
	sleep(atoi(argv[1]));
	return 0;
}
