// SPDX-License-Identifier: GPL-2.0-only
/* Numbers go through a pipe in order, whatever its size; a write that faults leaves no trace. */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	mkfifo("/tmp/pipe", 0600);
	int fd = open("/tmp/pipe", O_RDWR);
	for (unsigned long number, last = 0;; last = number) {
		number = last + 1;
		if (argv[1][0] == 'w')
			write(fd, &number, sizeof(number));
		else if (argv[1][0] == 's')
			write(fd, NULL, fcntl(fd, F_SETPIPE_SZ, number % 2 ? 1 << 12 : 1 << 18));
		else if ((number % 5000 == 1 && usleep(3000)) || /* a full pipe now and then */
			 read(fd, &number, sizeof(number)) != sizeof(number) || (last && number != last + 1))
			return 1;
	}
}
