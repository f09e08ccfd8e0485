// SPDX-License-Identifier: GPL-2.0-only
/*
 * sockbeatd under attack and overload: floods of all kinds, full disks, no
 * descriptors, clocks that jump and a process that was stopped. The others are
 * served meanwhile, and every client is counted.
 */
#define _GNU_SOURCE
#include <netinet/ip.h>
#include <sys/stat.h>
#include "daemon_work.h"
#include "cable.h"

static bool is_slow(void)
{
	return getenv("SOCKBEAT_TEST_SLOW");
}

/* How long a client may wait for its answer while others attack. */
static uint64_t bound_ms(void)
{
	return is_slow() ? 15000 : 2000;
}

static long long number_at(const char *text, const char *key)
{
	const char *at = strstr(text, key);

	return at ? atoll(at + strlen(key)) : -1;
}

/* Every client that was accepted is there, or is counted by the cause of its
 * end.
 */
static bool adds_up(FIXTURE_DATA(daemon) *self)
{
	char text[4096], *at, *end;
	long long sum;

	if (sockbeatd_stats(&self->d, text, sizeof(text)))
		return false;
	sum = number_at(text, "\"connections\":");
	at = strstr(text, "\"closed\":{");
	at = at ? strchr(at, '{') : NULL;
	end = at ? strchr(at, '}') : NULL;
	while (end && (at = strchr(at, ':')) && at < end)
		sum += atoll(++at);
	return end && sum == number_at(text, "\"accepted\":");
}

/* As many descriptors as may be. False if that is less than is needed. */
static bool raise_nofile(rlim_t needed)
{
	struct rlimit limit;

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	return !setrlimit(RLIMIT_NOFILE, &limit) && limit.rlim_cur >= needed;
}

/* An attacker in a process of its own. */
static pid_t attack(void (*run)(FIXTURE_DATA(daemon) *self, int n), FIXTURE_DATA(daemon) *self, int n)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	run(self, n);
	_exit(0);
}

/* Send heartbeats until an attack is over. Returns the longest time that one
 * took, or -1 where one was not answered or the attack failed.
 */
static int64_t served_through(int fd, pid_t attacker)
{
	uint64_t begin_ms, worst_ms = 0;
	int status = 0;

	do {
		begin_ms = now_ms();
		if (!is_served(fd))
			return -1;
		if (now_ms() - begin_ms > worst_ms)
			worst_ms = now_ms() - begin_ms;
	} while (!waitpid(attacker, &status, WNOHANG));
	return status ? -1 : (int64_t)worst_ms;
}

#define EXPECT_SERVED_THROUGH(fd, attacker) do {		\
	int64_t took_ms = served_through(fd, attacker);		\
								\
	EXPECT_LE(0, took_ms);					\
	EXPECT_GE((int64_t)bound_ms(), took_ms);		\
} while (0)

/* Connect and leave, politely and rudely. */
static void come_and_go(FIXTURE_DATA(daemon) *self, int n)
{
	for (int i = 0; i < n; i++) {
		int fd = tcp_connect(AF_INET, "127.0.0.1", self->d.port);

		if (fd < 0)
			_exit(1);
		if (i % 2)
			tcp_abort(fd);
		else
			close(fd);
	}
}

TEST_F(daemon, accept_flood)
{
	int n = is_slow() ? 500 : 4000, fd;

	START();
	fd = client(self);
	EXPECT_SERVED_THROUGH(fd, attack(come_and_go, self, n));
	EXPECT_EQ(n + 1, sockbeatd_stat_wait(&self->d, "", "accepted", n + 1));
	EXPECT_EQ(n, sockbeatd_stat_wait(&self->d, "closed", "peer_close", n / 2) +
		     sockbeatd_stat_wait(&self->d, "closed", "reset", n / 2));
	EXPECT_EQ(1, sockbeatd_stat(&self->d, "", "connections"));
	EXPECT_TRUE(adds_up(self));
	EXPECT_TRUE(is_served(fd));
	close(fd);
}

/* However a client went, its address has the place back. */
TEST_F(daemon, accept_flood_with_a_limit)
{
	int n = is_slow() ? 500 : 4000, fd[10];

	START("max_connections_per_address=10", "reactors=2");
	fd[0] = client(self);
	ASSERT_TRUE(is_served(fd[0]));
	EXPECT_SERVED_THROUGH(fd[0], attack(come_and_go, self, n));
	EXPECT_EQ(n + 1, sockbeatd_stat_wait(&self->d, "", "accepted", n + 1));
	for (uint64_t until_ms = now_ms() + PATIENCE_MS; now_ms() < until_ms;) {
		if (sockbeatd_stat(&self->d, "", "connections") == 1)
			break;
	}
	EXPECT_TRUE(adds_up(self));
	for (int i = 1; i < 10; i++) {
		fd[i] = client(self);
		EXPECT_TRUE(is_served(fd[i])) TH_LOG("client %d", i);
	}
	for (int i = 0; i < 10; i++)
		close(fd[i]);
}

TEST_F(daemon, a_thousand_from_one_address)
{
	static int fd[1000];
	int n = is_slow() ? 300 : 1000;

	if (!raise_nofile(n + 100))
		SKIP(return, "RLIMIT_NOFILE is too low");
	START("reactors=3");
	for (int i = 0; i < n; i++) {
		fd[i] = client(self);
		ASSERT_LE(0, fd[i]);
	}
	for (int i = 0; i < n; i++) {
		ASSERT_TRUE(is_served(fd[i])) TH_LOG("client %d", i);
	}
	EXPECT_EQ(n, sockbeatd_stat(&self->d, "", "connections"));
	EXPECT_EQ(0, closed(self, "address_limit"));
	for (int i = 0; i < n; i++)
		close(fd[i]);
}

static int client_from(FIXTURE_DATA(daemon) *self, const char *from)
{
	struct sockaddr_in sa = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	inet_pton(AF_INET, from, &sa.sin_addr);
	if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)))
		return -1;
	inet_pton(AF_INET, "127.0.0.1", &sa.sin_addr);
	sa.sin_port = htons(self->d.port);
	return connect(fd, (struct sockaddr *)&sa, sizeof(sa)) ? -1 : fd;
}

TEST_F(daemon, a_thousand_against_a_limit)
{
	int n = is_slow() ? 300 : 1000, served = 0, other, last = -1;
	static int fd[1000];

	if (!raise_nofile(n + 100))
		SKIP(return, "RLIMIT_NOFILE is too low");
	START("max_connections_per_address=100", "max_connections=200", "reactors=3",
	      "when_full=wait");
	for (int i = 0; i < n; i++) {
		fd[i] = client(self);
		ASSERT_LE(0, fd[i]);
	}
	for (int i = 0; i < n; i++) {
		if (!is_served(fd[i]))
			continue;
		served++;
		last = i;
	}
	EXPECT_EQ(100, served);
	EXPECT_EQ(n - 100, closed(self, "address_limit"));
	EXPECT_TRUE(adds_up(self));
	other = client_from(self, "127.0.0.2");
	EXPECT_TRUE(is_served(other));

	/* One goes, one comes. */
	ASSERT_LE(0, last);
	close(fd[last]);
	EXPECT_EQ(1, sockbeatd_stat_wait(&self->d, "closed", "peer_close", 1));
	fd[last] = client(self);
	EXPECT_TRUE(is_served(fd[last]));
	close(other);
	other = client(self);
	EXPECT_TRUE(expect_end(other));
	EXPECT_EQ(n - 100 + 1, closed(self, "address_limit"));
	close(other);
	for (int i = 0; i < n; i++)
		close(fd[i]);
}

TEST_F(daemon, address_limit_of_ipv6)
{
	int fd[3];

	START("listen=[::1]:0", "max_connections_per_address=2");
	for (int i = 0; i < 3; i++)
		fd[i] = tcp_connect(AF_INET6, "::1", self->d.port);
	EXPECT_TRUE(is_served(fd[0]));
	EXPECT_TRUE(is_served(fd[1]));
	EXPECT_TRUE(expect_end(fd[2]));
	EXPECT_EQ(1, closed(self, "address_limit"));
	for (int i = 0; i < 3; i++)
		close(fd[i]);
}

/* Heartbeats as fast as they are taken, and every answer. */
static void beat_fast(FIXTURE_DATA(daemon) *self, int n)
{
	static uint8_t wire[65536], got[65536];
	size_t sent = 0, received = 0, all = 8ul * n;
	int fd = client(self);

	wire_heartbeats(wire, sizeof(wire) / 8);
	while (received < all) {
		struct pollfd pfd = { .fd = fd, .events = POLLIN | (sent < all ? POLLOUT : 0) };
		ssize_t len;

		if (poll(&pfd, 1, PATIENCE_MS) <= 0)
			_exit(1);
		if (pfd.revents & POLLIN) {
			len = recv(fd, got, sizeof(got), MSG_DONTWAIT);
			if (len <= 0)
				_exit(2);
			received += len;
		}
		if (pfd.revents & POLLOUT) {
			len = all - sent < sizeof(wire) ? all - sent : sizeof(wire);
			len = send(fd, wire, len, MSG_DONTWAIT | MSG_NOSIGNAL);
			sent += len > 0 ? len : 0;
		}
	}
	_exit(0);
}

TEST_F(daemon, heartbeat_flood)
{
	int n = is_slow() ? 50000 : 2000000, fd;

	START();
	fd = client(self);
	EXPECT_SERVED_THROUGH(fd, attack(beat_fast, self, n));
	EXPECT_LE(n, answered(self, "heartbeats"));
	EXPECT_EQ(1, sockbeatd_stat_wait(&self->d, "closed", "peer_close", 1));
	EXPECT_TRUE(adds_up(self));
	close(fd);
}

/* The same client, with the limit that there is by default. */
TEST_F(daemon, heartbeat_flood_with_a_limit)
{
	int fd, status;
	pid_t pid;

	START("max_frames_per_s=100");
	fd = client(self);
	ASSERT_TRUE(is_served(fd));
	pid = attack(beat_fast, self, 2000000);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(2, WEXITSTATUS(status));
	EXPECT_EQ(1, closed(self, "flood"));
	EXPECT_TRUE(adds_up(self));
	EXPECT_TRUE(is_served(fd));
	close(fd);
}

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

/* Stop the process, and wait until it is. */
static bool stop(FIXTURE_DATA(daemon) *self)
{
	int status;

	return !kill(self->d.pid, SIGSTOP) &&
	       waitpid(self->d.pid, &status, WUNTRACED) == self->d.pid && WIFSTOPPED(status);
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

/* Nobody of those who wait has to go for the others to be served, once there
 * are descriptors again.
 */
TEST_F(daemon, descriptors_come_back)
{
	struct rlimit limit = { 32, 1024 };
	int fd[60];

	START_LIMITED(1024);
	ASSERT_EQ(0, prlimit(self->d.pid, RLIMIT_NOFILE, &limit, NULL));
	for (int i = 0; i < 60; i++) {
		fd[i] = client(self);
		ASSERT_TRUE(put(fd[i], wire_heartbeat, 8));
	}
	ASSERT_NE(NULL, log_wait(&self->d, "accept paused"));
	EXPECT_GT(60, number_at(strstr(self->d.log, "accept paused"), "connections="));
	limit.rlim_cur = 1024;
	ASSERT_EQ(0, prlimit(self->d.pid, RLIMIT_NOFILE, &limit, NULL));
	for (int i = 0; i < 60; i++) {
		ASSERT_TRUE(expect(fd[i], wire_heartbeat, 8)) TH_LOG("client %d", i);
	}
	EXPECT_EQ(60, sockbeatd_stat(&self->d, "", "connections"));
	EXPECT_LE(1, sockbeatd_stat(&self->d, "", "accept_pauses"));
	for (int i = 0; i < 60; i++)
		close(fd[i]);
}

/* A log of its own, whose name the test may have lead elsewhere. */
static bool start_logging(FIXTURE_DATA(daemon) *self, const FIXTURE_VARIANT(daemon) *variant,
			  const char *path)
{
	char set[80], text[4096] = "";
	const char *const sets[] = { "listen=127.0.0.1:0", variant->epoll, set, NULL };
	FILE *file;

	snprintf(set, sizeof(set), "log_file=%s", path);
	if (sockbeatd_spawn(&self->d, sets, 0) || !file_wait(path, " started "))
		return false;
	file = fopen(path, "r");
	if (file) {
		fread(text, 1, sizeof(text) - 1, file);
		fclose(file);
	}
	self->d.port = number_at(text, "address=127.0.0.1:");
	return true;
}

/* What cannot be written is counted, and told when there is room. */
TEST_F(daemon, log_on_a_full_disk)
{
	char path[64], file[80];
	int fd;

	snprintf(path, sizeof(path), "/tmp/sockbeatd-load-%d", getpid());
	snprintf(file, sizeof(file), "%s.log", path);
	unlink(path);
	ASSERT_EQ(0, symlink(file, path));
	ASSERT_TRUE(start_logging(self, variant, path));
	fd = client(self);
	ASSERT_TRUE(is_served(fd));
	EXPECT_EQ(0, sockbeatd_stat(&self->d, "", "log_lost"));

	unlink(path);
	ASSERT_EQ(0, symlink("/dev/full", path));
	for (int i = 1; i <= 3; i++) {
		kill(self->d.pid, SIGHUP);
		EXPECT_EQ(i, sockbeatd_stat_wait(&self->d, "", "log_lost", i));
		EXPECT_TRUE(is_served(fd));
	}
	unlink(path);
	ASSERT_EQ(0, symlink(file, path));
	kill(self->d.pid, SIGHUP);
	EXPECT_TRUE(file_wait(file, " warning log lost=3\n"));
	EXPECT_EQ(3, sockbeatd_stat(&self->d, "", "log_lost"));
	EXPECT_TRUE(is_served(fd));
	close(fd);
	EXPECT_EQ(0, sockbeatd_stop(&self->d));
	unlink(path);
	unlink(file);
}

/* A file that may grow no more: no signal ends the process, and the line that
 * was cut off is the only one that is not whole.
 */
TEST_F(daemon, log_that_is_cut_off)
{
	struct rlimit limit = { 0, RLIM_INFINITY };
	char path[64], line[256] = "";
	struct stat st;
	int fd, cut = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/tmp/sockbeatd-load-%d", getpid());
	ASSERT_TRUE(start_logging(self, variant, path));
	fd = client(self);
	ASSERT_TRUE(is_served(fd));
	ASSERT_EQ(0, stat(path, &st));
	ASSERT_EQ(0, prlimit(self->d.pid, RLIMIT_FSIZE, NULL, &limit));
	limit.rlim_cur = st.st_size + 10;
	ASSERT_EQ(0, prlimit(self->d.pid, RLIMIT_FSIZE, &limit, NULL));
	for (int i = 1; i <= 3; i++) {
		kill(self->d.pid, SIGHUP);
		EXPECT_EQ(i, sockbeatd_stat_wait(&self->d, "", "log_lost", i));
		EXPECT_TRUE(is_served(fd));
	}
	limit.rlim_cur = limit.rlim_max;
	ASSERT_EQ(0, prlimit(self->d.pid, RLIMIT_FSIZE, &limit, NULL));
	kill(self->d.pid, SIGHUP);
	EXPECT_TRUE(file_wait(path, " warning log lost=3\n"));
	close(fd);
	EXPECT_EQ(0, sockbeatd_stop(&self->d));

	file = fopen(path, "r");
	ASSERT_NE(NULL, file);
	while (fgets(line, sizeof(line), file)) {
		if (strlen(line) == 11) {
			cut++;
			continue;
		}
		EXPECT_EQ('Z', line[23]) TH_LOG("%s", line);
	}
	EXPECT_EQ(1, cut);
	fclose(file);
	unlink(path);
}

static bool step_clock(int64_t seconds)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	now.tv_sec += seconds;
	return !clock_settime(CLOCK_REALTIME, &now);
}

/* The clock of the day jumps; a timeout is as long as it was. */
TEST_F(daemon, clock_steps)
{
	static const int64_t steps[] = { 86400, -2 * 86400, 86400 };
	const uint64_t timeout_ms = is_slow() ? 10000 : 2000;
	int live;

	if (!getenv("SOCKBEAT_TEST_CLOCK"))
		SKIP(return, "sets the machine's clock: only with SOCKBEAT_TEST_CLOCK=1");
	START(is_slow() ? "timeout_ms=10000" : "timeout_ms=2000", "frame_timeout_ms=60000");
	live = client(self);
	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		int mute = client(self), slow = client(self);
		struct pollfd pfd = { .fd = mute, .events = POLLIN };
		uint64_t begin_ms;

		ASSERT_TRUE(is_served(mute));
		begin_ms = now_ms();
		ASSERT_TRUE(put(slow, wire_heartbeat, 4));
		ASSERT_TRUE(step_clock(steps[i])) TH_LOG("%s", strerror(errno));
		do {
			ASSERT_TRUE(is_served(live));
		} while (!poll(&pfd, 1, timeout_ms / 10));
		EXPECT_TRUE(expect_end(mute));
		EXPECT_LE(begin_ms + timeout_ms, now_ms() + 1);
		EXPECT_GE(begin_ms + timeout_ms + bound_ms(), now_ms());
		ASSERT_TRUE(put(slow, wire_heartbeat + 4, 4));
		close(mute);
		close(slow);
	}
	EXPECT_TRUE(is_served(live));
	EXPECT_EQ(0, closed(self, "slow_frame"));
	close(live);
}

static uint16_t checksum(const void *data, size_t len, uint32_t sum)
{
	const uint8_t *byte = data;

	for (; len > 1; len -= 2, byte += 2)
		sum += byte[0] << 8 | byte[1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/* A SYN of a client that is not there. */
static bool send_syn(int raw, uint16_t port, int number)
{
	struct {
		struct iphdr ip;
		struct tcphdr tcp;
	} packet = {
		.ip = { .version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_TCP,
			.saddr = htonl(0x0a090100 + number % 50000), .daddr = htonl(0x0a090001) },
		.tcp = { .source = htons(1024 + number), .dest = htons(port), .doff = 5, .syn = 1,
			 .window = htons(1024), .seq = htonl(number) },
	};
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr.s_addr = packet.ip.daddr };
	uint32_t pseudo = IPPROTO_TCP + sizeof(packet.tcp);

	pseudo += (ntohl(packet.ip.saddr) >> 16) + (ntohl(packet.ip.saddr) & 0xffff);
	pseudo += (ntohl(packet.ip.daddr) >> 16) + (ntohl(packet.ip.daddr) & 0xffff);
	packet.tcp.check = htons(checksum(&packet.tcp, sizeof(packet.tcp), pseudo));
	return sendto(raw, &packet, sizeof(packet), 0, (struct sockaddr *)&to, sizeof(to)) ==
	       sizeof(packet);
}

/* Connections in SYN_RECV. */
static int half_open(void)
{
	FILE *file = fopen("/proc/thread-self/net/tcp", "r");
	char line[256];
	int n = 0;

	while (file && fgets(line, sizeof(line), file))
		n += !!strstr(line, " 03 ");
	if (file)
		fclose(file);
	return n;
}

/* Handshakes that are never completed stay in the kernel: the process sees
 * nothing of them, and who means it comes through.
 */
TEST_F(daemon, syn_and_leave)
{
	uint64_t until_ms = now_ms() + PATIENCE_MS;
	struct cable cable;
	int raw, fd, i, seen;

	if (cable_lay(&cable))
		SKIP(return, "no network namespace to be had");
	START("listen=10.9.0.1:0");
	ASSERT_EQ(0, netns_enter(cable.away));
	raw = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
	ASSERT_LE(0, raw);
	for (i = 0; i < 6000; i++)
		ASSERT_TRUE(send_syn(raw, self->d.port, i));
	ASSERT_EQ(0, netns_enter(cable.home));
	/* They come and go: some are given up while others are made. */
	do
		seen = half_open();
	while (seen < 100 && now_ms() < until_ms);
	EXPECT_LE(100, seen);
	ASSERT_EQ(0, netns_enter(cable.away));
	fd = tcp_connect(AF_INET, "10.9.0.1", self->d.port);
	ASSERT_LE(0, fd);
	EXPECT_TRUE(is_served(fd));
	EXPECT_EQ(1, sockbeatd_stat(&self->d, "", "accepted"));
	EXPECT_TRUE(adds_up(self));
	close(fd);
	close(raw);
	cable_remove(&cable);
}

TEST_HARNESS_MAIN
