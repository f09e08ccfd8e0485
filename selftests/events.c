// SPDX-License-Identifier: GPL-2.0-only
/*
 * Delivery: nothing is lost and nothing told twice, however small the
 * receiver's buffer and however many peers fall silent at once.
 */
#define _GNU_SOURCE
#include <sys/resource.h>
#include "client.h"
#include "tcp.h"
#include "harness.h"

#define PEERS 20000

FIXTURE(events) {
	struct client c;	/* events */
	struct client cmd;	/* requests */
};

FIXTURE_SETUP(events)
{
	struct rlimit files = { 3 * PEERS, 3 * PEERS };

	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &files));
	ASSERT_EQ(0, client_open(&self->c));
	ASSERT_EQ(0, client_open(&self->cmd));
}

FIXTURE_TEARDOWN(events)
{
	client_close(&self->c);
	client_close(&self->cmd);
}

static int set_rcvbuf(struct client *c, int bytes)
{
	/* The kernel doubles what it is given. */
	bytes /= 2;
	return setsockopt(client_fd(c), SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
}

static int no_enobufs(struct client *c)
{
	int one = 1;

	return mnl_socket_setsockopt(c->nl, NETLINK_NO_ENOBUFS, &one, sizeof(one));
}

/* Both ends of a connection can be tracked, so half as many connections do. */
static int track(struct client *cmd, int session, struct pair *pairs, int n,
		 const struct peer_conf *conf, uint64_t *handles)
{
	int fds[128], i, err;

	for (i = 0; i < n; i += 64) {
		int k = 0;

		for (int j = i; j < i + 64 && j < n; j++) {
			fds[k++] = pairs[j].server;
			fds[k++] = pairs[j].client;
		}
		err = client_add(cmd, session, fds, k, conf, handles + 2 * i);
		if (err)
			return err;
	}
	return 0;
}

TEST_F_TIMEOUT(events, small_buffer_many_silent, 800)
{
	static struct pair pairs[PEERS / 2];
	static uint64_t handles[PEERS];
	static unsigned char told[PEERS];
	/* Long enough that all are added before the first falls silent. */
	struct peer_conf conf = { 60000, KEEP, KEEP, 0 }, now = { 100, KEEP, KEEP, 0 };
	struct event ev[64];
	/* An emulated debug kernel takes minutes for as many. */
	int peers = is_slow() ? PEERS / 5 : PEERS;
	int session, i, n, got = 0;
	struct session_reply r;

	ASSERT_EQ(0, set_rcvbuf(&self->c, 4096));
	ASSERT_EQ(0, no_enobufs(&self->c));
	session = client_session_new(&self->c, peers, 0, 0, SOCKBEAT_TRIGGER_EDGE, NULL);
	ASSERT_LE(0, session);
	ASSERT_EQ(0, tcp_pairs(AF_INET, pairs, peers / 2));
	ASSERT_EQ(0, track(&self->cmd, session, pairs, peers / 2, &conf, handles));
	/* No bind: a setting that makes all of them silent within one tick. */
	for (i = 0; i < peers; i += 250)
		ASSERT_EQ(0, client_handles(&self->cmd, session, SOCKBEAT_CMD_PEER_SET,
					    handles + i, 250, &now));
	/* Let the buffer run full before anything is read. */
	while (client_stat(&self->cmd, session, SOCKBEAT_A_STATS_DEFERRALS) == 0)
		;
	while (got < peers) {
		n = client_events(&self->c, ev, 64, now_ms() + 20000);
		ASSERT_LT(0, n) TH_LOG("%d of %d told", got, peers);
		for (i = 0; i < n; i++) {
			ASSERT_EQ(SOCKBEAT_EVENT_KIND_SILENT, ev[i].kind);
			ASSERT_GT(peers, (uint32_t)ev[i].handle);
			EXPECT_EQ(handles[(uint32_t)ev[i].handle], ev[i].handle);
			EXPECT_EQ(0, told[(uint32_t)ev[i].handle]++);
		}
		got += n;
	}
	EXPECT_FALSE(client_event(&self->c, ev, 1000));
	ASSERT_EQ(0, client_session_get(&self->cmd, session, &r));
	EXPECT_EQ(peers, r.stats.v[SOCKBEAT_A_STATS_EVENTS]);
	EXPECT_EQ(peers, r.stats.v[SOCKBEAT_A_STATS_SILENCES]);
	EXPECT_EQ(peers, r.stats.v[SOCKBEAT_A_STATS_SILENT]);
	TH_LOG("%d events in %llu messages, %llu times no room", got,
	       (unsigned long long)r.stats.v[SOCKBEAT_A_STATS_MESSAGES],
	       (unsigned long long)r.stats.v[SOCKBEAT_A_STATS_DEFERRALS]);
	close(session);
}

/* Without NO_ENOBUFS the receiver is told of the overrun, and still gets all. */
TEST_F(events, overrun_is_not_loss)
{
	static struct pair pairs[500];
	static uint64_t handles[1000];
	struct peer_conf conf = { 300, KEEP, KEEP, 0 };
	int session, n, got = 0, overruns = 0;
	struct event ev[64];

	ASSERT_EQ(0, set_rcvbuf(&self->c, 4096));
	session = client_session_new(&self->c, 1000, 0, 0, SOCKBEAT_TRIGGER_EDGE, NULL);
	ASSERT_LE(0, session);
	ASSERT_EQ(0, tcp_pairs(AF_INET, pairs, 500));
	ASSERT_EQ(0, track(&self->cmd, session, pairs, 500, &conf, handles));
	while (client_stat(&self->cmd, session, SOCKBEAT_A_STATS_DEFERRALS) == 0)
		;
	while (got < 1000) {
		n = client_events(&self->c, ev, 64, now_ms() + 20000);
		if (n == -ENOBUFS) {
			overruns++;
			continue;
		}
		ASSERT_LT(0, n) TH_LOG("%d of 1000 told", got);
		got += n;
	}
	EXPECT_LT(0, overruns);
	EXPECT_EQ(1000, got);
	EXPECT_FALSE(client_event(&self->c, ev, 1000));
	close(session);
}

/* Who dies with a full buffer leaves a session that waits, not one that spins. */
TEST_F(events, full_port_that_closes_leaves_no_work)
{
	static struct pair pairs[500];
	static uint64_t handles[1000];
	struct peer_conf conf = { 300, KEEP, KEEP, 0 };
	uint64_t ticks, got = 0;
	struct event ev[64];
	int session;

	ASSERT_EQ(0, set_rcvbuf(&self->c, 4096));
	session = client_session_new(&self->c, 1000, 0, 0, SOCKBEAT_TRIGGER_EDGE, NULL);
	ASSERT_LE(0, session);
	ASSERT_EQ(0, tcp_pairs(AF_INET, pairs, 500));
	ASSERT_EQ(0, track(&self->cmd, session, pairs, 500, &conf, handles));
	while (client_stat(&self->cmd, session, SOCKBEAT_A_STATS_DEFERRALS) == 0 ||
	       client_stat(&self->cmd, session, SOCKBEAT_A_STATS_SILENCES) < 1000)
		;
	client_close(&self->c);
	ticks = client_stat(&self->cmd, session, SOCKBEAT_A_STATS_TICKS);
	poll(NULL, 0, 2000);
	EXPECT_GE(ticks + 30, client_stat(&self->cmd, session, SOCKBEAT_A_STATS_TICKS));

	/* The next holder gets what the first had no room for. */
	ASSERT_EQ(0, client_open(&self->c));
	ASSERT_EQ(0, client_session_bind(&self->c, session));
	while (client_event(&self->c, ev, 1000))
		got++;
	EXPECT_LT(0, got);
	EXPECT_EQ(1000, client_stat(&self->cmd, session, SOCKBEAT_A_STATS_EVENTS));
	close(session);
}

/* A peer heard again while its report waits for a port is not reported. */
TEST_F(events, heard_before_told_is_not_told)
{
	/* Long enough for the bind to come in time after the payload. */
	struct peer_conf conf = { 3000, KEEP, KEEP, 0 };
	struct session_reply r;
	struct client maker;
	struct event ev;
	struct pair pair[2];
	uint64_t handle[2];
	int session;

	ASSERT_EQ(0, client_open(&maker));
	session = client_session_new(&maker, 2, 0, 0, SOCKBEAT_TRIGGER_EDGE, NULL);
	ASSERT_LE(0, session);
	client_close(&maker);
	ASSERT_EQ(0, tcp_pairs(AF_INET, pair, 2));
	ASSERT_EQ(0, client_add1(&self->cmd, session, pair[0].server, &conf, &handle[0]));
	while (client_stat(&self->cmd, session, SOCKBEAT_A_STATS_SILENCES) < 1)
		;
	ASSERT_EQ(1, write(pair[0].client, "x", 1));
	ASSERT_EQ(0, client_session_bind(&self->c, session));
	EXPECT_FALSE(client_event(&self->c, &ev, 500));
	ASSERT_EQ(0, client_session_get(&self->cmd, session, &r));
	EXPECT_EQ(1, r.stats.v[SOCKBEAT_A_STATS_LIVE]);
	EXPECT_EQ(1, r.stats.v[SOCKBEAT_A_STATS_RECOVERIES]);
	EXPECT_EQ(0, r.stats.v[SOCKBEAT_A_STATS_EVENTS]);
	close(session);
}

/* The counters add up whatever happened to the peers. */
TEST_F(events, counters_add_up)
{
	struct peer_conf conf = { 200, KEEP, KEEP, 0 };
	struct session_reply r;
	struct pair pairs[10];
	uint64_t handles[20];
	struct event ev[64];
	int session, i, got = 0;

	session = client_session_new(&self->c, 20, 0, 0, SOCKBEAT_TRIGGER_EDGE, NULL);
	ASSERT_LE(0, session);
	ASSERT_EQ(0, tcp_pairs(AF_INET, pairs, 10));
	ASSERT_EQ(0, track(&self->cmd, session, pairs, 10, &conf, handles));
	while (got < 20)
		got += client_events(&self->c, ev, 64, now_ms() + 10000);
	for (i = 0; i < 3; i++)
		close(pairs[i].server);
	for (got = 0; got < 3;)
		got += client_events(&self->c, ev, 64, now_ms() + 10000);
	for (i = 10; i < 15; i++)
		ASSERT_EQ(0, client_del(&self->cmd, session, handles[i]));
	ASSERT_EQ(0, client_session_get(&self->cmd, session, &r));
	EXPECT_EQ(20, r.stats.v[SOCKBEAT_A_STATS_ADDED]);
	EXPECT_EQ(5, r.stats.v[SOCKBEAT_A_STATS_DELETED]);
	EXPECT_EQ(3, r.stats.v[SOCKBEAT_A_STATS_SOCKETS_GONE]);
	EXPECT_EQ(23, r.stats.v[SOCKBEAT_A_STATS_EVENTS]);
	EXPECT_EQ(r.stats.v[SOCKBEAT_A_STATS_ADDED],
		  r.stats.v[SOCKBEAT_A_STATS_LIVE] + r.stats.v[SOCKBEAT_A_STATS_SILENT] +
		  r.stats.v[SOCKBEAT_A_STATS_GONE] + r.stats.v[SOCKBEAT_A_STATS_DELETED]);
	close(session);
}

TEST_HARNESS_MAIN
