// SPDX-License-Identifier: GPL-2.0-only
/*
 * sockbeatd is stopped for a while: what has arrived meanwhile counts when it goes
 * on, whoever it is from, and so does what does not come.
 */
#define _GNU_SOURCE
#include "daemon_load.h"

#define STOPPED		5

/* Clients that beat while the process is stopped for more than their timeout
 * are served when it goes on; only who was silent is closed.
 */
static void stop_and_go(FIXTURE_DATA(daemon) *self, struct __test_metadata *_metadata,
			uint64_t timeout_ms)
{
	struct pollfd pfd = { .events = POLLIN };
	int fd[STOPPED], mute, sent = 0, i;
	uint64_t until_ms;

	mute = client(self);
	pfd.fd = mute;
	ASSERT_TRUE(is_served(mute));
	for (i = 0; i < STOPPED; i++) {
		fd[i] = client(self);
		ASSERT_TRUE(is_served(fd[i]));
	}
	ASSERT_TRUE(stop(self));
	for (until_ms = now_ms() + 5 * timeout_ms / 2; now_ms() < until_ms; sent++) {
		for (i = 0; i < STOPPED; i++)
			ASSERT_TRUE(put(fd[i], wire_heartbeat, 8));
		poll(NULL, 0, timeout_ms / 5);
	}
	ASSERT_EQ(0, kill(self->d.pid, SIGCONT));
	for (; sent > 0; sent--) {
		for (i = 0; i < STOPPED; i++) {
			ASSERT_TRUE(expect(fd[i], wire_heartbeat, 8)) TH_LOG("client %d", i);
		}
	}
	do {
		for (i = 0; i < STOPPED; i++) {
			ASSERT_TRUE(is_served(fd[i])) TH_LOG("client %d", i);
		}
	} while (!poll(&pfd, 1, timeout_ms / 10));
	EXPECT_TRUE(expect_end(mute));
	EXPECT_EQ(1, closed(self, "silent"));
	EXPECT_EQ(STOPPED, sockbeatd_stat(&self->d, "", "connections"));
	for (i = 0; i < STOPPED; i++)
		close(fd[i]);
	close(mute);
}

TEST_F(daemon, stop_longer_than_the_timeout)
{
	START(is_slow() ? "timeout_ms=10000" : "timeout_ms=2000");
	stop_and_go(self, _metadata, is_slow() ? 10000 : 2000);
}

/* Their stamps are the process's own, so what waits unread has to count. */
TEST_F(daemon, stop_longer_than_the_timeout_with_beats)
{
	START(is_slow() ? "timeout_ms=10000" : "timeout_ms=2000", "source=beat");
	stop_and_go(self, _metadata, is_slow() ? 10000 : 2000);
}

/* Echo frames that are more than is read of a client in three turns. */
enum { BIG_BYTES = 60000, BACKLOG = 18, BACKLOG_BYTES = BACKLOG * BIG_BYTES };

static const uint8_t *backlog(void)
{
	static uint8_t frames[BACKLOG_BYTES];

	for (int i = 0; i < BACKLOG; i++)
		wire_echo(frames + i * BIG_BYTES, BIG_BYTES - 8, i);
	return frames;
}

/* Send the frames @n times and read the answers meanwhile: windows grow with
 * what goes through them.
 */
static bool warm_up(int fd, const uint8_t *frames, int n)
{
	size_t total = (size_t)n * BACKLOG_BYTES, sent = 0, got = 0;
	static uint8_t buf[1 << 20];
	ssize_t len;

	while (got < total) {
		struct pollfd pfd = { .fd = fd, .events = POLLIN | (sent < total ? POLLOUT : 0) };
		size_t at = sent % BACKLOG_BYTES;

		if (poll(&pfd, 1, PATIENCE_MS) != 1)
			return false;
		if (pfd.revents & POLLOUT) {
			len = send(fd, frames + at, BACKLOG_BYTES - at,
				   MSG_DONTWAIT | MSG_NOSIGNAL);
			sent += len > 0 ? len : 0;
		}
		if (pfd.revents & POLLIN) {
			len = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
			if (!len)
				return false;
			got += len > 0 ? len : 0;
		}
	}
	return true;
}

/* Send all that, and wait until it lies in the other end's socket. False where
 * it finds no room there.
 */
static bool deposit(int fd, const uint8_t *frames)
{
	uint64_t until_ms = now_ms() + 300;

	if (send(fd, frames, BACKLOG_BYTES, MSG_DONTWAIT | MSG_NOSIGNAL) != BACKLOG_BYTES)
		return false;
	while (tcp_unacked(fd) && now_ms() < until_ms)
		;
	return !tcp_unacked(fd);
}

/* A client all of whose backlog arrived while the daemon is stopped; or -1 where
 * no window got so large.
 */
static int client_with_backlog(FIXTURE_DATA(daemon) *self, const uint8_t *frames)
{
	for (int tries = 0; tries < 10; tries++) {
		int fd = client(self);

		for (int i = 0; i < 40; i++) {
			if (!warm_up(fd, frames, is_slow() ? 2 : 10) || !is_served(fd))
				break;
		}
		/* The turn that has answered is over before it is asked this. */
		if (sockbeatd_stat(&self->d, "", "frames") > 0 && stop(self) && deposit(fd, frames))
			return fd;
		kill(self->d.pid, SIGCONT);
		close(fd);
	}
	return -1;
}

/* A heartbeat counts also behind more than is read in some turns. */
TEST_F(daemon, heartbeat_behind_a_backlog)
{
	const uint8_t *frames = backlog();
	int fd;

	START(is_slow() ? "timeout_ms=10000" : "timeout_ms=2000", "source=beat",
	      "max_queue_bytes=100000000");
	fd = client_with_backlog(self, frames);
	if (fd < 0)
		SKIP(return, "no window of %d bytes", BACKLOG_BYTES);
	ASSERT_TRUE(put(fd, wire_heartbeat, 8));
	poll(NULL, 0, is_slow() ? 15000 : 3000);
	ASSERT_EQ(0, kill(self->d.pid, SIGCONT));
	EXPECT_TRUE(expect(fd, frames, BACKLOG_BYTES));
	EXPECT_TRUE(expect(fd, wire_heartbeat, 8));
	EXPECT_TRUE(is_served(fd));
	close(fd);
}

/* What has arrived when the end comes is answered, however much it is. */
TEST_F(daemon, sigterm_answers_a_backlog)
{
	const uint8_t *frames = backlog();
	int fd;

	START("max_queue_bytes=100000000", "drain_timeout_ms=20000");
	fd = client_with_backlog(self, frames);
	if (fd < 0)
		SKIP(return, "no window of %d bytes", BACKLOG_BYTES);
	ASSERT_EQ(0, kill(self->d.pid, SIGTERM));
	ASSERT_EQ(0, kill(self->d.pid, SIGCONT));
	EXPECT_TRUE(expect(fd, frames, BACKLOG_BYTES));
	EXPECT_TRUE(expect_end(fd));
	close(fd);
	EXPECT_EQ(0, sockbeatd_wait(&self->d));
}

/* Also where reading it has to wait for requests that wait in line: more than one read
 * has.
 */
TEST_F(daemon, sigterm_answers_a_long_line)
{
	enum { FRAME = 512, FRAMES = 240 };
	const uint8_t *bodies = backlog();
	static uint8_t frames[FRAMES * FRAME];
	int fd, i;

	START("drain_timeout_ms=20000");
	for (i = 0; i < FRAMES; i++)
		wire_sleep(frames + i * FRAME, 0, bodies + i, FRAME - 12);
	fd = client(self);
	ASSERT_TRUE(is_served(fd));
	ASSERT_TRUE(stop(self));
	ASSERT_TRUE(put(fd, frames, sizeof(frames)));
	ASSERT_EQ(0, kill(self->d.pid, SIGTERM));
	ASSERT_EQ(0, kill(self->d.pid, SIGCONT));
	for (i = 0; i < FRAMES; i++) {
		ASSERT_TRUE(expect(fd, frames + i * FRAME, FRAME)) TH_LOG("answer %d", i);
	}
	EXPECT_TRUE(expect_end(fd));
	close(fd);
	EXPECT_EQ(0, sockbeatd_wait(&self->d));
}

/* What lies unread behind a line when the end comes, also when it does so for longer than
 * its client may be silent.
 */
TEST_F(daemon, sigterm_answers_behind_a_line)
{
	uint8_t frame[3][SLEEP_BYTES], behind[100 * SLEEP_BYTES];
	size_t len = 0;
	int fd;

	START("drain_timeout_ms=30000", is_slow() ? "timeout_ms=3000" : "timeout_ms=500",
	      "max_client_jobs=1");
	fd = client(self);
	while (len < sizeof(behind))
		len += wire_sleep(behind + len, 0, "0123456789abcdef", TOKEN_BYTES);
	ASSERT_TRUE(ask(fd, is_slow() ? 5000 : 1000, "first", frame[0]));
	ASSERT_TRUE(work_reaches(self, "running", 1));
	ASSERT_TRUE(ask(fd, 0, "line", frame[1]));
	ASSERT_TRUE(ask(fd, is_slow() ? 8000 : 1500, "stalls", frame[2]));
	ASSERT_EQ(3 * SLEEP_BYTES,
		  sockbeatd_stat_wait(&self->d, "", "bytes_in", 3 * SLEEP_BYTES));
	ASSERT_TRUE(put(fd, behind, len));
	ASSERT_EQ(0, kill(self->d.pid, SIGTERM));
	for (int i = 0; i < 3; i++) {
		ASSERT_TRUE(expect(fd, frame[i], SLEEP_BYTES)) TH_LOG("job %d", i);
	}
	EXPECT_TRUE(expect(fd, behind, len));
	EXPECT_TRUE(expect_end(fd));
	close(fd);
	EXPECT_EQ(0, sockbeatd_wait(&self->d));
}

/* And behind a request that finds no room among those of others. */
TEST_F(daemon, sigterm_answers_behind_the_work_of_others)
{
	uint8_t frame[4][SLEEP_BYTES];
	int fd, other;

	START("drain_timeout_ms=30000", "workers=1", "work_queue=1", "when_work_full=wait");
	fd = client(self);
	other = client(self);
	ASSERT_TRUE(ask(other, is_slow() ? 5000 : 1000, "other", frame[0]));
	ASSERT_TRUE(work_reaches(self, "running", 1));
	ASSERT_TRUE(ask(fd, 0, "waits", frame[1]) && work_reaches(self, "waiting", 1));
	ASSERT_TRUE(ask(fd, 0, "stalls", frame[2]));
	ASSERT_EQ(1, sockbeatd_stat_wait(&self->d, "work", "work_pauses", 1));
	ASSERT_TRUE(ask(fd, 0, "behind", frame[3]));
	ASSERT_EQ(0, kill(self->d.pid, SIGTERM));
	for (int i = 1; i < 4; i++) {
		EXPECT_TRUE(expect(fd, frame[i], SLEEP_BYTES)) TH_LOG("job %d", i);
	}
	EXPECT_TRUE(expect_end(fd));
	EXPECT_TRUE(expect(other, frame[0], SLEEP_BYTES));
	close(fd);
	close(other);
	EXPECT_EQ(0, sockbeatd_wait(&self->d));
}

/* And behind answers for which there is no room, as their client does not read. */
TEST_F(daemon, sigterm_answers_behind_a_full_queue)
{
	static uint8_t echo[10000];
	size_t len = wire_echo(echo, sizeof(echo) - 8, 1);
	uint64_t until_ms = now_ms() + PATIENCE_MS;
	size_t sent = 0;
	int fd;

	START("max_queue_bytes=65536", "drain_timeout_ms=20000");
	fd = client(self);
	for (int behind = 0; behind < 3; sent += len) {
		behind += sockbeatd_stat(&self->d, "", "queue_pauses") > 0;
		ASSERT_TRUE(put(fd, echo, len));
	}
	while (tcp_unacked(fd) && now_ms() < until_ms)
		;
	ASSERT_EQ(0, tcp_unacked(fd));
	ASSERT_GT(sent, sockbeatd_stat(&self->d, "", "bytes_in"));
	ASSERT_EQ(0, kill(self->d.pid, SIGTERM));
	ASSERT_TRUE(refuses(self));
	for (size_t i = 0; i < sent / len; i++) {
		ASSERT_TRUE(expect(fd, echo, len)) TH_LOG("answer %zu of %zu", i, sent / len);
	}
	EXPECT_TRUE(expect_end(fd));
	close(fd);
	EXPECT_EQ(0, sockbeatd_wait(&self->d));
}

/* Many that end in one turn, each for two reasons, are one end each. */
TEST_F(daemon, many_ends_in_one_turn)
{
	enum { CLIENTS = 300, RESETS = 40 };
	int fd[CLIENTS], i;

	START(is_slow() ? "timeout_ms=10000" : "timeout_ms=2000", "act_after_ms=600000");
	for (i = 0; i < CLIENTS; i++) {
		fd[i] = client(self);
		ASSERT_TRUE(is_served(fd[i]));
	}
	ASSERT_TRUE(stop(self));
	poll(NULL, 0, is_slow() ? 15000 : 3000);
	for (i = CLIENTS - RESETS; i < CLIENTS; i++)
		tcp_abort(fd[i]);
	ASSERT_EQ(0, kill(self->d.pid, SIGCONT));
	for (i = 0; i < CLIENTS - RESETS; i++) {
		EXPECT_TRUE(expect_end(fd[i]));
		close(fd[i]);
	}
	EXPECT_EQ(RESETS, sockbeatd_stat_wait(&self->d, "closed", "reset", RESETS));
	EXPECT_EQ(CLIENTS - RESETS, closed(self, "silent"));
	EXPECT_EQ(0, sockbeatd_stop(&self->d));
	EXPECT_EQ(NULL, strstr(self->d.log, " error ")) {
		TH_LOG("%s", strstr(self->d.log, " error "));
	}
}

/* Who has sent as much as there is room for is not silent when the process goes on. */
TEST_F(daemon, stop_of_a_busy_client)
{
	static uint8_t echo[16384];
	const int timeout_ms = is_slow() ? 5000 : 1000;
	size_t len = wire_echo(echo, sizeof(echo) - 8, 1), total;
	int fd;

	START(is_slow() ? "timeout_ms=5000" : "timeout_ms=1000", "act_after_ms=500",
	      "max_queue_bytes=100000000");
	fd = client(self);
	ASSERT_TRUE(is_served(fd));
	ASSERT_TRUE(stop(self));
	total = fill_up(fd, echo, len);
	poll(NULL, 0, 3 * timeout_ms);
	ASSERT_EQ(0, kill(self->d.pid, SIGCONT));
	for (size_t i = 0; i < total / len; i++) {
		ASSERT_TRUE(expect(fd, echo, len)) TH_LOG("answer %zu", i);
	}
	ASSERT_TRUE(finish_frame(fd, echo, len, total));
	ASSERT_TRUE(is_served(fd));
	EXPECT_EQ(0, closed(self, "silent"));
	EXPECT_TRUE(expect_end(fd));
	EXPECT_EQ(1, closed(self, "silent"));
	close(fd);
}

static bool beat_all(const int *fd, int n)
{
	for (int i = 0; i < n; i++) {
		if (!put(fd[i], wire_heartbeat, 8))
			return false;
	}
	for (int i = 0; i < n; i++) {
		if (!expect(fd[i], wire_heartbeat, 8))
			return false;
	}
	return true;
}

/* More than are read in a turn; none sends more before it has its answer. */
TEST_F(daemon, stop_of_many_clients)
{
	enum { CLIENTS = 900 };
	const int timeout_ms = is_slow() ? 20000 : 4000;
	uint8_t echo[16];
	size_t len = wire_echo(echo, sizeof(echo) - 8, 1);
	static int fd[CLIENTS];
	int i;

	START(is_slow() ? "timeout_ms=20000" : "timeout_ms=4000",
	      on_kernel() ? "act_after_ms=600000" : "act_after_ms=0");
	for (i = 0; i < CLIENTS; i++) {
		fd[i] = client(self);
		ASSERT_TRUE(is_served(fd[i])) TH_LOG("client %d", i);
		/* All have come before the first has been silent for too long. */
		if (i % 100 == 99)
			ASSERT_TRUE(beat_all(fd, i + 1)) TH_LOG("client %d", i);
	}
	ASSERT_TRUE(stop(self));
	for (i = 0; i < CLIENTS; i++)
		ASSERT_TRUE(put(fd[i], echo, len));
	poll(NULL, 0, timeout_ms + timeout_ms / 2);
	ASSERT_EQ(0, kill(self->d.pid, SIGCONT));
	for (i = 0; i < CLIENTS; i++) {
		ASSERT_TRUE(expect(fd[i], echo, len)) TH_LOG("client %d", i);
	}
	for (i = 0; i < CLIENTS; i++) {
		ASSERT_TRUE(is_served(fd[i])) TH_LOG("client %d", i);
		close(fd[i]);
	}
	EXPECT_EQ(0, closed(self, "silent"));
}

/* Who waited for an answer for most of its timeout has time to go on. */
TEST_F(daemon, stop_not_quite_for_the_timeout)
{
	const int timeout_ms = is_slow() ? 10000 : 4000;
	uint8_t echo[16];
	size_t len = wire_echo(echo, sizeof(echo) - 8, 1);
	int fd;

	START(is_slow() ? "timeout_ms=10000" : "timeout_ms=4000");
	fd = client(self);
	ASSERT_TRUE(is_served(fd));
	ASSERT_TRUE(stop(self));
	ASSERT_TRUE(put(fd, echo, len));
	poll(NULL, 0, timeout_ms * 9 / 10);
	ASSERT_EQ(0, kill(self->d.pid, SIGCONT));
	EXPECT_TRUE(expect(fd, echo, len));
	poll(NULL, 0, timeout_ms * 3 / 10);
	EXPECT_TRUE(is_served(fd));
	EXPECT_TRUE(expect_end(fd));
	EXPECT_EQ(1, closed(self, "silent"));
	close(fd);
}

/* Its silence is news that lies there when it is heard again, be it that the kernel
 * answers.
 */
TEST_F(daemon, heard_again_while_stopped)
{
	const int timeout_ms = is_slow() ? 10000 : 2000;
	int fd;

	START(is_slow() ? "timeout_ms=10000" : "timeout_ms=2000",
	      on_kernel() ? "act_after_ms=600000" : "act_after_ms=0");
	fd = client(self);
	ASSERT_TRUE(is_served(fd));
	ASSERT_TRUE(stop(self));
	poll(NULL, 0, timeout_ms + timeout_ms / 2);
	ASSERT_TRUE(put(fd, wire_heartbeat, 8));
	poll(NULL, 0, timeout_ms / 10);
	ASSERT_EQ(0, kill(self->d.pid, SIGCONT));
	EXPECT_TRUE(expect(fd, wire_heartbeat, 8));
	poll(NULL, 0, timeout_ms / 10);
	EXPECT_TRUE(is_served(fd));
	EXPECT_EQ(0, closed(self, "silent"));
	close(fd);
}

TEST_HARNESS_MAIN
