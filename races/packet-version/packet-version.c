// SPDX-License-Identifier: GPL-2.0-only
/*
 * A packet socket gets a ring of version 3, whose timer is stopped only if the
 * socket is of version 3 when it is closed; another thread sets the version.
 */
#include <arpa/inet.h>
#include <err.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static volatile int raced = -1;

static void set_version(int sock, int version)
{
	setsockopt(sock, SOL_PACKET, PACKET_VERSION, &version, sizeof(version));
}

static void *turn_version(void *unused)
{
	for (;;) {
		set_version(raced, TPACKET_V1);
		set_version(raced, TPACKET_V3);
	}
	return unused;
}

static void *make_ring(void *unused)
{
	struct tpacket_req3 req = {
		.tp_block_size = 4096,
		.tp_block_nr = 1,
		.tp_frame_size = 4096,
		.tp_frame_nr = 1,
		.tp_retire_blk_tov = 5,
	};

	for (;;) {
		int sock = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));

		if (sock < 0)
			err(2, "packet socket");
		set_version(sock, TPACKET_V3);
		raced = sock;
		setsockopt(sock, SOL_PACKET, PACKET_RX_RING, &req, sizeof(req));
		raced = -1;
		close(sock);
	}
	return unused;
}

int main(int argc, char **argv)
{
	pthread_create(&(pthread_t){ 0 }, NULL, turn_version, NULL);
	pthread_create(&(pthread_t){ 0 }, NULL, make_ring, NULL);
	sleep(atoi(argv[1]));
	return 0;
}
