// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the kernel does by itself: the warning before a silence, the end of a
 * silent peer whose holder does nothing, and the guard against a mass of them.
 */
#define _GNU_SOURCE
#include <sys/epoll.h>
#include <sys/resource.h>
#include "cable.h"
#include "client.h"
#include "owner.h"
#include "harness.h"

#define TICK_MS		100
#define LATE_MS		(2 * TICK_MS)
#define MASS		10000

FIXTURE(act) {
	struct client c;	/* events */
	struct client cmd;	/* requests */
	struct cable cable;
	int session;
};

FIXTURE_SETUP(act)
{
	struct rlimit files = { 2 * MASS + 1000, 2 * MASS + 1000 };

	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &files));
	ASSERT_EQ(0, cable_lay(&self->cable));
	ASSERT_EQ(0, client_open(&self->c));
	ASSERT_EQ(0, client_open(&self->cmd));
	self->session = client_session_new(&self->c, MASS, 1000, 0, SOCKBEAT_TRIGGER_EDGE, NULL);
	ASSERT_LE(0, self->session);
}

FIXTURE_TEARDOWN(act)
{
	close(self->session);
	client_close(&self->c);
	client_close(&self->cmd);
	cable_remove(&self->cable);
}

#define SESSION(name, value) \
	ASSERT_EQ(0, client_setting(&self->cmd, self->session, 0, SOCKBEAT_A_SESSION_##name, value)) \
		TH_LOG("%s", self->cmd.why)
#define PEER(handle, name, value) \
	ASSERT_EQ(0, client_setting(&self->cmd, self->session, handle, SOCKBEAT_A_PEER_##name, value)) \
		TH_LOG("%s", self->cmd.why)
#define STAT(name) ((unsigned long long)client_stat(&self->cmd, self->session, SOCKBEAT_A_STATS_##name))

#define EVENT(wanted, handle_) ({							\
	struct event ev_ = {};								\
	ASSERT_TRUE(client_event(&self->c, &ev_, 20000)) TH_LOG("no " #wanted);	\
	ASSERT_EQ(SOCKBEAT_EVENT_KIND_##wanted, ev_.kind);				\
	ASSERT_EQ(handle_, ev_.handle);							\
	ev_; })

/* The kernel may be done with a peer before its silence was told. */
#define GONE(handle_) ({								\
	struct event ev_ = {};								\
	do {										\
		ASSERT_TRUE(client_event(&self->c, &ev_, 20000)) TH_LOG("no GONE");	\
		ASSERT_EQ(handle_, ev_.handle);						\
	} while (ev_.kind == SOCKBEAT_EVENT_KIND_SILENT);				\
	ASSERT_EQ(SOCKBEAT_EVENT_KIND_GONE, ev_.kind);					\
	ev_; })

static uint64_t track(struct __test_metadata *_metadata, FIXTURE_DATA(act) *self,
		      struct pair *pair)
{
	uint64_t handle = 0;

	ASSERT_EQ(0, cable_connect(&self->cable, pair));
	ASSERT_EQ(0, client_add1(&self->cmd, self->session, pair->server, NULL, &handle));
	return handle;
}

static int so_error(int fd)
{
	socklen_t len = sizeof(int);
	int err = 0;

	getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len);
	return err;
}

/* The events that a poller of the socket sees. */
static uint32_t polled(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN | POLLOUT | POLLRDHUP };

	return poll(&pfd, 1, 0) < 0 ? 0 : (uint16_t)pfd.revents;
}

TEST_F(act, suspect_is_a_warning)
{
	struct attrs peer = {};
	uint64_t handle;
	struct event ev;
	struct pair pair;

	SESSION(SUSPECT_PERCENT, 50);
	handle = track(_metadata, self, &pair);
	ev = EVENT(SUSPECT, handle);
	EXPECT_LE(500, ev.idle_ms);
	EXPECT_GE(500 + LATE_MS, ev.idle_ms);
	ASSERT_EQ(0, client_get(&self->cmd, self->session, handle, &peer));
	EXPECT_EQ(SOCKBEAT_STATE_LIVE, peer.v[SOCKBEAT_A_PEER_STATE]);
	EXPECT_TRUE(peer.has[SOCKBEAT_A_PEER_SUSPECT]);
	EXPECT_EQ(1, STAT(SUSPECTS));
	ev = EVENT(SILENT, handle);
	EXPECT_LE(1000, ev.idle_ms);
	EXPECT_GE(1000 + LATE_MS, ev.idle_ms);
	ASSERT_EQ(1, write(pair.client, "x", 1));
	/* A look is what finds that it was heard. */
	EXPECT_EQ(SOCKBEAT_STATE_LIVE, client_state(&self->cmd, self->session, handle));
	EVENT(HEARD, handle);
	EXPECT_EQ(1, STAT(RECOVERIES));
}

/* Who is heard after the warning is told of, and warned of again. */
TEST_F(act, suspicion_ends)
{
	struct event ev;
	uint64_t handle;
	struct pair pair;
	int i;

	SESSION(SUSPECT_PERCENT, 50);
	handle = track(_metadata, self, &pair);
	for (i = 1; i <= 3; i++) {
		EVENT(SUSPECT, handle);
		/* A byte just before the warning is too old at the next look. */
		do {
			ASSERT_EQ(1, write(pair.client, "x", 1));
		} while (!client_event(&self->c, &ev, 50));
		EXPECT_EQ(SOCKBEAT_EVENT_KIND_HEARD, ev.kind);
		EXPECT_GT(1000, ev.idle_ms);
		EXPECT_EQ(i, STAT(SUSPECTS));
	}
	EXPECT_EQ(0, STAT(SILENCES));
	EXPECT_EQ(0, STAT(RECOVERIES));
}

/* So is who was heard before there was anyone to warn. */
TEST_F(act, suspicion_ends_untold)
{
	uint64_t handle;
	struct event ev;
	struct pair pair;

	SESSION(SUSPECT_PERCENT, 25);
	SESSION(TIMEOUT_MS, 4000);
	client_close(&self->c);
	handle = track(_metadata, self, &pair);
	while (!STAT(SUSPECTS))
		usleep(20000);
	ASSERT_EQ(1, write(pair.client, "x", 1));
	ASSERT_EQ(0, client_open(&self->c));
	ASSERT_EQ(0, client_session_bind(&self->c, self->session));
	ev = EVENT(SUSPECT, handle);
	EXPECT_LE(1000, ev.idle_ms);
	EXPECT_GE(1000 + LATE_MS, ev.idle_ms);
	EXPECT_EQ(2, STAT(SUSPECTS));
}

TEST_F(act, no_warning_by_default)
{
	uint64_t handle;
	struct pair pair;

	handle = track(_metadata, self, &pair);
	EVENT(SILENT, handle);
	EXPECT_EQ(0, STAT(SUSPECTS));
}

TEST_F(act, abort)
{
	uint64_t handle;
	struct event ev;
	struct pair pair;
	char byte;

	SESSION(ACTION, SOCKBEAT_ACTION_ABORT);
	handle = track(_metadata, self, &pair);
	ev = GONE(handle);
	EXPECT_EQ(SOCKBEAT_ACTION_ABORT, ev.action);
	EXPECT_LE(1000, ev.idle_ms);
	EXPECT_EQ(EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP | EPOLLRDHUP, polled(pair.server));
	EXPECT_EQ(ETIMEDOUT, so_error(pair.server));
	ASSERT_EQ(-1, read(pair.client, &byte, 1));
	EXPECT_EQ(ECONNRESET, errno);
	EXPECT_EQ(1, STAT(ABORTS));
	EXPECT_EQ(0, STAT(SHUTDOWNS));
	EXPECT_EQ(1, STAT(SOCKETS_GONE));
}

TEST_F(act, shutdown)
{
	uint64_t handle;
	struct event ev;
	struct pair pair;
	char byte;

	SESSION(ACTION, SOCKBEAT_ACTION_SHUTDOWN);
	handle = track(_metadata, self, &pair);
	ev = GONE(handle);
	EXPECT_EQ(SOCKBEAT_ACTION_SHUTDOWN, ev.action);
	EXPECT_EQ(0, read(pair.client, &byte, 1));
	EXPECT_EQ(0, read(pair.server, &byte, 1));
	EXPECT_EQ(1, STAT(SHUTDOWNS));
	EXPECT_EQ(0, STAT(ABORTS));
}

/* Where the holder has shut down its own direction, no state is left to change. */
TEST_F(act, shutdown_of_the_other_half)
{
	uint64_t handle[2];
	struct pair pair[2];
	char byte;
	int i;

	SESSION(TIMEOUT_MS, 60000);
	for (i = 0; i < 2; i++) {
		handle[i] = track(_metadata, self, &pair[i]);
		ASSERT_EQ(0, shutdown(pair[i].server, SHUT_WR));
		ASSERT_EQ(0, read(pair[i].client, &byte, 1));
	}
	ASSERT_EQ(0, client_retire(&self->cmd, self->session, SOCKBEAT_CMD_PEER_END, handle, 1,
				   &(struct recycle_conf){ KEEP, SOCKBEAT_END_SHUTDOWN }));
	EVENT(GONE, handle[0]);
	PEER(handle[1], ACTION, SOCKBEAT_ACTION_SHUTDOWN);
	PEER(handle[1], TIMEOUT_MS, 500);
	EXPECT_EQ(SOCKBEAT_ACTION_SHUTDOWN, GONE(handle[1]).action);
	EXPECT_EQ(0, read(pair[1].server, &byte, 1));
	EXPECT_EQ(1, STAT(SHUTDOWNS));
}

/* The holder has act-after-ms to do it itself, and a peer to be heard. */
TEST_F(act, the_holder_comes_first)
{
	uint64_t handle[4], start_ms;
	struct pair pair[4];
	int i;

	SESSION(ACTION, SOCKBEAT_ACTION_ABORT);
	SESSION(ACT_AFTER_MS, 1500);
	for (i = 0; i < 4; i++)
		handle[i] = track(_metadata, self, &pair[i]);
	start_ms = now_ms();
	for (i = 0; i < 4; i++)
		EVENT(SILENT, handle[i]);
	ASSERT_EQ(0, client_recycle(&self->cmd, self->session, handle[0], 60000));
	ASSERT_EQ(0, client_del(&self->cmd, self->session, handle[1]));
	ASSERT_EQ(1, write(pair[2].client, "x", 1));
	/* A look is what finds that it was heard. */
	EXPECT_EQ(SOCKBEAT_STATE_LIVE, client_state(&self->cmd, self->session, handle[2]));
	EVENT(HEARD, handle[2]);
	PEER(handle[2], TIMEOUT_MS, 60000);
	EVENT(GONE, handle[3]);
	EXPECT_LE(2500 - 100, now_ms() - start_ms);
	EXPECT_GE(2500 + 2 * LATE_MS, now_ms() - start_ms);
	EXPECT_EQ(ETIMEDOUT, so_error(pair[3].server));
	for (i = 0; i < 3; i++)
		EXPECT_EQ(0, so_error(pair[i].server));
	EXPECT_EQ(1, STAT(ABORTS));
}

/* Level-triggered: told again until the kernel acts, which comes on time. */
TEST_F(act, told_again_until_then)
{
	uint64_t handle, start_ms = now_ms();
	struct event ev = {};
	struct pair pair;
	int told = 0;

	handle = track(_metadata, self, &pair);
	PEER(handle, TRIGGER, SOCKBEAT_TRIGGER_LEVEL);
	PEER(handle, RENOTIFY_MS, 1400);
	PEER(handle, ACT_AFTER_MS, 2000);
	PEER(handle, ACTION, SOCKBEAT_ACTION_ABORT);
	while (client_event(&self->c, &ev, 5000) && ev.kind == SOCKBEAT_EVENT_KIND_SILENT)
		told++;
	EXPECT_EQ(SOCKBEAT_EVENT_KIND_GONE, ev.kind);
	EXPECT_EQ(2, told);
	EXPECT_GE(3000 + 3 * LATE_MS, now_ms() - start_ms);
}

/* A holder that reads nothing has its dead peers cleared all the same. */
TEST_F(act, stuck_holder)
{
	static struct pair pairs[300];
	static uint64_t handles[300];
	static unsigned char told[300];
	int i, n, got = 0, rcvbuf = 1;
	struct event ev[64];

	ASSERT_EQ(0, setsockopt(client_fd(&self->c), SOL_SOCKET, SO_RCVBUF, &rcvbuf, sizeof(rcvbuf)));
	SESSION(ACTION, SOCKBEAT_ACTION_ABORT);
	SESSION(ACT_AFTER_MS, 500);
	for (i = 0; i < 300; i++)
		handles[i] = track(_metadata, self, &pairs[i]);
	for (i = 0; STAT(ABORTS) != 300; i++) {
		ASSERT_GT(200, i) TH_LOG("%llu", STAT(ABORTS));
		usleep(50000);
	}
	for (i = 0; i < 300; i++)
		EXPECT_EQ(ETIMEDOUT, so_error(pairs[i].server));
	/* Now it wakes up; each peer's end is told once. */
	while (got < 300) {
		n = client_events(&self->c, ev, 64, now_ms() + 20000);
		if (n == -ENOBUFS)
			continue;
		ASSERT_LT(0, n) TH_LOG("%d told", got);
		for (i = 0; i < n; i++) {
			if (ev[i].kind != SOCKBEAT_EVENT_KIND_GONE)
				continue;
			EXPECT_EQ(handles[(uint32_t)ev[i].handle], ev[i].handle);
			EXPECT_EQ(0, told[(uint32_t)ev[i].handle]++);
			got++;
		}
	}
	EXPECT_FALSE(client_event(&self->c, ev, 300));
}

/* A socket that a thread is using waits, and nobody else with it. */
TEST_F(act, a_socket_in_use_waits)
{
	struct owner owner;
	struct pair pair[2];
	uint64_t handle[2];
	int i;

	for (i = 0; i < 2; i++) {
		handle[i] = track(_metadata, self, &pair[i]);
		PEER(handle[i], TIMEOUT_MS, 60000);
		PEER(handle[i], ACTION, SOCKBEAT_ACTION_ABORT);
	}
	if (owner_start(&owner, pair[0].server))
		SKIP(return, "userfaultfd cannot be had");
	for (i = 0; i < 2; i++)
		PEER(handle[i], TIMEOUT_MS, 200);
	EVENT(SILENT, handle[0]);
	GONE(handle[1]);
	while (STAT(ACTS_DEFERRED) < 2)
		usleep(50000);
	EXPECT_EQ(SOCKBEAT_STATE_SILENT, client_state(&self->cmd, self->session, handle[0]));
	EXPECT_EQ(1, STAT(ABORTS));
	owner_stop(&owner);
	EVENT(GONE, handle[0]);
	EXPECT_EQ(2, STAT(ABORTS));
	EXPECT_EQ(ETIMEDOUT, so_error(pair[0].server));
}

/* It is tried again soon, however seldom its holder wants to be told. */
TEST_F(act, a_socket_in_use_is_tried_again)
{
	struct owner owner;
	struct event ev;
	uint64_t handle, free_ms;
	struct pair pair;

	SESSION(TIMEOUT_MS, 60000);
	handle = track(_metadata, self, &pair);
	PEER(handle, TRIGGER, SOCKBEAT_TRIGGER_LEVEL);
	PEER(handle, RENOTIFY_MS, 60000);
	PEER(handle, ACTION, SOCKBEAT_ACTION_ABORT);
	if (owner_start(&owner, pair.server))
		SKIP(return, "userfaultfd cannot be had");
	PEER(handle, TIMEOUT_MS, 200);
	while (STAT(ACTS_DEFERRED) < 2)
		usleep(50000);
	/* What the holder wants counts when it is done, not when it was found. */
	PEER(handle, ACTION, SOCKBEAT_ACTION_SHUTDOWN);
	owner_stop(&owner);
	free_ms = now_ms();
	do {
		ASSERT_TRUE(client_event(&self->c, &ev, 20000));
	} while (ev.kind == SOCKBEAT_EVENT_KIND_SILENT);
	EXPECT_EQ(SOCKBEAT_EVENT_KIND_GONE, ev.kind);
	EXPECT_EQ(SOCKBEAT_ACTION_SHUTDOWN, ev.action);
	EXPECT_GE(1000 + 2 * LATE_MS, now_ms() - free_ms);
}

/* The session's end takes what was still to be done with it. */
TEST_F(act, session_ends_before)
{
	uint64_t handle;
	struct pair pair;

	SESSION(ACTION, SOCKBEAT_ACTION_ABORT);
	SESSION(ACT_AFTER_MS, 200);
	handle = track(_metadata, self, &pair);
	EVENT(SILENT, handle);
	close(self->session);
	self->session = -1;
	usleep(500000);
	EXPECT_EQ(0, so_error(pair.server));
}

/* Peer-end is for who watches: the holder is told, and does the rest. */
TEST_F(act, peer_end)
{
	uint64_t handle[3];
	struct pair pair[3];
	struct recycle_conf conf[3] = {
		{ KEEP, SOCKBEAT_END_NONE }, { KEEP, SOCKBEAT_END_SHUTDOWN }, { KEEP, SOCKBEAT_END_ABORT },
	};
	char byte;
	int i;

	SESSION(TIMEOUT_MS, 60000);
	for (i = 0; i < 3; i++) {
		handle[i] = track(_metadata, self, &pair[i]);
		ASSERT_EQ(0, client_retire(&self->cmd, self->session, SOCKBEAT_CMD_PEER_END,
					   &handle[i], 1, &conf[i]));
	}
	EVENT(GONE, handle[1]);
	EXPECT_EQ(0, EVENT(GONE, handle[2]).action);
	EXPECT_EQ(0, read(pair[1].client, &byte, 1));
	EXPECT_EQ(ECONNABORTED, so_error(pair[2].server));
	EXPECT_EQ(SOCKBEAT_STATE_LIVE, client_state(&self->cmd, self->session, handle[0]));
	EXPECT_EQ(0, STAT(ABORTS));
	/* All or none. */
	handle[1] = handle[0] + 7;
	EXPECT_EQ(-ENOENT, client_retire(&self->cmd, self->session, SOCKBEAT_CMD_PEER_END, handle, 2,
					 &conf[2]));
	EXPECT_EQ(0, so_error(pair[0].server));
}

static int mass(void)
{
	return getenv("SOCKBEAT_TEST_SLOW") ? MASS / 10 : MASS;
}

static void connect_mass(struct __test_metadata *_metadata, FIXTURE_DATA(act) *self,
			 struct pair *pairs, int n)
{
	static uint64_t handles[256];
	int i, j, fds[256];

	/* Nobody falls silent while they are added. */
	SESSION(TIMEOUT_MS, 600000);
	for (i = 0; i < n; i += j) {
		for (j = 0; j < 250 && i + j < n; j++) {
			ASSERT_EQ(0, cable_connect(&self->cable, &pairs[i + j]));
			fds[j] = pairs[i + j].server;
		}
		ASSERT_EQ(0, client_add(&self->cmd, self->session, fds, j, NULL, handles));
	}
}

static void all_timeouts(struct __test_metadata *_metadata, FIXTURE_DATA(act) *self, int n,
			 uint32_t ms)
{
	struct peer_conf conf = { ms, KEEP, KEEP, 0 };
	uint64_t handles[250];
	int i, j;

	for (i = 0; i < n; i += j) {
		for (j = 0; j < 250 && i + j < n; j++)
			handles[j] = 1ull << 32 | (i + j);
		ASSERT_EQ(0, client_handles(&self->cmd, self->session, SOCKBEAT_CMD_PEER_SET,
					    handles, j, &conf));
	}
}

/* Take events until as many of a kind have come; counts them by kind. */
static void events_until(struct __test_metadata *_metadata, FIXTURE_DATA(act) *self, int *seen,
			 uint32_t kind, int wanted)
{
	struct event ev;

	while (seen[kind] < wanted) {
		ASSERT_TRUE(client_event(&self->c, &ev, 30000))
			TH_LOG("%d of kind %u; %llu silences, %llu silent, %llu events, errno %d", seen[kind],
			       kind, STAT(SILENCES), STAT(SILENT), STAT(EVENTS), errno);
		ASSERT_GE(SOCKBEAT_EVENT_KIND_GUARD_OVER, ev.kind);
		seen[ev.kind]++;
	}
}

#define UNTIL(kind, wanted) \
	events_until(_metadata, self, seen, SOCKBEAT_EVENT_KIND_##kind, wanted)

/* This host's own network fails: nobody is closed, and all come back. */
TEST_F_TIMEOUT(act, guard, 800)
{
	static struct pair pairs[MASS];
	int i, n = mass(), seen[8] = {}, rcvbuf = 1 << 20;
	struct session_reply r;

	setsockopt(client_fd(&self->c), SOL_SOCKET, SO_RCVBUFFORCE, &rcvbuf, sizeof(rcvbuf));
	SESSION(GUARD_PERCENT, 50);
	/* Within which all of them fall silent. */
	SESSION(GUARD_WINDOW_MS, mass() < MASS ? 40000 : 5000);
	SESSION(ACTION, SOCKBEAT_ACTION_ABORT);
	connect_mass(_metadata, self, pairs, n);
	ASSERT_EQ(0, cable_pull(&self->cable));
	all_timeouts(_metadata, self, n, 1000);
	UNTIL(SILENT, n);
	EXPECT_EQ(1, seen[SOCKBEAT_EVENT_KIND_GUARD]);
	EXPECT_EQ(1, STAT(GUARDS));
	ASSERT_EQ(0, client_session_get(&self->cmd, self->session, &r));
	EXPECT_EQ(1, r.session.v[SOCKBEAT_A_SESSION_GUARDING]);
	/* Longer than the window, after which they would be acted on. */
	while (STAT(ACTS_GUARDED) < n)
		usleep(100000);
	EXPECT_EQ(0, STAT(ABORTS));
	ASSERT_EQ(0, cable_plug(&self->cable));
	all_timeouts(_metadata, self, n, 60000);
	for (i = 0; i < n; i++)
		ASSERT_EQ(1, write(pairs[i].client, "x", 1));
	UNTIL(HEARD, n);
	/* It is told ahead of the peers, when most of them are live again. */
	UNTIL(GUARD_OVER, 1);
	EXPECT_EQ(n, STAT(LIVE));
	EXPECT_EQ(0, STAT(ABORTS) + STAT(SHUTDOWNS) + STAT(SOCKETS_GONE));
	EXPECT_EQ(1, STAT(GUARDS));
}

/* Without it all are closed, no more of them in a tick than are allowed. */
TEST_F_TIMEOUT(act, no_guard, 800)
{
	static struct pair pairs[MASS];
	int n = mass(), seen[8] = {}, rcvbuf = 1 << 20;
	uint64_t checks, ticks;

	setsockopt(client_fd(&self->c), SOL_SOCKET, SO_RCVBUFFORCE, &rcvbuf, sizeof(rcvbuf));
	ASSERT_EQ(0, sh("echo 512 >/sys/module/sockbeat/parameters/max_expire_per_tick"));
	SESSION(ACTION, SOCKBEAT_ACTION_ABORT);
	connect_mass(_metadata, self, pairs, n);
	ASSERT_EQ(0, cable_pull(&self->cable));
	checks = STAT(CHECKS);
	ticks = STAT(TICKS);
	all_timeouts(_metadata, self, n, 1000);
	UNTIL(GONE, n);
	EXPECT_EQ(0, seen[SOCKBEAT_EVENT_KIND_GUARD]);
	EXPECT_EQ(n, STAT(ABORTS));
	EXPECT_EQ(n, STAT(GONE));
	EXPECT_GE(512 * (STAT(TICKS) - ticks), STAT(CHECKS) - checks);
	EXPECT_EQ(0, sh("echo 16384 >/sys/module/sockbeat/parameters/max_expire_per_tick"));
}

/* A few silent peers are no mass, whatever part of all they are. */
TEST_F(act, few_are_no_mass)
{
	uint64_t handle;
	struct pair pair;

	SESSION(GUARD_PERCENT, 1);
	SESSION(GUARD_WINDOW_MS, 1000);
	SESSION(ACTION, SOCKBEAT_ACTION_ABORT);
	handle = track(_metadata, self, &pair);
	GONE(handle);
	EXPECT_EQ(0, STAT(GUARDS));
}

/* Who is found late, after a stall or by a shorter timeout, has the window too. */
TEST_F(act, found_late)
{
	struct pair pairs[20];
	int i, seen[8] = {};

	SESSION(GUARD_PERCENT, 50);
	SESSION(GUARD_WINDOW_MS, 2000);
	SESSION(ACTION, SOCKBEAT_ACTION_ABORT);
	SESSION(TIMEOUT_MS, 60000);
	for (i = 0; i < 20; i++)
		track(_metadata, self, &pairs[i]);
	/* Longer than the timeout to come and the window together. */
	usleep(3500000);
	/* They are too few for it yet. */
	all_timeouts(_metadata, self, 5, 1000);
	UNTIL(SILENT, 5);
	all_timeouts(_metadata, self, 20, 1000);
	UNTIL(SILENT, 20);
	EXPECT_EQ(1, seen[SOCKBEAT_EVENT_KIND_GUARD]);
	while (STAT(ACTS_GUARDED) < 20)
		usleep(100000);
	EXPECT_EQ(0, STAT(ABORTS));
}

/* To set the guard to nothing ends it. */
TEST_F(act, guard_is_set_off)
{
	struct pair pairs[20];
	int i, seen[8] = {};

	SESSION(GUARD_PERCENT, 50);
	SESSION(GUARD_WINDOW_MS, 600000);
	SESSION(ACTION, SOCKBEAT_ACTION_ABORT);
	for (i = 0; i < 20; i++)
		track(_metadata, self, &pairs[i]);
	UNTIL(SILENT, 20);
	EXPECT_EQ(1, seen[SOCKBEAT_EVENT_KIND_GUARD]);
	SESSION(GUARD_PERCENT, 0);
	UNTIL(GUARD_OVER, 1);
	UNTIL(GONE, 20);
}

static bool is_established(int fd)
{
	struct tcp_info info = {};
	socklen_t len = sizeof(info);

	return !getsockopt(fd, SOL_TCP, TCP_INFO, &info, &len) && info.tcpi_state == TCP_ESTABLISHED;
}

/* All clients are heard now, so all fall silent together. */
static void all_heard(struct __test_metadata *_metadata, struct pair *pairs, int n)
{
	for (int i = 0; i < n; i++)
		ASSERT_EQ(1, send(pairs[i].client, "x", 1, MSG_NOSIGNAL));
}

/* Very many are to be ended at once, which takes a while: who is heard meanwhile
 * is not.
 */
TEST_F_TIMEOUT(act, heard_while_it_waits, 120)
{
	enum { N = 900 };
	static struct pair pairs[N];
	static bool is_heard[N];
	int i, heard = 0, lost = 0;

	SESSION(ACTION, SOCKBEAT_ACTION_ABORT);
	SESSION(ACT_AFTER_MS, 2000);
	connect_mass(_metadata, self, pairs, N);
	all_heard(_metadata, pairs, N);
	all_timeouts(_metadata, self, N, 5000);
	for (i = 0; is_established(pairs[i].server); i = (i + 1) % N)
		;
	for (i = N - 1; i >= 0; i--) {
		if (!is_established(pairs[i].server) ||
		    send(pairs[i].client, "x", 1, MSG_NOSIGNAL) != 1)
			continue;
		is_heard[i] = is_established(pairs[i].server);
		heard += is_heard[i];
	}
	while (STAT(SILENT))
		usleep(10000);
	for (i = 0; i < N; i++)
		lost += is_heard[i] && !is_established(pairs[i].server);
	TH_LOG("%d of %d were heard before their end, %d of these were ended", heard, N, lost);
	/* One may have been heard while it was being ended. */
	EXPECT_GE(1, lost);
}

/* That a silence is found at the next tick only does not make it late. */
TEST_F(act, small_window_is_not_late)
{
	static struct pair pairs[80];
	uint64_t handles[80];
	int i, seen[8] = {};

	SESSION(GUARD_PERCENT, 100);
	SESSION(GUARD_WINDOW_MS, TICK_MS);
	SESSION(ACTION, SOCKBEAT_ACTION_ABORT);
	SESSION(TIMEOUT_MS, 60000);
	for (i = 0; i < 80; i++)
		handles[i] = track(_metadata, self, &pairs[i]);
	all_heard(_metadata, pairs, 80);
	for (i = 0; i < 80; i++)
		PEER(handles[i], TIMEOUT_MS, 1000 + i * TICK_MS / 2);
	UNTIL(SILENT, 60);
	EXPECT_LT(0, STAT(ABORTS));
}

/* Those that a guard keeps are not looked at all the time, told or not. */
TEST_F(act, guarded_at_leisure)
{
	struct pair pairs[64];
	unsigned long long checks;
	int i, seen[8] = {};

	SESSION(GUARD_PERCENT, 50);
	SESSION(TIMEOUT_MS, 4000);
	SESSION(GUARD_WINDOW_MS, 4000);
	SESSION(RENOTIFY_MS, 60000);
	SESSION(ACTION, SOCKBEAT_ACTION_ABORT);
	for (i = 0; i < 64; i++)
		track(_metadata, self, &pairs[i]);
	UNTIL(SILENT, 64);
	while (STAT(ACTS_GUARDED) < 64)
		usleep(10000);
	checks = STAT(CHECKS);
	sleep(3);
	EXPECT_GE(checks + 64, STAT(CHECKS));
}

TEST_HARNESS_MAIN
