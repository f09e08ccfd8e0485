// SPDX-License-Identifier: GPL-2.0-only
/*
 * Delayed recycle: how long a slot is kept from others, what ends it, and what
 * becomes of the socket.
 */
#define _GNU_SOURCE
#include <sys/wait.h>
#include "owner.h"
#include "param.h"
#include "recycle.h"

TEST_F(recycle, slot_is_kept_for_the_delay)
{
	struct attrs peers[4];
	uint64_t handle, start;
	struct event ev;

	handle = add(_metadata, self, self->pair.server, 77);
	start = now_ms();
	recycle(_metadata, self, handle, 1000, 0, false);
	EXPECT_EQ(1, client_dump(&self->c, self->session, 1 << RECYCLING, peers, 4));
	EXPECT_EQ(handle, peers[0].v[SOCKBEAT_A_PEER_HANDLE]);
	EXPECT_EQ(RECYCLING, peers[0].v[SOCKBEAT_A_PEER_STATE]);
	EXPECT_EQ(77, peers[0].v[SOCKBEAT_A_PEER_USER_DATA]);
	EXPECT_GE(1001, peers[0].v[SOCKBEAT_A_PEER_LEFT_MS]);
	EXPECT_LE(1000, peers[0].v[SOCKBEAT_A_PEER_LEFT_MS] + (now_ms() - start));
	EXPECT_FALSE(peers[0].has[SOCKBEAT_A_PEER_IDLE_MS]);
	EXPECT_FALSE(peers[0].has[SOCKBEAT_A_PEER_HOLD]);
	EXPECT_EQ(1, stat_of(_metadata, self, SOCKBEAT_A_STATS_RECYCLING));
	EXPECT_EQ(1, stat_of(_metadata, self, SOCKBEAT_A_STATS_RECYCLES));
	adds_up(_metadata, self);

	ev = event_of(_metadata, self, RECYCLED, handle);
	EXPECT_LE(1000, now_ms() - start);
	EXPECT_EQ(77, ev.user_data);
	/* The message goes out before its slot is free. */
	while (client_state(&self->c, self->session, handle) >= 0)
		usleep(1000);
	EXPECT_EQ(0, stat_of(_metadata, self, SOCKBEAT_A_STATS_RECYCLING));
	EXPECT_EQ(1, stat_of(_metadata, self, SOCKBEAT_A_STATS_RECYCLED));
	adds_up(_metadata, self);
}

TEST_F(recycle, end_is_on_time)
{
	uint64_t handle, late[20];
	int i, n = 0;

	for (i = 0; i < 20; i++) {
		handle = add(_metadata, self, self->pair.server, 0);
		recycle(_metadata, self, handle, 50, 0, false);
		late[i] = event_of(_metadata, self, RECYCLED, handle).late_ms;
		n += late[i] <= 2 * TICK_MS;
	}
	/* A busy host may stop the machine now and then. */
	EXPECT_LE(18, n) {
		for (i = 0; i < 20; i++)
			TH_LOG("%llu ms late", (unsigned long long)late[i]);
	}
}

TEST_F(recycle, full_table_says_who_has_it)
{
	uint64_t handle[4];
	struct pair pairs[2];
	int fds[4], i;

	ASSERT_EQ(0, tcp_pairs(AF_INET, pairs, 2));
	for (i = 0; i < 4; i++) {
		fds[i] = i % 2 ? pairs[i / 2].server : pairs[i / 2].client;
		handle[i] = add(_metadata, self, fds[i], 0);
	}
	recycle(_metadata, self, handle[0], 60000, 0, false);
	recycle(_metadata, self, handle[1], 60000, 0, false);
	tcp_abort(fds[2]);
	/* Both ends are tracked. */
	event_of(_metadata, self, SOCKBEAT_EVENT_KIND_GONE, handle[2]);
	event_of(_metadata, self, SOCKBEAT_EVENT_KIND_GONE, handle[3]);
	recycle(_metadata, self, handle[2], 60000, 0, false);
	EXPECT_EQ(-ENOSPC, client_add1(&self->c, self->session, self->pair.server, NULL, handle));
	EXPECT_STREQ("no free slot: 0 live, 0 silent, 1 gone, 3 in quarantine", self->c.why);
	EXPECT_NE(0, self->c.bad_off);
	adds_up(_metadata, self);
}

TEST_F(recycle, delay_0_is_immediate)
{
	uint64_t handle[4];
	int i;

	for (i = 0; i < 4; i++) {
		handle[i] = add(_metadata, self, self->pair.server, 0);
		recycle(_metadata, self, handle[i], 0, 0, false);
		EXPECT_EQ(-1, client_state(&self->c, self->session, handle[i]));
		adds_up(_metadata, self);
	}
	EXPECT_EQ(4, stat_of(_metadata, self, SOCKBEAT_A_STATS_RECYCLED));
	EXPECT_EQ(1ull << 32 | 3, handle[3]);
	handle[0] = add(_metadata, self, self->pair.server, 0);
	EXPECT_EQ(2ull << 32 | 0, handle[0]);
	quiet(_metadata, self, 3 * TICK_MS);
}

/* A slot that waits, and one of the session's default. */
TEST_F(recycle, default_delay)
{
	struct session_reply r;
	struct nlmsghdr *nlh;
	struct attrs peer;
	uint64_t handle;

	ASSERT_EQ(0, client_session_get(&self->c, self->session, &r));
	EXPECT_EQ(60000, r.session.v[SOCKBEAT_A_SESSION_RECYCLE_DELAY_MS]);
	nlh = client_cmd(&self->c, SOCKBEAT_CMD_SESSION_SET);
	mnl_attr_put_u32(nlh, SOCKBEAT_A_SESSION_FD, self->session);
	mnl_attr_put_u32(nlh, SOCKBEAT_A_SESSION_RECYCLE_DELAY_MS, 30000);
	ASSERT_EQ(0, client_talk(&self->c, nlh, NULL, NULL));
	handle = add(_metadata, self, self->pair.server, 0);
	recycle(_metadata, self, handle, KEEP, 0, false);
	ASSERT_EQ(0, client_get(&self->c, self->session, handle, &peer));
	EXPECT_GE(30001, peer.v[SOCKBEAT_A_PEER_LEFT_MS]);
	EXPECT_LE(20000, peer.v[SOCKBEAT_A_PEER_LEFT_MS]);

	nlh = client_cmd(&self->c, SOCKBEAT_CMD_SESSION_SET);
	mnl_attr_put_u32(nlh, SOCKBEAT_A_SESSION_FD, self->session);
	mnl_attr_put_u32(nlh, SOCKBEAT_A_SESSION_RECYCLE_DELAY_MS, 604800001);
	EXPECT_EQ(-ERANGE, client_talk(&self->c, nlh, NULL, NULL));
}

/* What a peer still had to tell is nobody's business any more. */
TEST_F(recycle, silent_and_gone_peers)
{
	struct peer_conf brief = { 200, KEEP, SOCKBEAT_TRIGGER_LEVEL, 0 };
	struct pair pair;
	uint64_t silent, gone;

	ASSERT_EQ(0, client_add1(&self->c, self->session, self->pair.server, &brief, &silent));
	event_of(_metadata, self, SOCKBEAT_EVENT_KIND_SILENT, silent);
	ASSERT_EQ(0, tcp_pair(&pair));
	ASSERT_EQ(0, client_add1(&self->c, self->session, pair.server, NULL, &gone));
	recycle(_metadata, self, silent, 1500, 0, false);
	close(pair.server);
	event_of(_metadata, self, SOCKBEAT_EVENT_KIND_GONE, gone);
	recycle(_metadata, self, gone, 1500, SOCKBEAT_END_ABORT, false);
	/* 500 ms is when the silent one would have been told again. */
	event_of(_metadata, self, RECYCLED, silent);
	event_of(_metadata, self, RECYCLED, gone);
	close(pair.client);
}

/* What nobody was told before the peer was retired nobody is told after it. */
TEST_F(recycle, news_that_waits_is_dropped)
{
	struct peer_conf brief = { 200, KEEP, SOCKBEAT_TRIGGER_LEVEL, 0 };
	uint64_t handle;

	client_close(&self->ev);
	ASSERT_EQ(0, client_add1(&self->c, self->session, self->pair.server, &brief, &handle));
	while (stat_of(_metadata, self, SOCKBEAT_A_STATS_SILENT) < 1)
		usleep(1000);
	recycle(_metadata, self, handle, 1500, 0, false);
	ASSERT_EQ(0, client_open(&self->ev));
	ASSERT_EQ(0, client_session_bind(&self->ev, self->session));
	event_of(_metadata, self, RECYCLED, handle);
}

/* Neither the end of the socket nor a payload says anything of the slot. */
TEST_F(recycle, socket_is_let_go)
{
	uint64_t handle = add(_metadata, self, self->pair.server, 0), again;
	char byte;

	recycle(_metadata, self, handle, 60000, SOCKBEAT_END_NONE, false);
	EXPECT_EQ(1, send(self->pair.server, "x", 1, MSG_NOSIGNAL));
	EXPECT_EQ(1, recv(self->pair.client, &byte, 1, 0));
	again = add(_metadata, self, self->pair.server, 0);
	EXPECT_EQ(1ull << 32 | 1, again);
	EXPECT_EQ(SOCKBEAT_STATE_LIVE, client_state(&self->c, self->session, again));
	tcp_abort(self->pair.client);
	self->pair.client = -1;
	event_of(_metadata, self, SOCKBEAT_EVENT_KIND_GONE, again);
	EXPECT_EQ(RECYCLING, client_state(&self->c, self->session, handle));
}

TEST_F(recycle, shutdown)
{
	uint64_t handle = add(_metadata, self, self->pair.server, 0);
	char bytes[4];

	ASSERT_EQ(3, send(self->pair.server, "abc", 3, MSG_NOSIGNAL));
	recycle(_metadata, self, handle, 60000, SOCKBEAT_END_SHUTDOWN, false);
	/* It was done before the request returned. */
	EXPECT_EQ(-1, send(self->pair.server, "x", 1, MSG_NOSIGNAL));
	EXPECT_EQ(EPIPE, errno);
	EXPECT_EQ(0, recv(self->pair.server, bytes, 1, MSG_DONTWAIT));
	EXPECT_EQ(3, recv(self->pair.client, bytes, 3, MSG_WAITALL));
	EXPECT_EQ(0, recv(self->pair.client, bytes, 1, 0));
	/* A peer whose end we made ourselves is not reported as gone. */
	quiet(_metadata, self, 3 * TICK_MS);
}

TEST_F(recycle, abort)
{
	uint64_t handle = add(_metadata, self, self->pair.server, 0);
	int err = 0;
	socklen_t len = sizeof(err);
	char byte;

	recycle(_metadata, self, handle, 60000, SOCKBEAT_END_ABORT, false);
	ASSERT_EQ(0, getsockopt(self->pair.server, SOL_SOCKET, SO_ERROR, &err, &len));
	EXPECT_EQ(ECONNABORTED, err);
	EXPECT_EQ(-1, recv(self->pair.client, &byte, 1, 0));
	EXPECT_EQ(ECONNRESET, errno);
	quiet(_metadata, self, 3 * TICK_MS);
}

struct stuck {
	struct client c;
	int session;
	uint64_t handle;
	int err;
};

static void *send_recycle(void *arg)
{
	struct recycle_conf conf = { 60000, SOCKBEAT_END_ABORT, false };
	struct stuck *s = arg;

	s->err = client_retire(&s->c, s->session, SOCKBEAT_CMD_PEER_RECYCLE, &s->handle, 1, &conf);
	return NULL;
}

/* Whoever asks for the end of a socket that another thread owns waits, and
 * nobody else: the request itself is over by then.
 */
TEST_F(recycle, only_the_sender_waits_for_an_owner)
{
	struct stuck stuck = { .session = self->session };
	struct pollfd answer = { .events = POLLIN };
	struct owner owner;
	pthread_t thread;
	char byte;

	stuck.handle = add(_metadata, self, self->pair.server, 0);
	ASSERT_EQ(0, client_open(&stuck.c));
	if (owner_start(&owner, self->pair.server))
		SKIP(return, "userfaultfd: %s", strerror(errno));
	stuck.err = 1;
	ASSERT_EQ(0, pthread_create(&thread, NULL, send_recycle, &stuck));
	/* Its answer is there, it cannot fetch it. */
	answer.fd = client_fd(&stuck.c);
	ASSERT_EQ(1, poll(&answer, 1, PATIENCE_MS));
	EXPECT_EQ(RECYCLING, client_state(&self->c, self->session, stuck.handle));
	EXPECT_EQ(1, __atomic_load_n(&stuck.err, __ATOMIC_RELAXED));
	EXPECT_EQ(-1, recv(self->pair.client, &byte, 1, MSG_DONTWAIT));
	EXPECT_EQ(EAGAIN, errno);
	owner_stop(&owner);
	pthread_join(thread, NULL);
	EXPECT_EQ(0, stuck.err);
	client_close(&stuck.c);
}

TEST_F(recycle, held_slot_waits_for_peer_del)
{
	uint64_t handle = add(_metadata, self, self->pair.server, 5);
	struct event first, second;
	struct attrs peer;

	recycle(_metadata, self, handle, 200, 0, true);
	first = event_of(_metadata, self, RECYCLED, handle);
	/* Edge-triggered for silence; a held slot is told of in any case. */
	second = event_of(_metadata, self, RECYCLED, handle);
	EXPECT_EQ(5, second.user_data);
	EXPECT_LE(first.late_ms + 500, second.late_ms);
	ASSERT_EQ(0, client_get(&self->c, self->session, handle, &peer));
	EXPECT_EQ(0, peer.v[SOCKBEAT_A_PEER_LEFT_MS]);
	EXPECT_TRUE(peer.has[SOCKBEAT_A_PEER_HOLD]);
	EXPECT_EQ(1, stat_of(_metadata, self, SOCKBEAT_A_STATS_RECYCLING));
	EXPECT_EQ(-EALREADY, client_extend(&self->c, self->session, handle, 1000));
	EXPECT_STREQ("the end of the quarantine was reported", self->c.why);
	adds_up(_metadata, self);

	ASSERT_EQ(0, client_del(&self->c, self->session, handle));
	EXPECT_EQ(-ENOENT, client_get(&self->c, self->session, handle, &peer));
	EXPECT_EQ(1, stat_of(_metadata, self, SOCKBEAT_A_STATS_RECYCLED));
	EXPECT_EQ(0, stat_of(_metadata, self, SOCKBEAT_A_STATS_DELETED));
	adds_up(_metadata, self);
	quiet(_metadata, self, 800);
}

/* Held without a delay: told of at once, kept all the same. */
TEST_F(recycle, held_without_delay)
{
	uint64_t handle = add(_metadata, self, self->pair.server, 0);

	recycle(_metadata, self, handle, 0, 0, true);
	event_of(_metadata, self, RECYCLED, handle);
	EXPECT_EQ(RECYCLING, client_state(&self->c, self->session, handle));
	ASSERT_EQ(0, client_del(&self->c, self->session, handle));
}

TEST_F(recycle, extend)
{
	uint64_t handle = add(_metadata, self, self->pair.server, 0), start;
	struct attrs peer;

	EXPECT_EQ(-EINVAL, client_extend(&self->c, self->session, handle, 1000));
	EXPECT_STREQ("peer is not in quarantine", self->c.why);
	start = now_ms();
	recycle(_metadata, self, handle, 800, 0, false);
	ASSERT_EQ(0, client_extend(&self->c, self->session, handle, 2000));
	/* It never gets shorter. */
	ASSERT_EQ(0, client_extend(&self->c, self->session, handle, 100));
	ASSERT_EQ(0, client_get(&self->c, self->session, handle, &peer));
	EXPECT_LE(2000, peer.v[SOCKBEAT_A_PEER_LEFT_MS] + (now_ms() - start));
	event_of(_metadata, self, RECYCLED, handle);
	EXPECT_LE(2000, now_ms() - start);
}

TEST_F(recycle, refusals_change_nothing)
{
	struct recycle_conf conf = { .delay_ms = 60000 };
	struct peer_conf longer = { 90000, KEEP, KEEP, 0 };
	uint64_t pair[2];

	pair[0] = add(_metadata, self, self->pair.server, 0);
	pair[1] = add(_metadata, self, self->pair.client, 0);
	recycle(_metadata, self, pair[1], 60000, 0, false);
	EXPECT_EQ(-EALREADY, client_retire(&self->c, self->session, SOCKBEAT_CMD_PEER_RECYCLE, pair,
					   2, &conf));
	EXPECT_STREQ("peer is in quarantine", self->c.why);
	EXPECT_EQ(-EALREADY, client_set(&self->c, self->session, pair[1], &longer));
	EXPECT_STREQ("peer is in quarantine", self->c.why);
	pair[1] = pair[0];
	EXPECT_EQ(-EINVAL, client_retire(&self->c, self->session, SOCKBEAT_CMD_PEER_RECYCLE, pair,
					 2, &conf));
	EXPECT_STREQ("peer is named twice", self->c.why);
	pair[1] = 9ull << 32;
	EXPECT_EQ(-ENOENT, client_retire(&self->c, self->session, SOCKBEAT_CMD_PEER_RECYCLE, pair,
					 2, &conf));
	EXPECT_STREQ("no peer has this handle", self->c.why);
	EXPECT_EQ(-ERANGE, client_recycle(&self->c, self->session, pair[0], 604800001));
	EXPECT_NE(0, self->c.bad_off);
	conf.end = 3;
	EXPECT_EQ(-ERANGE, client_retire(&self->c, self->session, SOCKBEAT_CMD_PEER_RECYCLE, pair,
					 1, &conf));
	EXPECT_EQ(SOCKBEAT_STATE_LIVE, client_state(&self->c, self->session, pair[0]));
	EXPECT_EQ(1, stat_of(_metadata, self, SOCKBEAT_A_STATS_RECYCLES));
}

/* Slots come back in the order in which they were freed. */
TEST_F(recycle, first_in_first_out)
{
	uint64_t handle[4], next;
	struct pair pairs[2];
	int order[] = { 2, 0, 3, 1 }, i;

	ASSERT_EQ(0, tcp_pairs(AF_INET, pairs, 2));
	for (i = 0; i < 4; i++)
		handle[i] = add(_metadata, self, i % 2 ? pairs[i / 2].server : pairs[i / 2].client, 0);
	for (i = 0; i < 4; i++) {
		recycle(_metadata, self, handle[order[i]], 10, 0, false);
		event_of(_metadata, self, RECYCLED, handle[order[i]]);
	}
	for (i = 0; i < 4; i++) {
		next = add(_metadata, self, i % 2 ? pairs[i / 2].server : pairs[i / 2].client, 0);
		EXPECT_EQ(2ull << 32 | order[i], next);
	}
}

TEST_F(recycle, generation_wraps)
{
	uint64_t last, first;

	ASSERT_EQ(0, param_write("first_generation", "4294967295"));
	close(self->session);
	self->session = client_session_new(&self->ev, 1, 0, 0, 0, NULL);
	ASSERT_EQ(0, param_write("first_generation", "1"));
	ASSERT_LE(0, self->session);
	last = add(_metadata, self, self->pair.server, 0);
	EXPECT_EQ(0xffffffffull << 32, last);
	recycle(_metadata, self, last, 0, 0, false);
	/* No handle is 0. */
	first = add(_metadata, self, self->pair.server, 0);
	EXPECT_EQ(1ull << 32, first);
	EXPECT_EQ(-1, client_state(&self->c, self->session, last));
	EXPECT_EQ(-ENOENT, client_recycle(&self->c, self->session, last, 0));
	recycle(_metadata, self, first, 50, 0, false);
	event_of(_metadata, self, RECYCLED, first);
	EXPECT_EQ(2ull << 32, add(_metadata, self, self->pair.server, 0));
}

/* The process that recycled a peer hands its session on and dies; the
 * quarantine runs on, and the next peer of the slot has the next generation.
 */
TEST_F(recycle, outlives_its_process)
{
	int sv[2], status;
	uint64_t handle = 1ull << 32, start = now_ms();
	struct attrs peer;
	pid_t pid;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sv));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		struct client c;
		int fd = -1;

		if (!client_open(&c))
			fd = client_session_new(&c, 1, 0, 0, 0, NULL);
		if (fd < 0 || client_add1(&c, fd, self->pair.server, NULL, &handle) ||
		    client_recycle(&c, fd, handle, 1500) || send_fd(sv[1], fd))
			_exit(1);
		_exit(0);
	}
	close(self->session);
	self->session = recv_fd(sv[0]);
	ASSERT_LE(0, self->session);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(0, status);
	ASSERT_EQ(0, client_get(&self->c, self->session, handle, &peer));
	EXPECT_EQ(RECYCLING, peer.v[SOCKBEAT_A_PEER_STATE]);
	EXPECT_GE(1501, peer.v[SOCKBEAT_A_PEER_LEFT_MS]);
	ASSERT_EQ(0, client_session_bind(&self->ev, self->session));
	event_of(_metadata, self, RECYCLED, handle);
	EXPECT_LE(1500, now_ms() - start);
	EXPECT_EQ(2ull << 32, add(_metadata, self, self->pair.server, 0));
	close(sv[0]);
	close(sv[1]);
}

/* Without anyone to tell a slot is kept: the news is not lost. */
TEST_F(recycle, end_waits_for_a_receiver)
{
	struct pollfd pfd = { .fd = self->session, .events = POLLIN };
	uint64_t handle = add(_metadata, self, self->pair.server, 0);

	client_close(&self->ev);
	recycle(_metadata, self, handle, 100, 0, false);
	ASSERT_EQ(1, poll(&pfd, 1, PATIENCE_MS));
	EXPECT_EQ(RECYCLING, client_state(&self->c, self->session, handle));
	/* Time is given as long as nobody was told. */
	EXPECT_EQ(0, client_extend(&self->c, self->session, handle, 300));
	EXPECT_EQ(0, poll(&pfd, 1, 0));
	ASSERT_EQ(1, poll(&pfd, 1, PATIENCE_MS));
	ASSERT_EQ(0, client_open(&self->ev));
	ASSERT_EQ(0, client_session_bind(&self->ev, self->session));
	event_of(_metadata, self, RECYCLED, handle);
	while (client_state(&self->c, self->session, handle) >= 0)
		usleep(1000);
}

TEST_HARNESS_MAIN
