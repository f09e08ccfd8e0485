// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who is slow: clients whose frames take too long are ended, and nobody whose
 * frame waits for sockbeatd itself.
 */
#define _GNU_SOURCE
#include "daemon_load.h"

static int frame_timeout_ms(void)
{
	return is_slow() ? 10000 : 1500;
}

#define FRAME_TIMEOUT	(is_slow() ? "frame_timeout_ms=10000" : "frame_timeout_ms=1500")

/* One drips a frame, and is ended though it is never silent. Of another there
 * is always a part of a frame, but each is complete soon.
 */
TEST_F(daemon, slow_frame)
{
	uint8_t frame[208], two[16] = { 0, 8 };
	struct pollfd pfd = { .events = POLLIN };
	uint64_t begin_ms, took_ms;
	int slow, good;
	size_t i = 0;

	wire_echo(frame, 200, 1);
	wire_heartbeats(two, 2);
	START(FRAME_TIMEOUT, "timeout_ms=60000");
	slow = client(self);
	good = client(self);
	pfd.fd = slow;
	ASSERT_TRUE(put(good, two, 4));
	begin_ms = now_ms();
	do {
		ASSERT_TRUE(put(slow, &frame[i++], 1));
		ASSERT_TRUE(put(good, two + 4, 8));
		ASSERT_TRUE(expect(good, two, 8));
		ASSERT_GT(sizeof(frame), i);
	} while (!poll(&pfd, 1, frame_timeout_ms() / 50));
	took_ms = now_ms() - begin_ms;
	EXPECT_TRUE(expect_end(slow));
	EXPECT_LE(frame_timeout_ms(), took_ms);
	EXPECT_GE(frame_timeout_ms() + bound_ms(), took_ms);
	EXPECT_EQ(1, closed(self, "slow_frame"));
	EXPECT_EQ(0, closed(self, "silent"));
	for (i = 0; i < 60; i++) {
		ASSERT_TRUE(put(good, two + 4, 8));
		ASSERT_TRUE(expect(good, two, 8));
		poll(NULL, 0, frame_timeout_ms() / 50);
	}
	EXPECT_EQ(1, closed(self, "slow_frame"));
	EXPECT_TRUE(adds_up(self));
	close(slow);
	close(good);
}

/* A thousand of them do not keep the others waiting. */
TEST_F(daemon, slow_frames_of_many)
{
	static int fd[1000];
	int n = is_slow() ? 200 : 1000, other;

	if (!raise_nofile(n + 100))
		SKIP(return, "RLIMIT_NOFILE is too low");
	START(FRAME_TIMEOUT, "timeout_ms=60000");
	other = client(self);
	for (int i = 0; i < n; i++) {
		fd[i] = client(self);
		ASSERT_TRUE(put(fd[i], wire_heartbeat, 4));
	}
	while (closed(self, "slow_frame") < n) {
		uint64_t begin_ms = now_ms();

		ASSERT_TRUE(is_served(other));
		ASSERT_GE(bound_ms(), now_ms() - begin_ms);
	}
	EXPECT_EQ(1, sockbeatd_stat(&self->d, "", "connections"));
	for (int i = 0; i < n; i++) {
		EXPECT_TRUE(expect_end(fd[i]));
		close(fd[i]);
	}
	close(other);
}

/* Whom we do not read from is not slow; its time begins when we do. */
TEST_F(daemon, frame_that_waits_for_us)
{
	static uint8_t frame[65535];
	size_t len = wire_echo(frame, sizeof(frame) - 8, 1), total;
	uint64_t begin_ms;
	int fd;

	START("max_queue_bytes=65536", FRAME_TIMEOUT, "timeout_ms=60000");
	fd = client(self);
	total = fill(self, fd, frame, len);
	ASSERT_LT(0, total);
	poll(NULL, 0, frame_timeout_ms() * 3 / 2);
	EXPECT_EQ(0, closed(self, "slow_frame"));
	begin_ms = now_ms();
	for (size_t i = 0; i < total / len; i++)
		ASSERT_TRUE(expect(fd, frame, len));
	/* It is in the midst of a frame, and stays there. */
	if (!(total % len))
		ASSERT_TRUE(put(fd, frame, 1));
	EXPECT_TRUE(expect_end(fd));
	EXPECT_LE(begin_ms + frame_timeout_ms(), now_ms());
	EXPECT_EQ(1, closed(self, "slow_frame"));
	close(fd);
}

/* The same where nothing but a part had been read when we looked away: it has
 * its time once more, and no longer.
 */
TEST_F(daemon, part_that_waits_for_us)
{
	enum { PART = 4 };
	static uint8_t frame[60000 + PART];
	size_t len = wire_echo(frame, sizeof(frame) - PART - 8, 1);
	long long total = PART;
	uint64_t begin_ms;
	int fd, n = 0;

	START("max_queue_bytes=65536", FRAME_TIMEOUT, "timeout_ms=60000");
	fd = client(self);
	/* After the first part always the rest of a frame and a part of the next. */
	memcpy(frame + len, frame, PART);
	ASSERT_TRUE(put(fd, frame, PART));
	do {
		ASSERT_TRUE(put(fd, frame + PART, len));
		total += len;
		n++;
		ASSERT_EQ(total, sockbeatd_stat_wait(&self->d, "", "bytes_in", total));
	} while (!sockbeatd_stat(&self->d, "", "queue_pauses"));
	poll(NULL, 0, frame_timeout_ms() * 3 / 2);
	EXPECT_EQ(0, closed(self, "slow_frame"));
	begin_ms = now_ms();
	while (n--)
		ASSERT_TRUE(expect(fd, frame, len));
	EXPECT_TRUE(expect_end(fd));
	EXPECT_LE(begin_ms + frame_timeout_ms(), now_ms());
	EXPECT_EQ(1, closed(self, "slow_frame"));
	close(fd);
}

/* What arrived while the process was stopped completes its frame, also of more
 * clients than it hears of at once.
 */
TEST_F(daemon, frame_over_a_stop)
{
	static int fd[601];
	int n = 600, i;

	if (!raise_nofile(n + 100))
		SKIP(return, "RLIMIT_NOFILE is too low");
	START(FRAME_TIMEOUT, "timeout_ms=60000");
	for (i = 0; i <= n; i++) {
		fd[i] = client(self);
		ASSERT_TRUE(is_served(fd[i]));
	}
	for (i = 0; i <= n; i++)
		ASSERT_TRUE(put(fd[i], wire_heartbeat, 4));
	/* The last one's time must not be over before the stop. */
	ASSERT_LE((n + 1) * 4, sockbeatd_stat_wait(&self->d, "", "bytes_in", (n + 1) * 4));
	ASSERT_TRUE(stop(self));
	for (i = 0; i < n; i++)
		ASSERT_TRUE(put(fd[i], wire_heartbeat + 4, 4));
	poll(NULL, 0, frame_timeout_ms() * 3 / 2);
	ASSERT_EQ(0, kill(self->d.pid, SIGCONT));
	for (i = 0; i < n; i++) {
		ASSERT_TRUE(expect(fd[i], wire_heartbeat, 8)) TH_LOG("client %d", i);
	}
	EXPECT_TRUE(expect_end(fd[n]));
	EXPECT_EQ(1, closed(self, "slow_frame"));
	for (i = 0; i <= n; i++)
		close(fd[i]);
}

/* A request that came in two parts and finds no room is complete: it waits for
 * a worker, not for its client.
 */
TEST_F(daemon, frame_that_waits_for_a_worker)
{
	uint8_t frame[4][SLEEP_BYTES];
	int fd[4];

	START(FRAME_TIMEOUT, "timeout_ms=60000", "workers=1", "work_queue=1", "when_work_full=wait");
	for (int i = 0; i < 4; i++) {
		fd[i] = client(self);
		ASSERT_EQ(SLEEP_BYTES, wire_sleep(frame[i], i ? 1 : frame_timeout_ms() * 3 / 2,
						  "0123456789abcdef", TOKEN_BYTES));
	}
	ASSERT_TRUE(put(fd[0], frame[0], SLEEP_BYTES));
	ASSERT_TRUE(work_reaches(self, "running", 1));
	ASSERT_TRUE(put(fd[1], frame[1], SLEEP_BYTES));
	ASSERT_TRUE(work_reaches(self, "waiting", 1));
	for (int i = 2; i < 4; i++)
		ASSERT_TRUE(put(fd[i], frame[i], 5));
	ASSERT_EQ(2 * SLEEP_BYTES + 10,
		  sockbeatd_stat_wait(&self->d, "", "bytes_in", 2 * SLEEP_BYTES + 10));
	for (int i = 2; i < 4; i++)
		ASSERT_TRUE(put(fd[i], frame[i] + 5, SLEEP_BYTES - 5));
	for (int i = 0; i < 4; i++) {
		ASSERT_TRUE(expect(fd[i], frame[i], SLEEP_BYTES)) TH_LOG("client %d", i);
	}
	EXPECT_EQ(2, work(self, "work_pauses"));
	EXPECT_EQ(0, closed(self, "slow_frame"));
	for (int i = 0; i < 4; i++)
		close(fd[i]);
}

/* And one that came in two parts waits for its client's own earlier request. */
TEST_F(daemon, frame_that_waits_in_line)
{
	uint8_t frame[3][SLEEP_BYTES];
	int fd, other;

	START(FRAME_TIMEOUT, "timeout_ms=60000", "max_client_jobs=1");
	fd = client(self);
	other = client(self);
	for (int i = 0; i < 3; i++)
		ASSERT_EQ(SLEEP_BYTES, wire_sleep(frame[i], i ? 1 : frame_timeout_ms() / 3,
						  "0123456789abcdef", TOKEN_BYTES));
	ASSERT_TRUE(put(fd, frame[0], SLEEP_BYTES));
	ASSERT_TRUE(work_reaches(self, "running", 1));
	ASSERT_TRUE(put(fd, frame[1], SLEEP_BYTES));
	ASSERT_TRUE(put(fd, frame[2], 5));
	ASSERT_EQ(2 * SLEEP_BYTES + 5,
		  sockbeatd_stat_wait(&self->d, "", "bytes_in", 2 * SLEEP_BYTES + 5));
	ASSERT_TRUE(put(fd, frame[2] + 5, SLEEP_BYTES - 5));
	for (int i = 0; i < 3; i++)
		ASSERT_TRUE(expect(fd, frame[i], SLEEP_BYTES));
	for (int i = 0; i < 75; i++) {
		ASSERT_TRUE(is_served(other));
		poll(NULL, 0, frame_timeout_ms() / 50);
	}
	EXPECT_TRUE(is_served(fd));
	EXPECT_EQ(0, closed(self, "slow_frame"));
	close(fd);
	close(other);
}

/* A backlog that is within the limit is counted once, however often it is
 * looked at while its requests wait in line.
 */
TEST_F(daemon, line_is_no_flood)
{
	static uint8_t wire[110 * SLEEP_BYTES];
	int fd;

	START("max_frames_per_s=50");
	for (int i = 0; i < 110; i++)
		wire_sleep(wire + i * SLEEP_BYTES, 10, "0123456789abcdef", TOKEN_BYTES);
	fd = client(self);
	ASSERT_TRUE(is_served(fd));
	poll(NULL, 0, 2200);
	ASSERT_TRUE(put(fd, wire, sizeof(wire)));
	EXPECT_TRUE(expect(fd, wire, sizeof(wire)));
	EXPECT_EQ(0, closed(self, "flood"));
	close(fd);
}

/* Nor is what was sent, within the limit, for as long as it was not read. */
TEST_F(daemon, frames_of_a_long_wait_are_no_flood)
{
	enum { PER_S = 50, WAIT_S = 6, SENT = PER_S * (WAIT_S - 1), FLOOD = 100 * PER_S };
	static uint8_t flood[8 * FLOOD], answers[3 * SLEEP_BYTES + 8 * SENT];
	uint8_t frame[3][SLEEP_BYTES];
	int fd;

	START("max_frames_per_s=50", "timeout_ms=1000", "max_client_jobs=1", "offload=off");
	fd = client(self);
	ASSERT_TRUE(ask(fd, WAIT_S * 1000, "long", frame[0]));
	ASSERT_TRUE(work_reaches(self, "running", 1));
	ASSERT_TRUE(ask(fd, 0, "line", frame[1]) && ask(fd, 0, "waits", frame[2]));
	for (int i = 0; i < SENT; i++) {
		ASSERT_TRUE(put(fd, wire_heartbeat, 8));
		usleep(1000000 / PER_S);
	}
	/* In whichever order. */
	ASSERT_EQ(sizeof(answers), recv(fd, answers, sizeof(answers), MSG_WAITALL));
	EXPECT_EQ(0, closed(self, "flood"));
	/* Which is no licence. */
	for (int i = 0; i < FLOOD; i++)
		memcpy(flood + 8 * i, wire_heartbeat, 8);
	send(fd, flood, sizeof(flood), MSG_NOSIGNAL);
	EXPECT_EQ(1, sockbeatd_stat_wait(&self->d, "closed", "flood", 1));
	close(fd);
}

/* With epoll=edge a read that an urgent byte cuts short is not the last. */
TEST_F(daemon, urgent_byte_among_heartbeats)
{
	int fd;

	START("offload=off");
	fd = client(self);
	ASSERT_TRUE(is_served(fd));
	ASSERT_TRUE(stop(self));
	ASSERT_TRUE(put(fd, wire_heartbeat, 8));
	ASSERT_EQ(1, send(fd, "!", 1, MSG_OOB));
	ASSERT_TRUE(put(fd, wire_heartbeat, 8));
	ASSERT_EQ(0, kill(self->d.pid, SIGCONT));
	EXPECT_TRUE(expect(fd, wire_heartbeat, 8));
	EXPECT_TRUE(expect(fd, wire_heartbeat, 8));
	close(fd);
}

/* Who is silent while something of it waits unread is looked at again. */
TEST_F(daemon, silent_in_line_is_silent_later)
{
	uint8_t frame[SLEEP_BYTES], echo[64];
	size_t len = wire_echo(echo, 16, 1);
	int fd;

	START("source=beat", "trigger=edge", is_slow() ? "timeout_ms=5000" : "timeout_ms=500",
	      "max_client_jobs=1", "offload=off");
	fd = client(self);
	ASSERT_TRUE(is_served(fd));
	wire_sleep(frame, is_slow() ? 10000 : 1000, "0123456789abcdef", TOKEN_BYTES);
	for (int i = 0; i < 3; i++)
		ASSERT_TRUE(put(fd, frame, SLEEP_BYTES));
	ASSERT_EQ(8 + 3 * SLEEP_BYTES,
		  sockbeatd_stat_wait(&self->d, "", "bytes_in", 8 + 3 * SLEEP_BYTES));
	ASSERT_TRUE(put(fd, echo, len));
	EXPECT_EQ(1, sockbeatd_stat_wait(&self->d, "closed", "silent", 1));
	close(fd);
}

/* The same for a heartbeat that was read together with the request that it has
 * to wait behind; it counts when it is answered.
 */
TEST_F(daemon, heartbeat_in_line)
{
	uint8_t frame[3][SLEEP_BYTES], last[SLEEP_BYTES + 8];
	int fd;

	START("source=beat", is_slow() ? "timeout_ms=5000" : "timeout_ms=500", "renotify_ms=500",
	      "max_client_jobs=1", "offload=off");
	fd = client(self);
	ASSERT_TRUE(is_served(fd));
	ASSERT_TRUE(ask(fd, is_slow() ? 10000 : 1000, "long", frame[0]));
	ASSERT_TRUE(ask(fd, 0, "line", frame[1]));
	ASSERT_EQ(8 + 2 * SLEEP_BYTES,
		  sockbeatd_stat_wait(&self->d, "", "bytes_in", 8 + 2 * SLEEP_BYTES));
	wire_sleep(frame[2], 0, "0123456789abcdef", TOKEN_BYTES);
	memcpy(last, frame[2], SLEEP_BYTES);
	memcpy(last + SLEEP_BYTES, wire_heartbeat, 8);
	ASSERT_TRUE(put(fd, last, sizeof(last)));
	EXPECT_TRUE(expect(fd, frame[0], SLEEP_BYTES));
	EXPECT_TRUE(expect(fd, wire_heartbeat, 8));
	EXPECT_TRUE(expect(fd, frame[1], SLEEP_BYTES));
	EXPECT_TRUE(expect(fd, frame[2], SLEEP_BYTES));
	EXPECT_TRUE(is_served(fd));
	EXPECT_TRUE(expect_end(fd));
	EXPECT_EQ(1, closed(self, "silent"));
	close(fd);
}

/* The next answer, to a sleep or an echo request, whichever it is. */
static bool expect_either(int fd, uint8_t sleep[][SLEEP_BYTES], int *slept, const uint8_t *echo,
			  size_t len)
{
	uint8_t header[8];

	if (recv(fd, header, 8, MSG_WAITALL) != 8)
		return false;
	if (!memcmp(header, echo, 8))
		return expect(fd, echo + 8, len - 8);
	return !memcmp(header, sleep[*slept], 8) &&
	       expect(fd, sleep[(*slept)++] + 8, SLEEP_BYTES - 8);
}

/* Of a client whose requests wait in line we read nothing, so that it cannot
 * send either: it is kept, and is closed when it is silent afterwards.
 */
static void kept_in_line(FIXTURE_DATA(daemon) *self, struct __test_metadata *_metadata)
{
	static uint8_t echo[16384];
	uint8_t frame[4][SLEEP_BYTES];
	size_t len = wire_echo(echo, sizeof(echo) - 8, 1), total;
	int fd = client(self), slept = 0;

	ASSERT_TRUE(ask(fd, is_slow() ? 15000 : 3000, "long", frame[0]));
	ASSERT_TRUE(work_reaches(self, "running", 1));
	ASSERT_TRUE(ask(fd, 0, "line", frame[1]) && ask(fd, 0, "stalls", frame[2]));
	ASSERT_EQ(3 * SLEEP_BYTES,
		  sockbeatd_stat_wait(&self->d, "", "bytes_in", 3 * SLEEP_BYTES));
	total = fill_up(fd, echo, len);
	ASSERT_LT(len, total);
	for (size_t i = 0; i < 3 + total / len; i++) {
		ASSERT_TRUE(expect_either(fd, frame, &slept, echo, len)) TH_LOG("answer %zu", i);
	}
	EXPECT_EQ(3, slept);
	ASSERT_TRUE(finish_frame(fd, echo, len, total));
	EXPECT_EQ(0, closed(self, "silent"));
	EXPECT_TRUE(expect_end(fd));
	EXPECT_EQ(1, closed(self, "silent"));
	close(fd);
}

#define LINE_TIMEOUT	(is_slow() ? "timeout_ms=3000" : "timeout_ms=500")
#define LINE_ACT_AFTER	(is_slow() ? "act_after_ms=5000" : "act_after_ms=1000")

TEST_F(daemon, kept_in_line)
{
	START("max_client_jobs=1", LINE_TIMEOUT, LINE_ACT_AFTER, "trigger=edge");
	kept_in_line(self, _metadata);
}

/* Here the session itself would reset it. */
TEST_F(daemon, kept_in_line_with_either)
{
	START("max_client_jobs=1", LINE_TIMEOUT, LINE_ACT_AFTER, "source=either");
	kept_in_line(self, _metadata);
}

/* Who was not read from until just before its timeout has a moment to send. */
TEST_F(daemon, silent_just_after_a_wait)
{
	const int timeout_ms = is_slow() ? 10000 : 2000;
	uint8_t frame[3][SLEEP_BYTES];
	int fd;

	START(is_slow() ? "timeout_ms=10000" : "timeout_ms=2000", "max_client_jobs=1");
	fd = client(self);
	ASSERT_TRUE(ask(fd, timeout_ms * 3 / 4, "long", frame[0]));
	ASSERT_TRUE(work_reaches(self, "running", 1));
	ASSERT_TRUE(ask(fd, 0, "line", frame[1]) && ask(fd, 0, "waits", frame[2]));
	for (int i = 0; i < 3; i++) {
		ASSERT_TRUE(expect(fd, frame[i], SLEEP_BYTES)) TH_LOG("job %d", i);
	}
	poll(NULL, 0, timeout_ms / 2);
	ASSERT_TRUE(is_served(fd));
	EXPECT_EQ(0, closed(self, "silent"));
	EXPECT_TRUE(expect_end(fd));
	EXPECT_EQ(1, closed(self, "silent"));
	close(fd);
}

#define LINE_SLEEP_MS	(is_slow() ? 12000 : 2000)

/* Who has ended its side can say nothing more, and is not silent while it waits. */
TEST_F(daemon, ended_and_waits_for_a_job)
{
	uint8_t frame[SLEEP_BYTES];
	int fd;

	START(LINE_TIMEOUT, LINE_ACT_AFTER);
	fd = client(self);
	ASSERT_TRUE(ask(fd, LINE_SLEEP_MS, "long", frame));
	ASSERT_EQ(0, shutdown(fd, SHUT_WR));
	EXPECT_TRUE(expect(fd, frame, sizeof(frame)));
	EXPECT_TRUE(expect_end(fd));
	EXPECT_EQ(1, closed(self, "peer_close"));
	EXPECT_EQ(0, closed(self, "silent"));
	close(fd);
}

/* The same where the end lies behind requests that wait in line. */
TEST_F(daemon, ended_and_waits_in_line)
{
	uint8_t frame[3][SLEEP_BYTES];
	int fd;

	START(LINE_TIMEOUT, LINE_ACT_AFTER, "max_client_jobs=1");
	fd = client(self);
	ASSERT_TRUE(ask(fd, LINE_SLEEP_MS, "long", frame[0]));
	ASSERT_TRUE(work_reaches(self, "running", 1));
	ASSERT_TRUE(ask(fd, 0, "line", frame[1]) && ask(fd, 0, "stalls", frame[2]));
	ASSERT_EQ(3 * SLEEP_BYTES,
		  sockbeatd_stat_wait(&self->d, "", "bytes_in", 3 * SLEEP_BYTES));
	ASSERT_EQ(0, shutdown(fd, SHUT_WR));
	for (int i = 0; i < 3; i++) {
		EXPECT_TRUE(expect(fd, frame[i], SLEEP_BYTES)) TH_LOG("job %d", i);
	}
	EXPECT_TRUE(expect_end(fd));
	EXPECT_EQ(1, closed(self, "peer_close"));
	EXPECT_EQ(0, closed(self, "silent"));
	close(fd);
}

/* Nor is it who goes on to send behind a bad frame, and is not read from for it. */
TEST_F(daemon, bad_frame_and_more_of_it)
{
	struct pollfd pfd = { .events = POLLIN };
	uint8_t wire[SLEEP_BYTES + 8];

	START(LINE_TIMEOUT, "source=beat");
	pfd.fd = client(self);
	wire_sleep(wire, LINE_SLEEP_MS, "0123456789abcdef", TOKEN_BYTES);
	wire_header(wire + SLEEP_BYTES, 8, 3, 0);
	ASSERT_TRUE(put(pfd.fd, wire, sizeof(wire)));
	while (!poll(&pfd, 1, 100))
		ASSERT_TRUE(put(pfd.fd, wire_heartbeat, 8));
	EXPECT_TRUE(expect(pfd.fd, wire, SLEEP_BYTES));
	EXPECT_EQ(1, sockbeatd_stat_wait(&self->d, "closed", "bad_type", 1));
	EXPECT_EQ(0, closed(self, "silent"));
	close(pfd.fd);
}

/* Once it has only to take its answers, and does not, it is silent like any other. */
TEST_F(daemon, ended_and_takes_nothing)
{
	static uint8_t echo[60000];
	size_t len = wire_echo(echo, sizeof(echo) - 8, 1);
	int fd;

	START(LINE_TIMEOUT, LINE_ACT_AFTER, "max_queue_bytes=100000000");
	fd = client(self);
	ASSERT_LT(0, fill_queue(self, fd, echo, len));
	ASSERT_EQ(0, shutdown(fd, SHUT_WR));
	EXPECT_EQ(1, sockbeatd_stat_wait(&self->d, "closed", "silent", 1));
	close(fd);
}

TEST_HARNESS_MAIN
