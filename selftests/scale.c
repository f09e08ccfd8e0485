// SPDX-License-Identifier: GPL-2.0-only
/*
 * Many peers: what a tick costs, what a peer costs.
 */
#define _GNU_SOURCE
#include <sys/resource.h>
#include "client.h"
#include "tcp.h"
#include "harness.h"

/* Fewer on request, for kernels that are slow with debugging. */
#define MAX_PEERS	100000
#define DUE	64

static int peers = MAX_PEERS;

FIXTURE(scale) {
	struct client c;
	struct pair due[DUE / 2];
};

FIXTURE_SETUP(scale)
{
	struct rlimit files = { 2 * MAX_PEERS, 2 * MAX_PEERS };
	const char *fewer = getenv("SOCKBEAT_TEST_PEERS");
	FILE *f;

	if (fewer)
		peers = atoi(fewer);
	ASSERT_TRUE(peers > 0 && peers <= MAX_PEERS);

	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &files));
	f = fopen("/proc/sys/net/ipv4/ip_local_port_range", "w");
	ASSERT_NE(NULL, f);
	fprintf(f, "1024 65535\n");
	fclose(f);
	ASSERT_EQ(0, client_open(&self->c));
	ASSERT_EQ(0, tcp_pairs(AF_INET, self->due, DUE / 2));
}

FIXTURE_TEARDOWN(scale)
{
	client_close(&self->c);
}

struct cost {
	uint64_t ticks, checks, ns;
};

/* Run with DUE peers that are looked at every 100 ms or so. */
static int measure(struct client *c, int session, struct pair *due, struct cost *cost)
{
	struct peer_conf conf = { 100, KEEP, SOCKBEAT_TRIGGER_LEVEL, 0 };
	struct session_reply a, b;
	uint64_t handles[DUE];
	struct client sink;
	int fds[DUE], i;

	if (client_open(&sink) || client_session_bind(&sink, session))
		return -1;
	for (i = 0; i < DUE / 2; i++) {
		fds[2 * i] = due[i].server;
		fds[2 * i + 1] = due[i].client;
	}
	if (client_add(c, session, fds, DUE, &conf, handles) ||
	    client_session_get(c, session, &a))
		return -1;
	do {
		struct event ev[64];

		client_events(&sink, ev, 64, now_ms() + 200);
		if (client_session_get(c, session, &b))
			return -1;
	} while (b.stats.v[SOCKBEAT_A_STATS_TICKS] < a.stats.v[SOCKBEAT_A_STATS_TICKS] + 50);
	cost->ticks = b.stats.v[SOCKBEAT_A_STATS_TICKS] - a.stats.v[SOCKBEAT_A_STATS_TICKS];
	cost->checks = b.stats.v[SOCKBEAT_A_STATS_CHECKS] - a.stats.v[SOCKBEAT_A_STATS_CHECKS];
	cost->ns = b.stats.v[SOCKBEAT_A_STATS_TICK_NS] - a.stats.v[SOCKBEAT_A_STATS_TICK_NS];
	client_close(&sink);
	return client_handles(c, session, SOCKBEAT_CMD_PEER_DEL, handles, DUE, NULL);
}

static int add_many(struct client *c, int session, uint64_t *wheel_checks)
{
	static struct pair pairs[256];
	struct peer_conf conf = { 3600000, KEEP, KEEP, 0 };
	uint64_t handles[256];
	int fds[256], i, j;

	for (i = 0; i < peers / 2; i += 128) {
		int n = i + 128 < peers / 2 ? 128 : peers / 2 - i;

		/* A listener of its own each time: ports do not run out. */
		if (tcp_pairs(AF_INET, pairs, n))
			return -1;
		for (j = 0; j < n; j++) {
			fds[2 * j] = pairs[j].server;
			fds[2 * j + 1] = pairs[j].client;
		}
		if (client_add(c, session, fds, 2 * n, &conf, handles))
			return -1;
	}
	return 0;
}

/* A tick may cost what its due peers cost, not what the others are many. */
TEST_F_TIMEOUT(scale, tick_cost_does_not_grow_with_live_peers, 800)
{
	struct cost none, many;
	struct session_reply r;
	int session, tries;
	uint64_t start;

	session = client_session_new(&self->c, peers + DUE, 0, 100, SOCKBEAT_TRIGGER_EDGE, &r);
	ASSERT_LE(0, session);
	ASSERT_EQ(0, measure(&self->c, session, self->due, &none));
	start = now_ms();
	ASSERT_EQ(0, add_many(&self->c, session, NULL));
	TH_LOG("%d sockets tracked after %llu ms", peers, (unsigned long long)(now_ms() - start));
	ASSERT_EQ(0, client_session_get(&self->c, session, &r));
	ASSERT_EQ(peers, r.stats.v[SOCKBEAT_A_STATS_LIVE]);
	/* A host that is busy makes some of it slow, and nothing makes it fast. */
	for (tries = 0; tries < 4; tries++) {
		ASSERT_EQ(0, measure(&self->c, session, self->due, &many));
		if (4 * (none.ns / none.ticks) >= many.ns / many.ticks)
			break;
	}
	TH_LOG("     0 other peers: %6llu ns a tick, %llu checks in %llu ticks",
	       (unsigned long long)(none.ns / none.ticks), (unsigned long long)none.checks,
	       (unsigned long long)none.ticks);
	TH_LOG("%d other peers: %6llu ns a tick, %llu checks in %llu ticks", peers,
	       (unsigned long long)(many.ns / many.ticks), (unsigned long long)many.checks,
	       (unsigned long long)many.ticks);
	/* Not one of the others was looked at in vain. */
	EXPECT_GE(DUE * (many.ticks + 4), many.checks);
	/* Time is noise in a virtual machine; a scan of 100,000 would be 100 times more. */
	EXPECT_GE(4 * (none.ns / none.ticks), many.ns / many.ticks);

	start = now_ms();
	close(session);
	TH_LOG("session with %d peers closed in %llu ms", peers,
	       (unsigned long long)(now_ms() - start));
}

/* An idle session has no ticks at all. */
TEST_F(scale, nothing_ticks_while_nothing_is_due)
{
	struct peer_conf conf = { 3600000, KEEP, KEEP, 0 };
	struct session_reply a, b;
	uint64_t handle;
	int session;

	session = client_session_new(&self->c, 1, 0, 0, SOCKBEAT_TRIGGER_EDGE, NULL);
	ASSERT_LE(0, session);
	ASSERT_EQ(0, client_add1(&self->c, session, self->due[0].server, &conf, &handle));
	ASSERT_EQ(0, client_session_get(&self->c, session, &a));
	poll(NULL, 0, 2000);
	ASSERT_EQ(0, client_session_get(&self->c, session, &b));
	EXPECT_EQ(a.stats.v[SOCKBEAT_A_STATS_TICKS], b.stats.v[SOCKBEAT_A_STATS_TICKS]);
	close(session);
}

static int object_size(const char *slab)
{
	char path[64], text[32] = "";
	int fd;

	snprintf(path, sizeof(path), "/sys/kernel/slab/%s/object_size", slab);
	fd = open(path, O_RDONLY);
	if (fd < 0 || read(fd, text, sizeof(text) - 1) < 0)
		text[0] = '\0';
	close(fd);
	return atoi(text);
}

/* The module's own memory for a peer: its record, what it has with a profile,
 * and its slot of the table.
 */
TEST_F(scale, memory_per_peer)
{
	int peer = object_size("sockbeat_peer"), offload = object_size("sockbeat_offload");

	TH_LOG("%d bytes of slab, %d with a profile, and 16 of the table for each peer", peer,
	       offload);
	EXPECT_LT(0, peer);
	EXPECT_LT(0, offload);
	EXPECT_GE(128, peer);
	EXPECT_GE(192, peer + offload + 16);
}

TEST_HARNESS_MAIN
