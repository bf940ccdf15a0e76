// SPDX-License-Identifier: GPL-2.0-only
/* Command line, report port and small files of the guest's programs. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "guest.h"

static char cmdline[4096];
static int report = -1;
static int on_console;
static int results;

long read_file(const char *path, char *buffer, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t filled = 0;
	ssize_t got;

	if (fd < 0)
		return -1;
	while (filled < size - 1 && (got = read(fd, buffer + filled, size - 1 - filled)) > 0)
		filled += got;
	close(fd);
	buffer[filled] = '\0';
	return filled;
}

int write_file(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	int ok, error;

	if (fd < 0)
		return -1;
	ok = write(fd, value, strlen(value)) >= 0;
	error = errno;
	close(fd);
	errno = error;
	return ok ? 0 : -1;
}

const char *option(const char *name, const char *fallback)
{
	static char values[16][512];
	static int next;
	char key[64], *found;
	char *value = values[next++ % 16];

	if (!cmdline[0])
		read_file("/proc/cmdline", cmdline, sizeof(cmdline));
	snprintf(key, sizeof(key), "kvet.%s=", name);
	found = strstr(cmdline, key);
	if (!found)
		return fallback;
	found += strlen(key);
	snprintf(value, sizeof(values[0]), "%.*s", (int)strcspn(found, " \n"), found);
	return value;
}

double option_number(const char *name, double fallback)
{
	const char *text = option(name, NULL);

	return text ? atof(text) : fallback;
}

void refuse_outside_guest(void)
{
	if (option("mode", NULL))
		return;
	fprintf(stderr, "this program is for kvet guests only\n");
	exit(4);
}

/* Without udev nobody makes /dev/virtio-ports/; sysfs tells which port is ours. */
void open_report(void)
{
	const char *folder = "/sys/class/virtio-ports";
	char path[300], name[64];
	struct dirent *entry;
	DIR *ports;
	int tries;

	if (!strcmp(option("report", "port"), "console")) {
		on_console = 1;
		report = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
		return;
	}
	for (tries = 0; tries < 100 && report < 0; tries++) {
		ports = opendir(folder);
		while (ports && (entry = readdir(ports))) {
			snprintf(path, sizeof(path), "%s/%s/name", folder, entry->d_name);
			if (read_file(path, name, sizeof(name)) <= 0 ||
			    strncmp(name, "kvet.report", 11))
				continue;
			snprintf(path, sizeof(path), "/dev/%s", entry->d_name);
			report = open(path, O_WRONLY | O_CLOEXEC);
		}
		if (ports)
			closedir(ports);
		if (report < 0)
			usleep(20000);
	}
}

/* CRC-32 as in IEEE 802.3 and zlib. */
static unsigned int crc32(const char *text, int length)
{
	unsigned int crc = ~0U;
	int bit;

	while (length--) {
		crc ^= (unsigned char)*text++;
		for (bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
	}
	return ~crc;
}

/*
 * A line among those of the kernel, who prints each of them whole. A serial line loses and
 * mixes bytes: number and checksum tell. A record of /dev/kmsg holds 1024 bytes: what is
 * longer goes in pieces, of which all but the last have a `+'. Level 5: workloads hide 6.
 */
static int say_on_console(const char *line, int length)
{
	static unsigned int number;
	char text[900], record[1000];
	int part, size;

	do {
		part = length > 800 ? 800 : length;
		size = snprintf(text, sizeof(text), "%u%s %.*s", number++,
				part < length ? "+" : "", part, line);
		size = snprintf(record, sizeof(record), "<5>kvet-report %08x %s\n",
				crc32(text, size), text);
		if (write(report, record, size) != size)
			return -1;
		line += part;
		length -= part;
	} while (length);
	return 0;
}

void say(const char *format, ...)
{
	char line[1024];
	va_list args;
	int length;

	va_start(args, format);
	length = vsnprintf(line, sizeof(line) - 1, format, args);
	va_end(args);
	if (length > (int)sizeof(line) - 2)
		length = sizeof(line) - 2;
	if (on_console) {
		if (report < 0 || say_on_console(line, length))
			fprintf(stderr, "report: %.*s\n", length, line);
		return;
	}
	line[length++] = '\n';
	if (report < 0 || write(report, line, length) != length)
		fprintf(stderr, "report: %.*s", length, line);
}

double uptime(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}

void wait_until(time_t seconds)
{
	struct timespec when = { .tv_sec = seconds };

	clock_nanosleep(CLOCK_BOOTTIME, TIMER_ABSTIME, &when, NULL);
}

void relay(const char *path)
{
	static char text[65536];
	char *line, *rest = text;

	if (read_file(path, text, sizeof(text)) < 0)
		return;
	while ((line = strsep(&rest, "\n")))
		if (*line)
			say("# kvet %s", line);
}

void result(int ok, const char *name, const char *note)
{
	say("%s %d %s%s%s", ok ? "ok" : "not ok", ++results, name, note ? " # " : "",
	    note ? note : "");
}

int load_module(const char *name, const char *params)
{
	char path[128];
	int fd, ret;

	snprintf(path, sizeof(path), "/lib/modules/%s.ko", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ret = syscall(SYS_finit_module, fd, params, 0) ? -errno : 0;
	close(fd);
	return ret;
}

int load_ptdump(const char *params)
{
	char seed[40];
	int error;

	snprintf(seed, sizeof(seed), "seed=%.0f", option_number("seed", 1));
	error = load_module("kvet_engine", seed);
	return error ? error : load_module("kvet_ptdump", params);
}
