// SPDX-License-Identifier: GPL-2.0-only
/*
 * The foreground process group of a terminal is set through both its ends at
 * once; each puts the reference of the group that it found there.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static pid_t groups[2];

static void *set_group(void *arg)
{
	int end = *(int *)arg;

	for (;;) {
		ioctl(end, TIOCSPGRP, &groups[0]);
		ioctl(end, TIOCSPGRP, &groups[1]);
	}
	return NULL;
}

static pid_t new_group(void)
{
	pid_t pid = fork();

	if (!pid)
		for (;;)
			pause();
	if (pid < 0 || setpgid(pid, pid))
		err(2, "no process group");
	return pid;
}

int main(int argc, char **argv)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY);
	pid_t child;
	int slave;

	signal(SIGTTOU, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	child = fork();
	if (child)
		return waitpid(child, NULL, 0) != child;
	if (setsid() < 0 || grantpt(master) || unlockpt(master))
		err(2, "no session");
	slave = open(ptsname(master), O_RDWR);
	if (slave < 0)
		err(2, "no terminal");
	groups[0] = new_group();
	groups[1] = new_group();
	pthread_create(&(pthread_t){ 0 }, NULL, set_group, &master);
	pthread_create(&(pthread_t){ 0 }, NULL, set_group, &slave);
	sleep(atoi(argv[1]));
	kill(groups[0], SIGKILL);
	kill(groups[1], SIGKILL);
	return 0;
}
