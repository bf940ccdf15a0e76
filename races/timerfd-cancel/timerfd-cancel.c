// SPDX-License-Identifier: GPL-2.0-only
/*
 * timerfd_settime() of one descriptor from three threads: one asks to be told
 * when the clock is set, which puts the timer on a list, two take that back.
 * Threads of a higher priority, one on each CPU, stop them wherever they are.
 */
#define _GNU_SOURCE
#include <err.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define ARMED (TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET)

static int timer;

static void set(int flags)
{
	struct itimerspec far = { .it_value.tv_sec = 4000000000 };

	timerfd_settime(timer, flags, &far, NULL);
}

static void *arm(void *unused)
{
	for (;;)
		set(ARMED);
	return unused;
}

static void *disarm(void *unused)
{
	for (;;)
		set(TFD_TIMER_ABSTIME);
	return unused;
}

static void *interrupt(void *arg)
{
	struct sched_param highest = { .sched_priority = 50 };
	cpu_set_t here;

	CPU_ZERO(&here);
	CPU_SET((long)arg, &here);
	if (sched_setaffinity(0, sizeof(here), &here) || sched_setscheduler(0, SCHED_FIFO, &highest))
		err(2, "no priority");
	for (;;)
		usleep(20);
	return NULL;
}

int main(int argc, char **argv)
{
	timer = timerfd_create(CLOCK_REALTIME, 0);
	if (timer < 0)
		err(2, "timerfd_create");
	for (long cpu = 0; cpu < sysconf(_SC_NPROCESSORS_ONLN); cpu++)
		pthread_create(&(pthread_t){ 0 }, NULL, interrupt, (void *)cpu);
	pthread_create(&(pthread_t){ 0 }, NULL, arm, NULL);
	pthread_create(&(pthread_t){ 0 }, NULL, disarm, NULL);
	pthread_create(&(pthread_t){ 0 }, NULL, disarm, NULL);
	sleep(atoi(argv[1]));
	return 0;
}
