// SPDX-License-Identifier: GPL-2.0-only
/*
 * sockbeatd and heartbeat offload: clients see the same with the kernel
 * answering and without, whatever protocol's heartbeats are chosen.
 */
#define _GNU_SOURCE
#include "daemon_fixture.h"

/* Where the daemon has the kernel and is not told otherwise, it sees none. */
TEST_F(daemon, heartbeats_are_the_kernels)
{
	int fd;

	START("min_heartbeat_interval_ms=0");
	fd = client(self);
	ASSERT_EQ(1, sockbeatd_stat_wait(&self->d, "session", "live", 1));
	for (int i = 0; i < 20; i++)
		ASSERT_TRUE(is_served(fd));
	EXPECT_EQ(20, answered(self, "heartbeats"));
	EXPECT_EQ(on_kernel() ? 20 : 0, sockbeatd_stat(&self->d, "session", "answered"));
	close(fd);
}

TEST_F(daemon, offload_off)
{
	int fd;

	START("min_heartbeat_interval_ms=0", "offload=off");
	fd = client(self);
	for (int i = 0; i < 20; i++)
		ASSERT_TRUE(is_served(fd));
	EXPECT_EQ(20, sockbeatd_stat(&self->d, "", "heartbeats"));
	EXPECT_EQ(0, sockbeatd_stat(&self->d, "session", "answered"));
	EXPECT_EQ(0, sockbeatd_stat(&self->d, "session", "pass_rate"));
	close(fd);
}

/* Offload goes on behind data of any size, also such that had to wait. */
TEST_F(daemon, heartbeats_between_frames)
{
	static uint8_t echo[65536];
	size_t len;
	int fd;

	START("min_heartbeat_interval_ms=0");
	fd = client(self);
	for (size_t body = 0; body < 60000; body = body * 2 + 1) {
		len = wire_echo(echo, body, body);
		ASSERT_TRUE(put(fd, echo, len) && expect(fd, echo, len));
		ASSERT_TRUE(is_served(fd));
		/* In parts, and heartbeats on both sides of it. */
		ASSERT_TRUE(put(fd, wire_heartbeat, 8) && put(fd, echo, len / 2));
		ASSERT_TRUE(put(fd, echo + len / 2, len - len / 2) && put(fd, wire_heartbeat, 8));
		ASSERT_TRUE(expect(fd, wire_heartbeat, 8) && expect(fd, echo, len) &&
			    expect(fd, wire_heartbeat, 8));
	}
	if (on_kernel()) {
		/* Nothing was read or written that was not counted. */
		ASSERT_TRUE(is_served(fd));
		EXPECT_LE(17, sockbeatd_stat(&self->d, "session", "answered"));
	}
	close(fd);
}

/* Who sends more often than once in the interval is the daemon's to judge. */
TEST_F(daemon, flood_is_seen)
{
	int fd;

	START("max_frames_per_s=100");
	fd = client(self);
	for (int i = 0; i < 300 && put(fd, wire_heartbeat, 8); i++)
		;
	while (recv(fd, (char[8]){ 0 }, 8, 0) > 0)
		;
	EXPECT_EQ(1, closed(self, "flood"));
	close(fd);
}

/* A frame of the profile, its answer, and a native frame between two of them. */
static void speaks(struct __test_metadata *_metadata, FIXTURE_DATA(daemon) *self, const char *frame,
		   size_t len, const char *reply, size_t reply_len)
{
	uint8_t echo[64], all[256];
	size_t echo_len = wire_echo(echo, 5, 5), n = 0;
	int fd = client(self);

	ASSERT_LE(0, fd);
	for (int i = 0; i < 3; i++)
		ASSERT_TRUE(put(fd, frame, len) && expect(fd, (void *)reply, reply_len));
	memcpy(all + n, frame, len);
	n += len;
	memcpy(all + n, echo, echo_len);
	n += echo_len;
	memcpy(all + n, frame, len);
	n += len;
	for (size_t cut = 1; cut < n; cut++) {
		ASSERT_TRUE(put(fd, all, cut) && put(fd, all + cut, n - cut));
		ASSERT_TRUE(expect(fd, (void *)reply, reply_len) && expect(fd, echo, echo_len) &&
			    expect(fd, (void *)reply, reply_len)) {
			TH_LOG("cut at %zu of %zu", cut, n);
		}
	}
	EXPECT_EQ(3 + 2 * (n - 1), answered(self, "heartbeats"));
	EXPECT_EQ(3 + 3 * (n - 1), answered(self, "frames"));
	close(fd);
}

#define SPEAKS(profile, frame, len, reply, reply_len)				\
	TEST_F(daemon, speaks_##profile)					\
	{									\
		START("profile=" #profile, "min_heartbeat_interval_ms=0");	\
		speaks(_metadata, self, frame, len, reply, reply_len);		\
	}

SPEAKS(resp, "*1\r\n$4\r\nPING\r\n", 14, "+PONG\r\n", 7)
SPEAKS(mqtt, "\300\0", 2, "\320\0", 2)
SPEAKS(websocket, "\211\200mask", 6, "\212\0", 2)
SPEAKS(http2, "\0\0\10\6\0\0\0\0\0opaque!!", 17, "\0\0\10\6\1\0\0\0\0opaque!!", 17)

/* A client that sends nothing by itself lives as long as it answers. */
TEST_F(daemon, probes)
{
	uint64_t end = now_ms() + 4000;
	struct pollfd pfd = { .events = POLLIN };

	START("profile=websocket", "timeout_ms=1500", "probe_after_ms=400");
	if (!on_kernel()) {
		EXPECT_NE(NULL, log_wait(&self->d, "the builtin engine sends no probes"));
		return;
	}
	pfd.fd = client(self);
	while (now_ms() < end) {
		ASSERT_TRUE(expect(pfd.fd, (void *)"\211\0", 2));
		ASSERT_TRUE(put(pfd.fd, "\212\200mask", 6));
	}
	EXPECT_EQ(0, closed(self, "silent"));
	EXPECT_LE(4, sockbeatd_stat(&self->d, "session", "probes_answered"));
	/* From here on it does not. */
	while (recv(pfd.fd, (char[2]){ 0 }, 2, 0) > 0)
		;
	EXPECT_EQ(1, closed(self, "silent"));
	close(pfd.fd);
}

TEST_F(daemon, probe_of_a_protocol_without)
{
	const char *sets[] = { "listen=127.0.0.1:0", "profile=mqtt", "probe_after_ms=1000", NULL };

	ASSERT_EQ(0, sockbeatd_spawn(&self->d, sets, 0));
	EXPECT_NE(NULL, log_wait(&self->d, "probe_after_ms: 1000, but profile mqtt has no probe")) {
		TH_LOG("%s", self->d.log);
	}
	EXPECT_EQ(1, WEXITSTATUS(sockbeatd_wait(&self->d)));
}

TEST_HARNESS_MAIN
