// SPDX-License-Identifier: GPL-2.0-only
/*
 * sockbeatd as its clients see it: what is answered, what ends a connection,
 * and that a slow reader is bounded and alone.
 */
#define _GNU_SOURCE
#include "daemon_work.h"

TEST_F(daemon, heartbeat_is_answered_by_itself)
{
	int fd;

	START();
	fd = client(self);
	for (int i = 0; i < 3; i++)
		ASSERT_TRUE(is_served(fd));
	EXPECT_EQ(3, answered(self, "heartbeats"));
	EXPECT_EQ(1, sockbeatd_stat(&self->d, "", "connections"));
	EXPECT_EQ(1, sockbeatd_stat(&self->d, "session", "live"));
	close(fd);
}

TEST_F(daemon, echo)
{
	static const size_t sizes[] = { 0, 1, 100, 4096, 65527, 3 };
	static uint8_t frame[65535];
	int fd;

	START();
	fd = client(self);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		size_t len = wire_echo(frame, sizes[i], i);

		ASSERT_TRUE(put(fd, frame, len));
		ASSERT_TRUE(expect(fd, frame, len));
	}
	close(fd);
}

TEST_F(daemon, many_frames_at_once)
{
	static uint8_t wire[400000];
	size_t len = 0;
	int fd;

	START();
	fd = client(self);
	for (int i = 0; i < 1000; i++) {
		if (i % 2)
			len += wire_echo(wire + len, i % 700, i);
		else
			memcpy(wire + len, wire_heartbeat, 8), len += 8;
	}
	ASSERT_TRUE(put(fd, wire, len));
	ASSERT_TRUE(expect(fd, wire, len));
	EXPECT_EQ(1000, answered(self, "frames"));
	EXPECT_EQ(500, answered(self, "heartbeats"));
	close(fd);
}

TEST_F(daemon, byte_by_byte)
{
	uint8_t wire[216];
	size_t len;
	int fd;

	START();
	fd = client(self);
	memcpy(wire, wire_heartbeat, 8);
	len = 8 + wire_echo(wire + 8, 200, 1);
	for (size_t i = 0; i < len; i++)
		ASSERT_TRUE(put(fd, &wire[i], 1));
	ASSERT_TRUE(expect(fd, wire, len));
	ASSERT_TRUE(is_served(fd));
	close(fd);
}

/* With max_frame_bytes=1024. */
static const struct {
	const char *cause, *wire;
	size_t len;
} bad[] = {
	{ "bad_length", "\0\7\0\0\0\0\0\0", 8 },
	{ "bad_length", "\0\0\0\1\0\0\0\0", 8 },
	{ "bad_length", "\x04\x01\0\1\0\0\0\0", 8 },	/* over max_frame_bytes */
	{ "bad_length", "\0\11\0\0\0\0\0\0x", 9 },	/* heartbeat with a body */
	{ "bad_crc", "\0\11\0\1\0\0\0\0x", 9 },
	{ "bad_crc", "\0\10\0\0\0\0\0\1", 8 },
	{ "bad_type", "\0\10\0\3\0\0\0\0", 8 },
	{ "bad_request", "\0\10\0\2\0\0\0\0", 8 },
	{ "bad_type", "\0\10\377\377\0\0\0\0", 8 },
	{ "bad_length", "GET / HTTP/1.1\r\n\r\n", 18 },
};

TEST_F(daemon, bad_frames_end_the_connection)
{
	int other, fd;

	START("max_frame_bytes=1024");
	other = client(self);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		long long before = closed(self, bad[i].cause);

		fd = client(self);
		/* What is right before it is still answered. */
		ASSERT_TRUE(put(fd, wire_heartbeat, 8));
		ASSERT_TRUE(put(fd, bad[i].wire, bad[i].len));
		EXPECT_TRUE(expect(fd, wire_heartbeat, 8));
		EXPECT_TRUE(expect_end(fd)) {
			TH_LOG("frame %zu", i);
		}
		EXPECT_EQ(before + 1, closed(self, bad[i].cause));
		close(fd);
	}
	EXPECT_TRUE(is_served(other));
	close(other);
}

/* A sleep for each of these, and a bad frame, in one write. */
static void bad_frame_behind(FIXTURE_DATA(daemon) *self, struct __test_metadata *_metadata,
			     int sleeps)
{
	uint8_t wire[3 * SLEEP_BYTES + 32];

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		long long before = closed(self, bad[i].cause);
		int fd = client(self);
		size_t len = 0;

		for (int n = 0; n < sleeps; n++)
			len += wire_sleep(wire + len, n ? 0 : 100, "0123456789abcdef", TOKEN_BYTES);
		memcpy(wire + len, bad[i].wire, bad[i].len);
		ASSERT_TRUE(put(fd, wire, len + bad[i].len));
		EXPECT_TRUE(expect(fd, wire, len)) TH_LOG("%s", bad[i].cause);
		EXPECT_TRUE(expect_end(fd));
		EXPECT_EQ(before + 1, closed(self, bad[i].cause)) TH_LOG("%s", bad[i].cause);
		close(fd);
	}
}

/* What is right before it is answered also where that takes time, and where the bad
 * frame itself is not looked at before.
 */
TEST_F(daemon, bad_frame_behind_a_sleep)
{
	START("max_client_jobs=1", "max_frame_bytes=1024");
	bad_frame_behind(self, _metadata, 1);
	bad_frame_behind(self, _metadata, 3);
}

/* And where the answers wait for the client to take them. */
TEST_F(daemon, bad_frame_behind_what_waits)
{
	static uint8_t echo[60000];
	size_t len = wire_echo(echo, sizeof(echo) - 8, 1), total;
	int fd;

	START("max_queue_bytes=100000000");
	fd = client(self);
	total = fill_queue(self, fd, echo, len);
	ASSERT_LT(0, total);
	ASSERT_TRUE(put(fd, "\0\10\0\3\0\0\0\0", 8));
	ASSERT_EQ(total + 8, sockbeatd_stat_wait(&self->d, "", "bytes_in", total + 8));
	for (size_t i = 0; i < total / len; i++) {
		ASSERT_TRUE(expect(fd, echo, len)) TH_LOG("answer %zu of %zu", i, total / len);
	}
	EXPECT_TRUE(expect_end(fd));
	EXPECT_EQ(1, closed(self, "bad_type"));
	close(fd);
}

/* Nothing behind it is, be it by the kernel, once all is sent but what takes time. */
TEST_F(daemon, nothing_behind_a_bad_frame)
{
	static uint8_t echo[60000];
	size_t len = wire_echo(echo, sizeof(echo) - 8, 1), total;
	struct pollfd pfd = { .events = POLLIN };
	uint8_t wire[SLEEP_BYTES + 8];

	START("max_queue_bytes=100000000");
	pfd.fd = client(self);
	total = fill_queue(self, pfd.fd, echo, len);
	ASSERT_LT(0, total);
	wire_sleep(wire, is_slow() ? 10000 : 2000, "0123456789abcdef", TOKEN_BYTES);
	wire_header(wire + SLEEP_BYTES, 8, 3, 0);
	ASSERT_TRUE(put(pfd.fd, wire, sizeof(wire)));
	for (size_t i = 0; i < total / len; i++) {
		ASSERT_TRUE(expect(pfd.fd, echo, len)) TH_LOG("answer %zu of %zu", i, total / len);
	}
	ASSERT_TRUE(put(pfd.fd, wire_heartbeat, 8));
	EXPECT_EQ(0, poll(&pfd, 1, 300));
	EXPECT_EQ(1, sockbeatd_stat_wait(&self->d, "closed", "bad_type", 1));
	EXPECT_EQ(0, answered(self, "heartbeats"));
	close(pfd.fd);
}

TEST_F(daemon, random_bytes)
{
	unsigned int seed = 1;
	uint8_t garbage[512];
	int other;

	START();
	other = client(self);
	for (int i = 0; i < 100; i++) {
		int fd = client(self);

		for (size_t b = 0; b < sizeof(garbage); b++)
			garbage[b] = rand_r(&seed) >> 8;
		garbage[2] |= 2;	/* never a type */
		ASSERT_TRUE(put(fd, garbage, sizeof(garbage)));
		ASSERT_TRUE(expect_end(fd));
		close(fd);
	}
	EXPECT_EQ(100, closed(self, "bad_type") + closed(self, "bad_length"));
	EXPECT_TRUE(is_served(other));
	close(other);
}

TEST_F(daemon, flood_ends_the_connection)
{
	uint8_t wire[8 * 51];
	int good, bad;

	START("max_frames_per_s=50");
	wire_heartbeats(wire, 51);
	good = client(self);
	bad = client(self);
	ASSERT_TRUE(put(good, wire, 8 * 50));
	ASSERT_TRUE(expect(good, wire, 8 * 50));
	ASSERT_TRUE(put(bad, wire, 8 * 51));
	EXPECT_TRUE(expect_end(bad));
	EXPECT_EQ(1, closed(self, "flood"));
	EXPECT_EQ(1, sockbeatd_stat(&self->d, "", "connections"));
	close(good);
	close(bad);
}

/* Bursts that leave more than a second between them are a flood all the same,
 * and the limit for every second that passed is not.
 */
TEST_F(daemon, flood_in_bursts)
{
	static uint8_t wire[8 * 2000];
	int good, bad;

	START("max_frames_per_s=50");
	wire_heartbeats(wire, 2000);
	good = client(self);
	bad = client(self);
	ASSERT_TRUE(is_served(good));
	ASSERT_TRUE(is_served(bad));
	poll(NULL, 0, 2200);
	ASSERT_TRUE(put(good, wire, 8 * 110));
	EXPECT_TRUE(expect(good, wire, 8 * 110));
	ASSERT_TRUE(put(bad, wire, sizeof(wire)));
	EXPECT_TRUE(expect_end(bad));
	EXPECT_EQ(1, closed(self, "flood"));
	close(good);
	close(bad);
}

/* What was allowed and not used may arrive in any number of pieces. */
TEST_F(daemon, late_is_no_flood)
{
	uint8_t wire[8 * 110];
	int fd;

	START("max_frames_per_s=50");
	wire_heartbeats(wire, 110);
	fd = client(self);
	ASSERT_TRUE(is_served(fd));
	poll(NULL, 0, 4200);
	for (int i = 0; i < 2; i++) {
		ASSERT_TRUE(put(fd, wire, sizeof(wire)));
		EXPECT_TRUE(expect(fd, wire, sizeof(wire)));
	}
	EXPECT_EQ(0, closed(self, "flood"));
	close(fd);
}

/* But no more than belongs to the time in which it might have been silent. */
TEST_F(daemon, flood_after_a_rest)
{
	static uint8_t wire[8 * 350];
	int fd;

	START("max_frames_per_s=50", "timeout_ms=4000", "offload=off");
	wire_heartbeats(wire, 350);
	fd = client(self);
	for (int i = 0; i < 9; i++) {
		ASSERT_TRUE(is_served(fd));
		poll(NULL, 0, 1000);
	}
	ASSERT_TRUE(put(fd, wire, sizeof(wire)));
	EXPECT_TRUE(expect_end(fd));
	EXPECT_EQ(1, closed(self, "flood"));
	close(fd);
}

static bool expect_repeated(int fd, const uint8_t *frame, size_t len, size_t total)
{
	for (; total >= len; total -= len) {
		if (!expect(fd, frame, len))
			return false;
	}
	return true;
}

TEST_F(daemon, slow_reader_is_bounded_and_alone)
{
	static uint8_t frame[65535];
	long long in, out;
	size_t len, total;
	int slow, other;

	START("max_queue_bytes=65536");
	slow = client(self);
	other = client(self);
	len = wire_echo(frame, sizeof(frame) - 8, 1);
	total = fill(self, slow, frame, len);
	ASSERT_LT(0, total);

	/* The queue: its limit, and what one read and one kept frame can add. */
	in = sockbeatd_stat(&self->d, "", "bytes_in");
	out = sockbeatd_stat(&self->d, "", "bytes_out");
	EXPECT_LE(in - out, 65536 + 65536 + 65535);
	EXPECT_LT(in, total);
	for (int i = 0; i < 10; i++)
		EXPECT_TRUE(is_served(other));

	/* Whoever reads again gets all of it, in order. */
	EXPECT_TRUE(expect_repeated(slow, frame, len, total));
	if (total % len) {
		ASSERT_TRUE(put(slow, frame + total % len, len - total % len));
		EXPECT_TRUE(expect(slow, frame, len));
	}
	EXPECT_TRUE(is_served(slow));
	close(slow);
	close(other);
}

TEST_F(daemon, ipv6)
{
	int fd;

	START("listen=[::1]:0");
	fd = tcp_connect(AF_INET6, "::1", self->d.port);
	ASSERT_LE(0, fd);
	EXPECT_TRUE(is_served(fd));
	close(fd);
}

TEST_F(daemon, ends_by_the_client_are_counted)
{
	uint8_t wire[24];
	size_t len = wire_echo(wire, 16, 1);
	int fd;

	START();
	fd = client(self);
	ASSERT_TRUE(is_served(fd));
	close(fd);
	EXPECT_EQ(1, sockbeatd_stat_wait(&self->d, "closed", "peer_close", 1));

	fd = client(self);
	ASSERT_TRUE(is_served(fd));
	tcp_abort(fd);
	EXPECT_EQ(1, sockbeatd_stat_wait(&self->d, "closed", "reset", 1));

	/* A request right before the end is answered. */
	fd = client(self);
	ASSERT_TRUE(is_served(fd));
	ASSERT_TRUE(put(fd, wire, len));
	shutdown(fd, SHUT_WR);
	EXPECT_TRUE(expect(fd, wire, len));
	EXPECT_TRUE(expect_end(fd));
	EXPECT_EQ(2, closed(self, "peer_close"));
	close(fd);
	EXPECT_EQ(0, sockbeatd_stat(&self->d, "session", "live"));
}

TEST_HARNESS_MAIN
