/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A cable that can be pulled: the server's end of every connection is in this
 * network namespace, the clients are in another one, a veth pair joins them.
 */
#ifndef SELFTESTS_CABLE_H
#define SELFTESTS_CABLE_H

#include "tcp.h"

struct cable {
	int home;	/* network namespaces */
	int away;
	int listener;
	uint16_t port;
};

static inline int cable_lay(struct cable *cable)
{
	/* What the test was started in is left behind. */
	close(netns_new());
	cable->home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (cable->home < 0 || unshare(CLONE_NEWNET))
		return -1;
	cable->away = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (sh("ip link set lo up && ip link add away type veth peer name home netns /proc/%d/fd/%d && "
	       "ip addr add 10.9.0.2/16 dev away && ip link set away up", getpid(), cable->home) ||
	    netns_enter(cable->home) ||
	    sh("ip addr add 10.9.0.1/16 dev home && ip link set home up"))
		return -1;
	cable->listener = tcp_listen(AF_INET, "10.9.0.1", &cable->port);
	return cable->listener < 0 ? -1 : 0;
}

static inline void cable_remove(struct cable *cable)
{
	close(cable->listener);
	close(cable->home);
	close(cable->away);
}

/* @which tells one of several cables, whose ends are home@which and away@which. */
static inline int cable_tc(struct cable *cable, const char *which, const char *what)
{
	int err = sh("tc qdisc %s dev home%s root netem loss 100%%", what, which);

	if (netns_enter(cable->away))
		return -1;
	err |= sh("tc qdisc %s dev away%s root netem loss 100%%", what, which);
	return netns_enter(cable->home) ? -1 : err;
}

/* Drop every packet in both directions: no FIN, no RST, no error. */
static inline int cable_pull(struct cable *cable)
{
	return cable_tc(cable, "", "add");
}

static inline int cable_plug(struct cable *cable)
{
	return cable_tc(cable, "", "del");
}

static inline int cable_connect(struct cable *cable, struct pair *pair)
{
	if (netns_enter(cable->away))
		return -1;
	pair->client = tcp_connect(AF_INET, "10.9.0.1", cable->port);
	if (netns_enter(cable->home))
		return -1;
	pair->server = accept4(cable->listener, NULL, NULL, SOCK_CLOEXEC);
	return pair->client < 0 || pair->server < 0 ? -1 : 0;
}

#endif /* SELFTESTS_CABLE_H */
