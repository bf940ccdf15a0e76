// SPDX-License-Identifier: GPL-2.0-only
/*
 * Root turns a program between "anybody may run it" and "set-uid root, and only
 * the group may run it". Somebody else, who runs it all the time, must never be root.
 */
#include <err.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PROGRAM "/tmp/program"
#define SOMEBODY 1000
#define WAS_ROOT 99

static void copy_myself(void)
{
	int from = open("/proc/self/exe", O_RDONLY);
	int to = open(PROGRAM, O_WRONLY | O_CREAT | O_TRUNC, 0755);
	char block[4096];
	ssize_t size;

	if (from < 0 || to < 0)
		err(2, PROGRAM);
	while ((size = read(from, block, sizeof(block))) > 0)
		if (write(to, block, size) != size)
			err(2, PROGRAM);
	close(from);
	close(to);
}

static void change_mode(void)
{
	for (;;) {
		chmod(PROGRAM, 0755);
		chmod(PROGRAM, 04750);
	}
}

static int run_program(void)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		if (setgid(SOMEBODY) || setuid(SOMEBODY))
			_exit(2);
		execl(PROGRAM, PROGRAM, "who", NULL);
		_exit(1);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		err(2, "no child");
	return WIFEXITED(status) && WEXITSTATUS(status) == WAS_ROOT;
}

int main(int argc, char **argv)
{
	time_t end = time(NULL) + atoi(argv[1]);
	int root = 0;
	pid_t changer;

	if (argc > 1 && !strcmp(argv[1], "who"))
		return geteuid() ? 0 : WAS_ROOT;
	copy_myself();
	changer = fork();
	if (!changer)
		change_mode();
	while (!root && time(NULL) < end)
		root = run_program();
	kill(changer, SIGKILL);
	printf("TAP version 14\n1..1\n%sok 1 nobody gets to be root\n", root ? "not " : "");
	return root;
}
