// SPDX-License-Identifier: GPL-2.0-only
/*
 * mq_notify() waits for room in a netlink socket; meanwhile another thread
 * closes the descriptor that was given to it, and makes room through another.
 */
#include <err.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <mqueue.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int queue;
static int given;
static volatile int returned;

static void *ask(void *unused)
{
	char cookie[32] = { 0 };
	struct sigevent event;

	memset(&event, 0, sizeof(event));
	event.sigev_notify = SIGEV_THREAD;
	event.sigev_signo = given;
	event.sigev_value.sival_ptr = cookie;
	syscall(SYS_mq_notify, queue, &event);
	returned = 1;
	return unused;
}

static int full_socket(void)
{
	struct sockaddr_nl self = { .nl_family = AF_NETLINK };
	int sock = socket(AF_NETLINK, SOCK_DGRAM, NETLINK_USERSOCK);
	socklen_t size = sizeof(self);
	char message[1024] = { 0 };
	int least = 1;

	setsockopt(sock, SOL_SOCKET, SO_RCVBUF, &least, sizeof(least));
	if (bind(sock, (struct sockaddr *)&self, size) ||
	    getsockname(sock, (struct sockaddr *)&self, &size))
		err(2, "netlink socket");
	while (sendto(sock, message, sizeof(message), MSG_DONTWAIT,
		      (struct sockaddr *)&self, size) > 0)
		;
	return sock;
}

static void once(void)
{
	struct timespec moment = { .tv_nsec = 20 * 1000 * 1000 };
	char message[1024];
	int other;

	given = full_socket();
	other = dup(given);
	returned = 0;
	pthread_create(&(pthread_t){ 0 }, NULL, ask, NULL);
	nanosleep(&moment, NULL);
	close(given);
	while (!returned && recv(other, message, sizeof(message), MSG_DONTWAIT) > 0)
		;
	nanosleep(&moment, NULL);
	close(other);
}

int main(int argc, char **argv)
{
	time_t end = time(NULL) + atoi(argv[1]);

	queue = syscall(SYS_mq_open, "kvet", O_CREAT | O_RDWR, 0600, NULL);
	if (queue < 0)
		err(2, "mq_open");
	while (time(NULL) < end)
		once();
	return 0;
}
