// SPDX-License-Identifier: GPL-2.0-only
/*
 * Heartbeats that the kernel answers: which ones it takes, and that it leaves
 * everything else to the application untouched.
 */
#define _GNU_SOURCE
#include <sys/epoll.h>

#include "owner.h"
#include "offload.h"
#include "param.h"
#include "raw.h"
#include "wire.h"

TEST_F(offload, answered_and_never_seen)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLET };
	long total = counter_read("answered");
	int ep = epoll_create1(EPOLL_CLOEXEC);

	ASSERT_EQ(0, epoll_ctl(ep, EPOLL_CTL_ADD, self->pair.server, &event));
	for (int i = 0; i < 100; i++)
		expect_answered(_metadata, self);
	ASSERT_EQ(0, epoll_wait(ep, &event, 1, 0));
	ASSERT_EQ(100, stat_of(_metadata, self, SOCKBEAT_A_STATS_ANSWERED));
	ASSERT_EQ(total + 100, counter_read("answered"));
	close(ep);
	/* A session's count outlives it. */
	munmap(self->slots, 4 * sizeof(*self->slots));
	close(self->session);
	self->session = -1;
	ASSERT_EQ(total + 100, counter_read("answered"));
}

TEST_F(offload, several_at_once)
{
	uint8_t many[20 * HEARTBEAT_BYTES];

	wire_heartbeats(many, 20);
	client_sends(_metadata, self, many, sizeof(many));
	ASSERT_TRUE(receives(self->pair.client, many, sizeof(many)));
	ASSERT_TRUE(reaches(_metadata, self, SOCKBEAT_A_STATS_ANSWERED, 20));
	ASSERT_FALSE(is_readable(self->pair.server));
}

/* More than is answered at once: the application does it, all of it. */
TEST_F(offload, very_many_at_once)
{
	uint8_t many[200 * HEARTBEAT_BYTES];

	wire_heartbeats(many, 200);
	client_sends(_metadata, self, many, sizeof(many));
	ASSERT_TRUE(receives(self->pair.server, many, sizeof(many)));
	ASSERT_EQ(0, stat_of(_metadata, self, SOCKBEAT_A_STATS_ANSWERED));
	ASSERT_TRUE(reaches(_metadata, self, SOCKBEAT_A_STATS_PASS_DATA, 1));
}

/* The same where an answer, there being none, would be no longer for it. */
TEST_F(offload, very_many_without_an_answer)
{
	static const struct pattern pattern = { "\0", 1 };
	struct profile p = { .id = 1, .pattern = &pattern, .n = 1 };
	static const uint8_t many[1100];

	ASSERT_EQ(0, client_profile(&self->c, self->session, &p));
	client_sends(_metadata, self, many, sizeof(many));
	ASSERT_TRUE(receives(self->pair.server, many, sizeof(many)));
	ASSERT_EQ(0, stat_of(_metadata, self, SOCKBEAT_A_STATS_ANSWERED));
	ASSERT_TRUE(reaches(_metadata, self, SOCKBEAT_A_STATS_PASS_DATA, 1));
}

TEST_F(offload, data_is_passed)
{
	client_sends(_metadata, self, "\0\11\0\1????x", 9);
	ASSERT_TRUE(receives(self->pair.server, "\0\11\0\1????x", 9));
	ASSERT_TRUE(reaches(_metadata, self, SOCKBEAT_A_STATS_PASS_DATA, 1));
	/* It has not said yet that it is done with the frame. */
	self->rx += 9;
	expect_passed(_metadata, self, SOCKBEAT_A_STATS_PASS_POSITION);
	stand(_metadata, self);
	expect_answered(_metadata, self);
}

TEST_F(offload, heartbeats_around_data_are_passed)
{
	static const char mixed[] = HEARTBEAT "\0\11\0\1????x" HEARTBEAT;

	client_sends(_metadata, self, mixed, sizeof(mixed) - 1);
	ASSERT_TRUE(receives(self->pair.server, mixed, sizeof(mixed) - 1));
	ASSERT_FALSE(is_readable(self->pair.client));
	ASSERT_EQ(0, stat_of(_metadata, self, SOCKBEAT_A_STATS_ANSWERED));
}

/* The application was woken for the first part, but has not read it. */
TEST_F(offload, split_heartbeat_unread)
{
	for (int cut = 1; cut < HEARTBEAT_BYTES; cut++) {
		client_sends(_metadata, self, HEARTBEAT, cut);
		ASSERT_TRUE(reaches(_metadata, self, SOCKBEAT_A_STATS_PASS_PARTIAL, cut));
		ASSERT_TRUE(becomes_readable(self->pair.server));
		client_sends(_metadata, self, HEARTBEAT + cut, HEARTBEAT_BYTES - cut);
		ASSERT_TRUE(receives(self->pair.client, HEARTBEAT, HEARTBEAT_BYTES));
		ASSERT_TRUE(reaches(_metadata, self, SOCKBEAT_A_STATS_ANSWERED, cut));
		ASSERT_FALSE(is_readable(self->pair.server));
	}
}

TEST_F(offload, split_heartbeat_read)
{
	for (int cut = 1; cut < HEARTBEAT_BYTES; cut++) {
		client_sends(_metadata, self, HEARTBEAT, cut);
		ASSERT_TRUE(receives(self->pair.server, HEARTBEAT, cut));
		client_sends(_metadata, self, HEARTBEAT + cut, HEARTBEAT_BYTES - cut);
		ASSERT_TRUE(receives(self->pair.server, HEARTBEAT + cut, HEARTBEAT_BYTES - cut));
		ASSERT_TRUE(reaches(_metadata, self, SOCKBEAT_A_STATS_PASS_POSITION, cut));
		self->rx += HEARTBEAT_BYTES;
		stand(_metadata, self);
	}
	expect_answered(_metadata, self);
}

/* A record that was never written, or is about another peer, is no position. */
TEST_F(offload, silent_record_is_no_position)
{
	stand_at(self->slots, 0, 0, 0);
	expect_passed(_metadata, self, SOCKBEAT_A_STATS_PASS_POSITION);
	stand_at(self->slots, self->handle + (1ull << 32), self->rx, self->tx);
	expect_passed(_metadata, self, SOCKBEAT_A_STATS_PASS_POSITION);
	stand(_metadata, self);
	expect_answered(_metadata, self);
}

TEST_F(offload, output_that_waits_in_the_process)
{
	self->tx += 4;
	stand(_metadata, self);
	self->tx -= 4;
	expect_passed(_metadata, self, SOCKBEAT_A_STATS_PASS_POSITION);
	ASSERT_EQ(4, send(self->pair.server, "data", 4, 0));
	self->tx += 4;
	stand(_metadata, self);
	ASSERT_TRUE(receives(self->pair.client, "data", 4));
	expect_answered(_metadata, self);
}

TEST_F(offload, output_that_waits_in_the_socket)
{
	int one = 1, zero = 0;

	ASSERT_EQ(0, setsockopt(self->pair.server, IPPROTO_TCP, TCP_CORK, &one, sizeof(one)));
	ASSERT_EQ(4, send(self->pair.server, "data", 4, 0));
	self->tx += 4;
	stand(_metadata, self);
	client_sends(_metadata, self, HEARTBEAT, HEARTBEAT_BYTES);
	ASSERT_TRUE(receives(self->pair.server, HEARTBEAT, HEARTBEAT_BYTES));
	ASSERT_TRUE(reaches(_metadata, self, SOCKBEAT_A_STATS_PASS_QUEUE, 1));
	ASSERT_EQ(0, setsockopt(self->pair.server, IPPROTO_TCP, TCP_CORK, &zero, sizeof(zero)));
	ASSERT_TRUE(receives(self->pair.client, "data", 4));
	self->rx += HEARTBEAT_BYTES;
	stand(_metadata, self);
	expect_answered(_metadata, self);
}

TEST_F(offload, urgent_data)
{
	ASSERT_EQ(1, send(self->pair.client, "!", 1, MSG_OOB));
	ASSERT_TRUE(reaches(_metadata, self, SOCKBEAT_A_STATS_PASS_STATE, 1));
	client_sends(_metadata, self, HEARTBEAT, HEARTBEAT_BYTES);
	ASSERT_TRUE(receives(self->pair.server, HEARTBEAT, HEARTBEAT_BYTES));
	ASSERT_EQ(0, stat_of(_metadata, self, SOCKBEAT_A_STATS_ANSWERED));
}

/* The client sends no more: its last heartbeat is the application's. */
TEST_F(offload, half_closed)
{
	char byte;

	expect_answered(_metadata, self);
	client_sends(_metadata, self, "\0", 1);
	ASSERT_TRUE(reaches(_metadata, self, SOCKBEAT_A_STATS_PASS_PARTIAL, 1));
	ASSERT_EQ(0, shutdown(self->pair.client, SHUT_WR));
	ASSERT_TRUE(receives(self->pair.server, "\0", 1));
	ASSERT_TRUE(becomes_readable(self->pair.server));
	ASSERT_EQ(0, recv(self->pair.server, &byte, 1, MSG_DONTWAIT));
	ASSERT_EQ(4, send(self->pair.server, "last", 4, 0));
	ASSERT_TRUE(receives(self->pair.client, "last", 4));
}

/* A thread in a page fault has the socket; what comes then is queued until it
 * is back, and left to the application.
 */
TEST_F(offload, owned_by_a_thread)
{
	struct owner owner;

	if (owner_start(&owner, self->pair.server))
		SKIP(return, "no userfaultfd: %s", strerror(errno));
	client_sends(_metadata, self, HEARTBEAT, HEARTBEAT_BYTES);
	owner_stop(&owner);
	ASSERT_TRUE(reaches(_metadata, self, SOCKBEAT_A_STATS_PASS_OWNED, 1));
	ASSERT_TRUE(receives(self->pair.server, HEARTBEAT, HEARTBEAT_BYTES));
	ASSERT_EQ(0, stat_of(_metadata, self, SOCKBEAT_A_STATS_ANSWERED));
}

TEST_F(offload, flood_reaches_the_application)
{
	struct profile slow = native;
	uint8_t two[2 * HEARTBEAT_BYTES];

	wire_heartbeats(two, 2);
	slow.min_interval_ms = 600000;
	ASSERT_EQ(0, client_profile(&self->c, self->session, &slow));
	client_sends(_metadata, self, two, sizeof(two));
	ASSERT_TRUE(receives(self->pair.server, two, sizeof(two)));
	ASSERT_TRUE(reaches(_metadata, self, SOCKBEAT_A_STATS_PASS_RATE, 1));
	self->rx += sizeof(two);
	stand(_metadata, self);
	expect_answered(_metadata, self);
	expect_passed(_metadata, self, SOCKBEAT_A_STATS_PASS_RATE);
	stand(_metadata, self);
	/* Changed while it is in use. */
	slow.min_interval_ms = 1;
	ASSERT_EQ(0, client_profile(&self->c, self->session, &slow));
	usleep(20000);
	expect_answered(_metadata, self);
}

TEST_F(offload, bytes_are_copied)
{
	static const struct pattern ping = {
		"\0\0\10\6\0\0\0\0\0........", 17,
		"\377\377\377\377\377\377\377\377\377\0\0\0\0\0\0\0\0",
		"\0\0\10\6\1\0\0\0\0........", 17, 9, 9, 8,
	};
	struct profile http2 = { .id = 1, .pattern = &ping, .n = 1 };

	ASSERT_EQ(0, client_profile(&self->c, self->session, &http2)) {
		TH_LOG("%s", self->c.why);
	}
	client_sends(_metadata, self, "\0\0\10\6\0\0\0\0\0opaque!!", 17);
	ASSERT_TRUE(receives(self->pair.client, "\0\0\10\6\1\0\0\0\0opaque!!", 17));
	/* What differs outside the mask is something else. */
	client_sends(_metadata, self, "\0\0\10\6\1\0\0\0\0opaque!!", 17);
	ASSERT_TRUE(receives(self->pair.server, "\0\0\10\6\1\0\0\0\0opaque!!", 17));
}

TEST_F(offload, several_patterns)
{
	static const struct pattern resp[] = {
		{ "PING\r\n", 6, "\337\337\337\337\377\377", "+PONG\r\n", 7 },
		{ "*1\r\n$4\r\nPING\r\n", 14, NULL, "+PONG\r\n", 7 },
		{ "quiet", 5 },
	};
	struct profile p = { .id = 1, .pattern = resp, .n = 3 };
	static const char all[] = "ping\r\n*1\r\n$4\r\nPING\r\nquietPiNg\r\n";

	ASSERT_EQ(0, client_profile(&self->c, self->session, &p));
	client_sends(_metadata, self, all, sizeof(all) - 1);
	ASSERT_TRUE(receives(self->pair.client, "+PONG\r\n+PONG\r\n+PONG\r\n", 21));
	ASSERT_TRUE(reaches(_metadata, self, SOCKBEAT_A_STATS_ANSWERED, 4));
	ASSERT_FALSE(is_readable(self->pair.server));
}

/* A client that takes no answers: they may wait in the socket, but when they
 * do its heartbeats are the application's.
 */
TEST_F(offload, reader_that_does_not_read)
{
	uint64_t end = now_ms() + PATIENCE_MS, sent = 0, passed = 0;
	int one = 1;

	ASSERT_EQ(0, setsockopt(self->pair.client, SOL_SOCKET, SO_RCVBUF, &one, sizeof(one)));
	ASSERT_EQ(0, setsockopt(self->pair.client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)));
	while (!is_readable(self->pair.server) && now_ms() < end) {
		client_sends(_metadata, self, HEARTBEAT, HEARTBEAT_BYTES);
		sent++;
	}
	ASSERT_TRUE(is_readable(self->pair.server));
	while (receives(self->pair.server, HEARTBEAT, HEARTBEAT_BYTES)) {
		passed++;
		if (!is_readable(self->pair.server))
			break;
	}
	for (uint64_t i = 0; i < sent - passed; i++)
		ASSERT_TRUE(receives(self->pair.client, HEARTBEAT, HEARTBEAT_BYTES));
	ASSERT_FALSE(is_readable(self->pair.client));
	ASSERT_EQ(sent - passed, stat_of(_metadata, self, SOCKBEAT_A_STATS_ANSWERED));
	ASSERT_LE(1, stat_of(_metadata, self, SOCKBEAT_A_STATS_PASS_QUEUE));
}

/* Where only stamps of the application count, what it never saw counts too. */
TEST_F(offload, counts_as_heard)
{
	struct peer_conf beat = { 2000, SOCKBEAT_SOURCE_BEAT, KEEP, 0 };
	uint64_t end = now_ms() + 5000;
	struct event ev;

	ASSERT_EQ(0, client_set(&self->c, self->session, self->handle, &beat));
	while (now_ms() < end) {
		expect_answered(_metadata, self);
		ASSERT_FALSE(client_event(&self->ev, &ev, 100));
	}
	ASSERT_EQ(0, stat_of(_metadata, self, SOCKBEAT_A_STATS_SILENCES));
	ASSERT_TRUE(client_event(&self->ev, &ev, PATIENCE_MS));
	ASSERT_EQ(SOCKBEAT_EVENT_KIND_SILENT, ev.kind);
}

/* An established socket that has not sent its own SYN yet, as TCP_FASTOPEN_CONNECT
 * defers that: by a simultaneous open of which its side was never sent.
 */
static int deferred(SELF, int raw, struct tcphdr *from)
{
	struct sockaddr_in local = { .sin_family = AF_INET }, remote;
	struct tcp_repair_window window;
	socklen_t len = sizeof(local);
	struct tcphdr tcp = { .syn = 1, .window = htons(1024), .seq = htonl(1000) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1, off = -1;

	local.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	remote = local;
	remote.sin_port = htons(9);
	ASSERT_EQ(0, bind(fd, (void *)&local, sizeof(local)));
	ASSERT_EQ(0, getsockname(fd, (void *)&local, &len));
	ASSERT_EQ(0, setsockopt(fd, SOL_TCP, TCP_FASTOPEN_CONNECT, &one, sizeof(one)));
	ASSERT_EQ(0, setsockopt(fd, SOL_TCP, TCP_FASTOPEN_NO_COOKIE, &one, sizeof(one)));
	ASSERT_EQ(0, connect(fd, (void *)&remote, sizeof(remote)));

	tcp.source = remote.sin_port;
	tcp.dest = local.sin_port;
	ASSERT_TRUE(raw_send(raw, INADDR_LOOPBACK, INADDR_LOOPBACK, &tcp, NULL, 0));
	tcp.syn = 0;
	tcp.ack = 1;
	tcp.seq = htonl(1001);
	ASSERT_TRUE(raw_send(raw, INADDR_LOOPBACK, INADDR_LOOPBACK, &tcp, NULL, 0));

	len = sizeof(window);
	ASSERT_EQ(0, setsockopt(fd, SOL_TCP, TCP_REPAIR, &one, sizeof(one)));
	ASSERT_EQ(0, getsockopt(fd, SOL_TCP, TCP_REPAIR_WINDOW, &window, &len));
	window.rcv_wnd = 1000;
	ASSERT_EQ(0, setsockopt(fd, SOL_TCP, TCP_REPAIR_WINDOW, &window, sizeof(window)));
	ASSERT_EQ(0, setsockopt(fd, SOL_TCP, TCP_REPAIR, &off, sizeof(off)));
	*from = tcp;
	return fd;
}

/* TCP would connect first if it were given an answer to send, and end the socket
 * where it cannot, in the middle of what holds it.
 */
TEST_F(offload, handshake_that_is_deferred)
{
	struct tcphdr tcp;
	uint64_t handle;
	int raw, fd;

	raw = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
	ASSERT_LE(0, raw);
	fd = deferred(_metadata, self, raw, &tcp);
	add_with(_metadata, self, fd, native.id, &handle);
	stand_at(&self->slots[(uint32_t)handle], handle, 0, 0);
	ASSERT_TRUE(raw_send(raw, INADDR_LOOPBACK, INADDR_LOOPBACK, &tcp, HEARTBEAT,
			     HEARTBEAT_BYTES));
	ASSERT_TRUE(receives(fd, HEARTBEAT, HEARTBEAT_BYTES));
	ASSERT_TRUE(reaches(_metadata, self, SOCKBEAT_A_STATS_PASS_STATE, 1));
	ASSERT_EQ(0, stat_of(_metadata, self, SOCKBEAT_A_STATS_ANSWERED));
	close(fd);
	close(raw);
}

/* Options in front of each segment that nobody knows and everybody skips. */
static void send_options(struct __test_metadata *_metadata, int fd, int len)
{
	uint8_t options[1024] = { 0, len / 8 - 1 };
	int more;

	for (int at = 2; at < len; at += more) {
		more = len - at < 257 ? len - at : 257;
		options[at] = 0x1e;
		options[at + 1] = more - 2;
	}
	ASSERT_EQ(0, setsockopt(fd, SOL_IPV6, IPV6_DSTOPTS, options, len));
}

/* A loopback connection whose client has another address than its server. */
static void pair_from(SELF, const char *server, const char *client, int option_bytes)
{
	uint16_t port;
	int fd;

	fd = tcp_listen(AF_INET6, server, &port);
	ASSERT_LE(0, fd);
	if (option_bytes)
		send_options(_metadata, fd, option_bytes);
	self->pair.client = tcp_connect_from(AF_INET6, client, server, port);
	ASSERT_LE(0, self->pair.client) TH_LOG("%s", strerror(errno));
	self->pair.server = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	ASSERT_LE(0, self->pair.server);
	close(fd);
}

static bool is_acknowledged(int fd)
{
	for (uint64_t end = now_ms() + PATIENCE_MS; tcp_unacked(fd) && now_ms() < end; )
		usleep(1000);
	return !tcp_unacked(fd);
}

/* TCP has not taken in yet that the path has become narrow, so that what is one
 * segment by its word will be three, of which the network takes the first, and
 * TCP the second.
 */
static void narrow(SELF, const char *server, const char *client, const char *route, int mtu,
		   int option_bytes)
{
	char beats[125 * HEARTBEAT_BYTES];
	int one = 1;

	for (int i = 0; i < 125; i++)
		memcpy(beats + i * HEARTBEAT_BYTES, HEARTBEAT, HEARTBEAT_BYTES);
	ASSERT_EQ(0, sh("ip link set lo gso_max_segs 1 && %s initcwnd 1", route));
	offload_begin(_metadata, self);
	tcp_pair_close(&self->pair);
	pair_from(_metadata, self, server, client, option_bytes);
	add_with(_metadata, self, self->pair.server, native.id, &self->handle);
	stand(_metadata, self);
	ASSERT_EQ(0, setsockopt(self->pair.server, SOL_TCP, TCP_NOTSENT_LOWAT, &one, sizeof(one)));

	/* Its acknowledgement takes the new path. */
	ASSERT_EQ(0, sh("%s initcwnd 1 mtu lock %d", route, mtu));
	client_sends(_metadata, self, beats, 4);
	ASSERT_TRUE(is_acknowledged(self->pair.client));
	client_sends(_metadata, self, beats + 4, sizeof(beats) - 4);
	ASSERT_TRUE(receives(self->pair.server, beats, sizeof(beats)));
	ASSERT_FALSE(is_readable(self->pair.client));
	self->rx += sizeof(beats);
	self->tx += HEARTBEAT_BYTES;
	stand(_metadata, self);
	ASSERT_EQ(HEARTBEAT_BYTES, send(self->pair.server, HEARTBEAT, HEARTBEAT_BYTES, 0));
	ASSERT_TRUE(receives(self->pair.client, HEARTBEAT, HEARTBEAT_BYTES));
	expect_answered(_metadata, self);
	offload_end(self);
}

TEST_F(offload, path_that_became_narrow)
{
	FIXTURE_DATA(offload) there = { };

	ASSERT_LE(0, netns_new());
	narrow(_metadata, &there, "::ffff:127.0.0.1", "::ffff:127.0.0.2",
	       "ip route replace table local local 127.0.0.2 dev lo", 500, 0);
}

TEST_F(offload, path_that_became_narrow_for_options)
{
	FIXTURE_DATA(offload) there = { };

	ASSERT_LE(0, netns_new());
	/* Its own routes would come before ours. */
	ASSERT_EQ(0, sh("ip addr add ::2 dev lo nodad noprefixroute && "
			"ip -6 route del table local local ::2 dev lo"));
	narrow(_metadata, &there, "::1", "::2", "ip -6 route replace table local local ::2 dev lo",
	       1280, 784);
}

/* Each end takes the other's answers for heartbeats.  It ends when one of them is
 * to be answered by its process, which does not.
 */
static void answer_each_other(SELF, uint32_t profile, const char *delay)
{
	uint64_t handle, answered, until_ms = now_ms() + 3 * PATIENCE_MS;

	/* An answer must not come while the client is still in send(). */
	ASSERT_EQ(0, sh("tc qdisc add dev lo root netem delay %s", delay));
	add_with(_metadata, self, self->pair.client, profile, &handle);
	stand_at(&self->slots[(uint32_t)handle], handle, 0, HEARTBEAT_BYTES);
	client_sends(_metadata, self, HEARTBEAT, HEARTBEAT_BYTES);
	while (!stat_of(_metadata, self, SOCKBEAT_A_STATS_PASS_RATE) && now_ms() < until_ms)
		usleep(10000);
	ASSERT_EQ(0, sh("tc qdisc del dev lo root"));
	answered = stat_of(_metadata, self, SOCKBEAT_A_STATS_ANSWERED);
	EXPECT_EQ(1, stat_of(_metadata, self, SOCKBEAT_A_STATS_PASS_RATE));
	EXPECT_LE(1000, answered);
	EXPECT_GE(2000, answered);
	EXPECT_TRUE(is_readable(self->pair.server) || is_readable(self->pair.client));
	usleep(100000);
	EXPECT_EQ(answered, stat_of(_metadata, self, SOCKBEAT_A_STATS_ANSWERED));
}

TEST_F_TIMEOUT(offload, two_offloaded_ends, 120)
{
	answer_each_other(_metadata, self, native.id, "1ms");
}

/* The same where a heartbeat comes no sooner than the least interval. */
TEST_F_TIMEOUT(offload, two_offloaded_ends_in_turn, 120)
{
	static const struct profile brief = {
		.id = 2, .min_interval_ms = 1, .pattern = &native_pattern, .n = 1
	};
	struct peer_conf conf = { KEEP, KEEP, KEEP, 0, GIVE(2), 0 };

	ASSERT_EQ(0, client_profile(&self->c, self->session, &brief));
	ASSERT_EQ(0, client_set(&self->c, self->session, self->handle, &conf));
	answer_each_other(_metadata, self, brief.id, "5ms");
}

TEST_HARNESS_MAIN
