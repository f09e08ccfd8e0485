// SPDX-License-Identifier: GPL-2.0-only
/*
 * sockbeatd as its operator sees it: silent clients, limits, reactors, the
 * end, log and settings, and the load generator.
 */
#define _GNU_SOURCE
#include "daemon_fixture.h"

TEST_F(daemon, reader_that_never_reads_is_found_silent)
{
	static uint8_t frame[65535];
	int fd;

	START("max_queue_bytes=65536", "timeout_ms=500");
	fd = client(self);
	ASSERT_LT(0, fill(self, fd, frame, wire_echo(frame, sizeof(frame) - 8, 1)));
	EXPECT_NE(NULL, log_wait(&self->d, " silent peer="));
	EXPECT_EQ(1, sockbeatd_stat_wait(&self->d, "closed", "silent", 1));
	close(fd);
}

/* Wait until the daemon tells this to its service manager. */
static bool is_told(int fd, const char *state)
{
	ssize_t len;
	char text[64];

	do {
		len = recv(fd, text, sizeof(text) - 1, 0);
		text[len < 0 ? 0 : len] = '\0';
	} while (len > 0 && strcmp(text, state));
	return len > 0;
}

TEST_F(daemon, service_manager_is_told)
{
	struct timeval patience = { .tv_sec = PATIENCE_MS / 1000 };
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	char byte;

	snprintf(address.sun_path, sizeof(address.sun_path), "/tmp/sockbeatd-notify-%d", getpid());
	ASSERT_EQ(0, bind(fd, (struct sockaddr *)&address, sizeof(address)));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setenv("NOTIFY_SOCKET", address.sun_path, 1);
	setenv("WATCHDOG_USEC", "200000", 1);
	START("reactors=2");
	EXPECT_TRUE(is_told(fd, "READY=1"));
	for (int i = 0; i < 3; i++)
		EXPECT_TRUE(is_told(fd, "WATCHDOG=1"));
	kill(self->d.pid, SIGSTOP);
	while (recv(fd, &byte, 1, MSG_DONTWAIT) > 0)
		;
	usleep(500000);
	EXPECT_EQ(-1, recv(fd, &byte, 1, MSG_DONTWAIT));
	kill(self->d.pid, SIGCONT);
	EXPECT_TRUE(is_told(fd, "WATCHDOG=1"));
	kill(self->d.pid, SIGTERM);
	EXPECT_TRUE(is_told(fd, "STOPPING=1"));
	EXPECT_EQ(0, sockbeatd_wait(&self->d));
	unlink(address.sun_path);
	close(fd);
}

/* How late the log says that a silent peer was found, or -1 without a line. */
static long silent_late_ms(FIXTURE_DATA(daemon) *self, int fd)
{
	struct sockaddr_in local;
	socklen_t len = sizeof(local);
	char text[64];
	const char *line;

	getsockname(fd, (struct sockaddr *)&local, &len);
	snprintf(text, sizeof(text), " silent peer=127.0.0.1:%u ", ntohs(local.sin_port));
	line = log_wait(&self->d, text);
	if (!line || !strstr(line, " tcp=ESTABLISHED"))
		return -1;
	return atol(strstr(line, "late_ms=") + strlen("late_ms="));
}

TEST_F(daemon, silent_client_is_closed)
{
	uint64_t sent_ms, gone_ms;
	long late_ms;
	int fd, mute;

	START("timeout_ms=500");
	mute = client(self);	/* never says a word */
	fd = client(self);
	sent_ms = now_ms();
	ASSERT_TRUE(is_served(fd));
	ASSERT_TRUE(expect_end(fd));
	gone_ms = now_ms();
	EXPECT_LE(sent_ms + 500, gone_ms);
	late_ms = silent_late_ms(self, fd);
	EXPECT_LE(0, late_ms);
	EXPECT_GE(200, late_ms);
	ASSERT_TRUE(expect_end(mute));
	EXPECT_LE(0, silent_late_ms(self, mute));
	EXPECT_EQ(2, closed(self, "silent"));
	EXPECT_EQ(0, sockbeatd_stat(&self->d, "", "connections"));
	close(fd);
	close(mute);
}

TEST_F(daemon, slow_but_alive_client_is_kept)
{
	struct timespec pace = { .tv_nsec = 350 * 1000000 };
	uint8_t wire[8];
	int fd;

	START("timeout_ms=500");
	fd = client(self);
	memcpy(wire, wire_heartbeat, 8);
	for (int i = 0; i < 8; i++) {
		ASSERT_TRUE(put(fd, &wire[i], 1));
		nanosleep(&pace, NULL);
	}
	ASSERT_TRUE(expect(fd, wire, 8));
	EXPECT_EQ(0, closed(self, "silent"));
	close(fd);
}

TEST_F(daemon, only_heartbeats_count_with_source_beat)
{
	struct timespec pace = { .tv_nsec = 150 * 1000000 };
	int beats, echoes, i;
	uint8_t frame[16];
	size_t len = wire_echo(frame, 8, 1);

	START("timeout_ms=500", "source=beat");
	beats = client(self);
	echoes = client(self);
	for (i = 0; i < 50 && put(echoes, frame, len) && expect(echoes, frame, len); i++) {
		ASSERT_TRUE(is_served(beats));
		nanosleep(&pace, NULL);
	}
	EXPECT_LE(3, i);
	EXPECT_GT(50, i);
	EXPECT_EQ(1, closed(self, "silent"));
	EXPECT_TRUE(is_served(beats));
	close(beats);
	close(echoes);
}

TEST_F(daemon, max_connections)
{
	int fd[3];

	START("max_connections=2", "reactors=2");
	for (int i = 0; i < 2; i++) {
		fd[i] = client(self);
		ASSERT_TRUE(is_served(fd[i]));
	}
	fd[2] = client(self);
	EXPECT_TRUE(expect_end(fd[2]));
	EXPECT_EQ(1, closed(self, "limit"));
	close(fd[0]);
	EXPECT_EQ(1, sockbeatd_stat_wait(&self->d, "closed", "peer_close", 1));
	close(fd[2]);
	fd[2] = client(self);
	EXPECT_TRUE(is_served(fd[2]));
	close(fd[1]);
	close(fd[2]);
}

TEST_F(daemon, slots_are_used_again)
{
	START("max_connections=4");
	for (int i = 0; i < 100; i++) {
		int fd = client(self);

		ASSERT_TRUE(is_served(fd));
		/* Ends before the next one begins, so four slots are enough. */
		shutdown(fd, SHUT_WR);
		ASSERT_TRUE(expect_end(fd));
		close(fd);
	}
	EXPECT_EQ(100, closed(self, "peer_close"));
}

TEST_F(daemon, several_reactors)
{
	int fd[100];

	START("reactors=3", "accept_batch=2");
	for (int i = 0; i < 100; i++)
		fd[i] = client(self);
	for (int i = 0; i < 100; i++)
		ASSERT_TRUE(is_served(fd[i]));
	EXPECT_EQ(3, sockbeatd_stat(&self->d, "", "reactors"));
	EXPECT_EQ(100, sockbeatd_stat(&self->d, "", "connections"));
	EXPECT_EQ(100, sockbeatd_stat(&self->d, "session", "live"));
	for (int i = 0; i < 100; i++)
		close(fd[i]);
}

TEST_F(daemon, sigterm_answers_what_arrived)
{
	static uint8_t frame[65535];
	size_t len = wire_echo(frame, sizeof(frame) - 8, 1);
	int slow, idle;

	START("max_queue_bytes=65536", "drain_timeout_ms=20000");
	idle = client(self);
	ASSERT_TRUE(is_served(idle));
	slow = client(self);
	ASSERT_LT(0, fill(self, slow, frame, len));
	kill(self->d.pid, SIGTERM);
	EXPECT_TRUE(expect_end(idle));

	/* What was queued comes, then the end: no frame is cut off. */
	for (size_t got = 0;; got++) {
		uint8_t byte;

		if (recv(slow, &byte, 1, MSG_PEEK) <= 0) {
			EXPECT_LT(0, got);
			break;
		}
		ASSERT_TRUE(expect(slow, frame, len));
	}
	close(slow);
	EXPECT_EQ(0, sockbeatd_wait(&self->d)) {
		TH_LOG("%s", self->d.log);
	}
	close(idle);
}

/* A client whose TCP takes little more than @bytes before it reads. */
static int narrow_client(FIXTURE_DATA(daemon) *self, int bytes)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(self->d.port) };
	struct timeval patience = { .tv_sec = PATIENCE_MS / 1000 };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (connect(fd, (struct sockaddr *)&to, sizeof(to))) {
		close(fd);
		return -1;
	}
	return fd;
}

enum { FRAMES = 100, FRAME_BYTES = 1008 };

/* A client that has not got most of its answers when the end comes, though all are
 * sent; or -1.
 */
static int client_at_sigterm(FIXTURE_DATA(daemon) *self, uint8_t frame[FRAME_BYTES])
{
	int slow = narrow_client(self, 4096);

	wire_echo(frame, FRAME_BYTES - 8, 1);
	for (int i = 0; i < FRAMES; i++) {
		if (!put(slow, frame, FRAME_BYTES))
			return -1;
	}
	if (sockbeatd_stat_wait(&self->d, "", "bytes_out", FRAMES * FRAME_BYTES) !=
	    FRAMES * FRAME_BYTES)
		return -1;
	kill(self->d.pid, SIGTERM);
	return refuses(self) ? slow : -1;
}

/* What was sent is not lost though the client goes on to send. */
TEST_F(daemon, sigterm_leaves_what_was_sent)
{
	uint8_t frame[FRAME_BYTES];
	ssize_t len;
	int slow;

	START("drain_timeout_ms=20000");
	slow = client_at_sigterm(self, frame);
	ASSERT_LE(0, slow);
	for (int i = 0; i < FRAMES; i++) {
		/* The daemon may be gone when the last ones are read. */
		send(slow, wire_heartbeat, 8, MSG_NOSIGNAL);
		ASSERT_TRUE(expect(slow, frame, FRAME_BYTES)) TH_LOG("frame %d", i);
		usleep(2000);
	}
	/* The first heartbeat may have been in time. */
	while ((len = recv(slow, frame, 8, MSG_WAITALL)) == 8)
		EXPECT_EQ(0, memcmp(frame, wire_heartbeat, 8));
	EXPECT_EQ(0, len);
	close(slow);
	EXPECT_EQ(0, sockbeatd_wait(&self->d)) {
		TH_LOG("%s", self->d.log);
	}
}

/* Who has got all of it and says nothing more is not waited for. */
TEST_F(daemon, sigterm_and_a_client_that_stays)
{
	uint8_t frame[FRAME_BYTES];
	uint64_t begin_ms = now_ms();
	int slow;

	START("drain_timeout_ms=600000");
	slow = client_at_sigterm(self, frame);
	ASSERT_LE(0, slow);
	for (int i = 0; i < FRAMES; i++) {
		ASSERT_TRUE(expect(slow, frame, FRAME_BYTES)) TH_LOG("frame %d", i);
	}
	EXPECT_TRUE(expect_end(slow));
	EXPECT_EQ(0, sockbeatd_wait(&self->d)) {
		TH_LOG("%s", self->d.log);
	}
	EXPECT_GT(begin_ms + 2 * PATIENCE_MS, now_ms());
	close(slow);
}

TEST_F(daemon, sigterm_does_not_wait_for_ever)
{
	static uint8_t frame[65535];
	uint64_t begin_ms;
	int slow;

	START("max_queue_bytes=65536", "drain_timeout_ms=300");
	slow = client(self);
	ASSERT_LT(0, fill(self, slow, frame, wire_echo(frame, sizeof(frame) - 8, 1)));
	begin_ms = now_ms();
	EXPECT_EQ(0, sockbeatd_stop(&self->d));
	EXPECT_LE(begin_ms + 300, now_ms());
	EXPECT_GT(begin_ms + PATIENCE_MS / 2, now_ms());
	close(slow);
}

TEST_F(daemon, log_names_the_engine)
{
	const char *engine = getenv("SOCKBEAT_TEST_ENGINE");
	char text[64], stats[4096];

	START();
	if (!engine || strcmp(engine, "auto")) {
		snprintf(text, sizeof(text), " started engine=%s reason=\"", engine ? engine : "builtin");
		EXPECT_NE(NULL, strstr(self->d.log, text)) {
			TH_LOG("%s", self->d.log);
		}
	}
	ASSERT_EQ(0, sockbeatd_stats(&self->d, stats, sizeof(stats)));
	EXPECT_NE(NULL, strstr(stats, "\"engine_reason\":\""));
}

TEST_F(daemon, sighup_reopens_the_log)
{
	char path[64], old[80], set[80];
	const char *const sets[] = { "listen=127.0.0.1:0", variant->epoll, set, NULL };

	snprintf(path, sizeof(path), "/tmp/sockbeatd-log-%d", getpid());
	snprintf(old, sizeof(old), "%s.old", path);
	snprintf(set, sizeof(set), "log_file=%s", path);
	ASSERT_EQ(0, sockbeatd_spawn(&self->d, sets, 0));
	EXPECT_TRUE(file_wait(path, " started "));
	rename(path, old);
	kill(self->d.pid, SIGHUP);
	EXPECT_TRUE(file_wait(path, "reopened"));
	EXPECT_EQ(0, sockbeatd_stop(&self->d));
	EXPECT_TRUE(file_wait(path, " stopped "));
	unlink(path);
	unlink(old);
}

TEST_F(daemon, wrong_setting_is_explained)
{
	EXPECT_EQ(-1, start_limited(self, variant, 0, (const char *const[]){ "timeout_ms=5", NULL }));
	EXPECT_NE(NULL, strstr(self->d.log, "timeout_ms: 5 is outside the range 100..604800000"));
	EXPECT_EQ(1, WEXITSTATUS(sockbeatd_wait(&self->d)));
}

/* A wrong path must not cost anyone a file. */
TEST_F(daemon, stats_socket_spares_files)
{
	char path[64];
	int fd;

	/* Where the fixture's daemon wants its socket. */
	snprintf(path, sizeof(path), "/tmp/sockbeatd-stats-%d", getpid());
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	ASSERT_LE(0, fd);
	EXPECT_EQ(-1, start_limited(self, variant, 0, (const char *const[]){ NULL }));
	EXPECT_NE(NULL, strstr(self->d.log, "Address already in use"));
	EXPECT_EQ(0, access(path, F_OK));
	EXPECT_EQ(1, WEXITSTATUS(sockbeatd_wait(&self->d)));
	close(fd);
}

/* Who reads the log may go; the service stays. */
TEST_F(daemon, log_reader_that_goes)
{
	int c;

	START("log_level=debug");
	close(self->d.log_fd);
	c = client(self);
	EXPECT_TRUE(is_served(c));
	close(c);
	c = client(self);
	EXPECT_TRUE(is_served(c));
	close(c);
	EXPECT_EQ(0, kill(self->d.pid, SIGTERM));
	self->d.log_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	EXPECT_EQ(0, sockbeatd_wait(&self->d));
}

static int run_load(FIXTURE_DATA(daemon) *self, const char *args)
{
	char path[PATH_MAX];

	program_path("sockbeat-load", path);
	return sh("%s --connect 127.0.0.1:%u %s >/dev/null", path, self->d.port, args);
}

/* Loads that an emulated debug kernel can carry: who is starved there falls
 * silent indeed.
 */
TEST_F(daemon, load_generator)
{
	START("timeout_ms=2500", "reactors=2");
	EXPECT_EQ(0, run_load(self, "--clients 40 --period-ms 500 --jitter-ms 100 --echo-bytes 3000 --echo-period-ms 700 --duration-ms 4000 --churn-per-s 10"));
	EXPECT_EQ(0, closed(self, "silent"));
	EXPECT_EQ(0, run_load(self, "--clients 10 --slow-ms 2000 --duration-ms 5000"));
	EXPECT_EQ(0, closed(self, "silent"));
	/* These stop and are found; what they say of it is up to them. */
	run_load(self, "--clients 20 --period-ms 500 --stop-after-ms 300 --duration-ms 6000 --expect-close");
	EXPECT_EQ(20, closed(self, "silent"));
	EXPECT_NE(0, run_load(self, "--clients 5 --period-ms 0 --duration-ms 6000"));
	EXPECT_EQ(25, closed(self, "silent"));
}

TEST_HARNESS_MAIN
