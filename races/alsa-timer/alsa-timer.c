// SPDX-License-Identifier: GPL-2.0-only
/* One open of the sound timer, and threads that choose, set and start it at once. */
#include <err.h>
#include <fcntl.h>
#include <pthread.h>
#include <sound/asound.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int timer;

static void *choose(void *unused)
{
	struct snd_timer_select which = {
		.id = {
			.dev_class = SNDRV_TIMER_CLASS_GLOBAL,
			.dev_sclass = SNDRV_TIMER_SCLASS_NONE,
			.card = -1,
			.device = SNDRV_TIMER_GLOBAL_SYSTEM,
		},
	};

	for (;;)
		ioctl(timer, SNDRV_TIMER_IOCTL_SELECT, &which);
	return unused;
}

static void *set(void *unused)
{
	struct snd_timer_params params = { .ticks = 1, .queue_size = 32 };

	for (;;) {
		params.queue_size ^= 96;
		ioctl(timer, SNDRV_TIMER_IOCTL_PARAMS, &params);
		ioctl(timer, SNDRV_TIMER_IOCTL_START);
	}
	return unused;
}

int main(int argc, char **argv)
{
	timer = open("/dev/snd/timer", O_RDONLY | O_NONBLOCK);
	if (timer < 0)
		err(2, "/dev/snd/timer");
	pthread_create(&(pthread_t){ 0 }, NULL, choose, NULL);
	pthread_create(&(pthread_t){ 0 }, NULL, choose, NULL);
	pthread_create(&(pthread_t){ 0 }, NULL, set, NULL);
	sleep(atoi(argv[1]));
	return 0;
}
