// SPDX-License-Identifier: GPL-2.0-only
/*
 * sockbeatd as its clients and its operator see it: the real program, over
 * real connections, with edge- and with level-triggered epoll. The engine is
 * the one that SOCKBEAT_TEST_ENGINE names, builtin by default.
 */
#define _GNU_SOURCE
#include "sockbeatd.h"
#include "tcp.h"
#include "../kselftest_harness.h"

#define MAX_SETTINGS	16

FIXTURE(daemon) {
	struct sockbeatd d;
};

FIXTURE_VARIANT(daemon) {
	const char *epoll;
};

FIXTURE_VARIANT_ADD(daemon, edge) { .epoll = "epoll=edge" };
FIXTURE_VARIANT_ADD(daemon, level) { .epoll = "epoll=level" };

FIXTURE_SETUP(daemon)
{
}

FIXTURE_TEARDOWN(daemon)
{
	/* Whatever a test did, the daemon has to end in order. */
	if (self->d.pid > 0)
		EXPECT_EQ(0, sockbeatd_stop(&self->d)) {
			TH_LOG("%s", self->d.log);
		}
}

/* With IPv4 on loopback unless a setting says otherwise. */
static int start_limited(FIXTURE_DATA(daemon) *self, const FIXTURE_VARIANT(daemon) *variant,
			 int nofile, const char *const *settings)
{
	const char *sets[MAX_SETTINGS] = { "listen=127.0.0.1:0", "max_frames_per_s=0",
					   variant->epoll };
	int n = 3;

	while (*settings && n < MAX_SETTINGS - 1)
		sets[n++] = *settings++;
	return sockbeatd_start(&self->d, sets, nofile);
}

#define START_LIMITED(nofile, ...)						\
	ASSERT_EQ(0, start_limited(self, variant, nofile,			\
				   (const char *const[]){ __VA_ARGS__ __VA_OPT__(,) NULL })) { \
		TH_LOG("%s", self->d.log);					\
	}
#define START(...)	START_LIMITED(0, __VA_ARGS__)

static int client(FIXTURE_DATA(daemon) *self)
{
	struct timeval patience = { .tv_sec = PATIENCE_MS / 1000 };
	int fd = tcp_connect(AF_INET, "127.0.0.1", self->d.port), on = 1;

	if (fd >= 0) {
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	}
	return fd;
}

static bool put(int fd, const void *data, size_t len)
{
	return send(fd, data, len, MSG_NOSIGNAL) == (ssize_t)len;
}

/* The next bytes from there are exactly these. */
static bool expect(int fd, const uint8_t *data, size_t len)
{
	static uint8_t got[65536];

	while (len) {
		size_t part = len < sizeof(got) ? len : sizeof(got);

		if (recv(fd, got, part, MSG_WAITALL) != (ssize_t)part || memcmp(got, data, part))
			return false;
		data += part;
		len -= part;
	}
	return true;
}

static bool is_served(int fd)
{
	return put(fd, wire_heartbeat, 8) && expect(fd, wire_heartbeat, 8);
}

/* The server ends the connection without another byte. */
static bool expect_end(int fd)
{
	uint8_t byte;
	ssize_t len = recv(fd, &byte, 1, 0);

	return !len || (len < 0 && errno == ECONNRESET);
}

static long long closed(FIXTURE_DATA(daemon) *self, const char *cause)
{
	return sockbeatd_stat(&self->d, "closed", cause);
}

TEST_F(daemon, heartbeat_is_answered_by_itself)
{
	int fd;

	START();
	fd = client(self);
	for (int i = 0; i < 3; i++)
		ASSERT_TRUE(is_served(fd));
	EXPECT_EQ(3, sockbeatd_stat(&self->d, "", "heartbeats"));
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
	EXPECT_EQ(1000, sockbeatd_stat(&self->d, "", "frames"));
	EXPECT_EQ(500, sockbeatd_stat(&self->d, "", "heartbeats"));
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

TEST_F(daemon, bad_frames_end_the_connection)
{
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
		{ "bad_type", "\0\10\0\2\0\0\0\0", 8 },
		{ "bad_type", "\0\10\377\377\0\0\0\0", 8 },
		{ "bad_length", "GET / HTTP/1.1\r\n\r\n", 18 },
	};
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
	uint8_t wire[8 * 51] = { 0 };
	int good, bad;

	START("max_frames_per_s=50");
	for (size_t i = 1; i < sizeof(wire); i += 8)
		wire[i] = 8;
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

/* Send frames without reading answers until the server has stopped to read.
 * Returns how many bytes went out.
 */
static size_t fill(FIXTURE_DATA(daemon) *self, int fd, const uint8_t *frame, size_t len)
{
	uint64_t until_ms = now_ms() + PATIENCE_MS;
	size_t total = 0;

	while (now_ms() < until_ms) {
		ssize_t sent = send(fd, frame + total % len, len - total % len,
				    MSG_DONTWAIT | MSG_NOSIGNAL);

		if (sent > 0)
			total += sent;
		else if (sockbeatd_stat(&self->d, "", "queue_pauses") > 0)
			return total;
	}
	return 0;
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

TEST_F(daemon, out_of_descriptors)
{
	int fd[60];

	START_LIMITED(32);
	for (int i = 0; i < 60; i++) {
		fd[i] = client(self);
		ASSERT_TRUE(put(fd[i], wire_heartbeat, 8));
	}
	ASSERT_NE(NULL, log_wait(&self->d, "accept paused"));
	/* They are served as others leave. */
	for (int i = 0; i < 60; i++) {
		ASSERT_TRUE(expect(fd[i], wire_heartbeat, 8)) {
			TH_LOG("client %d", i);
		}
		close(fd[i]);
	}
	EXPECT_EQ(60, sockbeatd_stat_wait(&self->d, "closed", "peer_close", 60));
	EXPECT_LE(1, sockbeatd_stat(&self->d, "", "accept_pauses"));
}

static long cpu_ticks(pid_t pid)
{
	unsigned long user = 0, system = 0;
	char path[32];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	file = fopen(path, "r");
	if (!file || fscanf(file, "%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
			    &user, &system) != 2)
		user = LONG_MAX;
	if (file)
		fclose(file);
	return user + system;
}

TEST_F(daemon, out_of_descriptors_does_not_spin)
{
	struct timespec watch = { .tv_sec = 1 };
	int fd[60];
	long before;

	START_LIMITED(32);
	for (int i = 0; i < 60; i++)
		fd[i] = client(self);
	ASSERT_NE(NULL, log_wait(&self->d, "accept paused"));
	before = cpu_ticks(self->d.pid);
	nanosleep(&watch, NULL);
	/* At most a fifth of the second that is watched. */
	EXPECT_GE(sysconf(_SC_CLK_TCK) / 5, cpu_ticks(self->d.pid) - before);
	for (int i = 0; i < 60; i++)
		close(fd[i]);
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

/* Whether a file has some text, as soon as it does. */
static bool file_wait(const char *path, const char *text)
{
	uint64_t until_ms = now_ms() + PATIENCE_MS;
	bool found = false;

	while (!found && now_ms() < until_ms) {
		char content[4096] = "";
		FILE *file = fopen(path, "r");

		if (file) {
			fread(content, 1, sizeof(content) - 1, file);
			fclose(file);
		}
		found = strstr(content, text);
		if (!found)
			usleep(5000);
	}
	return found;
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

static int run_load(FIXTURE_DATA(daemon) *self, const char *args)
{
	char path[PATH_MAX];

	program_path("sockbeat-load", path);
	return sh("%s --connect 127.0.0.1:%u %s >/dev/null", path, self->d.port, args);
}

TEST_F(daemon, load_generator)
{
	START("timeout_ms=500", "reactors=2");
	EXPECT_EQ(0, run_load(self, "--clients 200 --period-ms 100 --jitter-ms 20 --echo-bytes 3000 --echo-period-ms 150 --duration-ms 1500 --churn-per-s 50"));
	EXPECT_EQ(0, closed(self, "silent"));
	EXPECT_EQ(0, run_load(self, "--clients 20 --slow-ms 400 --duration-ms 2000"));
	EXPECT_EQ(0, closed(self, "silent"));
	/* These stop and are found; what they say of it is up to them. */
	run_load(self, "--clients 20 --period-ms 100 --stop-after-ms 300 --duration-ms 2000 --expect-close");
	EXPECT_EQ(20, closed(self, "silent"));
	EXPECT_NE(0, run_load(self, "--clients 5 --period-ms 0 --duration-ms 2000"));
	EXPECT_EQ(25, closed(self, "silent"));
}

TEST_HARNESS_MAIN
