// SPDX-License-Identifier: GPL-2.0-only
/*
 * Writes to a private mapping of a file that may only be read, through
 * /proc/self/mem, while another thread throws the written copy away. The file
 * must never change.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define NAME "/tmp/read-only"

static char *mapped;
static int file;
static volatile int changed;

static void *throw_away(void *unused)
{
	for (;;)
		madvise(mapped, 4096, MADV_DONTNEED);
	return unused;
}

static void *write_copy(void *unused)
{
	int mem = open("/proc/self/mem", O_RDWR);
	char now;

	for (;;) {
		pwrite(mem, "m", 1, (uintptr_t)mapped);
		if (pread(file, &now, 1, 0) == 1 && now != 'f')
			changed = 1;
	}
	return unused;
}

int main(int argc, char **argv)
{
	file = open(NAME, O_RDWR | O_CREAT, 0444);
	if (file < 0 || write(file, "file", 4) != 4)
		err(2, NAME);
	close(file);
	file = open(NAME, O_RDONLY);
	mapped = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, file, 0);
	if (mapped == MAP_FAILED)
		err(2, "mmap");
	pthread_create(&(pthread_t){ 0 }, NULL, throw_away, NULL);
	pthread_create(&(pthread_t){ 0 }, NULL, write_copy, NULL);
	for (int left = atoi(argv[1]); left && !changed; left--)
		sleep(1);
	printf("TAP version 14\n1..1\n%sok 1 the file never changes\n", changed ? "not " : "");
	return changed;
}
