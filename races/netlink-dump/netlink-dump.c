// SPDX-License-Identifier: GPL-2.0
/*
 * A dump over netlink ends, which frees the request that it was made for,
 * while the next one is asked for on the same socket.
 */
#include <linux/net.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/sock.h>

/* struct netlink_sock is private */
#include "../net/netlink/af_netlink.h"

#include "kvet_engine.h"

#define ANSWERS		8	/* more than the messages of one dump */

static struct socket *sock;

static int ask(void)
{
	struct {
		struct nlmsghdr head;
		struct ifinfomsg link;
	} request = {
		.head.nlmsg_len = sizeof(request),
		.head.nlmsg_type = RTM_GETLINK,
		.head.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
	};
	struct kvec data = { &request, sizeof(request) };
	struct msghdr message = { };

	return kernel_sendmsg(sock, &message, &data, 1, sizeof(request));
}

static void receive_all(void)
{
	static char answer[16384];
	struct kvec data = { answer, sizeof(answer) };
	struct msghdr message = { };
	int i;

	for (i = 0; i < ANSWERS; i++)
		if (kernel_recvmsg(sock, &message, &data, 1, sizeof(answer), MSG_DONTWAIT) <= 0)
			break;
}

/* The request of a dump that goes on is kept for as long: whoever ends the dump gives it back. */
static void watch_request(void)
{
	struct netlink_sock *nlk = nlk_sk(sock->sk);

	if (nlk->cb_running)
		kvet_watch(nlk->cb.skb, sizeof(struct sk_buff), "request");
}

static void run_ask(void)
{
	ask();
	watch_request();
}

static int setup(void)
{
	int ret = sock_create_kern(&init_net, AF_NETLINK, SOCK_RAW, NETLINK_ROUTE, &sock);

	if (ret)
		return ret;
	kvet_share(&nlk_sk(sock->sk)->cb, sizeof(struct netlink_callback), "callback");
	kvet_share(&nlk_sk(sock->sk)->cb_running, sizeof(bool), "cb_running");
	ret = ask();
	watch_request();
	return ret < 0 ? ret : 0;
}

/* What the second dump was asked with has to be there for its end. */
static void check(void)
{
	receive_all();
}

static void teardown(void)
{
	sock_release(sock);
}

static const char *const functions[] = {
	"netlink_dump",
	"netlink_dump_done",
	"__netlink_dump_start",
	NULL
};

static const struct kvet_side sides[] = {
	{ "receive", 'R', receive_all, "recvmsg() ends a dump" },
	{ "ask", 'A', run_ask, "sendmsg() asks for the next" },
	{ }
};

static const struct kvet_race race = {
	.name = "netlink-dump",
	.functions = functions,
	.sides = sides,
	.setup = setup,
	.check = check,
	.teardown = teardown,
};

KVET_RACE(race);
