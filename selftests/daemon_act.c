// SPDX-License-Identifier: GPL-2.0-only
/*
 * sockbeatd and what the session does by itself: clients of a daemon that is
 * stuck, a mass of silent clients, warnings, timeouts that follow a rhythm.
 */
#define _GNU_SOURCE
#include <poll.h>
#include "daemon_fixture.h"

#define CLIENTS	20

/* The kernel clears them while the daemon sleeps; then each is news once. */
TEST_F(daemon, stuck)
{
	int fd[CLIENTS], i;

	if (!on_kernel())
		SKIP(return, "the builtin engine stops with the daemon");
	START(is_slow() ? "timeout_ms=10000" : "timeout_ms=1000", "act_after_ms=500");
	for (i = 0; i < CLIENTS; i++) {
		fd[i] = client(self);
		ASSERT_TRUE(is_served(fd[i]));
	}
	ASSERT_EQ(0, kill(self->d.pid, SIGSTOP));
	for (i = 0; i < CLIENTS; i++)
		ASSERT_TRUE(expect_end(fd[i])) TH_LOG("client %d", i);
	ASSERT_EQ(0, kill(self->d.pid, SIGCONT));
	EXPECT_EQ(CLIENTS, sockbeatd_stat_wait(&self->d, "closed", "silent", CLIENTS));
	EXPECT_EQ(0, closed(self, "reset"));
	EXPECT_EQ(0, closed(self, "peer_close"));
	EXPECT_EQ(CLIENTS, sockbeatd_stat(&self->d, "session", "aborts"));
	EXPECT_EQ(CLIENTS, sockbeatd_stat(&self->d, "session", "recycles"));
	EXPECT_EQ(0, sockbeatd_stat(&self->d, "", "connections"));
	for (i = 0; i < CLIENTS; i++)
		close(fd[i]);
}

/* Nobody is closed while the guard stands, and those that stay silent are
 * when it is over.
 */
TEST_F(daemon, guard)
{
	struct pollfd pfd[CLIENTS];
	int fd[CLIENTS], i;

	START("timeout_ms=1000", "renotify_ms=300", "act_after_ms=0", "guard_percent=50",
	      "guard_window_ms=1000");
	for (i = 0; i < CLIENTS; i++) {
		fd[i] = client(self);
		ASSERT_TRUE(is_served(fd[i]));
		pfd[i] = (struct pollfd){ .fd = fd[i], .events = POLLIN };
	}
	ASSERT_NE(NULL, log_wait(&self->d, " state=on "));
	/* Longer than all of them together. */
	EXPECT_EQ(0, poll(pfd, CLIENTS, 3000));
	EXPECT_EQ(CLIENTS, sockbeatd_stat(&self->d, "", "connections"));
	/* All but two are back. */
	for (i = 2; i < CLIENTS; i++)
		ASSERT_TRUE(is_served(fd[i]));
	do {
		for (i = 2; i < CLIENTS; i++)
			ASSERT_TRUE(is_served(fd[i]));
		poll(NULL, 0, 100);
	} while (closed(self, "silent") < 2);
	EXPECT_NE(NULL, log_wait(&self->d, " state=over "));
	EXPECT_TRUE(expect_end(fd[0]));
	EXPECT_TRUE(expect_end(fd[1]));
	EXPECT_EQ(2, closed(self, "silent"));
	EXPECT_EQ(1, sockbeatd_stat(&self->d, "session", "guards"));
	for (i = 0; i < CLIENTS; i++)
		close(fd[i]);
}

TEST_F(daemon, guard_needs_a_source)
{
	const char *const sets[] = { "listen=127.0.0.1:0", "source=beat", "guard_percent=50", NULL };

	ASSERT_EQ(0, sockbeatd_spawn(&self->d, sets, 0));
	EXPECT_NE(0, sockbeatd_wait(&self->d));
	EXPECT_NE(NULL, strstr(self->d.log, "guard_percent: 50"));
}

TEST_F(daemon, suspect_is_logged)
{
	int fd;

	START("timeout_ms=1000", "suspect_percent=50");
	fd = client(self);
	ASSERT_TRUE(is_served(fd));
	EXPECT_NE(NULL, log_wait(&self->d, " suspect peer=127.0.0.1:"));
	ASSERT_TRUE(is_served(fd));
	EXPECT_EQ(0, closed(self, "silent"));
	EXPECT_NE(NULL, log_wait(&self->d, " silent peer=127.0.0.1:"));
	EXPECT_TRUE(expect_end(fd));
	EXPECT_EQ(2, sockbeatd_stat(&self->d, "session", "suspects"));
	close(fd);
}

/* A steady client is missed after some beats, another after the timeout. */
TEST_F(daemon, rhythm)
{
	int steady, other, i;
	uint64_t last_ms = 0;

	START("timeout_ms=20000", "adaptive_beats=3", "adaptive_min_ms=600");
	other = client(self);
	ASSERT_TRUE(is_served(other));
	steady = client(self);
	for (i = 0; i < 12; i++) {
		ASSERT_TRUE(is_served(steady));
		last_ms = now_ms();
		poll(NULL, 0, 300);
	}
	ASSERT_TRUE(expect_end(steady));
	EXPECT_LE(600, now_ms() - last_ms);
	EXPECT_GE(4000, now_ms() - last_ms);
	EXPECT_EQ(1, closed(self, "silent"));
	EXPECT_TRUE(is_served(other));
	close(steady);
	close(other);
}

TEST_HARNESS_MAIN
