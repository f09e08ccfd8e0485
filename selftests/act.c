// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the kernel does by itself: the warning before a silence, and the end of a
 * silent peer whose holder does nothing.
 */
#define _GNU_SOURCE
#include <sys/epoll.h>
#include "act.h"
#include "owner.h"

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
	/* Now it wakes up; each peer's end is told once, with what was done then. */
	for (i = 0; i < 300; i++)
		PEER(handles[i], ACTION, SOCKBEAT_ACTION_NOTIFY);
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
			EXPECT_EQ(SOCKBEAT_ACTION_ABORT, ev[i].action);
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

/* Read for a while what comes, as it comes. */
static void read_on(int fd, int ms)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	uint64_t until_ms = now_ms() + ms;
	char buf[65536];

	while (now_ms() < until_ms && poll(&pfd, 1, ms) == 1 && read(fd, buf, sizeof(buf)) > 0)
		;
}

/* Write until the other end, which does not read, has no more room. */
static void fill_up(struct __test_metadata *_metadata, int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLOUT };
	char buf[65536] = "";

	ASSERT_EQ(0, fcntl(fd, F_SETFL, O_NONBLOCK));
	while (poll(&pfd, 1, 500) == 1)
		ASSERT_LT(0, write(fd, buf, sizeof(buf)));
}

/* Track a client whose bytes find no room here, level-triggered where it is said how
 * often it is to be told. It may all be here long before the next look.
 */
static uint64_t shut_out(struct __test_metadata *_metadata, FIXTURE_DATA(act) *self,
			 struct pair *pair, uint32_t renotify_ms)
{
	uint64_t handle;

	SESSION(TIMEOUT_MS, 3000);
	SESSION(ACTION, SOCKBEAT_ACTION_ABORT);
	handle = track(_metadata, self, pair);
	if (renotify_ms) {
		PEER(handle, TRIGGER, SOCKBEAT_TRIGGER_LEVEL);
		PEER(handle, RENOTIFY_MS, renotify_ms);
	}
	fill_up(_metadata, pair->client);
	return handle;
}

/* Whose bytes find no room here cannot be heard: that is not its fault. */
TEST_F(act, who_is_shut_out_is_kept)
{
	struct pair pair;
	uint64_t handle;

	handle = shut_out(_metadata, self, &pair, 0);
	EVENT(SILENT, handle);
	while (STAT(ACTS_DEFERRED) < 3)
		usleep(50000);
	EXPECT_EQ(0, STAT(ABORTS));
	/* There is room again, and then no client any more. */
	read_on(pair.server, 500);
	EVENT(HEARD, handle);
	ASSERT_EQ(0, cable_pull(&self->cable));
	read_on(pair.server, 500);
	GONE(handle);
	EXPECT_EQ(1, STAT(ABORTS));
}

static void let_in_again(struct __test_metadata *_metadata, FIXTURE_DATA(act) *self,
			   uint32_t renotify_ms)
{
	uint64_t handle, deferred;
	struct pair pair;

	handle = shut_out(_metadata, self, &pair, renotify_ms);
	ASSERT_EQ(0, netns_enter(self->cable.away));
	ASSERT_EQ(0, sh("tc qdisc add dev away root netem delay 500ms"));
	ASSERT_EQ(0, netns_enter(self->cable.home));
	EVENT(SILENT, handle);
	for (deferred = STAT(ACTS_DEFERRED); STAT(ACTS_DEFERRED) < deferred + 2;)
		usleep(10000);
	/* The kernel tries again a second after it tried last. */
	usleep(800000);
	read_on(pair.server, 100);
	EVENT_BEHIND_SILENCE(HEARD, handle);
	EXPECT_EQ(0, STAT(ABORTS));
}

/* Nor is it ended before it can know that there is room again. */
TEST_F(act, who_was_shut_out_is_kept)
{
	let_in_again(_metadata, self, 0);
}

/* However often it is looked at meanwhile. */
TEST_F(act, who_was_shut_out_is_kept_and_told)
{
	let_in_again(_metadata, self, 200);
}

/* Whom the kernel cannot end is told again as often as before it tried. */
TEST_F(act, who_cannot_be_ended_is_told_again)
{
	uint64_t handle, deferred, from_ms, told, n = 0;
	struct event ev = {};
	struct pair pair;

	handle = shut_out(_metadata, self, &pair, 2500);
	EVENT(SILENT, handle);
	while (!STAT(ACTS_DEFERRED))
		usleep(10000);
	deferred = STAT(ACTS_DEFERRED);
	from_ms = now_ms();
	while (STAT(ACTS_DEFERRED) < deferred + 10) {
		if (!client_event(&self->c, &ev, 50))
			continue;
		ASSERT_EQ(SOCKBEAT_EVENT_KIND_SILENT, ev.kind);
		n++;
	}
	told = (now_ms() - from_ms) / 2500;
	EXPECT_LE(told, n + 1);
	EXPECT_GE(told + 1, n);
	close(pair.server);
	close(pair.client);
}

/* But not who reads nothing himself, until nobody can send any more. */
TEST_F(act, who_takes_nothing_is_ended)
{
	struct pair pair;
	uint64_t handle;

	SESSION(TIMEOUT_MS, 3000);
	SESSION(ACTION, SOCKBEAT_ACTION_ABORT);
	handle = track(_metadata, self, &pair);
	fill_up(_metadata, pair.server);
	fill_up(_metadata, pair.client);
	GONE(handle);
	EXPECT_EQ(1, STAT(ABORTS));
}

/* A peer whose data came with its SYN, and that our SYN-ACK does not reach. */
static int handshake_begun(struct __test_metadata *_metadata, FIXTURE_DATA(act) *self, int *client)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(self->cable.port) };
	struct pair pair;
	int qlen = 16, server;

	/* That the one end knows where the other is. */
	ASSERT_EQ(0, cable_connect(&self->cable, &pair));
	tcp_pair_close(&pair);
	ASSERT_EQ(0, sh("echo 515 >/proc/sys/net/ipv4/tcp_fastopen"));
	ASSERT_EQ(0, setsockopt(self->cable.listener, SOL_TCP, TCP_FASTOPEN, &qlen, sizeof(qlen)));
	ASSERT_EQ(0, sh("tc qdisc add dev home root netem loss 100%%"));
	inet_pton(AF_INET, "10.9.0.1", &to.sin_addr);
	ASSERT_EQ(0, netns_enter(self->cable.away));
	ASSERT_EQ(0, sh("echo 5 >/proc/sys/net/ipv4/tcp_fastopen"));
	*client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	sendto(*client, "data", 4, MSG_FASTOPEN | MSG_DONTWAIT, (void *)&to, sizeof(to));
	ASSERT_EQ(0, netns_enter(self->cable.home));
	server = accept4(self->cable.listener, NULL, NULL, SOCK_CLOEXEC);
	ASSERT_LE(0, server);
	return server;
}

TEST_F(act, handshake_is_not_over)
{
	static const int ends[] = {
		SOCKBEAT_ACTION_ABORT, SOCKBEAT_ACTION_SHUTDOWN, SOCKBEAT_ACTION_NOTIFY,
	};
	int client, server;
	uint64_t handle;
	char data[4];

	for (int i = 0; i < 3; i++) {
		SESSION(ACTION, ends[i]);
		server = handshake_begun(_metadata, self, &client);
		ASSERT_EQ(TCP_SYN_RECV, tcp_state(server));
		ASSERT_EQ(4, recv(server, data, 4, 0));
		ASSERT_EQ(0, client_add1(&self->cmd, self->session, server, NULL, &handle)) {
			TH_LOG("%s", self->cmd.why);
		}
		if (ends[i] == SOCKBEAT_ACTION_NOTIFY) {
			EVENT(SILENT, handle);
			close(server);
			EXPECT_EQ(0, EVENT(GONE, handle).action);
		} else {
			EXPECT_EQ(ends[i], GONE(handle).action);
			close(server);
		}
		close(client);
		ASSERT_EQ(0, sh("tc qdisc del dev home root"));
	}
	EXPECT_EQ(1, STAT(ABORTS));
	EXPECT_EQ(1, STAT(SHUTDOWNS));
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

TEST_HARNESS_MAIN
