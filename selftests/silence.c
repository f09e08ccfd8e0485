// SPDX-License-Identifier: GPL-2.0-only
/*
 * What counts as heard and what does not; when silence is found and how it is
 * told.
 *
 * The server's end of every connection is in this namespace, the clients are
 * in another one; a veth pair joins them, so that the cable can be pulled.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include "cable.h"
#include "client.h"
#include "tcp.h"
#include "harness.h"

#define TICK_MS		100
/* Latest report: two ticks after the timeout, as the design promises. */
#define LATE_MS		(2 * TICK_MS)

FIXTURE(silence) {
	struct client c;	/* events */
	struct client cmd;	/* requests */
	struct cable cable;
	int session;
};

FIXTURE_SETUP(silence)
{
	ASSERT_EQ(0, cable_lay(&self->cable));
	ASSERT_EQ(0, client_open(&self->c));
	ASSERT_EQ(0, client_open(&self->cmd));
	self->session = client_session_new(&self->c, 4096, 1000, 400, SOCKBEAT_TRIGGER_EDGE, NULL);
	ASSERT_LE(0, self->session);
}

FIXTURE_TEARDOWN(silence)
{
	close(self->session);
	client_close(&self->c);
	client_close(&self->cmd);
	cable_remove(&self->cable);
}

static int sleep_ms(unsigned int ms)
{
	return usleep(ms * 1000);
}

/* A peer that sent nothing since it was added. */
TEST_F(silence, found_in_time)
{
	uint64_t handle, added;
	struct event ev;
	struct pair pair;

	ASSERT_EQ(0, cable_connect(&self->cable, &pair));
	added = now_ms();
	ASSERT_EQ(0, client_add1(&self->cmd, self->session, pair.server, NULL, &handle));
	ASSERT_TRUE(client_event(&self->c, &ev, 10000));
	EXPECT_LE(1000, now_ms() - added);
	EXPECT_EQ(SOCKBEAT_EVENT_KIND_SILENT, ev.kind);
	EXPECT_EQ(handle, ev.handle);
	EXPECT_EQ(TCP_ESTABLISHED, ev.tcp_state);
	EXPECT_LE(1000, ev.idle_ms);
	EXPECT_EQ(ev.idle_ms - 1000, ev.late_ms);
	EXPECT_GE(LATE_MS, ev.late_ms);
	EXPECT_EQ(SOCKBEAT_STATE_SILENT, client_state(&self->cmd, self->session, handle));
}

TEST_F(silence, pulled_cable)
{
	uint64_t handle[2];
	struct pair pair[2];
	struct event ev;
	int i;

	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, cable_connect(&self->cable, &pair[i]));
		ASSERT_EQ(0, client_add1(&self->cmd, self->session, pair[i].server, NULL, &handle[i]));
	}
	ASSERT_EQ(0, cable_pull(&self->cable));
	/* What the clients say now reaches nobody. */
	ASSERT_EQ(1, write(pair[0].client, "x", 1));
	for (i = 0; i < 2; i++) {
		ASSERT_TRUE(client_event(&self->c, &ev, 10000) || i);
		EXPECT_EQ(SOCKBEAT_EVENT_KIND_SILENT, ev.kind);
		EXPECT_EQ(TCP_ESTABLISHED, ev.tcp_state);
	}
	EXPECT_EQ(SOCKBEAT_STATE_SILENT, client_state(&self->cmd, self->session, handle[0]));
	EXPECT_EQ(SOCKBEAT_STATE_SILENT, client_state(&self->cmd, self->session, handle[1]));
}

/* A stopped process's kernel goes on to acknowledge what it is sent. */
TEST_F(silence, stopped_client)
{
	uint64_t handle, deadline;
	struct tcp_info info;
	struct event ev = {};
	struct pair pair;
	socklen_t len;
	pid_t pid;

	ASSERT_EQ(0, cable_connect(&self->cable, &pair));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		for (;;) {
			if (write(pair.client, "beat", 4) != 4)
				_exit(1);
			sleep_ms(100);
		}
	}
	ASSERT_EQ(0, client_add1(&self->cmd, self->session, pair.server, NULL, &handle));
	EXPECT_FALSE(client_event(&self->c, &ev, 2000));
	kill(pid, SIGSTOP);
	deadline = now_ms() + 10000;
	while (!client_event(&self->c, &ev, 100) && now_ms() < deadline)
		ASSERT_EQ(1, write(pair.server, "y", 1));
	EXPECT_EQ(SOCKBEAT_EVENT_KIND_SILENT, ev.kind);
	EXPECT_EQ(handle, ev.handle);
	EXPECT_EQ(TCP_ESTABLISHED, ev.tcp_state);
	EXPECT_GE(LATE_MS, ev.late_ms);
	/* Its kernel did acknowledge. */
	len = sizeof(info);
	ASSERT_EQ(0, getsockopt(pair.server, IPPROTO_TCP, TCP_INFO, &info, &len));
	EXPECT_GT(500, info.tcpi_last_ack_recv);

	/* And when it goes on, it is heard again. */
	kill(pid, SIGCONT);
	ASSERT_TRUE(client_event(&self->c, &ev, 10000));
	EXPECT_EQ(SOCKBEAT_EVENT_KIND_HEARD, ev.kind);
	EXPECT_EQ(SOCKBEAT_STATE_LIVE, client_state(&self->cmd, self->session, handle));
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* Keepalive probes from either side and their ACKs are not heartbeats. */
TEST_F(silence, keepalive_is_not_heard)
{
	int one = 1, fds[2], i;
	struct event ev;
	struct pair pair;
	uint64_t handle;

	ASSERT_EQ(0, cable_connect(&self->cable, &pair));
	fds[0] = pair.server;
	fds[1] = pair.client;
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, setsockopt(fds[i], IPPROTO_TCP, TCP_KEEPIDLE, &one, sizeof(one)));
		ASSERT_EQ(0, setsockopt(fds[i], IPPROTO_TCP, TCP_KEEPINTVL, &one, sizeof(one)));
		ASSERT_EQ(0, setsockopt(fds[i], SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one)));
	}
	{
		struct peer_conf conf = { 3500, KEEP, KEEP, 0 };
		struct tcp_info info;
		socklen_t len = sizeof(info);

		ASSERT_EQ(0, client_add1(&self->cmd, self->session, pair.server, &conf, &handle));
		ASSERT_TRUE(client_event(&self->c, &ev, 15000));
		EXPECT_EQ(SOCKBEAT_EVENT_KIND_SILENT, ev.kind);
		EXPECT_LE(3500, ev.idle_ms);
		EXPECT_GE(LATE_MS, ev.late_ms);
		ASSERT_EQ(0, getsockopt(pair.server, IPPROTO_TCP, TCP_INFO, &info, &len));
		EXPECT_GT(2000, info.tcpi_last_ack_recv);
	}
}

/* A heartbeat at 90% of the timeout keeps a peer alive for 20 timeouts. */
TEST_F(silence, late_heartbeats_keep_alive)
{
	struct session_reply r;
	uint64_t handle, next;
	struct event ev;
	struct pair pair;
	int i;

	ASSERT_EQ(0, cable_connect(&self->cable, &pair));
	ASSERT_EQ(0, client_add1(&self->cmd, self->session, pair.server, NULL, &handle));
	next = now_ms();
	for (i = 0; i < 23; i++) {
		next += 900;
		EXPECT_FALSE(client_event(&self->c, &ev, next - now_ms()))
			TH_LOG("beat %d: idle %llu ms", i, (unsigned long long)ev.idle_ms);
		ASSERT_EQ(8, write(pair.client, "12345678", 8));
	}
	/* One look per timeout, give or take what coarse buckets add. */
	ASSERT_EQ(0, client_session_get(&self->cmd, self->session, &r));
	EXPECT_GE(60, r.stats.v[SOCKBEAT_A_STATS_CHECKS]);
	EXPECT_EQ(0, r.stats.v[SOCKBEAT_A_STATS_SILENCES]);
	ASSERT_TRUE(client_event(&self->c, &ev, 10000));
	EXPECT_EQ(SOCKBEAT_EVENT_KIND_SILENT, ev.kind);
}

static struct sockbeat_slot *map_slots(int session)
{
	return mmap(NULL, 4096 * sizeof(struct sockbeat_slot), PROT_READ | PROT_WRITE,
		    MAP_SHARED, session, 0);
}

/* Write stamps for a while; payload does not count, stamps do. */
TEST_F(silence, source_beat)
{
	struct peer_conf conf = { KEEP, SOCKBEAT_SOURCE_BEAT, KEEP, 0 };
	struct sockbeat_slot *slots;
	struct event ev;
	struct pair pair;
	uint64_t handle;
	int i;

	slots = map_slots(self->session);
	ASSERT_NE(MAP_FAILED, slots);
	ASSERT_EQ(0, cable_connect(&self->cable, &pair));
	ASSERT_EQ(0, client_add1(&self->cmd, self->session, pair.server, &conf, &handle));
	for (i = 0; i < 15; i++) {
		__atomic_store_n(&slots[0].beat_ms, now_ms(), __ATOMIC_RELAXED);
		EXPECT_FALSE(client_event(&self->c, &ev, 200));
	}
	for (i = 0; i < 50 && !client_event(&self->c, &ev, 200); i++)
		ASSERT_EQ(1, write(pair.client, "x", 1));
	EXPECT_EQ(SOCKBEAT_EVENT_KIND_SILENT, ev.kind);
	EXPECT_LE(1000, ev.idle_ms);
	EXPECT_GE(LATE_MS, ev.late_ms);
	ASSERT_EQ(0, client_del(&self->cmd, self->session, handle));
	munmap(slots, 4096 * sizeof(*slots));
}

TEST_F(silence, source_either)
{
	struct peer_conf conf = { KEEP, SOCKBEAT_SOURCE_EITHER, KEEP, 0 };
	struct sockbeat_slot *slots;
	struct event ev;
	struct pair pair;
	uint64_t handle;
	int i;

	slots = map_slots(self->session);
	ASSERT_NE(MAP_FAILED, slots);
	ASSERT_EQ(0, cable_connect(&self->cable, &pair));
	ASSERT_EQ(0, client_add1(&self->cmd, self->session, pair.server, &conf, &handle));
	for (i = 0; i < 10; i++) {
		__atomic_store_n(&slots[0].beat_ms, now_ms(), __ATOMIC_RELAXED);
		EXPECT_FALSE(client_event(&self->c, &ev, 200));
	}
	for (i = 0; i < 10; i++) {
		ASSERT_EQ(1, write(pair.client, "x", 1));
		EXPECT_FALSE(client_event(&self->c, &ev, 200));
	}
	ASSERT_TRUE(client_event(&self->c, &ev, 10000));
	EXPECT_EQ(SOCKBEAT_EVENT_KIND_SILENT, ev.kind);
	munmap(slots, 4096 * sizeof(*slots));
}

/* Stamps that lie in the future keep nobody alive, and are counted. */
TEST_F(silence, stamp_from_the_future)
{
	struct peer_conf conf = { KEEP, SOCKBEAT_SOURCE_BEAT, KEEP, 0 };
	struct sockbeat_slot *slots;
	struct session_reply r;
	struct event ev;
	struct pair pair;
	uint64_t handle;

	slots = map_slots(self->session);
	ASSERT_NE(MAP_FAILED, slots);
	ASSERT_EQ(0, cable_connect(&self->cable, &pair));
	ASSERT_EQ(0, client_add1(&self->cmd, self->session, pair.server, &conf, &handle));
	__atomic_store_n(&slots[0].beat_ms, UINT64_MAX, __ATOMIC_RELAXED);
	ASSERT_TRUE(client_event(&self->c, &ev, 10000));
	EXPECT_EQ(SOCKBEAT_EVENT_KIND_SILENT, ev.kind);
	ASSERT_EQ(0, client_session_get(&self->cmd, self->session, &r));
	EXPECT_LE(1, r.stats.v[SOCKBEAT_A_STATS_BAD_STAMPS]);
	munmap(slots, 4096 * sizeof(*slots));
}

/* A slot's next peer does not profit from the stamp of the last. */
TEST_F(silence, stamp_is_cleared_for_the_next_peer)
{
	struct peer_conf conf = { KEEP, SOCKBEAT_SOURCE_BEAT, KEEP, 0 };
	struct sockbeat_slot *slots;
	struct pair pair;
	uint64_t handle;

	slots = map_slots(self->session);
	ASSERT_NE(MAP_FAILED, slots);
	__atomic_store_n(&slots[0].beat_ms, 12345, __ATOMIC_RELAXED);
	ASSERT_EQ(0, cable_connect(&self->cable, &pair));
	ASSERT_EQ(0, client_add1(&self->cmd, self->session, pair.server, &conf, &handle));
	EXPECT_EQ(0, __atomic_load_n(&slots[0].beat_ms, __ATOMIC_RELAXED));
	munmap(slots, 4096 * sizeof(*slots));
}

TEST_F(silence, level_tells_until_handled)
{
	/* Far from the 400 ms of the session's reminders. */
	struct peer_conf conf = { 3000, KEEP, SOCKBEAT_TRIGGER_LEVEL, 0 };
	uint64_t handle, last = 0;
	struct event ev;
	struct pair pair;
	int i;

	ASSERT_EQ(0, cable_connect(&self->cable, &pair));
	ASSERT_EQ(0, client_add1(&self->cmd, self->session, pair.server, &conf, &handle));
	for (i = 0; i < 4; i++) {
		ASSERT_TRUE(client_event(&self->c, &ev, 10000));
		EXPECT_EQ(SOCKBEAT_EVENT_KIND_SILENT, ev.kind);
		if (i) {
			EXPECT_LE(400 - 10, ev.idle_ms - last);
			EXPECT_GE(2500, ev.idle_ms - last);
		}
		last = ev.idle_ms;
	}
	ASSERT_EQ(0, client_del(&self->cmd, self->session, handle));
	while (client_event(&self->c, &ev, 0))
		;
	EXPECT_FALSE(client_event(&self->c, &ev, 1500));
}

TEST_F(silence, edge_tells_once_for_each_silence)
{
	struct event ev;
	struct pair pair;
	uint64_t handle;
	int i;

	ASSERT_EQ(0, cable_connect(&self->cable, &pair));
	ASSERT_EQ(0, client_add1(&self->cmd, self->session, pair.server, NULL, &handle));
	for (i = 0; i < 2; i++) {
		ASSERT_TRUE(client_event(&self->c, &ev, 10000));
		EXPECT_EQ(SOCKBEAT_EVENT_KIND_SILENT, ev.kind);
		EXPECT_FALSE(client_event(&self->c, &ev, 2500));
		ASSERT_EQ(1, write(pair.client, "x", 1));
		ASSERT_TRUE(client_event(&self->c, &ev, 10000));
		EXPECT_EQ(SOCKBEAT_EVENT_KIND_HEARD, ev.kind);
	}
}

/* The last that was heard of who is gone is known. */
TEST_F(silence, heard_before_its_end)
{
	struct peer_conf conf = { 60000, KEEP, KEEP, 0 };
	struct event ev;
	struct pair pair;
	uint64_t handle;

	ASSERT_EQ(0, cable_connect(&self->cable, &pair));
	ASSERT_EQ(0, client_add1(&self->cmd, self->session, pair.server, &conf, &handle));
	usleep(3000000);
	ASSERT_EQ(1, write(pair.client, "x", 1));
	tcp_abort(pair.client);
	ASSERT_TRUE(client_event(&self->c, &ev, 20000));
	EXPECT_EQ(SOCKBEAT_EVENT_KIND_GONE, ev.kind);
	EXPECT_GT(2000, ev.idle_ms);
}

/* Ends of a socket that are its own: each is told as GONE, once, at once. */
TEST_F(silence, gone)
{
	struct peer_conf conf = { 604800000, KEEP, KEEP, 0 };
	uint64_t handle[4], start;
	struct pair pair[4];
	struct event ev;
	int i;

	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, cable_connect(&self->cable, &pair[i]));
		ASSERT_EQ(0, client_add1(&self->cmd, self->session, pair[i].server, &conf, &handle[i]));
	}
	for (i = 0; i < 4; i++) {
		start = now_ms();
		switch (i) {
		case 0:		/* the owner closes */
			close(pair[i].server);
			break;
		case 1:		/* the peer resets */
			tcp_abort(pair[i].client);
			break;
		case 2:		/* the owner shuts both directions */
			shutdown(pair[i].server, SHUT_RDWR);
			break;
		case 3:		/* half-closed first, which is no end */
			shutdown(pair[i].server, SHUT_WR);
			EXPECT_FALSE(client_event(&self->c, &ev, 300));
			ASSERT_EQ(1, write(pair[i].client, "x", 1));
			EXPECT_EQ(SOCKBEAT_STATE_LIVE, client_state(&self->cmd, self->session, handle[i]));
			start = now_ms();
			close(pair[i].server);
			break;
		}
		ASSERT_TRUE(client_event(&self->c, &ev, 10000)) TH_LOG("case %d", i);
		EXPECT_EQ(SOCKBEAT_EVENT_KIND_GONE, ev.kind);
		EXPECT_EQ(handle[i], ev.handle);
		EXPECT_GE(2000, now_ms() - start);
		/* Once is longer than until the next reminder. */
		EXPECT_FALSE(client_event(&self->c, &ev, i ? 100 : 1000));
		EXPECT_EQ(SOCKBEAT_STATE_GONE, client_state(&self->cmd, self->session, handle[i]));
		EXPECT_EQ(0, client_del(&self->cmd, self->session, handle[i]));
	}
}

/* A peer that shut its own half is still there while the owner is. */
TEST_F(silence, close_wait_is_tracked)
{
	struct event ev;
	struct pair pair;
	uint64_t handle;

	ASSERT_EQ(0, cable_connect(&self->cable, &pair));
	shutdown(pair.client, SHUT_WR);
	ASSERT_EQ(0, client_add1(&self->cmd, self->session, pair.server, NULL, &handle));
	ASSERT_TRUE(client_event(&self->c, &ev, 10000));
	EXPECT_EQ(SOCKBEAT_EVENT_KIND_SILENT, ev.kind);
	EXPECT_EQ(TCP_CLOSE_WAIT, ev.tcp_state);
	close(pair.server);
	ASSERT_TRUE(client_event(&self->c, &ev, 10000));
	EXPECT_EQ(SOCKBEAT_EVENT_KIND_GONE, ev.kind);
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* 500 peers with deadlines spread over two seconds, among others that stay. */
TEST_F_TIMEOUT(silence, lateness, 300)
{
	static uint64_t late[500], handles[500];
	static struct pair pairs[500];
	struct event ev[64];
	int i, n, got = 0;

	for (i = 0; i < 500; i++)
		ASSERT_EQ(0, cable_connect(&self->cable, &pairs[i]));
	for (i = 0; i < 500; i++) {
		struct peer_conf conf = { 2000 + i * 4, KEEP, KEEP, i + 1 };

		ASSERT_EQ(0, client_add1(&self->cmd, self->session, pairs[i].server, &conf, &handles[i]));
	}
	while (got < 500) {
		n = client_events(&self->c, ev, 64, now_ms() + 15000);
		ASSERT_LT(0, n);
		for (i = 0; i < n; i++) {
			ASSERT_EQ(SOCKBEAT_EVENT_KIND_SILENT, ev[i].kind);
			EXPECT_LE(2000 + (ev[i].user_data - 1) * 4, ev[i].idle_ms);
			late[got++] = ev[i].late_ms;
		}
	}
	qsort(late, got, sizeof(late[0]), by_value);
	TH_LOG("lateness ms: p50 %llu p99 %llu max %llu", (unsigned long long)late[got / 2],
	       (unsigned long long)late[got * 99 / 100], (unsigned long long)late[got - 1]);
	EXPECT_GE(LATE_MS, late[got * 99 / 100]);
}

/* Who looks at a peer as often as he likes makes no other rhythm of the same
 * heartbeats.
 */
TEST_F(silence, looks_are_no_rhythm)
{
	struct attrs peer;
	struct pair pair;
	uint64_t handle;

	ASSERT_EQ(0, client_setting(&self->cmd, self->session, 0, SOCKBEAT_A_SESSION_ADAPTIVE_MIN_MS, 1000));
	ASSERT_EQ(0, tcp_pair(&pair));
	ASSERT_EQ(0, client_add1(&self->cmd, self->session, pair.server,
				 &(struct peer_conf){ 30000, KEEP, KEEP, 0 }, &handle));
	ASSERT_EQ(0, client_setting(&self->cmd, self->session, handle, SOCKBEAT_A_PEER_ADAPTIVE_BEATS, 3));
	for (int i = 0; i < 5; i++) {
		usleep(2000000);
		ASSERT_EQ(1, send(pair.client, "x", 1, 0));
	}
	/* A burst of a second. */
	for (int i = 0; i < 20; i++) {
		usleep(50000);
		ASSERT_EQ(1, send(pair.client, "x", 1, 0));
		ASSERT_EQ(0, client_get(&self->cmd, self->session, handle, &peer));
		EXPECT_GE(50, peer.v[SOCKBEAT_A_PEER_IDLE_MS]);
	}
	TH_LOG("interval %llu ms", (unsigned long long)peer.v[SOCKBEAT_A_PEER_INTERVAL_MS]);
	/* As many looks as heartbeats would have brought it below 450. */
	EXPECT_LE(600, peer.v[SOCKBEAT_A_PEER_INTERVAL_MS]);
	tcp_pair_close(&pair);
}

/* Payload in the very jiffy in which its peer was added counts.  Where a machine
 * keeps its guest waiting the tick comes late and a jiffy lasts longer than it
 * says, so that a few are late all the same; without the rule one in ten is.
 */
TEST_F(silence, heard_in_the_jiffy_of_its_entry)
{
	int late = 0;

	for (int i = 0; i < 300; i++) {
		struct pair pair;
		struct attrs peer;
		uint64_t handle, heard_ms;

		ASSERT_EQ(0, tcp_pair(&pair));
		ASSERT_EQ(1, send(pair.client, "x", 1, 0));
		ASSERT_EQ(0, client_add1(&self->cmd, self->session, pair.server, NULL, &handle));
		usleep(1000);
		heard_ms = now_ms();
		ASSERT_EQ(1, send(pair.client, "x", 1, 0));
		usleep(10000);
		ASSERT_EQ(0, client_get(&self->cmd, self->session, handle, &peer));
		late += peer.v[SOCKBEAT_A_PEER_IDLE_MS] > now_ms() - heard_ms;
		ASSERT_EQ(0, client_del(&self->cmd, self->session, handle));
		tcp_pair_close(&pair);
	}
	TH_LOG("%d of 300 late", late);
	EXPECT_GE(9, late);
}

TEST_HARNESS_MAIN
