// SPDX-License-Identifier: GPL-2.0-only
/*
 * Adding, changing, finding and deleting peers; what is refused and how.
 */
#define _GNU_SOURCE
#include <sys/epoll.h>
#include <sys/resource.h>
#include "client.h"
#include "owner.h"
#include "tcp.h"
#include "harness.h"

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

FIXTURE(peer) {
	struct client ev;	/* events */
	struct client c;	/* requests */
	int session;
	struct pair pair;
};

FIXTURE_SETUP(peer)
{
	ASSERT_EQ(0, client_open(&self->ev));
	ASSERT_EQ(0, client_open(&self->c));
	self->session = client_session_new(&self->ev, 8, 60000, 0,
					   SOCKBEAT_TRIGGER_EDGE, NULL);
	ASSERT_LE(0, self->session) {
		TH_LOG("%s", self->ev.why);
	}
	ASSERT_EQ(0, tcp_pair(&self->pair));
}

FIXTURE_TEARDOWN(peer)
{
	tcp_pair_close(&self->pair);
	close(self->session);
	client_close(&self->ev);
	client_close(&self->c);
}

TEST_F(peer, add_get_del)
{
	struct peer_conf conf = {
		.timeout_ms = 1234, .source = SOCKBEAT_SOURCE_EITHER,
		.trigger = SOCKBEAT_TRIGGER_LEVEL, .user_data = 0xdeadbeefcafe,
	};
	uint64_t cookie, handle;
	socklen_t len = sizeof(cookie);
	struct attrs peer;

	ASSERT_EQ(0, getsockopt(self->pair.server, SOL_SOCKET, SO_COOKIE, &cookie, &len));
	ASSERT_EQ(0, client_add1(&self->c, self->session, self->pair.server, &conf, &handle));
	EXPECT_EQ(1ull << 32, handle);
	ASSERT_EQ(0, client_get(&self->c, self->session, handle, &peer));
	EXPECT_EQ(handle, peer.v[SOCKBEAT_A_PEER_HANDLE]);
	EXPECT_EQ(1234, peer.v[SOCKBEAT_A_PEER_TIMEOUT_MS]);
	EXPECT_EQ(SOCKBEAT_SOURCE_EITHER, peer.v[SOCKBEAT_A_PEER_SOURCE]);
	EXPECT_EQ(SOCKBEAT_TRIGGER_LEVEL, peer.v[SOCKBEAT_A_PEER_TRIGGER]);
	EXPECT_EQ(0xdeadbeefcafe, peer.v[SOCKBEAT_A_PEER_USER_DATA]);
	EXPECT_EQ(SOCKBEAT_STATE_LIVE, peer.v[SOCKBEAT_A_PEER_STATE]);
	EXPECT_EQ(TCP_ESTABLISHED, peer.v[SOCKBEAT_A_PEER_TCP_STATE]);
	EXPECT_EQ(cookie, peer.v[SOCKBEAT_A_PEER_COOKIE]);
	EXPECT_GT(1000, peer.v[SOCKBEAT_A_PEER_IDLE_MS]);

	EXPECT_EQ(0, client_del(&self->c, self->session, handle));
	EXPECT_EQ(-ENOENT, client_get(&self->c, self->session, handle, &peer));
	EXPECT_STREQ("no peer has this handle", self->c.why);
	EXPECT_EQ(-ENOENT, client_del(&self->c, self->session, handle));
}

TEST_F(peer, session_defaults_apply)
{
	struct attrs peer;
	uint64_t handle;

	ASSERT_EQ(0, client_add1(&self->c, self->session, self->pair.server, NULL, &handle));
	ASSERT_EQ(0, client_get(&self->c, self->session, handle, &peer));
	EXPECT_EQ(60000, peer.v[SOCKBEAT_A_PEER_TIMEOUT_MS]);
	EXPECT_EQ(SOCKBEAT_SOURCE_ACTIVITY, peer.v[SOCKBEAT_A_PEER_SOURCE]);
	EXPECT_EQ(SOCKBEAT_TRIGGER_EDGE, peer.v[SOCKBEAT_A_PEER_TRIGGER]);
}

TEST_F(peer, ipv6)
{
	struct pair pair;
	uint64_t handle;

	ASSERT_EQ(0, tcp_pairs(AF_INET6, &pair, 1));
	EXPECT_EQ(0, client_add1(&self->c, self->session, pair.server, NULL, &handle));
	tcp_pair_close(&pair);
}

TEST_F(peer, refused_sockets)
{
	struct { int fd, err; const char *why; } bad[8] = {
		{ socket(AF_INET, SOCK_DGRAM, 0), -EPROTONOSUPPORT, "socket is not a TCP socket" },
		{ socket(AF_UNIX, SOCK_STREAM, 0), -EPROTONOSUPPORT, "socket is not a TCP socket" },
		{ socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP), -EPROTONOSUPPORT,
		  "socket is not a TCP socket" },
		{ socket(AF_INET, SOCK_STREAM, 0), -ENOTCONN, "socket is not connected" },
		{ epoll_create1(0), -ENOTSOCK, "fd is not a socket" },
		{ self->session, -ENOTSOCK, "fd is not a socket" },
		{ 1000000, -EBADF, "fd is not open" },
		{ -1, -EINVAL, "socket is listening" },
	};
	uint64_t handle;
	uint16_t port;
	unsigned int i;

	bad[7].fd = tcp_listen(AF_INET, "127.0.0.1", &port);
	for (i = 0; i < 8; i++) {
		ASSERT_LE(0, bad[i].fd) TH_LOG("case %u", i);
		EXPECT_EQ(bad[i].err, client_add1(&self->c, self->session, bad[i].fd, NULL, &handle))
			TH_LOG("case %u", i);
		EXPECT_STREQ(bad[i].why, self->c.why);
		EXPECT_NE(0, self->c.bad_off);
	}
	EXPECT_EQ(0, client_dump(&self->c, self->session, 0, NULL, 0));
}

TEST_F(peer, foreign_namespace_refused)
{
	struct pair pair;
	uint64_t handle;
	int old;

	old = netns_new();
	ASSERT_LE(0, old);
	ASSERT_EQ(0, tcp_pair(&pair));
	ASSERT_EQ(0, netns_enter(old));
	EXPECT_EQ(-EXDEV, client_add1(&self->c, self->session, pair.server, NULL, &handle));
	EXPECT_STREQ("socket belongs to another network namespace", self->c.why);
	tcp_pair_close(&pair);
	close(old);
}

TEST_F(peer, tracked_once)
{
	struct client other;
	uint64_t handle, again;
	int session;

	ASSERT_EQ(0, client_add1(&self->c, self->session, self->pair.server, NULL, &handle));
	EXPECT_EQ(-EEXIST, client_add1(&self->c, self->session, self->pair.server, NULL, &again));
	EXPECT_STREQ("socket is tracked already", self->c.why);

	/* Not by another session either, until the first lets it go. */
	ASSERT_EQ(0, client_open(&other));
	session = client_session_new(&other, 1, 0, 0, SOCKBEAT_TRIGGER_LEVEL, NULL);
	ASSERT_LE(0, session);
	EXPECT_EQ(-EEXIST, client_add1(&other, session, self->pair.server, NULL, &again));
	EXPECT_EQ(0, client_del(&self->c, self->session, handle));
	EXPECT_EQ(0, client_add1(&other, session, self->pair.server, NULL, &again));
	close(session);
	EXPECT_EQ(0, client_add1(&self->c, self->session, self->pair.server, NULL, &again));
	client_close(&other);
}

TEST_F(peer, batch_is_all_or_none)
{
	struct pair pairs[3];
	uint64_t handles[4];
	int fds[4];

	ASSERT_EQ(0, tcp_pairs(AF_INET, pairs, 3));
	fds[0] = pairs[0].server;
	fds[1] = pairs[1].server;
	fds[2] = 1000000;
	fds[3] = pairs[2].server;
	EXPECT_EQ(-EBADF, client_add(&self->c, self->session, fds, 4, NULL, handles));
	/* headers, the session's fd, then entries of 12 bytes */
	EXPECT_EQ(NLMSG_HDRLEN + GENL_HDRLEN + 8 + 2 * 12, self->c.bad_off);
	EXPECT_EQ(0, client_dump(&self->c, self->session, 0, NULL, 0));

	fds[2] = pairs[2].server;
	ASSERT_EQ(0, client_add(&self->c, self->session, fds, 3, NULL, handles));
	EXPECT_EQ(3, client_dump(&self->c, self->session, 0, NULL, 0));

	/* The handles, one of them stale: nothing is deleted. */
	handles[3] = handles[0] + (1ull << 32);
	EXPECT_EQ(-ENOENT, client_handles(&self->c, self->session, SOCKBEAT_CMD_PEER_DEL,
					  handles, 4, NULL));
	EXPECT_EQ(3, client_dump(&self->c, self->session, 0, NULL, 0));
	handles[3] = handles[0];
	EXPECT_EQ(-EINVAL, client_handles(&self->c, self->session, SOCKBEAT_CMD_PEER_DEL,
					  handles, 4, NULL));
	EXPECT_STREQ("peer is named twice", self->c.why);
	EXPECT_EQ(3, client_dump(&self->c, self->session, 0, NULL, 0));
	EXPECT_EQ(0, client_handles(&self->c, self->session, SOCKBEAT_CMD_PEER_DEL,
				    handles, 3, NULL));
	EXPECT_EQ(0, client_dump(&self->c, self->session, 0, NULL, 0));
}

TEST_F(peer, batch_limits)
{
	static int fds[257];
	static uint64_t handles[257];

	EXPECT_EQ(-EINVAL, client_add(&self->c, self->session, fds, 0, NULL, handles));
	EXPECT_EQ(-E2BIG, client_add(&self->c, self->session, fds, 257, NULL, handles));
}

/* Slots are reused first-in first-out, with a new generation each. */
TEST_F(peer, generations_and_full_table)
{
	struct pair pairs[9];
	uint64_t handles[9], again;
	int i;

	ASSERT_EQ(0, tcp_pairs(AF_INET, pairs, 9));
	for (i = 0; i < 8; i++) {
		ASSERT_EQ(0, client_add1(&self->c, self->session, pairs[i].server, NULL, &handles[i]));
		EXPECT_EQ(1ull << 32 | i, handles[i]);
	}
	EXPECT_EQ(-ENOSPC, client_add1(&self->c, self->session, pairs[8].server, NULL, &handles[8]));
	EXPECT_STREQ("no free slot: 8 live, 0 silent, 0 gone, 0 in quarantine", self->c.why);

	ASSERT_EQ(0, client_del(&self->c, self->session, handles[5]));
	ASSERT_EQ(0, client_del(&self->c, self->session, handles[2]));
	ASSERT_EQ(0, client_add1(&self->c, self->session, pairs[2].server, NULL, &again));
	EXPECT_EQ(2ull << 32 | 5, again);
	ASSERT_EQ(0, client_add1(&self->c, self->session, pairs[5].server, NULL, &again));
	EXPECT_EQ(2ull << 32 | 2, again);
	EXPECT_EQ(-1, client_state(&self->c, self->session, handles[2]));
	EXPECT_EQ(SOCKBEAT_STATE_LIVE, client_state(&self->c, self->session, again));
	for (i = 0; i < 9; i++)
		tcp_pair_close(&pairs[i]);
}

TEST_F(peer, set)
{
	struct peer_conf conf = { 5000, SOCKBEAT_SOURCE_BEAT, SOCKBEAT_TRIGGER_LEVEL, 7 };
	struct attrs peer;
	uint64_t handle;

	ASSERT_EQ(0, client_add1(&self->c, self->session, self->pair.server, NULL, &handle));
	ASSERT_EQ(0, client_set(&self->c, self->session, handle, &conf));
	ASSERT_EQ(0, client_get(&self->c, self->session, handle, &peer));
	EXPECT_EQ(5000, peer.v[SOCKBEAT_A_PEER_TIMEOUT_MS]);
	EXPECT_EQ(SOCKBEAT_SOURCE_BEAT, peer.v[SOCKBEAT_A_PEER_SOURCE]);
	EXPECT_EQ(SOCKBEAT_TRIGGER_LEVEL, peer.v[SOCKBEAT_A_PEER_TRIGGER]);
	EXPECT_EQ(7, peer.v[SOCKBEAT_A_PEER_USER_DATA]);
}

TEST_F(peer, set_out_of_range_changes_nothing)
{
	struct peer_conf low = { 99, KEEP, KEEP, 0 }, high = { 604800001, KEEP, KEEP, 0 };
	struct peer_conf source = { KEEP, 3, KEEP, 0 }, trigger = { KEEP, KEEP, 2, 0 };
	struct attrs peer;
	uint64_t handle;

	ASSERT_EQ(0, client_add1(&self->c, self->session, self->pair.server, NULL, &handle));
	EXPECT_EQ(-ERANGE, client_set(&self->c, self->session, handle, &low));
	EXPECT_NE(0, self->c.bad_off);
	EXPECT_EQ(-ERANGE, client_set(&self->c, self->session, handle, &high));
	EXPECT_EQ(-ERANGE, client_set(&self->c, self->session, handle, &source));
	EXPECT_EQ(-ERANGE, client_set(&self->c, self->session, handle, &trigger));
	ASSERT_EQ(0, client_get(&self->c, self->session, handle, &peer));
	EXPECT_EQ(60000, peer.v[SOCKBEAT_A_PEER_TIMEOUT_MS]);
	EXPECT_EQ(SOCKBEAT_SOURCE_ACTIVITY, peer.v[SOCKBEAT_A_PEER_SOURCE]);
}

TEST_F(peer, shorter_timeout_takes_effect)
{
	struct peer_conf conf = { 200, KEEP, KEEP, 0 };
	struct event ev;
	uint64_t handle;

	ASSERT_EQ(0, client_add1(&self->c, self->session, self->pair.server, NULL, &handle));
	ASSERT_EQ(0, client_set(&self->c, self->session, handle, &conf));
	ASSERT_TRUE(client_event(&self->ev, &ev, 5000));
	EXPECT_EQ(SOCKBEAT_EVENT_KIND_SILENT, ev.kind);
	EXPECT_EQ(handle, ev.handle);

	/* And a longer one makes it live again. */
	conf.timeout_ms = 600000;
	ASSERT_EQ(0, client_set(&self->c, self->session, handle, &conf));
	EXPECT_EQ(SOCKBEAT_STATE_LIVE, client_state(&self->c, self->session, handle));
}

/* Attributes that a request does not take, and requests without a session. */
TEST_F(peer, strict)
{
	struct nlmsghdr *nlh;
	struct nlattr *nest;

	nlh = client_cmd(&self->c, SOCKBEAT_CMD_PEER_ADD);
	mnl_attr_put_u32(nlh, SOCKBEAT_A_SESSION_FD, self->session);
	nest = mnl_attr_nest_start(nlh, SOCKBEAT_A_SESSION_PEER);
	mnl_attr_put_u32(nlh, SOCKBEAT_A_PEER_FD, self->pair.server);
	mnl_attr_put_u32(nlh, SOCKBEAT_A_PEER_STATE, 1);
	mnl_attr_nest_end(nlh, nest);
	EXPECT_EQ(-EINVAL, client_talk(&self->c, nlh, NULL, NULL));
	EXPECT_STREQ("request does not take this attribute of a peer", self->c.why);

	nlh = client_cmd(&self->c, SOCKBEAT_CMD_PEER_ADD);
	mnl_attr_put_u32(nlh, SOCKBEAT_A_SESSION_FD, self->session);
	nest = mnl_attr_nest_start(nlh, SOCKBEAT_A_SESSION_PEER);
	mnl_attr_nest_end(nlh, nest);
	EXPECT_EQ(-EINVAL, client_talk(&self->c, nlh, NULL, NULL));
	EXPECT_STREQ("peer without fd", self->c.why);

	nlh = client_cmd(&self->c, SOCKBEAT_CMD_PEER_ADD);
	EXPECT_EQ(-EINVAL, client_talk(&self->c, nlh, NULL, NULL));
	EXPECT_STREQ("request names no session fd", self->c.why);

	nlh = client_cmd(&self->c, SOCKBEAT_CMD_SESSION_GET);
	mnl_attr_put_u32(nlh, SOCKBEAT_A_SESSION_FD, self->pair.server);
	EXPECT_EQ(-EINVAL, client_talk(&self->c, nlh, NULL, NULL));
	EXPECT_STREQ("fd is not a sockbeat session", self->c.why);

	nlh = client_cmd(&self->c, SOCKBEAT_CMD_SESSION_GET);
	mnl_attr_put_u32(nlh, SOCKBEAT_A_SESSION_FD, 1000000);
	EXPECT_EQ(-EBADF, client_talk(&self->c, nlh, NULL, NULL));
	EXPECT_STREQ("session fd is not open", self->c.why);

	nlh = client_cmd(&self->c, SOCKBEAT_CMD_SESSION_GET);
	mnl_attr_put_u32(nlh, SOCKBEAT_A_SESSION_FD, self->session);
	mnl_attr_put_u32(nlh, 63, 1);
	EXPECT_EQ(-EINVAL, client_talk(&self->c, nlh, NULL, NULL));
}

/* A thread may own a socket for as long as it likes. A request must not wait
 * for that: generic netlink as a whole would wait with it.
 */
TEST_F(peer, socket_in_use)
{
	struct owner owner;
	uint64_t handle, start;

	if (owner_start(&owner, self->pair.server))
		SKIP(return, "userfaultfd: %s", strerror(errno));
	start = now_ms();
	EXPECT_EQ(-EBUSY, client_add1(&self->c, self->session, self->pair.server, NULL, &handle));
	EXPECT_STREQ("socket is in use by another thread", self->c.why);
	EXPECT_GE(5000, now_ms() - start);
	EXPECT_EQ(0, client_dump(&self->c, self->session, 0, NULL, 0));

	owner_stop(&owner);
	EXPECT_EQ(0, client_add1(&self->c, self->session, self->pair.server, NULL, &handle));
}

/* Generic netlink holds a lock through all requests of a buffer, on which whoever
 * loads or unloads a family waits, and everyone behind that.
 */
TEST_F(peer, only_the_last_of_a_buffer_waits)
{
	char *begin = self->c.tx;
	struct nlmsghdr *nlh;
	struct nlattr *nest;
	struct owner owner;
	uint64_t start;
	size_t len;

	if (owner_start(&owner, self->pair.server))
		SKIP(return, "userfaultfd: %s", strerror(errno));
	for (int i = 0; i < 50; i++) {
		nlh = client_cmd(&self->c, SOCKBEAT_CMD_PEER_ADD);
		mnl_attr_put_u32(nlh, SOCKBEAT_A_SESSION_FD, self->session);
		nest = mnl_attr_nest_start(nlh, SOCKBEAT_A_SESSION_PEER);
		mnl_attr_put_u32(nlh, SOCKBEAT_A_PEER_FD, self->pair.server);
		mnl_attr_nest_end(nlh, nest);
		self->c.tx += MNL_ALIGN(nlh->nlmsg_len);
	}
	len = self->c.tx - begin;
	self->c.tx = begin;
	start = now_ms();
	EXPECT_EQ(len, mnl_socket_sendto(self->c.nl, begin, len));
	EXPECT_GE(2000, now_ms() - start);
	owner_stop(&owner);
}

/* Nor is more than one table walked there, of which nothing may be shown. */
TEST_F(peer, a_dump_is_the_last_of_its_buffer)
{
	static const uint8_t cmds[] = { SOCKBEAT_CMD_PEER_GET, SOCKBEAT_CMD_SESSION_GET };

	for (int i = 0; i < 2; i++) {
		struct nlmsghdr *first = client_msg(&self->c, self->c.family, cmds[i], NLM_F_DUMP), *nlh;
		char *begin = self->c.tx;
		const struct nlmsgerr *err;
		uint32_t seq;
		int len;

		if (!i)
			mnl_attr_put_u32(first, SOCKBEAT_A_SESSION_FD, self->session);
		seq = first->nlmsg_seq;
		self->c.tx += MNL_ALIGN(first->nlmsg_len);
		nlh = client_msg(&self->c, self->c.family, cmds[i], NLM_F_DUMP);
		if (!i)
			mnl_attr_put_u32(nlh, SOCKBEAT_A_SESSION_FD, self->session);
		len = self->c.tx + nlh->nlmsg_len - begin;
		self->c.tx = begin;
		ASSERT_EQ(len, mnl_socket_sendto(self->c.nl, begin, len));
		len = mnl_socket_recvfrom(self->c.nl, self->c.rx, CLIENT_BUF);
		nlh = (void *)self->c.rx;
		ASSERT_TRUE(mnl_nlmsg_ok(nlh, len));
		err = mnl_nlmsg_get_payload(nlh);
		EXPECT_EQ(seq, nlh->nlmsg_seq);
		EXPECT_TRUE((nlh->nlmsg_type == NLMSG_ERROR || nlh->nlmsg_type == NLMSG_DONE) &&
			    err->error == -EBUSY) {
			TH_LOG("type %u, %d", nlh->nlmsg_type, err->error);
		}
		/* The second is answered, to its end. */
		do {
			for (; mnl_nlmsg_ok(nlh, len); nlh = mnl_nlmsg_next(nlh, &len))
				seq = nlh->nlmsg_type == NLMSG_DONE ? nlh->nlmsg_seq : seq;
			if (seq == self->c.seq)
				break;
			len = mnl_socket_recvfrom(self->c.nl, self->c.rx, CLIENT_BUF);
			nlh = (void *)self->c.rx;
		} while (len > 0);
		EXPECT_EQ(self->c.seq, seq);
	}
}

/* What a peer that is gone tells, and how often, can be changed, too. */
TEST_F(peer, gone_is_told_again_once_level)
{
	struct peer_conf level = { KEEP, KEEP, SOCKBEAT_TRIGGER_LEVEL, 0 };
	struct peer_conf edge = { KEEP, KEEP, SOCKBEAT_TRIGGER_EDGE, 0 };
	struct event ev;
	uint64_t handle;

	ASSERT_EQ(0, client_setting(&self->c, self->session, 0,
				    SOCKBEAT_A_SESSION_RENOTIFY_MS, 200));
	ASSERT_EQ(0, client_add1(&self->c, self->session, self->pair.server, NULL, &handle));
	close(self->pair.server);
	self->pair.server = -1;
	ASSERT_TRUE(client_event(&self->ev, &ev, 20000));
	ASSERT_EQ(SOCKBEAT_EVENT_KIND_GONE, ev.kind);
	ASSERT_EQ(0, client_set(&self->c, self->session, handle, &level));
	for (int i = 0; i < 2; i++) {
		ASSERT_TRUE(client_event(&self->ev, &ev, 20000));
		EXPECT_EQ(SOCKBEAT_EVENT_KIND_GONE, ev.kind);
		EXPECT_EQ(handle, ev.handle);
	}
	ASSERT_EQ(0, client_set(&self->c, self->session, handle, &edge));
	while (client_event(&self->ev, &ev, 0))
		;
	EXPECT_FALSE(client_event(&self->ev, &ev, 1000));
}

TEST_F(peer, dump_filters_by_state)
{
	struct peer_conf brief = { 200, KEEP, KEEP, 1 }, lasting = { 60000, KEEP, KEEP, 2 };
	uint64_t silent, live, gone;
	struct attrs peers[3];
	struct pair pairs[3];
	struct event ev;

	ASSERT_EQ(0, tcp_pairs(AF_INET, pairs, 3));
	ASSERT_EQ(0, client_add1(&self->c, self->session, pairs[0].server, &brief, &silent));
	ASSERT_EQ(0, client_add1(&self->c, self->session, pairs[1].server, &lasting, &live));
	ASSERT_TRUE(client_event(&self->ev, &ev, 5000));
	ASSERT_EQ(0, client_add1(&self->c, self->session, pairs[2].server, &lasting, &gone));
	close(pairs[2].server);
	ASSERT_TRUE(client_event(&self->ev, &ev, 5000));

	EXPECT_EQ(3, client_dump(&self->c, self->session, 0, peers, 3));
	EXPECT_EQ(1, client_dump(&self->c, self->session, 1 << SOCKBEAT_STATE_SILENT, peers, 3));
	EXPECT_EQ(silent, peers[0].v[SOCKBEAT_A_PEER_HANDLE]);
	EXPECT_EQ(1, client_dump(&self->c, self->session, 1 << SOCKBEAT_STATE_LIVE, peers, 3));
	EXPECT_EQ(live, peers[0].v[SOCKBEAT_A_PEER_HANDLE]);
	EXPECT_EQ(1, client_dump(&self->c, self->session, 1 << SOCKBEAT_STATE_GONE, peers, 3));
	EXPECT_EQ(gone, peers[0].v[SOCKBEAT_A_PEER_HANDLE]);
	EXPECT_FALSE(peers[0].has[SOCKBEAT_A_PEER_TCP_STATE]);
	EXPECT_EQ(2, client_dump(&self->c, self->session, 1 << SOCKBEAT_STATE_GONE |
				 1 << SOCKBEAT_STATE_LIVE, peers, 3));
	EXPECT_EQ(-EINVAL, client_dump(&self->c, self->session, 1 << 7, peers, 3));
}

/* A peer that was heard, but not looked at since, is not silent to a filter
 * either: it would be shown as live.
 */
TEST_F(peer, dump_filters_by_the_state_that_it_shows)
{
	struct peer_conf conf = { 1000, KEEP, KEEP, 0 };
	struct attrs peers[2];
	struct event ev;
	uint64_t handle;

	ASSERT_EQ(0, client_add1(&self->c, self->session, self->pair.server, &conf, &handle));
	ASSERT_TRUE(client_event(&self->ev, &ev, 5000));
	ASSERT_EQ(SOCKBEAT_EVENT_KIND_SILENT, ev.kind);
	EXPECT_EQ(1, client_dump(&self->c, self->session, 1 << SOCKBEAT_STATE_SILENT, peers, 2));
	ASSERT_EQ(1, write(self->pair.client, "x", 1));
	EXPECT_EQ(0, client_dump(&self->c, self->session, 1 << SOCKBEAT_STATE_SILENT, peers, 2));
	EXPECT_EQ(1, client_dump(&self->c, self->session, 1 << SOCKBEAT_STATE_LIVE, peers, 2));
}

TEST_HARNESS_MAIN
